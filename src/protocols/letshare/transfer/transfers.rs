//! What all LetShare connections of a server share about transfers: which there are, who is present in which room, and
//! what they may cost together. Looked at when a transfer begins or a page joins or leaves, not for every frame.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use actix::Addr;
use futures_util::future;
use parking_lot::Mutex;

use crate::{
    actors::{accounts::Charge, fanout::hub::TransportHandle, online::Online},
    config,
    ids::{ChannelName, SessionId},
    limits,
    protocols::letshare::transfer::{
        elsewhere::Distant,
        fault::TransferFault,
        offer::Gate,
        peer::PeerId,
        relay::{Event, Relay},
        state::Side,
    },
};

/// A user in a room.
pub type Member = (ChannelName, String);

pub struct Transfers {
    pub gate: Gate,
    pub present: Arc<Online<Member>>,
    ring_bytes: usize,
    relay_bytes: usize,
    outgoing_per_connection: usize,
    incoming_per_user: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    listed: HashMap<String, Arc<Listed>>,
    /// What concerns a member who enters the room: the transfers to it, and those from it whose end it was not there for.
    concerning: HashMap<Member, Vec<(Side, Arc<Listed>)>>,
    /// How many live transfers a connection sends.
    outgoing: HashMap<SessionId, usize>,
    ring_bytes: usize,
    /// Of those whose receiver is at another node.
    relay_bytes: usize,
    /// No transfer begins any more.
    is_closed: bool,
}

/// What a transfer is listed with.
pub struct Terms {
    pub transfer_id: String,
    pub room: ChannelName,
    /// None: it is at another node.
    pub sender: Option<SessionId>,
    /// The user of that connection.
    pub sender_user: String,
    /// The user who receives, with whatever connection.
    pub receiver_user: String,
    /// What its ring may cost, in bytes.
    pub ring_bytes: usize,
}

/// A transfer as connections reach it.
pub struct Listed {
    pub carrier: Carrier,
    pub terms: Arc<Terms>,
    /// Off once it has ended; it stays listed for a while, for late messages.
    live: AtomicBool,
    /// Of its sender; none where nobody pays.
    charge: Mutex<Option<Charge>>,
    /// Its receiver is at another node.
    goes_there: AtomicBool,
}

/// Where the relay of a transfer is.
pub enum Carrier {
    Here(Addr<Relay>),
    /// At the node of its sender.
    There(Distant),
}

impl Listed {
    pub fn tell(&self, event: Event) {
        match &self.carrier {
            Carrier::Here(relay) => relay.do_send(event),
            Carrier::There(distant) => distant.tell(&self.terms, event),
        }
    }

    /// The same of what a client sends, whose transfer takes only so much at a time.
    ///
    /// # Errors
    /// Too much waits for it, or it is over.
    pub fn try_tell(&self, event: Event) -> Result<(), TransferFault> {
        match &self.carrier {
            Carrier::Here(relay) => relay.try_send(event).map_err(|_| TransferFault::ServerBusy),
            Carrier::There(_) => {
                self.tell(event);
                Ok(())
            }
        }
    }

    /// Whether it still hears what is told.
    pub fn is_listening(&self) -> bool {
        match &self.carrier {
            Carrier::Here(relay) => relay.connected(),
            Carrier::There(_) => self.is_live(),
        }
    }

    pub fn is_live(&self) -> bool {
        self.live.load(Ordering::Relaxed)
    }
}

impl Terms {
    pub fn member(&self, side: Side) -> Member {
        let user = match side {
            Side::Sender => &self.sender_user,
            Side::Receiver => &self.receiver_user,
        };
        (self.room.clone(), user.clone())
    }
}

impl Transfers {
    /// `relay_bytes`: what transfers to other nodes may have on the way together.
    pub fn new(settings: &config::FileTransfer, relay_bytes: usize) -> Self {
        Self {
            gate: Gate { free_bytes: settings.free_limit, max_bytes: settings.max_file_size },
            present: Arc::default(),
            ring_bytes: settings.ring_bytes,
            relay_bytes,
            outgoing_per_connection: settings.outgoing_per_connection,
            incoming_per_user: settings.incoming_per_user,
            state: Mutex::default(),
        }
    }

    /// The newest connection of `member`, but for the `other` side of the transfer: nobody sends to itself. Newest, because
    /// the page may have come back before its old connection was missed.
    pub fn find(&self, member: &Member, other: PeerId) -> Option<TransportHandle> {
        let present = self.present.registered(member);
        let mut newest_first = present.iter().rev().filter_map(|transport| transport.handle());
        newest_first.find(|handle| PeerId::here(handle.session) != other).cloned()
    }

    /// The connections of `member`, beside `newest`, that send files.
    pub fn senders(&self, member: &Member, newest: Option<SessionId>) -> Vec<TransportHandle> {
        let present = self.present.registered(member);
        let state = self.state.lock();
        let others = present.iter().filter_map(|transport| transport.handle());
        let senders =
            others.filter(|known| Some(known.session) != newest && state.outgoing.contains_key(&known.session));
        senders.cloned().collect()
    }

