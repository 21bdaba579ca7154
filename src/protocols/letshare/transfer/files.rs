//! The files of one connection: what its page says about transfers finds its relay.

use std::{cell::RefCell, collections::HashMap, rc::Rc, sync::Arc};

use actix_web::rt;
use bytes::Bytes;
use serde_json::value::RawValue;

use crate::{
    actors::{
        accounts::{Charge, Kind},
        fanout::hub::TransportHandle,
        online::Registration,
        transport::context::TransportContext,
        worker::Worker,
    },
    ids::{ChannelName, SessionId},
    limits,
    protocols::letshare::{
        refusal::Refusal,
        transfer::{
            chunk::Chunk,
            fault::TransferFault,
            message::{self, Control, Request},
            peer::{Peer, PeerId},
            relay::{Event, Relay},
            state::{Side, Signal, Transfer},
            transfers::{Carrier, Listed, Member, Terms, Transfers},
        },
    },
};

/// Transfers that a connection has a side in.
type Involved = Rc<RefCell<HashMap<String, Arc<Listed>>>>;

pub struct Files {
    user: String,
    is_pro: bool,
    /// None when this server carries no files.
    transfers: Option<Arc<Transfers>>,
    /// The rooms that it is in.
    present: HashMap<ChannelName, Registration<Member>>,
    involved: Involved,
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
            involved: Involved::default(),
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
            sender: Some(sender.session),
            sender_user: self.user.clone(),
            receiver_user: request.to_user_id.clone(),
            ring_bytes: request.offer.ring_bytes(),
        };
        let broker = &transport.worker().broker;
        let receiver = transfers.find(&terms.member(Side::Receiver), PeerId::here(sender.session));
        if receiver.is_none() && broker.nodes().is_none() {
            return Err(TransferFault::NoReceiver);
        }
        // The sender makes the server keep what it sends.
        let charge = transport.charge(Kind::Transfer, limits::TRANSFER_COST + terms.ring_bytes);
        let charge = charge.map_err(|_| TransferFault::TooManyTransfers)?;
        let (transfers, involved) = (Arc::clone(transfers), Rc::clone(&self.involved));
        let begin = Begin { request, terms, charge, sender, transfers, involved, worker: transport.worker().clone() };
        match receiver {
            Some(receiver) => begin.with(Peer::Here(receiver)),
            None => {
                rt::spawn(begin.elsewhere());
                Ok(())
            }
        }
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
        let signalled = Event::Signalled { from: Peer::Here(transport.handle()), signal, frame };
        if let Err(fault) = listed.try_tell(signalled) {
            tell(transfer_id, fault, transport);
        }
    }

    /// Strangers are turned away here, so that they cannot even fill a transfer's mailbox. Which of its user's
    /// connections is the receiver, the transfer itself knows.
    fn has_side(&self, listed: &Listed, transport: &TransportContext<'_>) -> bool {
        let terms = &listed.terms;
        let is_sender = terms.sender == Some(transport.handle().session);
        is_sender || (terms.receiver_user == self.user && transport.filter(&terms.room, 0).is_some())
    }

    /// Whether it is a frame of a transfer of this connection that goes on: those are bounded by the transfer's window, all
    /// others by the rate of the connection. Only the connection's own list is looked at, which has all that it sends.
    pub fn expects(&self, frame: &Bytes, connection: SessionId) -> bool {
        let involved = self.involved.borrow();
        let listed = Chunk::transfer_id(frame).and_then(|id| involved.get(&*id));
        listed.is_some_and(|listed| listed.is_live() && listed.terms.sender == Some(connection))
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
        if listed.terms.sender != Some(connection) {
            tell(transfer_id, TransferFault::NotYourTransfer, transport);
        } else if listed.try_tell(Event::Chunk(chunk)).is_err() {
            listed.tell(Event::Aborted(TransferFault::WindowExceeded));
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
        for older in transfers.senders(&member, Some(handle.session)) {
            older.probe();
        }
        for (side, listed) in transfers.concerning(&member) {
            listed.tell(Event::Entered { side, handle: Peer::Here(handle.clone()) });
        }
        transfers.entered(&member, handle.session, &transport.worker().broker);
        self.present.insert(room.clone(), registration);
    }

    /// The page left a room, and with it every transfer there.
    pub fn left(&mut self, room: &ChannelName, transport: &mut TransportContext<'_>) {
        self.leave(room, false, transport);
        self.involved.borrow_mut().retain(|_, listed| listed.terms.room != *room);
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
        let is_outgoing = |listed: &&Arc<Listed>| listed.terms.sender == Some(connection) && listed.terms.room == *room;
        let involved = self.involved.borrow();
        let outgoing = involved.values().filter(is_outgoing).cloned();
        for listed in outgoing.chain(transfers.incoming(&self.member(room))) {
            listed.tell(Event::Left { connection: PeerId::here(connection), is_closed });
        }
    }

    /// From the connection's own list, or from everybody's: a receiver has learned of the transfer by its request alone.
    fn find(&mut self, transfer_id: &str) -> Option<Arc<Listed>> {
        let known = self.involved.borrow().get(transfer_id).filter(|listed| listed.is_listening()).cloned();
        if known.is_some() {
            return known;
        }
        let listed = self.transfers.as_ref()?.transfer(transfer_id)?;
        if listed.terms.receiver_user == self.user {
            involve(&self.involved, Arc::clone(&listed));
        }
        Some(listed)
    }
}

