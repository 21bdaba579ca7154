//! The log that the nodes of a cluster share, on Redis (`docs/design/cluster.md §1`): scripts append, read and publish; of a
//! channel that is open here there is a [`Replica`] in memory.
//!
//! Redis orders what is appended; here each channel's actor takes it in that order (`core/chain.rs`).

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;

use crate::{
    clock::Clock,
    core::{
        chain::{Linked, Tail},
        dedupe::{Content, Published},
        message::{Entry, EntryId},
        serial::{Epoch, Place, Serial},
        window::Window,
    },
    engines::redis::{self, Call, CallError, Heard, Line, Redis, Run},
    ids::{AppId, ChannelName, NodeId},
    limits,
    log::{ChannelLog, Log, StoreError, disk::RetentionOf, memory::MemoryLog},
};

mod keys;
mod lease;
pub mod nodes;
mod replica;
mod tally;
mod wire;

use keys::Keys;
pub use lease::Renewed;
use lease::{Lease, node_bytes};
use nodes::Nodes;
use replica::Replica;
use tally::{Outcome, Tally};
pub use wire::Written;

const SCRIPTS: &[&str] = &[
    concat!(include_str!("head.lua"), include_str!("append.lua")),
    concat!(include_str!("head.lua"), include_str!("read.lua")),
    include_str!("say.lua"),
    include_str!("renew.lua"),
];
const APPEND: usize = 0;
const READ: usize = 1;
const SAY: usize = 2;
const RENEW: usize = 3;

/// A handle, cheap to clone.
#[derive(Clone)]
pub struct SharedLog(Arc<Inner>);

struct Inner {
    /// The windows of the channels that are open here.
    memory: MemoryLog,
    appends: Line,
    reads: Line,
    tail: redis::Tail,
    node: NodeId,
    lease: Lease,
    nodes: Nodes,
    tally: Tally,
    appended: AtomicU64,
    retention: RetentionOf,
    deadline: Duration,
    clock: Clock,
}

/// What a channel hears of its log.
pub enum News {
    /// Somebody has published.
    Published(Written),
    /// Something may have been published that was not heard.
    Missed,
}

/// A channel as it was found.
pub struct Joined {
    /// The newest entry.
    pub head: Serial,
    pub log: Box<dyn ChannelLog>,
}

/// What came of an append.
#[derive(Debug, PartialEq, Eq)]
pub enum Told {
    /// It is the entry at `serial`, behind the one at `previous`.
    Kept { previous: Serial, serial: Serial },
    /// It was published before.
    Again(Published),
}

/// Called by a task of the log; must be quick.
type Done<T> = Box<dyn FnOnce(Result<T, StoreError>) + Send>;

/// Which entries are to be read.
struct Slice {
    from: String,
    to: String,
    is_forwards: bool,
    entries: usize,
    bytes: usize,
}

/// What was read, in the order asked for.
struct Found {
    entries: Vec<Linked>,
    head: Serial,
    /// The place before the oldest entry that there is.
    floor: Place,
    has_more: bool,
}

impl SharedLog {
    /// Connects in the background, on the current runtime. `memory` is empty; `retention` says how long the entries of a
    /// persisted channel are kept, others are as long as in `memory`. `greeting` is that of [`nodes::greeting`].
    pub fn start(
        settings: redis::Settings,
        greeting: Run,
        deadline: Duration,
        memory: MemoryLog,
        retention: RetentionOf,
        clock: Clock,
    ) -> Self {
        let (redis, greeting, node) = (Redis::start(settings), Arc::new(greeting), NodeId::random());
        let line = |scripts| Line::start(&redis, scripts, Some(Arc::clone(&greeting)), deadline, clock.clone());
        let tail = redis::Tail::start(&redis);
        Self(Arc::new(Inner {
            memory,
            appends: line(SCRIPTS),
            reads: line(SCRIPTS),
            nodes: Nodes::start(node, line(nodes::SCRIPTS), tail.clone(), clock.clone()),
            tail,
            node,
            lease: Lease::default(),
            tally: Tally::default(),
            appended: AtomicU64::new(0),
            retention,
            deadline,
            clock,
        }))
    }

    /// What the nodes have beside the channels.
    pub fn nodes(&self) -> &Nodes {
        &self.0.nodes
    }

    pub fn tally(&self) -> &Tally {
        &self.0.tally
    }

    /// Bytes that wait for Redis.
    pub fn waiting(&self) -> usize {
        self.0.appends.waiting() + self.0.reads.waiting() + self.0.nodes.waiting()
    }

    /// How long an answer may take.
    pub fn deadline(&self) -> Duration {
        self.0.deadline
    }