    /// Lists a new transfer, whose actor `start` starts.
    ///
    /// # Errors
    /// When the id is in use, a limit is reached, or the server stops.
    pub fn open(
        &self,
        terms: Terms,
        charge: Option<Charge>,
        start: impl FnOnce(Arc<Terms>) -> Carrier,
    ) -> Result<Arc<Listed>, TransferFault> {
        let mut state = self.state.lock();
        if state.is_closed {
            return Err(TransferFault::ServerStops);
        }
        if state.listed.contains_key(&terms.transfer_id) {
            return Err(TransferFault::IdInUse);
        }
        let outgoing = terms.sender.and_then(|sender| state.outgoing.get(&sender)).copied().unwrap_or(0);
        let receiver = terms.member(Side::Receiver);
        let incoming = state.of(&receiver, Side::Receiver);
        let live = incoming.clone().filter(|listed| listed.is_live()).count();
        if outgoing >= self.outgoing_per_connection
            || live >= self.incoming_per_user
            || incoming.count() >= limits::TRANSFERS_LISTED.max(self.incoming_per_user)
        {
            return Err(TransferFault::TooManyTransfers);
        }
        if state.ring_bytes + terms.ring_bytes > self.ring_bytes || state.listed.len() >= limits::TRANSFERS {
            return Err(TransferFault::ServerBusy);
        }
        state.ring_bytes += terms.ring_bytes;
        if let Some(sender) = terms.sender {
            state.outgoing.insert(sender, outgoing + 1);
        }
        let terms = Arc::new(terms);
        let (carrier, charge) = (start(Arc::clone(&terms)), Mutex::new(charge));
        let (live, goes_there) = (AtomicBool::new(true), AtomicBool::new(false));
        let listed = Arc::new(Listed { carrier, terms, live, charge, goes_there });
        state.concerning.entry(receiver).or_default().push((Side::Receiver, Arc::clone(&listed)));
        state.listed.insert(listed.terms.transfer_id.clone(), Arc::clone(&listed));
        Ok(listed)
    }

    /// The receiver of a transfer is at another node from now on, if there is room for that.
    pub fn goes_there(&self, transfer_id: &str) -> bool {
        let mut state = self.state.lock();
        let state = &mut *state;
        let Some(listed) = state.listed.get(transfer_id) else { return false };
        let bytes = state.relay_bytes + listed.terms.ring_bytes;
        let is_there = listed.goes_there.load(Ordering::Relaxed);
        if !is_there && bytes <= self.relay_bytes {
            listed.goes_there.store(true, Ordering::Relaxed);
            state.relay_bytes = bytes;
        }
        listed.goes_there.load(Ordering::Relaxed)
    }

    /// Those that are listed.
    pub fn all(&self) -> Vec<Arc<Listed>> {
        self.state.lock().listed.values().cloned().collect()
    }

    pub fn transfer(&self, transfer_id: &str) -> Option<Arc<Listed>> {
        self.state.lock().listed.get(transfer_id).cloned()
    }

    /// What concerns `member`, who enters the room.
    pub fn concerning(&self, member: &Member) -> Vec<(Side, Arc<Listed>)> {
        self.state.lock().concerning.get(member).cloned().unwrap_or_default()
    }

    /// The transfers to `member`.
    pub fn incoming(&self, member: &Member) -> Vec<Arc<Listed>> {
        self.state.lock().of(member, Side::Receiver).cloned().collect()
    }

    /// Marks the transfer as ended and gives back what it cost; false when it was marked already.
    pub fn close(&self, transfer_id: &str) -> bool {
        let mut state = self.state.lock();
        let state = &mut *state;
        let Some(listed) = state.listed.get(transfer_id).filter(|listed| listed.live.swap(false, Ordering::Relaxed))
        else {
            return false;
        };
        state.ring_bytes -= listed.terms.ring_bytes;
        if listed.goes_there.load(Ordering::Relaxed) {
            state.relay_bytes -= listed.terms.ring_bytes;
        }
        if let Some(charge) = &mut *listed.charge.lock() {
            charge.set_anyway(limits::TRANSFER_COST);
        }
        if let Some(sender) = listed.terms.sender
            && let Entry::Occupied(mut outgoing) = state.outgoing.entry(sender)
        {
            *outgoing.get_mut() -= 1;
            if *outgoing.get() == 0 {
                outgoing.remove();
            }
        }
        true
    }

    /// Ends every transfer, because the server stops, and lets none begin. When it is done, both sides of each
    /// have been told.
    pub async fn shut(&self) {
        let live: Vec<_> = {
            let mut state = self.state.lock();
            state.is_closed = true;
            state.listed.values().filter(|listed| listed.is_live()).cloned().collect()
        };
        let own = live.iter().filter_map(|listed| match &listed.carrier {
            Carrier::Here(relay) => Some(relay),
            // It may go on at another node.
            Carrier::There(_) => None,
        });
        let ends = own.map(|relay| relay.send(Event::Aborted(TransferFault::ServerStops)));
        // An error means that the transfer has ended by itself.
        future::join_all(ends).await;
    }

    /// The transfer has ended while its sender was away: it concerns the sender when it enters the room again.
    pub fn keep_for_sender(&self, transfer_id: &str) {
        let mut state = self.state.lock();
        if let Some(listed) = state.listed.get(transfer_id).cloned() {
            let sender = listed.terms.member(Side::Sender);
            state.concerning.entry(sender).or_default().push((Side::Sender, listed));
        }
    }

    /// Removes it from the list: no late message can come any more.
    pub fn forget(&self, transfer_id: &str) {
        self.close(transfer_id);
        let mut state = self.state.lock();
        let Some(forgotten) = state.listed.remove(transfer_id) else {
            return;
        };
        for side in [Side::Sender, Side::Receiver] {
            if let Entry::Occupied(mut list) = state.concerning.entry(forgotten.terms.member(side)) {
                list.get_mut().retain(|(_, listed)| !Arc::ptr_eq(listed, &forgotten));
                if list.get().is_empty() {
                    list.remove();
                }
            }
        }
    }
}

impl State {
    fn of(&self, member: &Member, side: Side) -> impl Iterator<Item = &Arc<Listed>> + Clone {
        let concerning = self.concerning.get(member).into_iter().flatten();
        concerning.filter(move |(its_side, _)| *its_side == side).map(|(_, listed)| listed)
    }
}
