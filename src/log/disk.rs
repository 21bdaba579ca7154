//! The log on disk, behind windows in memory.
//!
//! Channels that are to be persisted have every entry in the data file before anybody sees it; the newest
//! minutes are in memory, too, so that a crowd that comes back reads the file once. Other channels live
//! in memory alone ([`MemoryLog`]); when the server ends in order their windows are handed to the next start
//! (`handover`). `sweep` drops what is too old or too much.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::Poll,
    time::Duration,
};

use parking_lot::Mutex;

use crate::{
    clock::Clock,
    core::objects::Changes,
    ids::{AppId, ChannelName},
    log::{ChannelLog, Done, Later, Log, ObjectsRead, memory::MemoryLog},
    store::{
        StoreError,
        engine::{Engine, META, Rows as _, Writing},
    },
};

mod agenda;
mod annotated;
mod channel;
pub mod check;
pub(super) mod encoding;
mod handover;
mod messages;
mod objects;
mod open_channel;
mod past;
mod reader;
mod rows;
mod sweep;
#[cfg(test)]
mod tests;

use agenda::Agenda;
use channel::DiskChannel;
use open_channel::OpenChannel;
use reader::Reader;
pub use sweep::{Sweeper, Swept};

/// The highest number that a channel has been given.
const LAST_ID: &[u8] = b"last_channel";

/// How much of a persisted channel is kept; whichever is reached first counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    pub age: Duration,
    /// Of the entries as they are stored.
    pub bytes: u64,
}

/// What a channel's entries are kept for; none = not persisted.
pub type RetentionOf = Box<dyn Fn(&ChannelName) -> Option<Retention> + Send + Sync>;

/// The logs of all channels, persisted or not.
pub struct DiskLog {
    memory: MemoryLog,
    engine: Arc<Engine>,
    clock: Clock,
    retention: RetentionOf,
    /// Bytes of one channel's past that are read back into memory at a time.
    backlog_bytes: usize,
    channels: Arc<Mutex<Channels>>,
    last_id: AtomicU64,
    /// When it was opened (monotonic).
    opened: Duration,
    stored_bytes: AtomicU64,
    /// Of the sweeps; nobody else has it.
    agenda: Mutex<Agenda>,
    /// Channels with entries that no sweep has seen, each once.
    changed: Arc<Mutex<Vec<ChannelName>>>,
    reader: Arc<Reader>,
}

/// The slot of a channel in use. Taken before its past is read, so that its row is not removed meanwhile. Others that open
/// the same channel wait for this lock; other channels do not.
type OpenSlot = Arc<Mutex<Option<Arc<OpenChannel>>>>;

/// Persisted channels that are in use. Never locked while the disk is read: the writer's thread needs it, too.
#[derive(Default)]
struct Channels {
    open: HashMap<ChannelName, OpenSlot>,
    /// Rows that a transaction removes just now: what is read of them does not count.
    going: HashSet<ChannelName>,
}

impl DiskLog {
    /// Takes up the windows that the last run has handed over. `memory` is empty; a channel's past is read
    /// back into memory up to `backlog_bytes` ([`crate::core::message::Entry::cost`]).
    ///
    /// # Errors
    /// When the data file cannot be read or written.
    pub fn open(
        memory: MemoryLog,
        engine: Arc<Engine>,
        retention: RetentionOf,
        backlog_bytes: usize,
        clock: Clock,
    ) -> Result<Self, StoreError> {
        let last = engine.read(|rows| rows.get(META, LAST_ID))?;
        let last = last.and_then(|bytes| bytes.try_into().ok().map(u64::from_be_bytes));
        let reader = Reader::start().map_err(|error| StoreError::Io(error.to_string().into()))?;
        let log = Self {
            reader: Arc::new(reader),
            opened: clock.uptime(),
            memory,
            engine,
            clock,
            retention,
            backlog_bytes,
            channels: Arc::default(),
            last_id: AtomicU64::new(last.unwrap_or_default()),
            stored_bytes: AtomicU64::new(0),
            agenda: Mutex::default(),
            changed: Arc::default(),
        };
        log.take_over()?;
        Ok(log)
    }

