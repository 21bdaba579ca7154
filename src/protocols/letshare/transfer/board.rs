//! What all LetShare connections of a server share about transfers: which there are, who is present in
//! which room, and what they may cost together. Looked at when a transfer begins or a page joins or
//! leaves, not for every frame.

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
    actors::fanout::hub::TransportHandle,
    config,
    ids::{ChannelName, SessionId},
    limits,
    protocols::letshare::transfer::{
        fault::TransferFault,
        offer::Gate,
        relay::{Abort, Relay},
    },
};

pub struct Board {
    pub gate: Gate,
    limits: Limits,
    state: Mutex<State>,
}

struct Limits {
    ring_bytes: usize,
    outgoing_per_connection: usize,
    incoming_per_user: usize,
}

#[derive(Default)]
struct State {
    /// Newest last: a page that came back is looked up before its stale socket.
    present: HashMap<ChannelName, Vec<Present>>,
    transfers: HashMap<String, Arc<Listed>>,
    /// The transfers to a user in a room.
    incoming: Lists,
    /// How many live transfers a connection sends.
    outgoing: HashMap<SessionId, usize>,
    ring_bytes: usize,
    /// No transfer begins any more.
    is_closed: bool,
    /// Ended transfers whose sender, a user in a room, was away by then.
    owed: Lists,
}

/// Transfers by a user in a room.
type Lists = HashMap<(ChannelName, String), Vec<Arc<Listed>>>;

struct Present {
    user: String,
    handle: TransportHandle,
}

/// What a transfer is listed with.
pub struct Terms {
    pub transfer_id: String,
    pub room: ChannelName,
    pub sender: SessionId,
    /// The user of that connection.
    pub sender_user: String,
    /// The user who receives, with whatever connection.
    pub receiver: String,
    /// What its ring may cost, in bytes.
    pub ring_bytes: usize,
}

/// A transfer as connections reach it.
pub struct Listed {
    pub address: Addr<Relay>,
    pub terms: Terms,
    /// Off once it has ended; it stays listed for a while, for late messages.
    live: AtomicBool,
}

impl Listed {
    pub fn is_live(&self) -> bool {
        self.live.load(Ordering::Relaxed)
    }
}

impl Terms {
    fn addressee(&self) -> (ChannelName, String) {
        (self.room.clone(), self.receiver.clone())
    }

    fn addresser(&self) -> (ChannelName, String) {
        (self.room.clone(), self.sender_user.clone())
    }
}

impl Board {
    pub fn new(settings: &config::FileTransfer) -> Self {
        Self {
            gate: Gate { free_bytes: settings.free_limit, max_bytes: settings.max_file_size },
            limits: Limits {
                ring_bytes: settings.ring_bytes,
                outgoing_per_connection: settings.outgoing_per_connection,
                incoming_per_user: settings.incoming_per_user,
            },
            state: Mutex::default(),
        }
    }

    /// A page is in a room now. False when it was there before.
    pub fn enter(&self, room: &ChannelName, user: &str, handle: TransportHandle) -> bool {
        let mut state = self.state.lock();
        let present = state.present.entry(room.clone()).or_default();
        let mut known = present.iter().map(|known| known.handle.session);
        let is_new = known.all(|known| known != handle.session);
        if is_new {
            present.push(Present { user: user.to_owned(), handle });
        }
        is_new
    }

    pub fn leave(&self, room: &ChannelName, connection: SessionId) {
        let mut state = self.state.lock();
        if let Some(present) = state.present.get_mut(room) {
            present.retain(|known| known.handle.session != connection);
            if present.is_empty() {
                state.present.remove(room);
            }
        }
    }

    /// The newest connection of `user` in `room`, but for the `other` side of the transfer: nobody sends to
    /// itself.
    pub fn find(&self, room: &ChannelName, user: &str, other: SessionId) -> Option<TransportHandle> {
        let state = self.state.lock();
        let present = state.present.get(room)?;
        present
            .iter()
            .rev()
            .find(|known| known.user == user && known.handle.session != other)
            .map(|known| known.handle.clone())
    }

    /// The connections of `user` in `room`, beside `newest`, that send files.
    pub fn senders(&self, room: &ChannelName, user: &str, newest: SessionId) -> Vec<TransportHandle> {
        let state = self.state.lock();
        let present = state.present.get(room).into_iter().flatten();
        let is_meant = |known: &&Present| {
            let connection = known.handle.session;
            known.user == user && connection != newest && state.outgoing.contains_key(&connection)
        };
        present.filter(is_meant).map(|known| known.handle.clone()).collect()
    }

