//! The log that the nodes of a cluster share, on Redis (`docs/design/cluster.md §1`): scripts append, read and publish; of a
//! channel that is open here there is a [`Replica`] in memory.
//!
//! Redis orders what is appended; here each channel's actor takes it in that order (`core/chain.rs`).

use std::{
    sync::{Arc, atomic::AtomicU64},
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc::unbounded_channel};

use crate::{
    clock::Clock,
    core::{
        chain::{Linked, Tail},
        message::Entry,
        objects::Changes,
        presence::Member,
        serial::{Epoch, Place, Serial},
        window::Window,
    },
    engines::redis::{self, Call, CallError, Durability, Heard, Line, Needs, Run, Slots},
    ids::{AppId, ChannelName, NodeId},
    limits,
    log::{self, ChannelLog, Later, Log, ObjectsRead, StoreError, disk::RetentionOf, memory::MemoryLog},
};

mod append;
mod heads;
mod keys;
mod lease;
mod members;
mod messages;
pub mod nodes;
mod objects;
mod replica;
mod tally;
#[cfg(test)]
mod tests;
mod usage;
mod wire;

pub use append::{Judged, Told};
use heads::Looks;
pub use heads::{Look, Looked};
pub use keys::Domain;
use keys::Keys;
pub use lease::Renewed;
use lease::{Leases, node_bytes};
pub use messages::Touched;
use nodes::Nodes;
use replica::Replica;
pub use tally::Break;
use tally::Tally;
pub use usage::{Seated, Seats, Usage};
pub use wire::Written;

const SCRIPTS: &[&str] = &[
    concat!(include_str!("head.lua"), include_str!("append.lua")),
    concat!(include_str!("head.lua"), include_str!("read.lua")),
    include_str!("say.lua"),
    include_str!("renew.lua"),
    include_str!("seat.lua"),
    include_str!("leave.lua"),
    include_str!("owned.lua"),
    include_str!("messages.lua"),
    include_str!("keep.lua"),
    include_str!("heads.lua"),
    include_str!("objects.lua"),
    concat!(include_str!("head.lua"), include_str!("keep_objects.lua")),
];
const APPEND: usize = 0;
const READ: usize = 1;
const SAY: usize = 2;
const RENEW: usize = 3;
const SEAT: usize = 4;
const LEAVE: usize = 5;
const OWNED: usize = 6;
const MESSAGES: usize = 7;
const KEEP: usize = 8;
const HEADS: usize = 9;
const OBJECTS: usize = 10;
const KEEP_OBJECTS: usize = 11;

/// A handle, cheap to clone.
#[derive(Clone)]
pub struct SharedLog(Arc<Inner>);

struct Inner {
    /// The windows of the channels that are open here.
    memory: MemoryLog,
    appends: Line,
    reads: Line,
    tail: redis::Tail,
    looks: Looks,
    node: NodeId,
    leases: Leases,
    nodes: Nodes,
    tally: Tally,
    appended: AtomicU64,
    keeping: Keeping,
    turns: Arc<Semaphore>,
    deadline: Duration,
    clock: Clock,
}

/// How long a shared log waits for Redis, and Redis for it.
#[derive(Clone, Copy)]
pub struct Times {
    /// Until when a script has to begin.
    pub deadline: Duration,
    /// A node that has not renewed its lease for so long is dead.
    pub lease: Duration,
}

/// Where and how long channels are kept.
pub struct Keeping {
    pub retention: RetentionOf,
    /// Which channels each node has for itself.
    pub is_own: Box<dyn Fn(&ChannelName) -> bool + Send + Sync>,
}

/// What a channel hears of its log.
pub enum News {
    /// Somebody has published.
    Published(Written),
    /// So many use the channel at another node.
    Counted(NodeId, Usage),
    /// Something may have been published that was not heard.
    Missed,
}

/// A channel as it was found.
pub struct Joined {
    /// The newest entry.
    pub head: Serial,
    /// Behind it is what the log has in memory.
    pub floor: Serial,
    /// The newest one that others are judged by ([`Judged`]).
    pub judged: Place,
    pub log: Box<dyn ChannelLog>,
    /// Each with its owner; none: this node.
    pub members: Vec<(Arc<Member>, Option<NodeId>)>,
    /// What the nodes have told, perhaps also one that is dead by now.
    pub counts: Vec<(NodeId, Usage)>,
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
    /// This node joins: and members and counts.
    joins: bool,
}