    /// Opens a channel: from what it is found as, `hears` hears what is published. `seen` is the newest entry that was seen
    /// before.
    pub fn join(
        &self,
        channel: &ChannelName,
        seen: Option<Serial>,
        hears: impl Fn(News) + Send + 'static,
        done: Done<Joined>,
    ) {
        let heard = move |heard| match heard {
            Heard::Message(bytes) => {
                if let Some(written) = Written::parse(bytes) {
                    hears(News::Published(written));
                }
            }
            Heard::Missed => hears(News::Missed),
        };
        let (log, name) = (self.clone(), channel.clone());
        let bounds = self.0.memory.bounds();
        let read = move || {
            let newest = Slice {
                from: "-".to_owned(),
                to: "+".to_owned(),
                is_forwards: false,
                entries: bounds.entries.min(limits::REPLICA_ENTRIES),
                bytes: bounds.bytes.min(limits::REPLICA_BYTES),
            };
            let (reader, channel) = (log.clone(), name.clone());
            let found = Box::new(move |found: Result<Found, _>| done(found.map(|found| log.found(name, found))));
            reader.read(&channel, seen, newest, found);
        };
        self.0.tail.subscribe(Keys::of(channel).topic(), Box::new(heard), Box::new(read));
    }

    /// The replica of a channel whose newest entries were found.
    fn found(&self, channel: ChannelName, found: Found) -> Joined {
        let Found { entries, head, .. } = found;
        let own = entries.into_iter().take_while(|linked| linked.entry.serial.epoch() == head.epoch());
        let mut own: Vec<Linked> = own.collect();
        own.reverse();
        let floor = own.first().map_or(head.place(), |oldest| oldest.previous.place());
        let window = Window::resume(head.epoch(), Some(head), Some(Serial::at(head.epoch(), floor)));
        let (uptime, now) = (self.0.clock.uptime(), self.0.reads.now());
        let came = |entry: &Entry| {
            let age = now.millis().saturating_sub(entry.timestamp.millis());
            uptime.saturating_sub(Duration::from_millis(age))
        };
        let entries = own.into_iter().map(|linked| (came(&linked.entry), linked.entry)).collect();
        self.0.memory.restore(channel.clone(), entries, window);
        Joined { head, log: self.open(&channel) }
    }

    /// Appends an entry, whose serial and time the log gives. What is known by the same id, or for a frame by the same id
    /// and `content`, is not appended again. `seen` is the newest entry that was seen.
    pub fn append(&self, entry: &Entry, content: Content, seen: Serial, done: Done<Told>) {
        let inner = &self.0;
        let keys = Keys::of(&entry.channel);
        let id = match &entry.id {
            EntryId::Serial => {
                let number = inner.appended.fetch_add(1, Ordering::Relaxed);
                [b"s", &inner.node.to_bytes()[..], &number.to_be_bytes()].concat()
            }
            EntryId::Frame { connection, msg_serial } => {
                [b"f", &connection.to_bytes()[..], &msg_serial.to_be_bytes(), &content.to_bytes()].concat()
            }
            EntryId::Base(id) => [b"b", &id.as_bytes()[..]].concat(),
            EntryId::Item(id) => [b"i", &id.as_bytes()[..]].concat(),
        };
        let (age, bytes) = self.bounds(&entry.channel);
        let mut args = seen_args(Some(seen));
        args.extend([
            age.to_string().into(),
            bytes.to_string().into(),
            id.into(),
            entry.len().to_string().into(),
            node_bytes(inner.node),
            wire::body(entry),
        ]);
        let told = |parts: &[Bytes]| match (&parts.first()?[..], &parts[1..]) {
            (b"kept", [epoch, previous, place]) => {
                Some(Told::Kept { previous: wire::serial(epoch, previous)?, serial: wire::serial(epoch, place)? })
            }
            (b"again", [epoch, place, len]) => {
                let len = std::str::from_utf8(len).ok()?.parse().ok()?;
                Some(Told::Again(Published { serial: wire::serial(epoch, place)?, len }))
            }
            _ => None,
        };
        let log = self.clone();
        let done = Box::new(move |answer| {
            let told = understand(answer, told);
            log.0.tally.append(told.as_ref().map(|told| match told {
                Told::Kept { .. } => Outcome::Kept,
                Told::Again(_) => Outcome::Again,
            }));
            done(told);
        });
        inner.appends.call(Call { script: APPEND, keys: keys.all(), args, repeats: true, done });
    }

    /// Publishes an entry that is not kept, behind everything that was appended here before; at most once.
    pub fn say(&self, entry: &Entry, done: Done<()>) {
        let (keys, args) = (vec![Keys::of(&entry.channel).topic()], vec![node_bytes(self.0.node), wire::body(entry)]);
        let done = Box::new(move |answer| done(understand(answer, |_| Some(()))));
        self.0.appends.call(Call { script: SAY, keys, args, repeats: false, done });
    }

