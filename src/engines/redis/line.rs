//! Scripts that are run in order, on connections of their own, whatever becomes of these.
//!
//! A line has one connection to each server that has slots. A call goes to whoever has the slot of its first key, behind all of this
//! slot that were handed in before; no other call of the slot is on its way meanwhile, but those of the same batch. So calls of
//! a slot keep their order, also when it moves; what a server has refused because it does not serve the slot now waits, and what is
//! of other slots does not wait for it.
//!
//! A call that a broken connection cut off is run again before newer ones, if it does nothing the second time. It has a time
//! limit by the clock of its server: what has not begun by then does nothing, so who was told that it is too late can rely on it,
//! unless the answer alone was lost.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{
    sync::{
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
        watch,
    },
    task::JoinHandle,
    time::sleep,
};

use super::{
    ClientError, EndWithOwner, RedisError, Run, Slots, Value,
    masters::{Pauses, next},
    pipe,
    reader::millis,
    reply,
    slots::{Map, slot_of, tag_of},
};
use crate::{clock::Clock, ids::Timestamp, limits};

mod calls;
mod lane;

pub use calls::{Call, CallError};
use calls::{Place, Pot, Queue, Waiting};
use lane::{Connected, Lane, Told};

/// A handle, cheap to clone. What waits is dropped with the last one.
#[derive(Clone)]
pub struct Line {
    calls: UnboundedSender<Waiting>,
    slots: Slots,
    clock: Clock,
    patience: Duration,
    /// What waits, whoever is to run it.
    all: Pot,
    pots: Arc<AtomicUsize>,
    ahead: Arc<AtomicU64>,
    troubles: Troubles,
    _task: Arc<EndWithOwner>,
}

/// Why the last attempt to reach a server has failed, by its address.
type Troubles = Arc<Mutex<BTreeMap<Arc<str>, RedisError>>>;

impl Line {
    /// Connects in the background, on the current runtime; `scripts` are what its calls name. `greeting` is run on each new
    /// connection to the server that has its key, and nothing before it was once welcome: see [`Slots::greet`]. What the script
    /// `copied` has done is answered when a replica has it.
    pub fn start(
        slots: &Slots,
        scripts: &'static [&'static str],
        greeting: Option<Arc<Run>>,
        copied: Option<usize>,
        patience: Duration,
        clock: Clock,
    ) -> Self {
        let (calls, incoming) = unbounded_channel();
        let runner = Runner::new(slots, scripts, greeting, copied, incoming, clock.clone());
        let (ahead, troubles) = (Arc::clone(&runner.ahead), Arc::clone(&runner.troubles));
        let pots = Arc::clone(&runner.pots);
        let task: JoinHandle<()> = tokio::spawn(runner.run());
        let (slots, all, task) = (slots.clone(), Arc::default(), Arc::new(EndWithOwner(task)));
        Self { calls, slots, clock, patience, all, pots, ahead, troubles, _task: task }
    }

    /// Why the last attempt to connect has failed; none while there is a connection to every server.
    pub fn trouble(&self) -> Option<RedisError> {
        self.troubles.lock().values().next().cloned().or_else(|| self.slots.trouble())
    }

    /// Bytes that wait to be run or answered.
    pub fn waiting(&self) -> usize {
        self.all.load(Ordering::Relaxed)
    }

    /// The time of Redis, about; of several servers that of the one which has the key of the greeting now. 0 before there was a
    /// connection to it.
    pub fn now(&self) -> Timestamp {
        match self.ahead.load(Ordering::Relaxed) {
            0 => Timestamp::from_millis(0),
            ahead => Timestamp::from_millis(ahead + millis(self.clock.uptime())),
        }
    }

    /// Keys of different slots may be those of one call.
    pub fn is_one_server(&self) -> bool {
        self.slots.is_one_server()
    }

    /// Runs a script behind all of its slot that were handed in before, and calls `done` within the line's patience.
    pub fn call(&self, call: Call) {
        let keys: usize = call.keys.iter().map(|key| key.len() + size_of::<Vec<u8>>()).sum();
        let args: usize = call.args.iter().map(|arg| arg.len() + size_of::<Bytes>()).sum();
        let taken = keys + args + size_of::<Waiting>();
        let place = Place { all: Arc::clone(&self.all), own: None, taken };
        let most = limits::REDIS_WAITING_BYTES * self.pots.load(Ordering::Relaxed);
        if self.all.fetch_add(taken, Ordering::Relaxed) + taken > most {
            drop(place);
            return (call.done)(Err(CallError::Full));
        }
        let Call { script, keys, args, repeats, done } = call;
        let due = self.clock.uptime() + self.patience;
        // Its runner ends with the last handle only.
        let _ = self.calls.send(Waiting { script, keys, args, repeats, done: Some(done), due, place });
    }
}