/// What was read, in the order asked for.
struct Found {
    entries: Vec<Linked>,
    head: Serial,
    /// The place before the oldest entry that there is.
    floor: Place,
    has_more: bool,
    judged: Place,
    /// Some messages were changed or annotated.
    is_touched: bool,
    members: Vec<(Arc<Member>, Option<NodeId>)>,
    counts: Vec<(NodeId, Usage)>,
}

impl SharedLog {
    /// Connects in the background, on the current runtime: to one server, or to a Redis Cluster by any of `seeds`. `memory` is
    /// empty; `keeping` says how long the entries of a persisted channel are kept, others are as long as in `memory`. `greeting`
    /// is that of [`nodes::greeting`], `needs` what Redis has to be like.
    pub fn start(
        seeds: Vec<redis::Settings>,
        greeting: Run,
        needs: Needs,
        Times { deadline, lease }: Times,
        memory: MemoryLog,
        keeping: Keeping,
        clock: Clock,
    ) -> Self {
        let (slots, greeting, node) = (Slots::start(seeds), Arc::new(greeting), NodeId::random());
        let line = |scripts, copied| {
            Line::start(&slots, scripts, Some(Arc::clone(&greeting)), copied, deadline, clock.clone())
        };
        let copied = (needs.durability == Durability::Replicas).then_some(APPEND);
        let tail = redis::Tail::start(&slots);
        let (looks, asked) = unbounded_channel();
        let log = Self(Arc::new(Inner {
            memory,
            appends: line(SCRIPTS, copied),
            reads: line(SCRIPTS, None),
            nodes: Nodes::start(
                node,
                [line(nodes::SCRIPTS, None), line(nodes::SCRIPTS, None)],
                tail.clone(),
                &greeting,
                clock.clone(),
            ),
            tail,
            looks,
            node,
            leases: Leases::new(lease),
            tally: Tally::default(),
            appended: AtomicU64::new(0),
            keeping,
            turns: Arc::new(Semaphore::new(limits::OBJECTS_PUT_AT_ONCE)),
            deadline,
            clock,
        }));
        log.nodes().watch_setup(slots, needs);
        tokio::spawn(heads::gather(Arc::downgrade(&log.0), asked));
        log
    }

