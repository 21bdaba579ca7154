//! What all LetShare connections of a server share about transfers: which there are, who is present in
//! which room, and what they may cost together. Looked at when a transfer begins or a page joins or
//! leaves, not for every frame.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use actix::Addr;
use parking_lot::Mutex;

use crate::{
    actors::hub::Peer,
    config,
    ids::{ChannelName, ConnectionId},
    protocols::letshare::transfer::{fault::TransferFault, offer::Gate, relay::Relay},
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
    transfers: HashMap<String, Listed>,
    ring_bytes: usize,
}

struct Present {
    user: String,
    peer: Peer,
}

struct Listed {
    handle: Handle,
    terms: Terms,
}

/// What a transfer is listed with.
#[derive(Clone)]
pub struct Terms {
    pub room: ChannelName,
    pub sender: ConnectionId,
    /// The user who receives, with whatever connection.
    pub receiver: String,
    /// What its ring may cost, in bytes.
    pub ring_bytes: usize,
}

/// How connections reach a transfer.
#[derive(Clone)]
pub struct Handle {
    pub address: Addr<Relay>,
    pub room: ChannelName,
    /// Off once it has ended; it stays listed for a while, for late messages.
    live: Arc<AtomicBool>,
}

impl Handle {
    pub fn is_live(&self) -> bool {
        self.live.load(Ordering::Relaxed)
    }
}

impl Board {
    pub fn new(settings: &config::FileTransfer) -> Self {
        Self {
            gate: Gate {
                free_bytes: settings.free_limit,
                max_bytes: settings.max_file_size,
            },
            limits: Limits {
                ring_bytes: settings.ring_bytes,
                outgoing_per_connection: settings.outgoing_per_connection,
                incoming_per_user: settings.incoming_per_user,
            },
            state: Mutex::default(),
        }
    }

    /// A page is in a room now.
    pub fn enter(&self, room: &ChannelName, user: &str, peer: Peer) {
        let mut state = self.state.lock();
        let present = state.present.entry(room.clone()).or_default();
        if !present
            .iter()
            .any(|known| known.peer.connection == peer.connection)
        {
            present.push(Present {
                user: user.to_owned(),
                peer,
            });
        }
    }

    pub fn leave(&self, room: &ChannelName, connection: ConnectionId) {
        let mut state = self.state.lock();
        if let Some(present) = state.present.get_mut(room) {
            present.retain(|known| known.peer.connection != connection);
            if present.is_empty() {
                state.present.remove(room);
            }
        }
    }

    /// The newest connection of `user` in `room`.
    pub fn find(&self, room: &ChannelName, user: &str) -> Option<Peer> {
        let state = self.state.lock();
        let present = state.present.get(room)?;
        present
            .iter()
            .rev()
            .find(|known| known.user == user)
            .map(|known| known.peer.clone())
    }

    /// Lists a new transfer, whose actor `start` starts.
    ///
    /// # Errors
    /// When the id is in use, or a limit is reached.
    pub fn open(
        &self,
        transfer_id: &str,
        terms: Terms,
        start: impl FnOnce() -> Addr<Relay>,
    ) -> Result<Handle, TransferFault> {
        let mut state = self.state.lock();
        if state.transfers.contains_key(transfer_id) {
            return Err(TransferFault::IdInUse);
        }
        let live = || {
            state
                .transfers
                .values()
                .filter(|listed| listed.handle.is_live())
        };
        let outgoing = live()
            .filter(|listed| listed.terms.sender == terms.sender)
            .count();
        let incoming = live()
            .filter(|listed| {
                (&listed.terms.room, &listed.terms.receiver) == (&terms.room, &terms.receiver)
            })
            .count();
        if outgoing >= self.limits.outgoing_per_connection
            || incoming >= self.limits.incoming_per_user
        {
            return Err(TransferFault::TooManyTransfers);
        }
        if state.ring_bytes + terms.ring_bytes > self.limits.ring_bytes {
            tracing::warn!("no memory for another transfer (file_transfer.ring_bytes)");
            return Err(TransferFault::ServerBusy);
        }
        state.ring_bytes += terms.ring_bytes;
        let handle = Handle {
            address: start(),
            room: terms.room.clone(),
            live: Arc::new(AtomicBool::new(true)),
        };
        let listed = Listed {
            handle: handle.clone(),
            terms,
        };
        state.transfers.insert(transfer_id.to_owned(), listed);
        Ok(handle)
    }

    pub fn transfer(&self, transfer_id: &str) -> Option<Handle> {
        self.state
            .lock()
            .transfers
            .get(transfer_id)
            .map(|listed| listed.handle.clone())
    }

    /// The transfers to `user` in `room`, for when it joins.
    pub fn incoming(&self, room: &ChannelName, user: &str) -> Vec<(String, Handle)> {
        let state = self.state.lock();
        let to_user = |listed: &Listed| listed.terms.room == *room && listed.terms.receiver == user;
        let transfers = state.transfers.iter().filter(|(_, listed)| to_user(listed));
        transfers
            .map(|(id, listed)| (id.clone(), listed.handle.clone()))
            .collect()
    }

    /// The transfer has ended: it costs nothing more. True for the first to say so.
    pub fn close(&self, transfer_id: &str) -> bool {
        let mut state = self.state.lock();
        match state.transfers.get(transfer_id) {
            Some(listed) if listed.handle.live.swap(false, Ordering::Relaxed) => {
                let ring_bytes = listed.terms.ring_bytes;
                state.ring_bytes -= ring_bytes;
                true
            }
            _ => false,
        }
    }

    /// Late messages are over, too.
    pub fn forget(&self, transfer_id: &str) {
        self.close(transfer_id);
        self.state.lock().transfers.remove(transfer_id);
    }
}
