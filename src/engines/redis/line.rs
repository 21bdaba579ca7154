//! Scripts that are run in order, on a connection of their own, whatever becomes of the connection.
//!
//! A call that a broken connection cut off is run again before newer ones, if it does nothing the second time. It has a time
//! limit by the clock of Redis: what has not begun by then does nothing, so who was told that it is too late can rely on it,
//! unless the answer alone was lost.

use std::{
    collections::VecDeque,
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use rand::RngExt as _;
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::JoinHandle,
    time::sleep,
};

use super::{
    ClientError, EndWithOwner, MultiplexedConnection, Redis, RedisError, Run, Value, cmd, link::Inner, pipe,
    reader::millis, reply,
};
use crate::{clock::Clock, ids::Timestamp, limits};

/// What every script of a line begins with. Its first argument is the moment by which it must have begun; its answer begins
/// with the time of Redis.
const PROLOGUE: &str = "\
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
if now > tonumber(ARGV[1]) then return {now} end
";

/// A script to be run.
pub struct Call {
    /// Which of the line's.
    pub script: usize,
    pub keys: Vec<Vec<u8>>,
    /// Those behind the first.
    pub args: Vec<Bytes>,
    /// It does nothing the second time.
    pub repeats: bool,
    pub done: Done,
}

/// What a script has answered behind the time, numbers as text. Called by the line's task; must be quick.
pub type Done = Box<dyn FnOnce(Result<Vec<Bytes>, CallError>) + Send>;

/// Why a script has not answered.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum CallError {
    /// It has done nothing and will do nothing, unless the answer alone was lost.
    #[error("redis has not answered in time")]
    Late,
    #[error("too much waits for redis")]
    Full,
    /// It was done, and no replica has it yet.
    #[error("no replica of redis has it")]
    NotCopied,
    #[error(transparent)]
    Redis(#[from] RedisError),
}

/// A handle, cheap to clone. What waits is dropped with the last one.
#[derive(Clone)]
pub struct Line {
    calls: UnboundedSender<Waiting>,
    clock: Clock,
    patience: Duration,
    bytes: Arc<AtomicUsize>,
    ahead: Arc<AtomicU64>,
    trouble: Arc<Mutex<Option<RedisError>>>,
    _task: Arc<EndWithOwner>,
}

struct Waiting {
    script: usize,
    keys: Vec<Vec<u8>>,
    args: Vec<Bytes>,
    repeats: bool,
    /// None: who has asked was told that it is too late.
    done: Option<Done>,
    /// By the own clock (monotonic).
    due: Duration,
    _place: Place,
}

impl Waiting {
    fn tell(mut self, outcome: Result<Vec<Bytes>, CallError>) {
        if let Some(done) = self.done.take() {
            done(outcome);
        }
    }
}

/// What a call that waits takes of [`limits::REDIS_WAITING_BYTES`].
struct Place {
    bytes: Arc<AtomicUsize>,
    taken: usize,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.bytes.fetch_sub(self.taken, Ordering::Relaxed);
    }
}

impl Line {
    /// Connects in the background, on the current runtime; `scripts` are what its calls name. `greeting` is run on each new
    /// connection: see [`Redis::greet`]. What the script `copied` has done is answered when a replica has it.
    pub fn start(
        redis: &Redis,
        scripts: &'static [&'static str],
        greeting: Option<Arc<Run>>,
        copied: Option<usize>,
        patience: Duration,
        clock: Clock,
    ) -> Self {
        let (calls, incoming) = unbounded_channel();
        let ahead = Arc::<AtomicU64>::default();
        let runner = Runner {
            inner: Arc::clone(&redis.inner),
            scripts,
            greeting,
            copied,
            incoming,
            clock: clock.clone(),
            queue: VecDeque::new(),
            in_flight: 0,
            ahead: Arc::clone(&ahead),
            trouble: Arc::default(),
        };
        let trouble = Arc::clone(&runner.trouble);
        let task: JoinHandle<()> = tokio::spawn(runner.run());
        Self { calls, clock, patience, bytes: Arc::default(), ahead, trouble, _task: Arc::new(EndWithOwner(task)) }
    }

    /// Why the last attempt to connect has failed; none while there is a connection.
    pub fn trouble(&self) -> Option<RedisError> {
        self.trouble.lock().clone()
    }

    /// Bytes that wait to be run or answered.
    pub fn waiting(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The time of Redis, about; 0 before there was a connection.
    pub fn now(&self) -> Timestamp {
        match self.ahead.load(Ordering::Relaxed) {
            0 => Timestamp::from_millis(0),
            ahead => Timestamp::from_millis(ahead + millis(self.clock.uptime())),
        }
    }

    /// Runs a script behind all that were handed in before, and calls `done` within the line's patience.
    pub fn call(&self, call: Call) {
        let taken = call.args.iter().map(|arg| arg.len() + size_of::<Bytes>()).sum::<usize>() + size_of::<Waiting>();
        let place = Place { bytes: Arc::clone(&self.bytes), taken };
        if self.bytes.fetch_add(taken, Ordering::Relaxed) + taken > limits::REDIS_WAITING_BYTES {
            drop(place);
            return (call.done)(Err(CallError::Full));
        }
        let Call { script, keys, args, repeats, done } = call;
        let due = self.clock.uptime() + self.patience;
        // Its runner ends with the last handle only.
        let _ = self.calls.send(Waiting { script, keys, args, repeats, done: Some(done), due, _place: place });
    }
}