    /// The engine is one server. False while that is not known.
    pub fn is_one_server(&self) -> bool {
        self.0.appends.is_one_server()
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

    /// Of those who put all objects of a channel, when Redis has lost them: there may be many at once, and a line has room for few.
    pub fn turns(&self) -> Arc<Semaphore> {
        Arc::clone(&self.0.turns)
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
            Heard::Message(bytes) => hears_of(bytes).into_iter().for_each(&hears),
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
                joins: true,
            };
            let (reader, channel) = (log.clone(), name.clone());
            let found = Box::new(move |found: Result<Found, _>| match found {
                Ok(found) => log.found(name, found, done),
                Err(error) => done(Err(error)),
            });
            reader.read(&channel, seen, newest, found);
        };
        self.0.tail.subscribe(Keys::of(channel).topic(), Box::new(heard), Box::new(read));
    }

    /// The replica of a channel whose newest entries were found, newest first.
    fn found(&self, channel: ChannelName, mut found: Found, done: Done<Joined>) {
        let epoch = found.head.epoch();
        let own = found.entries.into_iter().take_while(|linked| linked.entry.serial.epoch() == epoch);
        found.entries = own.collect();
        found.entries.reverse();
        let entries = found.entries.iter().map(|linked| Arc::clone(&linked.entry)).collect();
        let (log, name) = (self.clone(), channel.clone());
        self.complete(&name, entries, move |_| done(Ok(log.replica(channel, found))));
    }

    fn replica(&self, channel: ChannelName, found: Found) -> Joined {
        let Found { entries: own, head, judged, members, counts, .. } = found;
        let floor = own.first().map_or(head.place(), |oldest| oldest.previous.place());
        let floor = Serial::at(head.epoch(), floor);
        let window = Window::resume(head.epoch(), Some(head), Some(floor));
        let (uptime, now) = (self.0.clock.uptime(), self.0.reads.now());
        let came = |entry: &Entry| {
            let age = now.millis().saturating_sub(entry.timestamp.millis());
            uptime.saturating_sub(Duration::from_millis(age))
        };
        let entries = own.into_iter().map(|linked| (came(&linked.entry), linked.entry)).collect();
        self.0.memory.restore(channel.clone(), entries, window);
        Joined { head, floor, judged, log: self.open(&channel), members, counts }
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
        let Slice { from, to, is_forwards, entries, bytes, joins } = slice;
        let mut args = seen_args(seen);
        args.extend([
            age.to_string().into(),
            from.into(),
            to.into(),
            Bytes::from_static(if is_forwards { b"f" } else { b"b" }),
            entries.to_string().into(),
            bytes.to_string().into(),
            if joins { node_bytes(self.0.node) } else { Bytes::new() },
            self.objects_life(channel),
        ]);
        let (channel, here) = (channel.clone(), self.0.node);
        let found = move |parts: &[Bytes]| {
            let (standing, rest) = parts.split_at_checked(6)?;
            let [epoch, head, floor, more, judged, touched] = standing else { return None };
            let (members, rest) = counted(rest)?;
            let (counts, entries) = counted(rest)?;
            let life = wire::serial(epoch, head)?.epoch();
            let entries = entries.iter().map(|bytes| Written::parse(bytes.clone())?.link(&channel));
            Some(Found {
                head: wire::serial(epoch, head)?,
                floor: wire::place(floor)?,
                has_more: &more[..] == b"1",
                judged: wire::place(judged)?,
                is_touched: &touched[..] == b"1",
                members: members::read(&channel, life, here, members)?,
                counts: usage::read_all(counts)?,
                entries: entries.collect::<Option<_>>()?,
            })
        };
        let done = Box::new(move |answer| done(understand(answer, found)));
        self.0.reads.call(Call { script: READ, keys: keys.log().into(), args, repeats: true, done });
    }

    /// How long entries of a channel are kept, in milliseconds, and how many bytes of them.
    fn bounds(&self, channel: &ChannelName) -> (u128, u64) {
        match (self.0.keeping.retention)(channel) {
            Some(kept) => (kept.age.as_millis(), kept.bytes),
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
        Self { from, to: "+".to_owned(), is_forwards: true, entries: limits::REPLICA_ENTRIES, bytes, joins: false }
    }
}

/// A number, and behind it so many parts; then the rest.
fn counted(parts: &[Bytes]) -> Option<(&[Bytes], &[Bytes])> {
    let (count, rest) = parts.split_first()?;
    rest.split_at_checked(std::str::from_utf8(count).ok()?.parse().ok()?)
}

/// What the topic of a channel tells; none: it is not understood.
fn hears_of(bytes: Bytes) -> Option<News> {
    match bytes.split_first()? {
        (b'c', counts) => {
            let (node, counts) = counts.split_at_checked(8)?;
            Some(News::Counted(lease::read_node(node)?, Usage::read(counts)?))
        }
        _ => Some(News::Published(Written::parse(bytes)?)),
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
    read(&answer?).ok_or_else(|| StoreError::damaged("an answer of redis cannot be read"))
}

impl Log for SharedLog {
    /// A channel that was joined, or is this node's own.
    fn open(&self, channel: &ChannelName) -> Box<dyn ChannelLog> {
        if (self.0.keeping.is_own)(channel) {
            self.0.memory.open(channel)
        } else {
            Box::new(Replica::new(self, channel))
        }
    }

    fn opens_at_once(&self, channel: &ChannelName) -> bool {
        (self.0.keeping.is_own)(channel)
    }

    fn shared_by(&self, channel: &ChannelName) -> Option<Self> {
        (!(self.0.keeping.is_own)(channel)).then(|| self.clone())
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

    fn objects(&self, channel: &ChannelName, later: Later<'_, ObjectsRead>) -> Poll<ObjectsRead> {
        self.read_objects(channel, later());
        Poll::Pending
    }

    fn keep_objects(&self, channel: &ChannelName, changes: &Changes, done: log::Done<()>) {
        self.write_objects(channel, changes, done);
    }
}