/// Notes a transfer, and forgets those that are over.
fn involve(involved: &Involved, listed: Arc<Listed>) {
    let mut involved = involved.borrow_mut();
    involved.retain(|_, known| known.is_listening());
    involved.insert(listed.terms.transfer_id.clone(), listed);
}

/// A transfer that is to begin.
struct Begin {
    request: Request,
    terms: Terms,
    charge: Option<Charge>,
    sender: TransportHandle,
    transfers: Arc<Transfers>,
    involved: Involved,
    worker: Rc<Worker>,
}

impl Begin {
    /// Asks the other nodes for the receiver. Whoever has left meanwhile is not answered.
    async fn elsewhere(self) {
        let Self { sender, transfers, worker, terms, .. } = &self;
        let receiver = transfers.find_elsewhere(&terms.member(Side::Receiver), &worker.broker).await;
        let present = transfers.present.registered(&terms.member(Side::Sender));
        let mut handles = present.iter().filter_map(|transport| transport.handle());
        if !handles.any(|handle| handle.session == sender.session) {
            return;
        }
        let (sender, worker, transfer_id) = (sender.clone(), worker.clone(), terms.transfer_id.clone());
        if let Err(fault) = receiver.ok_or(TransferFault::NoReceiver).and_then(|receiver| self.with(receiver)) {
            worker.count(|counters| {
                counters.transfers_refused += 1;
                counters.errors_sent += 1;
            });
            sender.send(vec![message::error(&transfer_id, "", fault, worker.broker.clock.now())]);
        }
    }

    fn with(self, receiver: Peer) -> Result<(), TransferFault> {
        let Self { request, terms, charge, sender, transfers, involved, worker } = self;
        let (user, room, now) = (terms.sender_user.clone(), terms.room.clone(), worker.broker.clock.now());
        let listed = transfers.open(terms, charge, |terms| {
            let relay = |address| Relay {
                terms,
                file_name: request.file_name().map(str::to_owned),
                sender: Peer::Here(sender),
                receiver: Some(receiver),
                address,
                widened: 0,
                state: Transfer::new(worker.broker.clock.uptime(), request.offer),
                request: request.forwarded(&room, &user, now),
                transfers: Arc::clone(&transfers),
                worker,
            };
            Carrier::Here(Relay::open(relay))
        })?;
        involve(&involved, listed);
        Ok(())
    }
}

fn tell(transfer_id: &str, fault: TransferFault, transport: &mut TransportContext<'_>) {
    transport.count_error();
    transport.send_frame(message::error(transfer_id, "", fault, transport.now()));
}
