//! The files of one connection: what its page says about transfers finds its relay.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::{
    actors::{accounts::Kind, online::Registration, transport::context::TransportContext},
    ids::{ChannelName, SessionId},
    limits,
    protocols::letshare::{
        refusal::Refusal,
        transfer::{
            chunk::Chunk,
            fault::TransferFault,
            message::{self, Control, Request},
            relay::{Event, Relay},
            state::{Signal, Transfer},
            transfers::{Listed, Member, Terms, Transfers},
        },
    },
};

pub struct Files {
    user: String,
    is_pro: bool,
    /// None when this server carries no files.
    transfers: Option<Arc<Transfers>>,
    /// The rooms that it is in.
    present: HashMap<ChannelName, Registration<Member>>,
    /// Transfers that this connection has a side in.
    involved: HashMap<String, Arc<Listed>>,
    /// The transfer that was last answered as unknown: all frames of its window get one error together.
    answered_unknown: String,
}

impl Files {
    pub fn new(user: String, is_pro: bool, transfers: Option<Arc<Transfers>>) -> Self {
        Self {
            user,
            is_pro,
            transfers,
            present: HashMap::new(),
            involved: HashMap::new(),
            answered_unknown: String::new(),
        }
    }

    fn member(&self, room: &ChannelName) -> Member {
        (room.clone(), self.user.clone())
    }

    /// A control message; `kind` is its type without the prefix.
    ///
    /// # Errors
    /// When the transfer is not named. Other faults are answered by an error with its id.
    pub fn control(
        &mut self,
        kind: &str,
        channel: &str,
        data: Option<&RawValue>,
        transport: &mut TransportContext<'_>,
    ) -> Result<(), Refusal> {
        match Control::parse(kind, data)? {
            Control::Request(request) => {
                let transfer_id = request.transfer_id.clone();
                if let Err(fault) = self.request(request, channel, transport) {
                    transport.worker().count(|counters| counters.transfers_refused += 1);
                    tell(&transfer_id, fault, transport);
                }
            }
            Control::Signal { transfer_id, signal, data } => self.signal(kind, &transfer_id, signal, data, transport),
            Control::Malformed { transfer_id } => tell(&transfer_id, TransferFault::BadRequest, transport),
        }
        Ok(())
    }

    fn request(
        &mut self,
        request: Request,
        channel: &str,
        transport: &mut TransportContext<'_>,
    ) -> Result<(), TransferFault> {
        let transfers = self.transfers.as_ref().ok_or(TransferFault::Disabled)?;
        request.offer.check(&transfers.gate, self.is_pro)?;
        let room: ChannelName = match channel {
            "" => request.room_name.as_deref().unwrap_or_default().into(),
            named => named.into(),
        };
        if transport.filter(&room, 0).is_none() {
            return Err(TransferFault::NotInRoom);
        }
        let sender = transport.handle();
        let terms = Terms {
            transfer_id: request.transfer_id.clone(),
            room: room.clone(),
            sender: sender.session,
            sender_user: self.user.clone(),
            receiver_user: request.to_user_id.clone(),
            ring_bytes: request.offer.ring_bytes(),
        };
        let receiver = (room.clone(), request.to_user_id.clone());
        let receiver = transfers.find(&receiver, sender.session).ok_or(TransferFault::NoReceiver)?;
        // The sender makes the server keep what it sends.
        let charge = transport.charge(Kind::Transfer, limits::TRANSFER_COST + terms.ring_bytes);
        let charge = charge.map_err(|_| TransferFault::TooManyTransfers)?;
        let listed = transfers.open(terms, charge, |terms| {
            let relay = Relay {
                terms,
                file_name: request.file_name().map(str::to_owned),
                sender,
                receiver: Some(receiver.clone()),
                widened: 0,
                state: Transfer::new(transport.worker().broker.clock.uptime(), request.offer),
                transfers: Arc::clone(transfers),
                worker: transport.worker().clone(),
            };
            relay.open()
        })?;
        self.involve(listed);
        receiver.send(vec![request.forwarded(&room, &self.user, transport.now())]);
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
        let frame = message::forwarded(kind, &listed.terms.room, data, transport.now());
        let signalled = Event::Signalled { from: transport.handle(), signal, frame };
        if listed.address.try_send(signalled).is_err() {
            tell(transfer_id, TransferFault::ServerBusy, transport);
        }
    }

    /// Strangers are turned away here, so that they cannot even fill a transfer's mailbox. Which of its user's
    /// connections is the receiver, the transfer itself knows.
    fn has_side(&self, listed: &Listed, transport: &TransportContext<'_>) -> bool {
        let terms = &listed.terms;
        let is_sender = terms.sender == transport.handle().session;
        is_sender || (terms.receiver_user == self.user && transport.filter(&terms.room, 0).is_some())
    }

