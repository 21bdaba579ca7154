//! Messages that wait for their owners: each owner has a numbered [`Queue`], kept in the embedded store and read again at
//! the start. A message stays until its reader has confirmed it ([`Unconfirmed`]). Which numbers are on the way to whom is
//! the protocol's to note, in its connection or, where one connection of several gets a message, in its [`Owner`].
//!
//! | table | key | value |
//! |---|---|---|
//! | [`Tables::facts`] | owner and number ([`NumberKey`]) | when its age began (8 bytes), level (8), bytes charged (8), key |
//! | [`Tables::bodies`] | the same | the message |
//!
//! The first is what is read at the start: the messages themselves stay on disk.
//!
//! So it is on one server; nodes of a cluster share their mailboxes otherwise ([`shared`]).
//!
//! The store answers from its own thread when a message is written. By then it may be out of its queue: its rows are
//! removed behind it.

use std::{
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};

use crate::{
    core::budget::{Account, Kind},
    ids::Timestamp,
    limits,
    store::{Batch, Commit, NumberKey, Read, Row, Store, StoreError},
};

mod queue;
mod shared;
mod unconfirmed;

use queue::Disk;
pub use queue::{Bounds, Full, Message, Payers, Put, Queue, Removed, UNTIL_READ, Waiting};
use shared::Access;
pub use shared::{Loaded, Posted, Sharing};
pub use unconfirmed::Unconfirmed;

/// Where the messages of a protocol are kept.
#[derive(Clone, Copy, Debug)]
pub struct Tables {
    pub facts: &'static str,
    pub bodies: &'static str,
}

/// What a protocol knows about an owner, under the same lock as the queue.
pub trait Owner: Send + 'static {
    fn new(name: &str) -> Self;

    /// The mailbox may be forgotten while it is empty.
    fn is_idle(&self) -> bool;
}

/// The mailboxes of a protocol, shared by all worker threads.
pub struct Mailboxes<O> {
    store: Arc<dyn Store>,
    tables: Tables,
    pub payers: Payers,
    all: Mutex<HashMap<Arc<str>, Arc<Mailbox<O>>>>,
    on_disk: AtomicU64,
    /// How many all together may keep there.
    bytes: usize,
    /// None: they are this server's alone.
    sharing: Option<Sharing>,
    own: Weak<Self>,
}

/// The mailbox of one owner.
pub struct Mailbox<O> {
    pub name: Arc<str>,
    contents: Mutex<Contents<O>>,
    /// Only where nodes share it.
    access: Option<Box<Access>>,
}

/// What is in a mailbox.
pub struct Contents<O> {
    pub queue: Queue,
    pub owner: O,
}

impl<O> Mailbox<O> {
    /// Not to be held while the store is read or written.
    pub fn lock(&self) -> MutexGuard<'_, Contents<O>> {
        self.contents.lock()
    }

    #[cfg(test)]
    pub fn is_locked(&self) -> bool {
        self.contents.is_locked()
    }
}

impl<O: Owner> Mailboxes<O> {
    /// Finds what earlier runs have left. All together may keep `bytes` on disk; `memory` pays for what is in memory.
    pub fn open(
        store: Arc<dyn Store>,
        tables: Tables,
        bytes: usize,
        memory: &Account,
    ) -> Result<Arc<Self>, StoreError> {
        let mailboxes = Self::new(store, tables, bytes, memory, None);
        for row in mailboxes.store.scan(tables.facts, b"", limits::MAILBOX_ROWS) {
            let damaged = || StoreError::damaged(format!("a row of {}", tables.facts));
            mailboxes.recall(&row?).ok_or_else(damaged)?;
        }
        Ok(mailboxes)
    }

    /// Those of a store that other nodes have as well: what waits is read when somebody comes for it.
    pub fn of_nodes(
        store: Arc<dyn Store>,
        tables: Tables,
        bytes: usize,
        memory: &Account,
        sharing: Sharing,
    ) -> Arc<Self> {
        Self::new(store, tables, bytes, memory, Some(sharing))
    }

    fn new(
        store: Arc<dyn Store>,
        tables: Tables,
        bytes: usize,
        memory: &Account,
        sharing: Option<Sharing>,
    ) -> Arc<Self> {
        let payers = Payers { all: Account::mailboxes(bytes), memory: memory.clone() };
        let (all, on_disk) = (Mutex::default(), AtomicU64::new(0));
        Arc::new_cyclic(|own| Self { store, tables, payers, all, on_disk, bytes, sharing, own: own.clone() })
    }