    /// Lists a new transfer, whose actor `start` starts.
    ///
    /// # Errors
    /// When the id is in use, a limit is reached, or the server stops.
    pub fn open(&self, terms: Terms, start: impl FnOnce() -> Addr<Relay>) -> Result<Arc<Listed>, TransferFault> {
        let mut state = self.state.lock();
        if state.is_closed {
            return Err(TransferFault::ServerStops);
        }
        if state.transfers.contains_key(&terms.transfer_id) {
            return Err(TransferFault::IdInUse);
        }
        let outgoing = state.outgoing.get(&terms.sender).copied().unwrap_or(0);
        let incoming = state.incoming.get(&terms.addressee());
        let (live, listed) =
            incoming.map_or((0, 0), |listed| (listed.iter().filter(|one| one.is_live()).count(), listed.len()));
        if outgoing >= self.limits.outgoing_per_connection
            || live >= self.limits.incoming_per_user
            || listed >= limits::TRANSFERS_LISTED.max(self.limits.incoming_per_user)
        {
            return Err(TransferFault::TooManyTransfers);
        }
        if state.ring_bytes + terms.ring_bytes > self.limits.ring_bytes || state.transfers.len() >= limits::TRANSFERS {
            return Err(TransferFault::ServerBusy);
        }
        state.ring_bytes += terms.ring_bytes;
        state.outgoing.insert(terms.sender, outgoing + 1);
        let listed = Arc::new(Listed { address: start(), terms, live: AtomicBool::new(true) });
        let terms = &listed.terms;
        state.incoming.entry(terms.addressee()).or_default().push(Arc::clone(&listed));
        let transfer_id = terms.transfer_id.clone();
        state.transfers.insert(transfer_id, Arc::clone(&listed));
        Ok(listed)
    }

    pub fn transfer(&self, transfer_id: &str) -> Option<Arc<Listed>> {
        self.state.lock().transfers.get(transfer_id).cloned()
    }

    /// The transfers to `user` in `room`, for when it joins.
    pub fn incoming(&self, room: &ChannelName, user: &str) -> Vec<Arc<Listed>> {
        let addressee = (room.clone(), user.to_owned());
        let state = self.state.lock();
        state.incoming.get(&addressee).cloned().unwrap_or_default()
    }

    /// The transfer has ended: it costs nothing more. True for the first to say so.
    pub fn close(&self, transfer_id: &str) -> bool {
        let mut state = self.state.lock();
        let state = &mut *state;
        let Some(listed) = state.transfers.get(transfer_id) else {
            return false;
        };
        if !listed.live.swap(false, Ordering::Relaxed) {
            return false;
        }
        state.ring_bytes -= listed.terms.ring_bytes;
        let sender = listed.terms.sender;
        let outgoing = state.outgoing.get(&sender).map_or(0, |outgoing| outgoing - 1);
        match outgoing {
            0 => state.outgoing.remove(&sender),
            left => state.outgoing.insert(sender, left),
        };
        true
    }

    /// Ends every transfer, because the server stops, and lets none begin. When it is done, both sides of each
    /// have been sent word.
    pub async fn shut(&self) {
        let live: Vec<_> = {
            let mut state = self.state.lock();
            state.is_closed = true;
            let transfers = state.transfers.values();
            transfers.filter(|listed| listed.is_live()).cloned().collect()
        };
        let fault = TransferFault::ServerStops;
        let ends = live.iter().map(|listed| listed.address.send(Abort { fault }));
        // An error means that the transfer was quicker and is gone.
        future::join_all(ends).await;
    }

    /// The transfer has ended while its sender was away: it is told when it enters the room again.
    pub fn owe(&self, transfer_id: &str) {
        let mut state = self.state.lock();
        if let Some(listed) = state.transfers.get(transfer_id).cloned() {
            let addresser = listed.terms.addresser();
            state.owed.entry(addresser).or_default().push(listed);
        }
    }

    /// The transfers that [`Board::owe`] noted for `user` in `room`, once.
    pub fn take_owed(&self, room: &ChannelName, user: &str) -> Vec<Arc<Listed>> {
        let addresser = (room.clone(), user.to_owned());
        let owed = self.state.lock().owed.remove(&addresser);
        owed.unwrap_or_default()
    }

    /// Late messages are over, too.
    pub fn forget(&self, transfer_id: &str) {
        self.close(transfer_id);
        let mut state = self.state.lock();
        let Some(forgotten) = state.transfers.remove(transfer_id) else {
            return;
        };
        let (addressee, addresser) = (forgotten.terms.addressee(), forgotten.terms.addresser());
        strike(&mut state.incoming, addressee, &forgotten);
        strike(&mut state.owed, addresser, &forgotten);
    }
}

fn strike(lists: &mut Lists, of: (ChannelName, String), forgotten: &Arc<Listed>) {
    if let Entry::Occupied(mut list) = lists.entry(of) {
        list.get_mut().retain(|listed| !Arc::ptr_eq(listed, forgotten));
        if list.get().is_empty() {
            list.remove();
        }
    }
}