struct Runner {
    inner: Arc<Inner>,
    scripts: &'static [&'static str],
    greeting: Option<Arc<Run>>,
    copied: Option<usize>,
    incoming: UnboundedReceiver<Waiting>,
    clock: Clock,
    /// Oldest first; those in flight stay until they are answered.
    queue: VecDeque<Waiting>,
    in_flight: usize,
    /// By how many milliseconds the time of Redis is ahead of the own uptime; rather too few.
    ahead: Arc<AtomicU64>,
    trouble: Arc<Mutex<Option<RedisError>>>,
}

/// The owner is gone.
struct Ended;

impl Runner {
    async fn run(mut self) {
        let mut pause = limits::REDIS_PAUSE_FIRST;
        loop {
            let connecting = connect(Arc::clone(&self.inner), self.scripts, self.greeting.clone());
            match self.meanwhile(connecting).await {
                Err(Ended) => return,
                Ok(Err(error)) => {
                    let before = self.trouble.lock().replace(error.clone());
                    match error {
                        RedisError::Foreign { .. } if before.as_ref() != Some(&error) => tracing::error!(%error),
                        _ => tracing::debug!(%error, "a line to redis is not there yet"),
                    }
                }
                Ok(Ok((connection, hashes, now))) => {
                    *self.trouble.lock() = None;
                    self.note_time(now);
                    pause = limits::REDIS_PAUSE_FIRST;
                    match self.serve(connection, &hashes).await {
                        Err(Ended) => return,
                        Ok(error) => self.cut_off(error),
                    }
                }
            }
            let share = rand::rng().random_range(0.5..1.0);
            if self.meanwhile(sleep(pause.mul_f64(share))).await.is_err() {
                return;
            }
            pause = limits::REDIS_PAUSE_LAST.min(pause * 2);
        }
    }

    /// Runs what is asked for until the connection breaks, and gives why.
    async fn serve(&mut self, mut connection: MultiplexedConnection, hashes: &[String]) -> Result<RedisError, Ended> {
        loop {
            if self.queue.is_empty() {
                let first = self.incoming.recv().await.ok_or(Ended)?;
                self.queue.push_back(first);
            }
            while let Ok(next) = self.incoming.try_recv() {
                self.queue.push_back(next);
            }
            self.expire();
            let mut pipeline = pipe();
            pipeline.ignore_errors();
            let mut bytes = 0;
            let ahead = self.ahead.load(Ordering::Relaxed);
            self.in_flight = 0;
            for Waiting { script, keys, args, due, .. } in self.queue.iter().take(limits::REDIS_BATCH) {
                let hash = hashes.get(*script).map_or("", String::as_str);
                let command = pipeline.cmd("EVALSHA").arg(hash).arg(keys.len());
                command.arg(keys).arg(ahead + millis(*due));
                for arg in args {
                    command.arg(&arg[..]);
                    bytes += arg.len();
                }
                self.in_flight += 1;
                if bytes > limits::REDIS_BATCH_BYTES {
                    break;
                }
            }
            if self.in_flight == 0 {
                continue;
            }
            let is_copied = |waiting: &Waiting| Some(waiting.script) == self.copied;
            let awaits_copies = self.queue.iter().take(self.in_flight).any(is_copied);
            if awaits_copies {
                pipeline.cmd("WAIT").arg(1).arg(millis(limits::REDIS_COPIED));
            }
            let answers = async { pipeline.query_async::<Value>(&mut connection).await };
            let mut answers = match self.meanwhile(answers).await? {
                Ok(Value::Array(answers)) => answers,
                Ok(_) => {
                    return Ok(RedisError::Strange { address: Arc::clone(&self.inner.address), command: "EVALSHA" });
                }
                Err(error) => return Ok(self.inner.failed("EVALSHA", &error)),
            };
            let has_copies = !awaits_copies || matches!(answers.pop(), Some(Value::Int(copies)) if copies > 0);
            if let Some(error) = self.answer(answers, has_copies) {
                return Ok(error);
            }
        }
    }

