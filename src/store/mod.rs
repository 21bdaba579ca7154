//! What survives a restart: one file in one folder, written by one thread.
//!
//! `folder` owns the folder, `engine` the file, `writer` puts many small writes into one transaction (group commit:
//! docs/architecture.md §6, promise 2). On top of the engine, in the same file and the same transactions, stand `log/disk`
//! (the logs of channels) and [`embedded`]: rows of tables, for everything that is no log ([`Store`]). Rows are used by
//! [`mailbox`] (messages that wait for an owner) and [`archive`] (chats). Which engine and why: `docs/dependencies.md §3`.
//! Nodes of a cluster share rows on their Redis instead ([`redis`]).

use std::sync::Arc;

use thiserror::Error;

use crate::{core::budget, ids::Timestamp};

pub mod archive;
pub mod check;
pub mod claims;
mod commit;
#[cfg(test)]
mod contract;
pub mod embedded;
pub mod engine;
#[cfg(test)]
pub mod faulty;
pub mod folder;
pub mod import;
mod keyed_lock;
pub mod mailbox;
mod number_key;
pub mod privacy;
mod read;
mod readers;
pub mod redis;
mod rows;
mod scan;
#[cfg(test)]
mod tests;
mod writer;

pub use claims::Claims;
pub use commit::Commit;
pub use keyed_lock::KeyedLock;
pub use number_key::NumberKey;
pub use read::{Found, Looked, Read};
pub use readers::Readers;
pub use scan::Scan;

/// The tables by which `/metrics` shows the bytes of the data file: those of the logs, and those of the [`Store`]. Bytes of
/// any other one are shown as the last; `_` stands for a space.
pub const TABLES: [&str; 38] = [
    "ably_nonces",
    "ably_revocations",
    "channels",
    "chat_client_ids",
    "chat_groups",
    "chat_inbox",
    "chat_members",
    "chat_messages",
    "chat_participants",
    "chat_rooms",
    "chat_seen",
    "cursors",
    "entries",
    "group_back",
    "group_groups",
    "group_hours",
    "group_ids",
    "group_markers",
    "group_members",
    "group_messages",
    "group_notice_ids",
    "group_notices",
    "group_notices_due",
    "group_outgoing",
    "group_seen",
    "group_seen_due",
    "group_times",
    "group_unread",
    "object_channels",
    "objects",
    "po_letters",
    "po_mailboxes",
    "po_waiting",
    "relay_delayed",
    "relay_ids",
    "relay_missed",
    "relay_missed_pushes",
    "other",
];

/// Why the store did not do what it was asked for. Nothing of a batch that failed is kept.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum StoreError {
    /// Succeeds again when there is space.
    #[error("the disk of the data folder is full")]
    Full,
    /// What is kept may have no more bytes.
    #[error("{limit} bytes are kept, as many as {setting} allows")]
    NoRoom { limit: u64, setting: &'static str },
    /// More waits for the disk than may wait.
    #[error("the disk of the data folder is too slow for what is written")]
    Busy,
    #[error("the data folder cannot be read or written: {0}")]
    Io(Arc<str>),
    /// What was read is not what was written; it is not served.
    #[error("the data file is damaged: {0}")]
    Damaged(Arc<str>),
    /// What is kept of it in memory has no room.
    #[error(transparent)]
    Memory(#[from] budget::Full),
    /// Only an engine that the nodes of a cluster share.
    #[error("the engine of the cluster has not answered in time")]
    Late,
    /// A row is not what [`Batch::expect`] says.
    #[error("somebody else has changed what was to be written")]
    Changed,
    #[error("the store is closed")]
    Closed,
    /// Only a database on another machine; it is found again by itself.
    #[error("the database cannot be reached: {0}")]
    Unreachable(Arc<str>),
}

impl StoreError {
    pub fn damaged(what: impl AsRef<str>) -> Self {
        Self::Damaged(what.as_ref().into())
    }
}

/// Called by the store's own thread when a batch is on disk or has failed; must be quick. For a batch that is refused at
/// once it is called by the thread that hands it in.
pub type Done<T> = Box<dyn FnOnce(Result<T, StoreError>) + Send>;

/// Rows of named tables, rows with due times, and cursors. Whatever one batch does is done together or
/// not at all; a later call reads at least what was answered as done before it.
pub trait Store: Send + Sync {
    /// Commits `batch`, after all batches that were handed in before, and calls `done`. Whoever wants to await that calls `commit`.
    fn submit(&self, batch: Batch, done: Done<Committed>);

    fn get(&self, table: &str, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Rows whose key begins with `prefix`, in the order of their keys, those up to `after` left out;
    /// at most `limit`.
    fn list(&self, table: &str, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, StoreError>;

    /// Scheduled rows that are due at `until` or before, the earliest first; at most `limit`.
    fn due(&self, table: &str, until: Timestamp, limit: usize) -> Result<Vec<Scheduled>, StoreError>;

    /// The value of a scheduled row.
    fn scheduled(&self, table: &str, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// A cursor or counter; 0 until it is set.
    fn cursor(&self, name: &str) -> Result<u64, StoreError>;

    /// Bytes that the rows of a table have on disk, with their keys: as of the last commit.
    fn bytes(&self, table: &str) -> Result<u64, StoreError>;

    /// Reads one state of several things, and calls `done` as [`Store::submit`] does. The calls above wait for their answer: those
    /// of a store on another machine belong beside the worker threads ([`Readers`]).
    fn look(&self, reads: Vec<Read>, done: Done<Vec<Found>>) {
        done(reads.iter().map(|read| read.now(self)).collect());
    }
}

/// Where a protocol keeps its rows.
#[derive(Clone)]
pub struct Place {
    pub store: Arc<dyn Store>,
    /// Set: other nodes have the same rows.
    pub claims: Option<Claims>,
}

/// A row of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub key: Vec<u8>,
    pub value: Vec<u8>,
}

/// A row that waits for its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scheduled {
    pub due: Timestamp,
    pub key: Vec<u8>,
    pub value: Vec<u8>,
}

/// What a committed batch found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// The new value of each counter, in the order of [`Batch::add`].
    pub counters: Vec<u64>,
    /// What each [`Batch::take_due`] took, in order.
    pub taken: Vec<Vec<Scheduled>>,
    /// The place of the first entry of [`Batch::append`].
    pub place: Option<u64>,
}

/// Where the place of an entry stands in a row, as eight bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placed {
    BehindKey,
    /// `u64::MAX` - place: the newest sorts first.
    BehindKeyFalling,
    BeforeValue,
}

