//! The files of one connection: what its page says about transfers finds its relay.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::{
    actors::transport::context::TransportContext,
    ids::{ChannelName, SessionId},
    protocols::letshare::transfer::{
        board::{Board, Listed, Terms},
        chunk::Chunk,
        fault::TransferFault,
        message::{self, BadControl, Control, Request},
        relay::{Abort, Carry, Departure, Lost, Opening, Relay, Returned, Say},
        state::{Side, Signal, Transfer},
    },
};

pub struct Files {
    user: String,
    is_pro: bool,
    /// None when this server carries no files.
    board: Option<Arc<Board>>,
    /// Transfers that this connection has a side in.
    involved: HashMap<String, Arc<Listed>>,
    /// The last id whose frames were told to be unknown: one error is enough for a window of them.
    told_unknown: String,
}

/// What the connection tells its client in the room protocol's own form.
#[derive(Debug, PartialEq, Eq)]
pub enum Unreadable {
    UnknownKind,
    NoTransferId,
    /// A binary frame that is no chunk.
    NoChunk,
    RateLimited,
}

impl Files {
    pub fn new(user: String, is_pro: bool, board: Option<Arc<Board>>) -> Self {
        Self { user, is_pro, board, involved: HashMap::new(), told_unknown: String::new() }
    }

    /// A control message; `kind` is its type without the prefix.
    ///
    /// # Errors
    /// [`Unreadable`] when not even the transfer is named; other faults are told with its id.
    pub fn control(
        &mut self,
        kind: &str,
        channel: &str,
        data: Option<&RawValue>,
        transport: &mut TransportContext<'_>,
    ) -> Result<(), Unreadable> {
        match Control::parse(kind, data) {
            Ok(Control::Request(request)) => {
                let transfer_id = request.transfer_id.clone();
                if let Err(fault) = self.request(request, channel, transport) {
                    transport.worker().count(|counters| counters.transfers_refused += 1);
                    tell(&transfer_id, fault, transport);
                }
            }
            Ok(Control::Signal { transfer_id, signal }) => {
                if let Some(data) = data {
                    self.signal(kind, &transfer_id, signal, data, transport);
                }
            }
            Err(BadControl::Malformed { transfer_id }) => {
                tell(&transfer_id, TransferFault::BadRequest, transport);
            }
            Err(BadControl::NoTransferId) => return Err(Unreadable::NoTransferId),
            Err(BadControl::UnknownKind) => return Err(Unreadable::UnknownKind),
        }
        Ok(())
    }

    fn request(
        &mut self,
        request: Request,
        channel: &str,
        transport: &mut TransportContext<'_>,
    ) -> Result<(), TransferFault> {
        let board = self.board.as_ref().ok_or(TransferFault::Disabled)?;
        request.offer.check(&board.gate, self.is_pro)?;
        let room: ChannelName = match channel {
            "" => request.room_name.as_deref().unwrap_or_default().into(),
            named => named.into(),
        };
        if transport.filter(&room, 0).is_none() {
            return Err(TransferFault::NotInRoom);
        }
        let sender = transport.handle();
        let receiver_user = request.to_user_id.clone();
        let receiver = board.find(&room, &receiver_user, sender.session).ok_or(TransferFault::NoReceiver)?;
        let clock = &transport.worker().broker.clock;
        let (now, uptime) = (clock.now(), clock.uptime());
        let terms = Terms {
            transfer_id: request.transfer_id.clone(),
            room: room.clone(),
            sender: sender.session,
            sender_user: self.user.clone(),
            receiver: receiver_user.clone(),
            ring_bytes: request.offer.ring_bytes(),
        };
        let listed = board.open(terms, || {
            let opening = Opening {
                transfer_id: request.transfer_id.clone(),
                file_name: request.file_name().map(str::to_owned),
                room: room.clone(),
                sender,
                sender_user: self.user.clone(),
                receiver: receiver.clone(),
                receiver_user,
                state: Transfer::new(uptime, request.offer),
                board: Arc::clone(board),
            };
            Relay::open(opening, transport.worker().clone())
        })?;
        self.involve(listed);
        receiver.send(vec![request.forwarded(&room, &self.user, now)]);
        Ok(())
    }

    fn signal(
        &mut self,
        kind: &str,
        transfer_id: &str,
        signal: Signal,
        data: &RawValue,
        transport: &mut TransportContext<'_>,
    ) {
        let Some(listed) = self.find(transfer_id) else {
            if signal.wants_answer() {
                tell(transfer_id, TransferFault::UnknownTransfer, transport);
            }
            return;
        };
        if !self.has_side(&listed, transport) {
            if listed.is_live() || signal.wants_answer() {
                tell(transfer_id, TransferFault::NotYourTransfer, transport);
            }
            return;
        }
        let say = Say {
            from: transport.handle(),
            signal,
            frame: message::forwarded(kind, &listed.terms.room, data, transport.now()),
        };
        if listed.address.try_send(say).is_err() {
            tell(transfer_id, TransferFault::ServerBusy, transport);
        }
    }

