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
        fault::TransferFault,
        offer::Gate,
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
    /// No transfer begins any more.
    is_closed: bool,
}

/// What a transfer is listed with.
pub struct Terms {
    pub transfer_id: String,
    pub room: ChannelName,
    pub sender: SessionId,
    /// The user of that connection.
    pub sender_user: String,
    /// The user who receives, with whatever connection.
    pub receiver_user: String,
    /// What its ring may cost, in bytes.
    pub ring_bytes: usize,
}

/// A transfer as connections reach it.
pub struct Listed {
    pub address: Addr<Relay>,
    pub terms: Arc<Terms>,
    /// Off once it has ended; it stays listed for a while, for late messages.
    live: AtomicBool,
    /// Of its sender; none where nobody pays.
    charge: Mutex<Option<Charge>>,
}

impl Listed {
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
    pub fn new(settings: &config::FileTransfer) -> Self {
        Self {
            gate: Gate { free_bytes: settings.free_limit, max_bytes: settings.max_file_size },
            present: Arc::default(),
            ring_bytes: settings.ring_bytes,
            outgoing_per_connection: settings.outgoing_per_connection,
            incoming_per_user: settings.incoming_per_user,
            state: Mutex::default(),
        }
    }

    /// The newest connection of `member`, but for the `other` side of the transfer: nobody sends to itself. Newest, because
    /// the page may have come back before its old connection was missed.
    pub fn find(&self, member: &Member, other: SessionId) -> Option<TransportHandle> {
        let present = self.present.registered(member);
        let mut newest_first = present.iter().rev().filter_map(|transport| transport.handle());
        newest_first.find(|handle| handle.session != other).cloned()
    }

    /// The connections of `member`, beside `newest`, that send files.
    pub fn senders(&self, member: &Member, newest: SessionId) -> Vec<TransportHandle> {
        let present = self.present.registered(member);
        let state = self.state.lock();
        let others = present.iter().filter_map(|transport| transport.handle());
        let senders = others.filter(|known| known.session != newest && state.outgoing.contains_key(&known.session));
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
        start: impl FnOnce(Arc<Terms>) -> Addr<Relay>,
    ) -> Result<Arc<Listed>, TransferFault> {
        let mut state = self.state.lock();
        if state.is_closed {
            return Err(TransferFault::ServerStops);
        }
        if state.listed.contains_key(&terms.transfer_id) {
            return Err(TransferFault::IdInUse);
        }
        let outgoing = state.outgoing.get(&terms.sender).copied().unwrap_or(0);
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
        state.outgoing.insert(terms.sender, outgoing + 1);
        let terms = Arc::new(terms);
        let (address, charge) = (start(Arc::clone(&terms)), Mutex::new(charge));
        let listed = Arc::new(Listed { address, terms, live: AtomicBool::new(true), charge });
        state.concerning.entry(receiver).or_default().push((Side::Receiver, Arc::clone(&listed)));
        state.listed.insert(listed.terms.transfer_id.clone(), Arc::clone(&listed));
        Ok(listed)
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
        if let Some(charge) = &mut *listed.charge.lock() {
            charge.set_anyway(limits::TRANSFER_COST);
        }
        if let Entry::Occupied(mut outgoing) = state.outgoing.entry(listed.terms.sender) {
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
        let ends = live.iter().map(|listed| listed.address.send(Event::Aborted(TransferFault::ServerStops)));
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
