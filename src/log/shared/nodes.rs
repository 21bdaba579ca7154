//! What the nodes of a cluster have beside the channels: who is there, whose a connection is, what is used up, what they tell and
//! ask each other (`docs/design/cluster.md §2, §5`). All of it is short scripts on a line of its own.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::{join_all, try_join_all};
use parking_lot::Mutex;
use tokio::{
    sync::{mpsc::UnboundedSender, oneshot},
    time::{sleep, timeout},
};

use super::{
    keys::{Domain, TOPICS},
    lease::{node_bytes, read_node},
    understand,
};
use crate::{
    clock::Clock,
    engines::redis::{self, Call, CallError, Heard, Line, Needs, Redis, RedisError, Run, Slots},
    ids::NodeId,
    limits,
    store::StoreError,
};

mod connection;
mod inbox;
mod rows;

pub use connection::{Row, Standing};
pub use inbox::{Question, Word};
pub use rows::{Change, News, Table};

pub(super) const SCRIPTS: &[&str] = &[
    include_str!("nodes/beat.lua"),
    include_str!("nodes/once.lua"),
    include_str!("nodes/connection.lua"),
    include_str!("nodes/tell.lua"),
    include_str!("nodes/change.lua"),
    include_str!("nodes/scan.lua"),
];
const BEAT: usize = 0;
const ONCE: usize = 1;
const CONNECTION: usize = 2;
const TELL: usize = 3;
const CHANGE: usize = 4;
const SCAN: usize = 5;

/// Where it stands how all nodes are set up.
const SETUP: &str = "ls:{ctl}conf";
/// That Redis was found without its data is told here.
const LOSSES: &[u8] = b"ls:{ctl}lost";

/// What every new connection to Redis begins with: all nodes have to be set up alike. `secret` is the fingerprint of theirs.
pub fn greeting(secret: Option<String>, lease: Duration) -> Run {
    let lease = format!("{} ms", lease.as_millis());
    let has = [("partitions", Some(limits::PARTITIONS.to_string())), ("lease", Some(lease)), ("secret", secret)];
    let args = has.into_iter().filter_map(|(name, value)| Some([name.to_owned(), value?])).flatten().collect();
    Run { script: include_str!("nodes/greeting.lua"), keys: vec![SETUP.to_owned()], args }
}

/// Must be quick.
type Loss = Box<dyn Fn() + Send + Sync>;

/// A handle, cheap to clone.
#[derive(Clone)]
pub struct Nodes(Arc<Inner>);

struct Inner {
    own: NodeId,
    line: Line,
    /// For letters of protocols, among them pieces of files: nobody's question waits behind them.
    letters: Line,
    tail: redis::Tail,
    clock: Clock,
    beat: Mutex<Beat>,
    /// By how many milliseconds the clock of Redis is ahead of that of this machine.
    offset: AtomicI64,
    /// Why Redis cannot be relied upon as it is set up.
    unfit: Mutex<Option<Unready>>,
    on_word: OnceLock<inbox::Hears>,
    /// What all nodes have to be set up with: name, value, name, value.
    setup: Vec<Bytes>,
    /// Called when Redis was found empty.
    on_loss: Mutex<Vec<Loss>>,
    /// The rows that all nodes have are to be read, or are being read.
    has_rows_to_read: AtomicBool,
    asked: AtomicU64,
    /// Who waits for answers, by the number of the question.
    waiting: Mutex<HashMap<u64, UnboundedSender<inbox::Answer>>>,
}

/// Why no clients should be sent to a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unready {
    /// For the operator.
    pub why: String,
    /// Redis was there, and is away or takes nothing that is written. Otherwise the node has not begun, or what is asked of Redis is
    /// not true.
    pub is_away: bool,
}

impl Unready {
    const fn of(why: String) -> Self {
        Self { why, is_away: false }
    }
}

/// What came of the last attempts to write something.
#[derive(Default)]
struct Beat {
    /// When one was last answered (monotonic).
    heard: Option<Duration>,
    round_trip: Duration,
    /// Redis is there, and does not take what is written.
    refused: Option<RedisError>,
    alive: Vec<NodeId>,
}

impl Nodes {
    /// `greeting` is what each line to Redis begins with.
    pub(super) fn start(
        own: NodeId,
        [line, letters]: [Line; 2],
        tail: redis::Tail,
        greeting: &Run,
        clock: Clock,
    ) -> Self {
        let nodes = Self(Arc::new(Inner {
            own,
            line,
            letters,
            tail,
            clock,
            beat: Mutex::default(),
            offset: AtomicI64::new(0),
            unfit: Mutex::new(Some(Unready::of("how redis is set up is not known yet".to_owned()))),
            on_word: OnceLock::new(),
            setup: greeting.args.iter().map(|arg| arg.clone().into()).collect(),
            on_loss: Mutex::default(),
            has_rows_to_read: AtomicBool::new(false),
            asked: AtomicU64::new(0),
            waiting: Mutex::default(),
        }));
        nodes.open_inbox();
        nodes.hear_of_losses();
        tokio::spawn(beat(Arc::downgrade(&nodes.0)));
        nodes
    }