    fn recall(&self, row: &Row) -> Option<()> {
        let NumberKey { owner, number } = NumberKey::read(&row.key)?;
        let (facts, key) = row.value.split_first_chunk::<FACTS_BYTES>()?;
        let (facts, _) = facts.as_chunks();
        let [since, level, bytes] = facts else { return None };
        let bytes = usize::try_from(u64::from_be_bytes(*bytes)).ok()?;
        let waiting = Waiting {
            body: None,
            since: Timestamp::from_millis(u64::from_be_bytes(*since)),
            level: i64::from_be_bytes(*level),
            key: std::str::from_utf8(key).ok()?.into(),
            disk: Disk::Written,
            charge: self.payers.all.charge_anyway(Kind::Mailbox, bytes),
            memory: self.payers.memory.charge_anyway(Kind::Mailbox, limits::MAILBOX_MESSAGE_COST + key.len()),
        };
        self.on_disk.fetch_add(1, Ordering::Relaxed);
        self.of(owner).lock().queue.recall(number, waiting);
        Some(())
    }

    pub fn find(&self, name: &str) -> Option<Arc<Mailbox<O>>> {
        self.all.lock().get(name).cloned()
    }

    /// The mailbox of an owner, made when it is missing.
    pub fn of(&self, name: &str) -> Arc<Mailbox<O>> {
        let mut all = self.all.lock();
        if let Some(mailbox) = all.get(name) {
            return Arc::clone(mailbox);
        }
        let mut contents = Contents { queue: Queue::default(), owner: O::new(name) };
        if self.sharing.is_some() {
            contents.queue.share();
        }
        let access = self.sharing.is_some().then(Box::default);
        let mailbox = Mailbox { name: name.into(), contents: Mutex::new(contents), access };
        let mailbox = Arc::new(mailbox);
        all.insert(Arc::clone(&mailbox.name), Arc::clone(&mailbox));
        mailbox
    }

    pub fn all(&self) -> Vec<Arc<Mailbox<O>>> {
        self.all.lock().values().cloned().collect()
    }

    /// How many mailboxes there are.
    pub fn count(&self) -> usize {
        self.all.lock().len()
    }

    /// How many messages wait on disk, at all nodes that share them.
    ///
    /// # Errors
    /// Why a store that is shared could not be read.
    pub async fn stored(&self) -> Result<u64, StoreError> {
        match &self.sharing {
            None => Ok(self.on_disk.load(Ordering::Relaxed)),
            Some(_) => self.store.read_one(Read::count(self.tables.bodies, "")).await?.number(),
        }
    }

    /// Forgets a mailbox that is empty and whose owner is idle, unless somebody else has it in hand: what they put into it
    /// would be lost.
    pub fn release(&self, mailbox: &Arc<Mailbox<O>>) {
        let mut all = self.all.lock();
        // Nobody gets it while `all` is locked. One is the map's, one the caller's.
        if Arc::strong_count(mailbox) > 2 {
            return;
        }
        let contents = mailbox.lock();
        if contents.queue.is_empty() && contents.owner.is_idle() {
            all.remove(&mailbox.name);
        }
    }

    /// The body of a message that is on disk; none when it has been removed meanwhile. Where nodes share the mailboxes what is in
    /// hand has its body, and nobody waits here for a store on another machine.
    pub fn body(&self, name: &str, number: u64) -> Result<Option<Bytes>, StoreError> {
        if self.sharing.is_some() {
            return Ok(None);
        }
        let body = self.store.get(self.tables.bodies, &NumberKey::new(name, number).bytes())?;
        Ok(body.map(Bytes::from))
    }

    /// Writes to disk what was put in; who asks may await it. Not while the mailbox is locked. What the disk does not take
    /// is out of its queue again.
    pub fn write(self: &Arc<Self>, mailbox: &Arc<Mailbox<O>>, put: Put) -> Commit {
        self.submit(mailbox, vec![put.number], Some(put))
    }

    /// Writes what is in memory only, if there is any; it stays there if the disk does not take it. Not while the mailbox is
    /// locked.
    pub fn spill(self: &Arc<Self>, mailbox: &Arc<Mailbox<O>>) -> Option<Commit> {
        let numbers = mailbox.lock().queue.in_memory();
        (!numbers.is_empty()).then(|| self.submit(mailbox, numbers, None))
    }