    /// The number of a new channel. Given again after a restart if nothing was written under it.
    fn next_id(&self) -> u64 {
        self.last_id.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A channel in use, read when it was not.
    ///
    /// # Errors
    /// When the data file cannot be read.
    fn open_channel(&self, name: &ChannelName) -> Result<Arc<OpenChannel>, StoreError> {
        let mut channels = self.channels.lock();
        let slot = Arc::clone(channels.open.entry(name.clone()).or_default());
        let is_going = channels.going.contains(name);
        drop(channels);
        let mut open = slot.lock();
        if let Some(open) = &*open {
            return Ok(Arc::clone(open));
        }
        let read = open_channel::read(self, name, is_going);
        if read.is_err() {
            self.channels.lock().open.remove(name);
        }
        Ok(Arc::clone(open.insert(Arc::new(read?.unwrap_or_else(|| OpenChannel::new(self, name.app()))))))
    }
}

impl DiskLog {
    /// A persisted channel in use, unless it is being read just now.
    fn at_hand(&self, channel: &ChannelName) -> Option<Arc<OpenChannel>> {
        let slot = self.channels.lock().open.get(channel).cloned()?;
        slot.try_lock()?.clone()
    }
}

/// Remembers the highest number that a channel has been given.
fn note_id(rows: &mut Writing<'_>, id: u64) -> Result<(), StoreError> {
    let known = rows.get(META, LAST_ID)?;
    let known = known.and_then(|bytes| bytes.try_into().ok().map(u64::from_be_bytes));
    if known.is_none_or(|known| known < id) {
        rows.put(META, LAST_ID, &id.to_be_bytes())?;
    }
    Ok(())
}

impl Log for DiskLog {
    fn open(&self, channel: &ChannelName) -> Box<dyn ChannelLog> {
        if (self.retention)(channel).is_none() {
            return self.memory.open(channel);
        }
        let open = self.open_channel(channel).unwrap_or_else(|error| {
            // A new epoch: clients see a break. What is in the file is not written over.
            tracing::error!(%error, "the log of a channel cannot be read; nothing can be published to it");
            Arc::new(OpenChannel::new(self, channel.app()))
        });
        // What a channel that died has not taken.
        open.state.lock().window.complete(&self.memory.account(channel.app()), |_| None);
        Box::new(DiskChannel::new(self, channel.clone(), open))
    }

    fn opens_at_once(&self, channel: &ChannelName) -> bool {
        let channels = self.channels.lock();
        let is_read = |slot: &OpenSlot| slot.try_lock().is_some_and(|open| open.is_some());
        (self.retention)(channel).is_none() || channels.open.get(channel).is_some_and(is_read)
    }

    fn close(&self, channel: &ChannelName) {
        let mut channels = self.channels.lock();
        // One that is being read just now is in use.
        let is_quiet =
            |slot: &OpenSlot| slot.try_lock().is_some_and(|open| open.as_ref().is_none_or(|open| open.is_quiet()));
        if channels.open.get(channel).is_some_and(is_quiet) {
            channels.open.remove(channel);
        }
        drop(channels);
        self.memory.close(channel);
    }

    fn forget(&self, channel: &ChannelName) {
        self.memory.forget(channel);
        if let Some(open) = self.at_hand(channel) {
            open.forget(usize::MAX);
        }
    }

    fn shrink(&self, app: AppId, now: Duration) -> bool {
        let channels = self.channels.lock();
        let names: Vec<_> = channels.open.keys().filter(|name| name.app() == app).cloned().collect();
        drop(channels);
        self.memory.shrink_by(app, now, names.len(), |least| {
            let open = names.iter().filter_map(|name| self.at_hand(name));
            let is_any = self.memory.shrink_windows(app, least);
            open.fold(is_any, |is_any, open| open.state.lock().window.shrink(least) || is_any)
        })
    }

    fn objects(&self, channel: &ChannelName, later: Later<'_, ObjectsRead>) -> Poll<ObjectsRead> {
        self.read_objects(channel, later());
        Poll::Pending
    }

    fn keep_objects(&self, channel: &ChannelName, changes: &Changes, done: Done<()>) {
        objects::keep(&self.engine, channel, changes, done);
    }

    fn stored_bytes(&self) -> u64 {
        self.stored_bytes.load(Ordering::Relaxed)
    }
}