    /// This one.
    pub fn own(&self) -> NodeId {
        self.0.own
    }

    /// Those that hold a lease, as of the last second.
    pub fn alive(&self) -> Vec<NodeId> {
        self.0.beat.lock().alive.clone()
    }

    /// Whether any of these holds a lease. Before that is known all are taken to.
    pub fn are_any_alive(&self, nodes: &[NodeId]) -> bool {
        let alive = &self.0.beat.lock().alive;
        nodes.iter().any(|node| alive.is_empty() || alive.contains(node))
    }

    /// How long Redis took to take the last thing that was written each second.
    pub fn round_trip(&self) -> Duration {
        self.0.beat.lock().round_trip
    }

    /// By how many milliseconds the clock of Redis is ahead of that of this machine, about.
    pub fn clock_offset(&self) -> i64 {
        self.0.offset.load(Ordering::Relaxed)
    }

    pub(super) fn waiting(&self) -> usize {
        self.0.line.waiting() + self.0.letters.waiting()
    }

    /// Whether clients should be sent to this node.
    ///
    /// # Errors
    /// Why not.
    pub fn check_ready(&self) -> Result<(), Unready> {
        let beat = self.0.beat.lock();
        if let Some(error) = &beat.refused {
            return Err(Unready { why: error.to_string(), is_away: beat.heard.is_some() });
        }
        let away = beat.heard.map(|heard| self.0.clock.uptime().saturating_sub(heard));
        if away.is_some_and(|away| away < limits::NODE_CUT_OFF) {
            if self.0.has_rows_to_read.load(Ordering::Relaxed) {
                return Err(Unready::of("what the other servers have revoked is not read yet".to_owned()));
            }
            return self.0.unfit.lock().clone().map_or(Ok(()), Err);
        }
        let why = self.0.line.trouble().map_or_else(|| "it does not answer".to_owned(), |error| error.to_string());
        Err(match away {
            Some(away) => Unready {
                why: format!("the redis of the cluster is away for {} s: {why}", away.as_secs()),
                is_away: true,
            },
            None => Unready::of(format!("the redis of the cluster was not reached yet: {why}")),
        })
    }

    /// Looks again and again whether each slot has a server, and each of these is there, and set up as it has to be.
    pub(super) fn watch_setup(&self, slots: Slots, needs: Needs) {
        let inner = Arc::downgrade(&self.0);
        tokio::spawn(async move {
            let mut watched = Vec::new();
            // When all were last found to be there, and set up so (monotonic).
            let (mut there, mut looked): (Option<Duration>, Option<Duration>) = (None, None);
            loop {
                let _: Result<(), _> = timeout(limits::NODE_BEAT, slots.until_known()).await;
                watched = slots.masters(watched);
                let all_up = join_all(watched.iter().map(Redis::until_up));
                let are_up = timeout(limits::NODE_BEAT, all_up).await.is_ok();
                let Some(nodes) = inner.upgrade() else { return };
                let now = nodes.clock.uptime();
                let away = watched.iter().find(|master| !master.is_up());
                let away = away.map(|master| format!("a redis of the cluster is away: {}", master.why_away()));
                let gap = |(first, last)| format!("no redis of the cluster has the slots {first} to {last}");
                let is_due = looked.is_none_or(|looked| now.saturating_sub(looked) >= limits::REDIS_SETUP);
                match away.or_else(|| slots.gap().map(gap)) {
                    None if watched.is_empty() => {}
                    None if !is_due => there = Some(now),
                    None => {
                        drop(nodes);
                        let found = try_join_all(watched.iter().map(|master| master.fault(needs))).await;
                        let Some(nodes) = inner.upgrade() else { return };
                        match found {
                            Ok(faults) => {
                                let fault = faults.into_iter().flatten().next().map(Unready::of);
                                (there, looked) = (Some(now), fault.is_none().then_some(now));
                                nodes.note_fault(fault);
                            }
                            Err(error) => tracing::debug!(%error, "how redis is set up cannot be read yet"),
                        }
                    }
                    // It is looked at when it is back.
                    Some(why) => {
                        looked = None;
                        if there.is_none_or(|there| now.saturating_sub(there) >= limits::NODE_CUT_OFF) {
                            nodes.note_fault(Some(Unready { why, is_away: there.is_some() }));
                        }
                    }
                }
                if are_up {
                    sleep(limits::NODE_BEAT).await;
                }
            }
        });
    }

