//! The owner of a mailbox: who reads it now, and which letters it has had (`docs/protocols/postoffice.md §4`). Stands under
//! the lock of the mailbox, beside the letters that were not read.

use std::{collections::HashMap, sync::Arc, time::Duration};

use crate::{
    actors::fanout::hub::TransportHandle,
    core::budget::{Kind, Tab},
    error::CloseReason,
    ids::{ChannelName, ConnectionId, SessionId},
    limits,
    older::postoffice::{format::PREFIX, shared::ConnectionSlot},
    store::mailbox::{Bounds, Full, Message, Owner, Payers, Put, Queue, Removed},
};

pub struct MailboxOwner<H = ReaderHandle> {
    pub channel: ChannelName,
    /// Names the letters of the mailbox among the entries of its channel, together with their numbers. It cannot be
    /// guessed, so nobody else publishes under it.
    pub publisher: ConnectionId,
    pub readers: Vec<Reader<H>>,
    /// Letters up to this number are on the way to a reader: they are not what waits.
    on_way: u64,
    /// The mailbox outlives its connections.
    pub is_remembered: bool,
    /// Another node has it in the store; asked again when this one has forgotten it.
    pub is_known: bool,
    seen: HashMap<Arc<str>, Seen>,
    /// For these.
    tab: Tab,
}

/// A connection that reads the mailbox.
pub struct Reader<H> {
    pub session: SessionId,
    pub handle: H,
    /// When the client says that it started, in milliseconds.
    pub started: Option<u64>,
    /// Attached to the channel: what is published reaches it.
    pub is_ready: bool,
    /// As many letters are on the way to it as may be.
    pub is_behind: bool,
    /// Where nodes share the mailbox: it has been written that it is read here.
    pub is_claimed: bool,
}

/// A reader as other connections see it.
pub struct ReaderHandle {
    pub transport: TransportHandle,
    pub slot: Arc<ConnectionSlot>,
}

/// What becomes of letters that nobody reads at once.
#[derive(Clone, Copy, Debug)]
pub struct Storage {
    /// They wait, on disk.
    pub is_on: bool,
    pub bounds: Bounds,
}

/// What it costs to remember the id of a letter.
fn cost(id: &str) -> usize {
    limits::SEEN_ID_COST + id.len()
}

/// What came of a letter.
#[derive(Debug)]
pub enum Taken {
    /// `to_disk`: nobody reads it now.
    In { put: Put, to_disk: bool },
    /// The same sender has sent one with this id before.
    Again,
    /// Nobody is there, and letters are not stored.
    Dropped,
}

/// A letter that was taken in and has an id.
struct Seen {
    number: u64,
    /// When it came (monotonic).
    at: Duration,
}

impl<H: Send + 'static> Owner for MailboxOwner<H> {
    fn new(name: &str) -> Self {
        Self {
            channel: ChannelName::from(&*format!("{PREFIX}{name}")),
            publisher: ConnectionId::random(),
            readers: Vec::new(),
            on_way: 0,
            is_remembered: false,
            is_known: false,
            seen: HashMap::new(),
            tab: Tab::default(),
        }
    }

    fn is_idle(&self) -> bool {
        self.readers.is_empty() && !self.is_remembered
    }
}

impl MailboxOwner {
    /// These do not read it any more: others do.
    pub fn close(&mut self, sessions: &[SessionId]) {
        for reader in self.readers.extract_if(.., |reader| sessions.contains(&reader.session)) {
            reader.handle.transport.close(CloseReason::Replaced);
        }
    }
}

impl<H> MailboxOwner<H> {
    /// Letters for it are kept while nobody reads it.
    pub const fn is_kept(&self) -> bool {
        self.is_remembered || self.is_known
    }

    /// The connections that it was written of that they read it here.
    pub fn claimed(&self) -> Vec<SessionId> {
        self.readers.iter().filter(|reader| reader.is_claimed).map(|reader| reader.session).collect()
    }

    /// Whether a connection that started at `started` comes too late (`§2`, 409).
    pub fn is_outdated(&self, started: Option<u64>) -> bool {
        let is_older = |started| self.readers.iter().any(|reader| reader.started.is_some_and(|known| known >= started));
        started.is_some_and(is_older)
    }

    /// Takes a letter in; `uptime` is the monotonic now.
    pub fn take_in(
        &mut self,
        (letter, id): (Message, Option<Arc<str>>),
        queue: &mut Queue,
        storage: Storage,
        payers: &Payers,
        uptime: Duration,
    ) -> Result<Taken, Full> {
        if id.as_ref().is_some_and(|id| self.seen.contains_key(id)) {
            return Ok(Taken::Again);
        }
        let is_stored = storage.is_on && self.is_remembered;
        if self.readers.is_empty() && !is_stored {
            return Ok(Taken::Dropped);
        }
        let is_read = self.readers.iter().any(|reader| reader.is_ready && !reader.is_behind);
        if let Some(id) = &id {
            if self.seen.is_empty() {
                self.tab = Tab::new(payers.memory.clone(), Kind::SeenIds);
            }
            self.tab.reserve(cost(id)).map_err(Full::Memory)?;
        }
        let bounds = if is_read { Bounds::NONE } else { storage.bounds };
        let put = queue.put(letter, bounds, self.on_way, payers)?;
        if let Some(id) = id {
            self.remember(id, put.number, uptime);
        }
        Ok(Taken::In { put, to_disk: is_stored && !is_read })
    }

    pub fn reader_mut(&mut self, session: SessionId) -> Option<&mut Reader<H>> {
        let mut readers = self.readers.iter_mut();
        readers.find(|reader| reader.session == session)
    }

    /// A reader has everything up to `on_way` on the way, and cannot take more now if it is behind.
    pub fn set_behind(&mut self, session: SessionId, is_behind: bool, on_way: u64) {
        if let Some(reader) = self.reader_mut(session) {
            reader.is_behind = is_behind;
        }
        self.on_way = on_way;
    }

    /// A connection has gone. When it was the last, what was not read waits for the next one, or goes if it is not stored.
    pub fn leave(&mut self, session: SessionId, storage: Storage, queue: &mut Queue) -> Vec<Removed> {
        self.readers.retain(|reader| reader.session != session);
        if !self.readers.is_empty() {
            return Vec::new();
        }
        self.on_way = 0;
        if storage.is_on && self.is_remembered { Vec::new() } else { queue.clear() }
    }

    /// Only what was taken in: a letter that was refused is to be taken in when it comes again.
    fn remember(&mut self, id: Arc<str>, number: u64, uptime: Duration) {
        if self.seen.len() >= limits::POST_IDS {
            self.forget_old(uptime);
        }
        if self.seen.len() >= limits::POST_IDS {
            self.retain_seen(|_| false);
        }
        self.tab.add_anyway(cost(&id));
        self.seen.insert(id, Seen { number, at: uptime });
    }

    /// Forgets the ids of letters that came too long ago to be sent again.
    pub fn forget_old(&mut self, uptime: Duration) {
        self.retain_seen(|seen| uptime.saturating_sub(seen.at) < limits::IDEMPOTENCY_WINDOW);
    }

    fn retain_seen(&mut self, stays: impl Fn(&Seen) -> bool) {
        self.seen.extract_if(|_, seen| !stays(seen)).for_each(|(id, _)| self.tab.remove(cost(&id)));
        if self.seen.is_empty() {
            self.tab.clear();
        }
    }

    /// A letter could not be stored: it is to be taken in when it comes again.
    pub fn forget(&mut self, number: u64) {
        self.retain_seen(|seen| seen.number != number);
    }
}

#[cfg(test)]
mod tests;