    fn submit(self: &Arc<Self>, mailbox: &Arc<Mailbox<O>>, numbers: Vec<u64>, put: Option<Put>) -> Commit {
        let mut batch = Batch::new();
        let mut contents = mailbox.lock();
        for number in &numbers {
            if let Some((waiting, body)) = contents.queue.start_writing(*number) {
                let key = NumberKey::new(&mailbox.name, *number);
                let facts = facts(waiting.since, waiting.level, waiting.bytes(), &waiting.key);
                batch = batch.put(self.tables.facts, key, facts).put(self.tables.bodies, key, body);
            }
        }
        drop(contents);
        let (done, outcome) = Commit::pair();
        let (mailboxes, mailbox) = (Arc::clone(self), Arc::clone(mailbox));
        let settle = move |result: Result<_, StoreError>| {
            match &result {
                Ok(_) => mailboxes.written(&mailbox, numbers, put),
                Err(_) => mailbox.lock().queue.not_written(numbers, put),
            }
            // Before anybody goes on who may want to release the mailbox.
            drop((mailboxes, mailbox));
            done(result);
        };
        self.store.submit(batch, Box::new(settle));
        outcome
    }

    fn written(&self, mailbox: &Mailbox<O>, numbers: Vec<u64>, put: Option<Put>) {
        let mut contents = mailbox.lock();
        let mut gone = Vec::new();
        for number in numbers {
            match contents.queue.written(number) {
                Some(Disk::Absent | Disk::Writing) => drop(self.on_disk.fetch_add(1, Ordering::Relaxed)),
                Some(Disk::Written) => {}
                None => gone.push((number, 0)),
            }
        }
        drop(contents);
        self.remove_rows(&mailbox.name, gone);
        self.discard(mailbox, put.map(|put| put.displaced).unwrap_or_default());
    }

    /// These were read, or have to go.
    pub fn remove(&self, mailbox: &Mailbox<O>, numbers: impl IntoIterator<Item = u64>) {
        let mut contents = mailbox.lock();
        if self.sharing.is_some() {
            let removed = numbers.into_iter().map(|number| contents.queue.remove_anywhere(number)).collect();
            drop(contents);
            return self.remove_rows(&mailbox.name, removed);
        }
        let removed = numbers.into_iter().filter_map(|number| contents.queue.remove(number)).collect();
        drop(contents);
        self.discard(mailbox, removed);
    }

    /// Removes what was put in before a moment.
    pub fn expire(&self, mailbox: &Mailbox<O>, before: Timestamp) {
        let expired = mailbox.lock().queue.expire(before);
        self.discard(mailbox, expired);
    }

    /// Removes from the disk what is out of its queue. Not while the mailbox is locked.
    pub fn discard(&self, mailbox: &Mailbox<O>, removed: Vec<Removed>) {
        // What is being written is removed when that is done.
        let written = removed.iter().filter(|(_, waiting)| waiting.disk == Disk::Written);
        let written: Vec<_> = written.map(|(number, waiting)| (*number, waiting.level)).collect();
        if self.sharing.is_none() {
            self.on_disk.fetch_sub(written.len() as u64, Ordering::Relaxed);
        }
        self.remove_rows(&mailbox.name, written);
    }

    /// Of numbers and levels.
    fn remove_rows(&self, name: &str, gone: Vec<(u64, i64)>) {
        if gone.is_empty() {
            return;
        }
        let batch = gone.iter().fold(Batch::new(), |batch, one| self.without(name, *one, batch));
        let settle = self.sharing.as_ref().and_then(|_| Some((self.own.upgrade()?, self.find(name)?, gone)));
        let done = |outcome: Result<_, StoreError>| match (outcome, settle) {
            (Ok(_), Some((mailboxes, mailbox, gone))) => {
                mailbox.lock().queue.is_removed(&gone);
                mailboxes.release(&mailbox);
            }
            (Ok(_), None) => {}
            (Err(error), Some(_)) => tracing::debug!(%error, "messages that were read are removed later"),
            (Err(error), None) => {
                tracing::error!(%error, "messages that were read or were too old come again after a restart");
            }
        };
        self.store.submit(batch, Box::new(done));
    }
}

const FACTS_BYTES: usize = 24;

fn facts(since: Timestamp, level: i64, bytes: usize, key: &str) -> Vec<u8> {
    let numbers = [since.millis(), level.cast_unsigned(), bytes as u64];
    [numbers.map(u64::to_be_bytes).as_flattened(), key.as_bytes()].concat()
}

#[cfg(test)]
mod tests;