/// Writes that belong together, in order. Table names are constants without NUL.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    steps: Vec<Step>,
}

#[derive(Clone, Debug)]
enum Step {
    Expect { table: &'static str, key: Vec<u8>, value: Option<Vec<u8>> },
    Put { table: &'static str, key: Vec<u8>, value: Vec<u8> },
    Remove { table: &'static str, key: Vec<u8> },
    Schedule { table: &'static str, row: Scheduled },
    Cancel { table: &'static str, key: Vec<u8> },
    TakeDue { table: &'static str, until: Timestamp, limit: usize },
    SetCursor { name: String, value: u64 },
    Add { name: String, by: u64 },
    Append { stream: String, fields: Vec<(&'static str, Vec<u8>)>, keep: usize },
    PutPlaced { table: &'static str, key: Vec<u8>, value: Vec<u8>, placed: Placed },
}

impl Batch {
    pub fn new() -> Self {
        Self::default()
    }

    fn with(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// Only if this row is so before the batch; else nothing of it is done ([`StoreError::Changed`]).
    pub fn expect(self, table: &'static str, key: impl Into<Vec<u8>>, value: Option<Vec<u8>>) -> Self {
        let key = key.into();
        self.with(Step::Expect { table, key, value })
    }

    /// Writes a row, over the one there is.
    pub fn put(self, table: &'static str, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        let (key, value) = (key.into(), value.into());
        self.with(Step::Put { table, key, value })
    }

    /// Removes a row, if there is one.
    pub fn remove(self, table: &'static str, key: impl Into<Vec<u8>>) -> Self {
        let key = key.into();
        self.with(Step::Remove { table, key })
    }

    /// Writes a row that is due at a moment; one with the same key is moved and overwritten.
    pub fn schedule(
        self,
        table: &'static str,
        due: Timestamp,
        key: impl Into<Vec<u8>>,
        value: impl Into<Vec<u8>>,
    ) -> Self {
        let (key, value) = (key.into(), value.into());
        let row = Scheduled { due, key, value };
        self.with(Step::Schedule { table, row })
    }

    /// Removes a scheduled row, if there is one.
    pub fn cancel(self, table: &'static str, key: impl Into<Vec<u8>>) -> Self {
        let key = key.into();
        self.with(Step::Cancel { table, key })
    }

    /// Takes what is due out of the schedule; it is found in [`Committed::taken`].
    pub fn take_due(self, table: &'static str, until: Timestamp, limit: usize) -> Self {
        self.with(Step::TakeDue { table, until, limit })
    }

    pub fn set_cursor(self, name: impl Into<String>, value: u64) -> Self {
        let name = name.into();
        self.with(Step::SetCursor { name, value })
    }

    /// Adds to a counter; its new value is found in [`Committed::counters`].
    pub fn add(self, name: impl Into<String>, by: u64) -> Self {
        let name = name.into();
        self.with(Step::Add { name, by })
    }

    /// Adds an entry to a stream that services read, on the Redis of the store; about `keep` stay. A store of another kind has no
    /// streams. The place of an entry is its milliseconds · 1024 + its number within them, at most 1023.
    pub fn append(self, stream: impl Into<String>, fields: Vec<(&'static str, Vec<u8>)>, keep: usize) -> Self {
        let stream = stream.into();
        self.with(Step::Append { stream, fields, keep })
    }

    /// As [`Self::put`], with the place of the first entry that the batch appends.
    pub fn put_placed(
        self,
        table: &'static str,
        key: impl Into<Vec<u8>>,
        value: impl Into<Vec<u8>>,
        placed: Placed,
    ) -> Self {
        let (key, value) = (key.into(), value.into());
        self.with(Step::PutPlaced { table, key, value, placed })
    }

    /// About how many bytes it writes.
    fn size(&self) -> usize {
        let size = |step: &Step| match step {
            Step::Put { key, value, .. } | Step::PutPlaced { key, value, .. } => key.len() + value.len(),
            Step::Append { fields, .. } => fields.iter().map(|(name, value)| name.len() + value.len()).sum(),
            Step::Schedule { row, .. } => 2 * row.key.len() + row.value.len(),
            Step::Expect { key, value, .. } => key.len() + value.as_ref().map_or(0, Vec::len),
            Step::Remove { key, .. } | Step::Cancel { key, .. } => key.len(),
            Step::SetCursor { name, .. } | Step::Add { name, .. } => name.len(),
            Step::TakeDue { limit, .. } => *limit,
        };
        self.steps.iter().map(size).sum()
    }
}