    /// What the log has behind a position that was seen.
    pub fn tail(&self, channel: &ChannelName, after: Serial, done: Done<Tail>) {
        self.0.tally.catch_up();
        let tail = move |found: Found| Tail { after, entries: found.entries, head: found.head };
        let done = Box::new(move |found: Result<Found, _>| done(found.map(tail)));
        self.read(channel, Some(after), Slice::after(after, limits::REPLICA_BYTES), done);
    }

    /// Whether this node has written it.
    pub fn is_own(&self, written: &Written) -> bool {
        written.node == self.0.node
    }

    fn read(&self, channel: &ChannelName, seen: Option<Serial>, slice: Slice, done: Done<Found>) {
        let keys = Keys::of(channel);
        let (age, _) = self.bounds(channel);
        let Slice { from, to, is_forwards, entries, bytes } = slice;
        let mut args = seen_args(seen);
        args.extend([
            age.to_string().into(),
            from.into(),
            to.into(),
            Bytes::from_static(if is_forwards { b"f" } else { b"b" }),
            entries.to_string().into(),
            bytes.to_string().into(),
        ]);
        let channel = channel.clone();
        let found = move |parts: &[Bytes]| {
            let (standing, entries) = parts.split_at_checked(4)?;
            let [epoch, head, floor, more] = standing else { return None };
            let entries = entries.iter().map(|bytes| Written::parse(bytes.clone())?.link(&channel));
            Some(Found {
                head: wire::serial(epoch, head)?,
                floor: wire::place(floor)?,
                has_more: &more[..] == b"1",
                entries: entries.collect::<Option<_>>()?,
            })
        };
        let done = Box::new(move |answer| done(understand(answer, found)));
        self.0.reads.call(Call { script: READ, keys: keys.log(), args, repeats: true, done });
    }

    /// How long entries of a channel are kept, in milliseconds, and how many bytes of them.
    fn bounds(&self, channel: &ChannelName) -> (u128, u64) {
        match (self.0.retention)(channel) {
            Some(kept) => (kept.age.as_millis(), kept.bytes.min(limits::SHARED_BYTES)),
            None => {
                let bounds = self.0.memory.bounds();
                (bounds.age.as_millis(), bounds.bytes as u64)
            }
        }
    }
}

impl Slice {
    fn after(position: Serial, bytes: usize) -> Self {
        let from = format!("({}", keys::id(position.place()));
        Self { from, to: "+".to_owned(), is_forwards: true, entries: limits::REPLICA_ENTRIES, bytes }
    }
}

/// The arguments that all scripts about a log begin with: what was seen, and a new epoch in case it is needed.
fn seen_args(seen: Option<Serial>) -> Vec<Bytes> {
    let seen = seen.unwrap_or(Serial::at(Epoch::new(0), (0, 0)));
    let new: u64 = rand::random();
    vec![
        Bytes::copy_from_slice(&seen.epoch().bits().to_be_bytes()),
        Bytes::copy_from_slice(&wire::place_bytes(seen.place())),
        Bytes::copy_from_slice(&new.to_be_bytes()),
    ]
}

/// What an answer says; what is not understood is damaged.
fn understand<T>(
    answer: Result<Vec<Bytes>, CallError>,
    read: impl FnOnce(&[Bytes]) -> Option<T>,
) -> Result<T, StoreError> {
    match answer {
        Ok(parts) => read(&parts).ok_or_else(|| StoreError::damaged("an answer of redis cannot be read")),
        Err(CallError::Late) => Err(StoreError::Late),
        Err(CallError::Full) => Err(StoreError::Busy),
        Err(CallError::Redis(error)) => Err(StoreError::Unreachable(error.to_string().into())),
    }
}

impl Log for SharedLog {
    /// A channel that was joined.
    fn open(&self, channel: &ChannelName) -> Box<dyn ChannelLog> {
        Box::new(Replica::new(self, channel))
    }

    fn opens_at_once(&self, _: &ChannelName) -> bool {
        false
    }

    fn shared(&self) -> Option<Self> {
        Some(self.clone())
    }

    fn close(&self, channel: &ChannelName) {
        self.0.tail.unsubscribe(Keys::of(channel).topic());
        self.0.memory.close(channel);
    }

    fn forget(&self, channel: &ChannelName) {
        self.0.memory.forget(channel);
    }

    fn shrink(&self, app: AppId, now: Duration) -> bool {
        self.0.memory.shrink(app, now)
    }
}