    /// Strangers are turned away here, so that they cannot even fill a transfer's mailbox. Which of
    /// its user's connections is the receiver, the transfer itself knows.
    fn has_side(&self, listed: &Listed, transport: &TransportContext<'_>) -> bool {
        let terms = &listed.terms;
        let is_sender = terms.sender == transport.handle().session;
        is_sender || (terms.receiver == self.user && transport.filter(&terms.room, 0).is_some())
    }

    /// A binary message. Frames of a transfer that goes on are bounded by its window, all others by
    /// the rate limit.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn chunk(&mut self, frame: Bytes, transport: &mut TransportContext<'_>) -> Result<(), Unreadable> {
        let chunk = Chunk::parse(frame);
        let listed = match &chunk {
            Ok(chunk) => self.find(&chunk.header.transfer_id),
            Err(_) => None,
        };
        let from = transport.handle();
        let is_expected = |listed: &Arc<Listed>| listed.is_live() && listed.terms.sender == from.session;
        if !listed.as_ref().is_some_and(is_expected) && !transport.may_send() {
            return Err(Unreadable::RateLimited);
        }
        let chunk = chunk.map_err(|_| Unreadable::NoChunk)?;
        let transfer_id = &chunk.header.transfer_id;
        let Some(listed) = listed else {
            self.tell_unknown(transfer_id, transport);
            return Ok(());
        };
        if listed.terms.sender != from.session {
            tell(transfer_id, TransferFault::NotYourTransfer, transport);
        } else if listed.address.try_send(Carry { chunk }).is_err() {
            let fault = TransferFault::WindowExceeded;
            listed.address.do_send(Abort { fault });
        }
        Ok(())
    }

    /// The page is in a room: whatever is on the way to it goes on, and it hears what became of its own files.
    pub fn entered(&mut self, room: &ChannelName, transport: &mut TransportContext<'_>) {
        let Some(board) = &self.board else {
            return;
        };
        if !board.enter(room, &self.user, transport.handle()) {
            return;
        }
        // What it was sending with an older connection ends with that one, which may be dead.
        for older in board.senders(room, &self.user, transport.handle().session) {
            older.probe();
        }
        let owed = board.take_owed(room, &self.user);
        let owed = owed.into_iter().map(|listed| (Side::Sender, listed));
        let incoming = board.incoming(room, &self.user);
        let incoming = incoming.into_iter().map(|listed| (Side::Receiver, listed));
        for (side, listed) in owed.chain(incoming) {
            let handle = transport.handle();
            listed.address.do_send(Returned { side, handle });
        }
    }

    /// The page left a room, and with it every transfer there.
    pub fn left(&mut self, room: &ChannelName, transport: &mut TransportContext<'_>) {
        self.lose(room, transport.handle().session, Departure::FromRoom);
        self.involved.retain(|_, listed| listed.terms.room != *room);
    }

    /// The connection is gone, and with it its side of every transfer.
    pub fn closed(&mut self, transport: &mut TransportContext<'_>) {
        let connection = transport.handle().session;
        for room in transport.channels() {
            self.lose(room, connection, Departure::FromServer);
        }
    }

    /// Tells the transfers in `room`. A page that was asked to receive and has not answered is no less
    /// missed.
    fn lose(&self, room: &ChannelName, connection: SessionId, departure: Departure) {
        let Some(board) = &self.board else {
            return;
        };
        board.leave(room, connection);
        let involved = self.involved.values();
        let outgoing = involved.filter(|listed| listed.terms.sender == connection);
        let outgoing = outgoing.filter(|listed| listed.terms.room == *room).cloned();
        for listed in outgoing.chain(board.incoming(room, &self.user)) {
            listed.address.do_send(Lost { connection, departure });
        }
    }

    /// From the connection's own list, or from everybody's: a receiver has learned of the transfer by
    /// its request alone.
    fn find(&mut self, transfer_id: &str) -> Option<Arc<Listed>> {
        let known = self.involved.get(transfer_id);
        if let Some(listed) = known.filter(|listed| listed.address.connected()) {
            return Some(Arc::clone(listed));
        }
        let listed = self.board.as_ref()?.transfer(transfer_id)?;
        if listed.terms.receiver == self.user {
            self.involve(Arc::clone(&listed));
        }
        Some(listed)
    }

    /// Notes a transfer, and forgets those that are over.
    fn involve(&mut self, listed: Arc<Listed>) {
        self.involved.retain(|_, known| known.address.connected());
        let transfer_id = listed.terms.transfer_id.clone();
        self.involved.insert(transfer_id, listed);
    }

    fn tell_unknown(&mut self, transfer_id: &str, transport: &mut TransportContext<'_>) {
        if self.told_unknown != transfer_id {
            transfer_id.clone_into(&mut self.told_unknown);
            tell(transfer_id, TransferFault::UnknownTransfer, transport);
        }
    }
}

fn tell(transfer_id: &str, fault: TransferFault, transport: &mut TransportContext<'_>) {
    transport.count_error();
    let error = message::error(transfer_id, None, fault, transport.now());
    transport.send_frame(error);
}