struct Runner {
    slots: Slots,
    watched: watch::Receiver<Arc<Map>>,
    /// By which calls are sent.
    map: Arc<Map>,
    scripts: &'static [&'static str],
    greeting: Option<Arc<Run>>,
    /// The servers are set up as this one is, as far as is known.
    is_welcome: bool,
    copied: Option<usize>,
    incoming: UnboundedReceiver<Waiting>,
    clock: Clock,
    /// What waits, by slot; of one server all is in one.
    queues: BTreeMap<u16, Queue>,
    /// By address.
    lanes: HashMap<Arc<str>, Lane>,
    /// By how many milliseconds the time of Redis is ahead of the own uptime; rather too few.
    ahead: Arc<AtomicU64>,
    /// How many pots there are: of each server one, and of a Redis Cluster one of slots that nobody has.
    pots: Arc<AtomicUsize>,
    /// What waits for slots that nobody has.
    unowned: Pot,
    troubles: Troubles,
}

/// What a server says that does not serve a slot now: it has moved, is moving, or has nobody at the moment.
const NOT_NOW: [&str; 6] = ["MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "MASTERDOWN", "LOADING"];

impl Runner {
    fn new(
        slots: &Slots,
        scripts: &'static [&'static str],
        greeting: Option<Arc<Run>>,
        copied: Option<usize>,
        incoming: UnboundedReceiver<Waiting>,
        clock: Clock,
    ) -> Self {
        let mut runner = Self {
            slots: slots.clone(),
            watched: slots.watch(),
            map: Arc::default(),
            scripts,
            is_welcome: greeting.is_none(),
            greeting,
            copied,
            incoming,
            clock,
            queues: BTreeMap::new(),
            lanes: HashMap::new(),
            ahead: Arc::default(),
            pots: Arc::default(),
            unowned: Arc::default(),
            troubles: Troubles::default(),
        };
        runner.take_map();
        runner
    }

    async fn run(mut self) {
        loop {
            let now = self.clock.uptime();
            self.expire(now);
            self.send(now);
            let wake = self.wake(now);
            tokio::select! {
                biased;
                (address, told) = next(&mut self.lanes) => self.told(&address, told),
                changed = self.watched.changed() => match changed {
                    Ok(()) => self.take_map(),
                    Err(_) => return,
                },
                () = sleep(wake.unwrap_or_default()), if wake.is_some() => {}
                call = self.incoming.recv() => {
                    // Every handle is gone.
                    let Some(call) = call else { return };
                    self.file(call);
                    while let Ok(call) = self.incoming.try_recv() {
                        self.file(call);
                    }
                }
            }
        }
    }

    /// Puts a call behind the others of its slot, if there is room: what waits for one server, as one that is lost, takes none of that
    /// of the others.
    fn file(&mut self, mut call: Waiting) {
        let slot = self.slot_of(&call);
        let pot = Arc::clone(self.pot_of(slot));
        if call.place.put(&pot) > limits::REDIS_WAITING_BYTES {
            return call.tell(Err(CallError::Full));
        }
        self.queues.entry(slot).or_default().calls.push_back(call);
    }

    fn slot_of(&self, call: &Waiting) -> u16 {
        call.keys.first().filter(|_| !self.map.is_lone()).map_or(0, |key| slot_of(key))
    }

    fn pot_of(&self, slot: u16) -> &Pot {
        let lane = self.map.master_of(slot).and_then(|master| self.lanes.get(&master.address));
        lane.map_or(&self.unowned, |lane| &lane.waiting)
    }

    /// Goes by what is known of the servers now.
    fn take_map(&mut self) {
        let map = Arc::clone(&self.watched.borrow_and_update());
        let is_refiled = map.is_lone() != self.map.is_lone();
        let is_there = |address: &Arc<str>| map.masters.iter().any(|master| master.address == *address);
        let gone = self.lanes.keys().filter(|address| is_refiled || !is_there(address));
        for address in gone.cloned().collect::<Vec<_>>() {
            self.cut_off(
                &address,
                &RedisError::Unreachable { address: Arc::clone(&address), why: "it has nothing of it any more".into() },
            );
            self.lanes.remove(&address);
            self.troubles.lock().remove(&address);
        }
        for master in &map.masters {
            if !self.lanes.contains_key(&master.address) {
                let mut lane = Lane::new(Arc::clone(master));
                lane.connect(Duration::ZERO, self.scripts, self.greeting.clone(), self.clock.uptime());
                self.lanes.insert(Arc::clone(&master.address), lane);
            }
        }
        self.map = map;
        if is_refiled {
            let calls = std::mem::take(&mut self.queues).into_values().flat_map(|queue| queue.calls);
            let mut calls: Vec<Waiting> = calls.collect();
            calls.sort_by_key(|call| call.due);
            for call in calls {
                self.queues.entry(self.slot_of(&call)).or_default().calls.push_back(call);
            }
        }
        // None is refused any more: it may have been run.
        let mut queues = std::mem::take(&mut self.queues);
        for (slot, queue) in &mut queues {
            queue.again = Duration::ZERO;
            let pot = self.pot_of(*slot);
            for call in &mut queue.calls {
                call.place.put(pot);
            }
        }
        self.queues = queues;
        let pots = if self.map.is_lone() { 1 } else { self.map.masters.len() + 1 };
        self.pots.store(pots, Ordering::Relaxed);
    }

    /// Sends what waits to whoever is to run it and has nothing to do.
    ///
    /// Scripts touch keys that they are not given. So a call of a slot that is moving has to be refused, by both servers, until all
    /// of it is there: the hash tag alone is no key, and where any key of several is missing they do.
    fn send(&mut self, now: Duration) {
        let is_due = |queue: &Queue| !queue.calls.is_empty() && queue.again <= now;
        let due = self.queues.iter_mut().filter(|(_, queue)| is_due(queue));
        for (_, queue) in due.filter(|(slot, _)| self.map.master_of(**slot).is_none()) {
            // Whoever told of the slots may not have known all.
            queue.again = now + limits::REDIS_SLOT_AGAIN;
            self.slots.doubt();
        }
        for lane in self.lanes.values_mut().filter(|lane| self.is_welcome && lane.job.is_none()) {
            let Some(Connected { connection, hashes, .. }) = &lane.connected else { continue };
            let is_its = |slot| self.map.master_of(slot).is_some_and(|master| master.address == lane.inner.address);
            let is_ready = |queue: &Queue| queue.in_flight == 0 && !queue.calls.is_empty() && queue.again <= now;
            let ready = self.queues.iter().filter(|(slot, queue)| is_ready(queue) && is_its(**slot));
            let mut ready: Vec<u16> = ready.map(|(slot, _)| *slot).collect();
            let turn = ready.partition_point(|slot| *slot <= lane.turn);
            ready.rotate_left(turn);
            lane.awaits_copies = false;
            let (mut pipeline, mut bytes) = (pipe(), 0);
            pipeline.ignore_errors();
            for slot in ready {
                let Some(queue) = self.queues.get_mut(&slot) else { continue };
                let most = if queue.is_served { limits::REDIS_BATCH } else { 1 };
                for Waiting { script, keys, args, due, .. } in queue.calls.iter().take(most) {
                    if lane.batch.len() == limits::REDIS_BATCH || bytes > limits::REDIS_BATCH_BYTES {
                        break;
                    }
                    let hash = hashes.get(*script).map_or("", String::as_str);
                    let tag = keys.first().filter(|_| !self.map.is_lone()).and_then(|key| tag_of(key));
                    let command = pipeline.cmd("EVALSHA").arg(hash).arg(keys.len() + usize::from(tag.is_some()));
                    command.arg(keys).arg(tag).arg(lane.ahead + millis(*due));
                    bytes += keys.iter().map(Vec::len).sum::<usize>();
                    for arg in args {
                        command.arg(&arg[..]);
                        bytes += arg.len();
                    }
                    lane.awaits_copies |= Some(*script) == self.copied;
                    lane.batch.push(slot);
                    lane.turn = slot;
                    queue.in_flight += 1;
                }
            }
            if lane.batch.is_empty() {
                continue;
            }
            if lane.awaits_copies {
                pipeline.cmd("WAIT").arg(1).arg(millis(limits::REDIS_COPIED));
            }
            let mut connection = connection.clone();
            lane.job = Some(Box::pin(async move { Told::Answers(pipeline.query_async(&mut connection).await) }));
            lane.since = now;
        }
    }

    /// A server has answered, or was reached, or not.
    fn told(&mut self, address: &Arc<str>, told: Told) {
        let Some(lane) = self.lanes.get_mut(address) else { return };
        lane.job = None;
        let broken = match told {
            Told::Connected(Ok(connected)) => {
                self.troubles.lock().remove(address);
                self.is_welcome |= connected.is_greeted;
                lane.pauses = Pauses::default();
                let now = connected.now;
                lane.connected = Some(connected);
                return self.note_time(address, now);
            }
            Told::Connected(Err(error)) => {
                let before = self.troubles.lock().insert(Arc::clone(address), error.clone());
                match &error {
                    RedisError::Foreign { .. } => {
                        self.is_welcome = false;
                        if before.as_ref() != Some(&error) {
                            tracing::error!(%error);
                        }
                    }
                    _ => tracing::debug!(%error, "a line to redis is not there yet"),
                }
                None
            }
            Told::Answers(Ok(Value::Array(answers))) => match self.answer(address, answers) {
                None => return,
                unknown => unknown,
            },
            Told::Answers(Ok(_)) => Some(RedisError::Strange { address: Arc::clone(address), command: "EVALSHA" }),
            Told::Answers(Err(error)) => Some(lane.inner.failed("EVALSHA", &error)),
        };
        if let Some(error) = broken {
            tracing::warn!(%error, "a line to redis broke; what it was asked for is asked again");
            self.cut_off(address, &error);
        }
        self.slots.doubt();
        if let Some(lane) = self.lanes.get_mut(address) {
            let pause = lane.pauses.next();
            lane.connect(pause, self.scripts, self.greeting.clone(), self.clock.uptime());
        }
    }

    /// Those in flight may have been run: they are run again first, if they can be.
    fn cut_off(&mut self, address: &Arc<str>, error: &RedisError) {
        let Some(lane) = self.lanes.get_mut(address) else { return };
        for slot in std::mem::take(&mut lane.batch) {
            let Some(queue) = self.queues.get_mut(&slot) else { continue };
            let count = std::mem::take(&mut queue.in_flight);
            queue.is_served = false;
            let cut: Vec<Waiting> = queue.calls.drain(..count).collect();
            for waiting in cut.into_iter().rev() {
                match waiting.repeats && waiting.done.is_some() {
                    true => queue.calls.push_front(waiting),
                    false => waiting.tell(Err(error.clone().into())),
                }
            }
        }
    }

    /// Hands the answers to those in flight. What its server does not serve now stays, and what it does not know the script of: gives
    /// why the latter.
    fn answer(&mut self, address: &Arc<str>, mut answers: Vec<Value>) -> Option<RedisError> {
        let lane = self.lanes.get_mut(address)?;
        let inner = Arc::clone(&lane.inner);
        let has_copies = !lane.awaits_copies || matches!(answers.pop(), Some(Value::Int(copies)) if copies > 0);
        let (batch, now) = (std::mem::take(&mut lane.batch), self.clock.uptime());
        let (mut again, mut unknown, mut time) = (Vec::new(), None, None);
        for (slot, answer) in batch.into_iter().zip(answers) {
            let Some(queue) = self.queues.get_mut(&slot) else { continue };
            let Some(waiting) = queue.calls.pop_front() else { continue };
            queue.in_flight = queue.in_flight.saturating_sub(1);
            let outcome = match answer {
                Value::ServerError(error) => Err(inner.told("EVALSHA", &ClientError::from(error))),
                answer => reply::all_bytes(answer)
                    .ok_or_else(|| RedisError::Strange { address: Arc::clone(address), command: "EVALSHA" }),
            };
            match outcome {
                Err(error) if error.is_no_script() => {
                    unknown = Some(error);
                    again.push((slot, waiting));
                }
                Err(error) if error.code().is_some_and(|code| NOT_NOW.contains(&code)) => {
                    queue.is_served = false;
                    queue.again = now + limits::REDIS_SLOT_AGAIN;
                    self.slots.doubt();
                    again.push((slot, waiting));
                }
                Err(error) => {
                    queue.is_served = true;
                    waiting.tell(Err(error.into()));
                }
                Ok(mut parts) => {
                    queue.is_served = true;
                    let now = (!parts.is_empty()).then(|| parts.remove(0));
                    time = now.and_then(|now| std::str::from_utf8(&now).ok()?.parse().ok()).or(time);
                    let is_copied = has_copies || Some(waiting.script) != self.copied;
                    waiting.tell(match parts.is_empty() {
                        true => Err(CallError::Late),
                        false if !is_copied => Err(CallError::NotCopied),
                        false => Ok(parts),
                    });
                }
            }
        }
        for (slot, waiting) in again.into_iter().rev() {
            self.queues.entry(slot).or_default().calls.push_front(waiting);
        }
        if let Some(time) = time {
            self.note_time(address, time);
        }
        unknown
    }

    /// When there is something to do, if nothing happens before.
    fn wake(&mut self, now: Duration) -> Option<Duration> {
        let busy = self.lanes.values_mut().filter(|lane| lane.job.is_some());
        let look = busy.map(|lane| {
            if now.saturating_sub(lane.since) >= limits::REDIS_CHECK {
                // While it says nothing its slots may be another one's.
                self.slots.doubt();
                lane.since = now;
            }
            lane.since + limits::REDIS_CHECK
        });
        let look = look.min();
        let due = |queue: &Queue| queue.calls.iter().find(|call| call.done.is_some()).map(|call| call.due);
        let again = |queue: &Queue| Some(queue.again).filter(|again| *again > now && !queue.calls.is_empty());
        let moments = self.queues.values().flat_map(|queue| [due(queue), again(queue)]);
        moments.flatten().chain(look).min().map(|moment| moment.saturating_sub(now))
    }

    /// Tells those whose time is over. Those in flight keep their place, since Redis will answer them.
    fn expire(&mut self, now: Duration) {
        for Queue { calls, in_flight, .. } in self.queues.values_mut() {
            for waiting in calls.iter_mut().take(*in_flight).take_while(|waiting| waiting.due <= now) {
                if let Some(done) = waiting.done.take() {
                    done(Err(CallError::Late));
                }
            }
            while calls.get(*in_flight).is_some_and(|waiting| waiting.due <= now) {
                if let Some(waiting) = calls.remove(*in_flight) {
                    waiting.tell(Err(CallError::Late));
                }
            }
        }
    }

    fn note_time(&mut self, address: &Arc<str>, now: u64) {
        let Some(lane) = self.lanes.get_mut(address) else { return };
        lane.ahead = now.saturating_sub(millis(self.clock.uptime()));
        let is_its =
            |key: &String| self.map.master_of(slot_of(key.as_bytes())).is_some_and(|its| its.address == *address);
        if self.greeting.as_ref().and_then(|greeting| greeting.keys.first()).is_none_or(is_its) {
            self.ahead.store(lane.ahead, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests;