    /// Whether it is a frame of a transfer of this connection that goes on: those are bounded by the transfer's window, all
    /// others by the rate of the connection. Only the connection's own list is looked at, which has all that it sends.
    pub fn expects(&self, frame: &Bytes, connection: SessionId) -> bool {
        let listed = Chunk::transfer_id(frame).and_then(|id| self.involved.get(&*id));
        listed.is_some_and(|listed| listed.is_live() && listed.terms.sender == connection)
    }

    /// A binary message.
    ///
    /// # Errors
    /// When it is no chunk.
    pub fn chunk(&mut self, frame: Bytes, transport: &mut TransportContext<'_>) -> Result<(), Refusal> {
        let chunk = Chunk::parse(frame);
        let listed = chunk.as_ref().and_then(|chunk| self.find(&chunk.header.transfer_id));
        let connection = transport.handle().session;
        // Such a frame has no type: the Go server, which takes it for JSON, answers the same.
        let chunk = chunk.ok_or_else(|| Refusal::UnknownType(String::new()))?;
        let transfer_id = &chunk.header.transfer_id;
        let Some(listed) = listed else {
            if self.answered_unknown != *transfer_id {
                transfer_id.clone_into(&mut self.answered_unknown);
                tell(transfer_id, TransferFault::UnknownTransfer, transport);
            }
            return Ok(());
        };
        if listed.terms.sender != connection {
            tell(transfer_id, TransferFault::NotYourTransfer, transport);
        } else if listed.address.try_send(Event::Chunk(chunk)).is_err() {
            listed.address.do_send(Event::Aborted(TransferFault::WindowExceeded));
        }
        Ok(())
    }

    /// The page is in a room: whatever is on the way to it goes on, and it hears what became of its own files.
    pub fn entered(&mut self, room: &ChannelName, transport: &mut TransportContext<'_>) {
        let Some(transfers) = self.transfers.as_ref().filter(|_| !self.present.contains_key(room)) else {
            return;
        };
        let (member, handle) = (self.member(room), transport.handle());
        let registration = transfers.present.register(member.clone(), ());
        registration.enter(handle.clone(), transport.now(), false);
        // What it was sending with an older connection ends with that one, which may be dead.
        for older in transfers.senders(&member, handle.session) {
            older.probe();
        }
        for (side, listed) in transfers.concerning(&member) {
            listed.address.do_send(Event::Entered { side, handle: handle.clone() });
        }
        self.present.insert(room.clone(), registration);
    }

    /// The page left a room, and with it every transfer there.
    pub fn left(&mut self, room: &ChannelName, transport: &mut TransportContext<'_>) {
        self.leave(room, false, transport);
        self.involved.retain(|_, listed| listed.terms.room != *room);
    }

    /// The connection is gone, and with it its side of every transfer.
    pub fn closed(&mut self, transport: &mut TransportContext<'_>) {
        for room in transport.channels() {
            self.leave(room, true, transport);
        }
    }

    /// Tells the transfers in `room`, those included that the page was asked to receive and has not answered.
    fn leave(&mut self, room: &ChannelName, is_closed: bool, transport: &TransportContext<'_>) {
        let Some(transfers) = &self.transfers else {
            return;
        };
        self.present.remove(room);
        let connection = transport.handle().session;
        let is_outgoing = |listed: &&Arc<Listed>| listed.terms.sender == connection && listed.terms.room == *room;
        let outgoing = self.involved.values().filter(is_outgoing).cloned();
        for listed in outgoing.chain(transfers.incoming(&self.member(room))) {
            listed.address.do_send(Event::Left { connection, is_closed });
        }
    }

    /// From the connection's own list, or from everybody's: a receiver has learned of the transfer by its request alone.
    fn find(&mut self, transfer_id: &str) -> Option<Arc<Listed>> {
        let known = self.involved.get(transfer_id);
        if let Some(listed) = known.filter(|listed| listed.address.connected()) {
            return Some(Arc::clone(listed));
        }
        let listed = self.transfers.as_ref()?.transfer(transfer_id)?;
        if listed.terms.receiver_user == self.user {
            self.involve(Arc::clone(&listed));
        }
        Some(listed)
    }

    /// Notes a transfer, and forgets those that are over.
    fn involve(&mut self, listed: Arc<Listed>) {
        self.involved.retain(|_, known| known.address.connected());
        self.involved.insert(listed.terms.transfer_id.clone(), listed);
    }
}

fn tell(transfer_id: &str, fault: TransferFault, transport: &mut TransportContext<'_>) {
    transport.count_error();
    transport.send_frame(message::error(transfer_id, "", fault, transport.now()));
}