    /// Those in flight may have been run: they are run again first, if they can be.
    fn cut_off(&mut self, error: RedisError) {
        tracing::warn!(%error, "a line to redis broke; what it was asked for is asked again");
        let cut: Vec<Waiting> = self.queue.drain(..self.in_flight).collect();
        self.in_flight = 0;
        for waiting in cut.into_iter().rev() {
            match waiting.repeats && waiting.done.is_some() {
                true => self.queue.push_front(waiting),
                false => waiting.tell(Err(error.clone().into())),
            }
        }
    }

    /// Hands the answers to those in flight. What Redis does not know the script of stays, to be run again: gives why.
    fn answer(&mut self, answers: Vec<Value>, has_copies: bool) -> Option<RedisError> {
        let mut again = VecDeque::new();
        let mut unknown = None;
        for answer in answers {
            let Some(waiting) = self.queue.pop_front() else { break };
            let outcome = match answer {
                Value::ServerError(error) => Err(self.inner.told("EVALSHA", &ClientError::from(error))),
                answer => reply::all_bytes(answer).ok_or_else(|| RedisError::Strange {
                    address: Arc::clone(&self.inner.address),
                    command: "EVALSHA",
                }),
            };
            match outcome {
                Err(error @ RedisError::Refused { .. }) if error.is_no_script() => {
                    unknown = Some(error);
                    again.push_back(waiting);
                }
                Err(error) => waiting.tell(Err(error.into())),
                Ok(mut parts) => {
                    let now = (!parts.is_empty()).then(|| parts.remove(0));
                    if let Some(now) = now.and_then(|now| std::str::from_utf8(&now).ok()?.parse().ok()) {
                        self.note_time(now);
                    }
                    let is_copied = has_copies || Some(waiting.script) != self.copied;
                    waiting.tell(match parts.is_empty() {
                        true => Err(CallError::Late),
                        false if !is_copied => Err(CallError::NotCopied),
                        false => Ok(parts),
                    });
                }
            }
        }
        self.in_flight = 0;
        while let Some(waiting) = again.pop_back() {
            self.queue.push_front(waiting);
        }
        unknown
    }

    /// Waits for something; meanwhile calls come in, and those whose time is over are told so.
    async fn meanwhile<T>(&mut self, what: impl Future<Output = T>) -> Result<T, Ended> {
        let mut what = pin!(what);
        loop {
            let due = self.queue.iter().find(|waiting| waiting.done.is_some()).map(|waiting| waiting.due);
            let wait = due.map(|due| due.saturating_sub(self.clock.uptime()));
            tokio::select! {
                biased;
                answer = &mut what => return Ok(answer),
                () = sleep(wait.unwrap_or_default()), if wait.is_some() => self.expire(),
                call = self.incoming.recv() => match call {
                    Some(call) => self.queue.push_back(call),
                    None => return Err(Ended),
                },
            }
        }
    }

    /// Tells those whose time is over. Those in flight keep their place, since Redis will answer them.
    fn expire(&mut self) {
        let now = self.clock.uptime();
        for waiting in self.queue.iter_mut().take(self.in_flight).take_while(|waiting| waiting.due <= now) {
            if let Some(done) = waiting.done.take() {
                done(Err(CallError::Late));
            }
        }
        while self.queue.get(self.in_flight).is_some_and(|waiting| waiting.due <= now) {
            if let Some(waiting) = self.queue.remove(self.in_flight) {
                waiting.tell(Err(CallError::Late));
            }
        }
    }

    fn note_time(&mut self, now: u64) {
        self.ahead.store(now.saturating_sub(millis(self.clock.uptime())), Ordering::Relaxed);
    }
}

/// A connection that knows the scripts, their hashes, and the time of Redis.
async fn connect(
    inner: Arc<Inner>,
    scripts: &[&str],
    greeting: Option<Arc<Run>>,
) -> Result<(MultiplexedConnection, Vec<String>, u64), RedisError> {
    let mut connection = inner.connect(limits::REDIS_ANSWER).await?;
    if let Some(greeting) = greeting {
        let answer = greeting.command().query_async(&mut connection).await;
        inner.welcomed(answer)?;
    }
    let mut loading = pipe();
    for script in scripts {
        loading.cmd("SCRIPT").arg("LOAD").arg(format!("{PROLOGUE}{script}"));
    }
    let loaded = loading.query_async(&mut connection).await;
    let hashes = loaded.map_err(|error| inner.failed("SCRIPT", &error))?;
    let time: Result<(u64, u64), _> = cmd("TIME").query_async(&mut connection).await;
    let (seconds, micros) = time.map_err(|error| inner.failed("TIME", &error))?;
    Ok((connection, hashes, seconds * 1_000 + micros / 1_000))
}