    /// Redis without its data is another life of every log, and has to learn what nodes know.
    fn hear_of_losses(&self) {
        let inner = Arc::downgrade(&self.0);
        let hears = move |heard| {
            if let (Heard::Message(_), Some(inner)) = (heard, inner.upgrade()) {
                tracing::warn!(
                    "redis has lost its data: it is told again how the servers are set up, and what was revoked"
                );
                inner.tail.alarm(TOPICS.to_vec());
                inner.on_loss.lock().iter().for_each(|on_loss| on_loss());
            }
        };
        self.0.tail.subscribe(LOSSES.to_vec(), Box::new(hears), Box::new(|| {}));
    }

    /// Called whenever Redis was found without its data, from now on.
    pub fn on_loss(&self, hears: impl Fn() + Send + Sync + 'static) {
        self.0.on_loss.lock().push(Box::new(hears));
    }

    /// Whether nobody has used this up before; `life` is how long that is known.
    ///
    /// # Errors
    /// That cannot be said.
    pub async fn once(&self, name: &[u8], life: Duration) -> Result<bool, StoreError> {
        let key = [b"ls:{ctl}once:", name].concat();
        let draw: [u8; 8] = rand::random();
        let args = vec![life.as_millis().to_string().into(), Bytes::copy_from_slice(&draw)];
        let read = |parts: &[Bytes]| Some(&parts.first()?[..] == b"first");
        self.ask_line(ONCE, vec![key], args, read).await
    }

    /// Runs a script that does nothing the second time, and calls `done` with what its answer is read as.
    fn call<T: 'static>(
        &self,
        script: usize,
        keys: Vec<Vec<u8>>,
        args: Vec<Bytes>,
        read: impl FnOnce(&[Bytes]) -> Option<T> + Send + 'static,
        done: impl FnOnce(Result<T, StoreError>) + Send + 'static,
    ) {
        let done = Box::new(move |answer| done(understand(answer, read)));
        self.0.line.call(Call { script, keys, args, repeats: true, done });
    }

    /// The same, awaited.
    async fn ask_line<T: Send + 'static>(
        &self,
        script: usize,
        keys: Vec<Vec<u8>>,
        args: Vec<Bytes>,
        read: impl FnOnce(&[Bytes]) -> Option<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (told, answer) = oneshot::channel();
        self.call(script, keys, args, read, move |outcome| drop(told.send(outcome)));
        answer.await.map_err(|_| StoreError::Closed)?
    }
}

impl Inner {
    fn note_fault(&self, fault: Option<Unready>) {
        let before = std::mem::replace(&mut *self.unfit.lock(), fault.clone());
        if let Some(fault) = (before != fault).then_some(fault).flatten() {
            tracing::error!("no client should be sent here (/ready: 503): {}", fault.why);
        }
    }

    /// Puts the clock where that of Redis is, if it is elsewhere: by the middle one of the last offsets.
    fn follow_time(&self, offsets: &mut VecDeque<i64>) {
        let signed = |millis: u64| i64::try_from(millis).unwrap_or_default();
        let ahead = self.clock.ahead();
        offsets.push_back(signed(self.line.now().millis()) - signed(self.clock.now().millis()) + ahead);
        if offsets.len() > limits::NODE_OFFSETS {
            offsets.pop_front();
        }
        let mut sorted: Vec<i64> = offsets.iter().copied().collect();
        sorted.sort_unstable();
        let middle = sorted[sorted.len() / 2];
        self.offset.store(middle, Ordering::Relaxed);
        if middle.abs_diff(ahead) > limits::NODE_OFFSET_LEAST {
            tracing::warn!(
                seconds = middle / 1_000,
                "the clock of this machine is not that of redis, which counts from now on"
            );
            self.clock.set_ahead(middle);
        }
    }
}

/// Writes something each second, and reads who is there.
async fn beat(inner: Weak<Inner>) {
    let mut offsets = VecDeque::new();
    while let Some(nodes) = inner.upgrade() {
        let began = nodes.clock.uptime();
        let (told, answer) = oneshot::channel();
        let keys = vec![b"ls:{ctl}beat".to_vec(), Domain::BESIDE.leases(), SETUP.as_bytes().to_vec(), LOSSES.to_vec()];
        let args = [vec![node_bytes(nodes.own)], nodes.setup.clone()].concat();
        let done = Box::new(move |answer| drop(told.send(answer)));
        nodes.line.call(Call { script: BEAT, keys, args, repeats: true, done });
        let answer = answer.await;
        let now = nodes.clock.uptime();
        if matches!(answer, Ok(Ok(_))) {
            nodes.follow_time(&mut offsets);
        }
        {
            let mut beat = nodes.beat.lock();
            match answer {
                Ok(Ok(reply)) => {
                    let alive = reply.iter().skip(1).filter_map(|node| read_node(node)).collect();
                    *beat = Beat { heard: Some(now), round_trip: now.saturating_sub(began), refused: None, alive };
                }
                Ok(Err(CallError::Redis(error @ RedisError::Refused { .. }))) => beat.refused = Some(error),
                Ok(Err(_)) | Err(_) => beat.refused = None,
            }
        }
        drop(nodes);
        sleep(limits::NODE_BEAT).await;
    }
}
