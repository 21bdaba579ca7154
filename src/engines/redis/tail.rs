//! What others publish, as it comes: a connection of its own to each server that has slots (`SSUBSCRIBE`: a topic is in the slot that
//! a key of its name would be in). All topics are subscribed to again when it comes back, or where they are now.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::{
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
        watch,
    },
    time::{interval, sleep},
};

use super::{
    ClientError, EndWithOwner, MultiplexedConnection, PushInfo, PushKind, RedisError, Slots, Value, cmd,
    link::Inner,
    masters::{Job, Pauses, Works, next},
    pipe,
    slots::{Map, slot_of},
};
use crate::limits;

/// What a subscriber hears.
pub enum Heard {
    Message(Bytes),
    /// The connection was away, or the topic has moved: what was published meanwhile is not heard.
    Missed,
}

/// Called by the tail's task; must be quick.
pub type Hears = Box<dyn Fn(Heard) + Send>;

/// A handle, cheap to clone.
#[derive(Clone)]
pub struct Tail {
    orders: UnboundedSender<Order>,
    _task: Arc<EndWithOwner>,
}

enum Order {
    Subscribe(Vec<u8>, Subscriber),
    Unsubscribe(Vec<u8>),
    /// Those whose topics begin like this are told that they may have missed something.
    Alarm(Vec<u8>),
}

struct Subscriber {
    hears: Hears,
    /// Called when it is subscribed to.
    done: Option<Box<dyn FnOnce() + Send>>,
    /// By which connection it is subscribed to.
    at: Option<u64>,
}

impl Tail {
    /// Connects in the background, on the current runtime.
    pub fn start(slots: &Slots) -> Self {
        let (orders, incoming) = unbounded_channel();
        let (pushes, pushed) = unbounded_channel();
        let listener = Listener {
            slots: slots.clone(),
            watched: slots.watch(),
            map: Arc::default(),
            incoming,
            topics: HashMap::new(),
            lanes: HashMap::new(),
            made: 0,
            pushes,
            pushed,
            refused: HashSet::new(),
        };
        Self { orders, _task: Arc::new(EndWithOwner(tokio::spawn(listener.run()))) }
    }

    /// From the moment of `done` on, everything that is published there is heard, or that something was missed. Takes the
    /// place of an earlier subscriber.
    pub fn subscribe(&self, topic: Vec<u8>, hears: Hears, done: Box<dyn FnOnce() + Send>) {
        // Its listener ends with the last handle only.
        let _ = self.orders.send(Order::Subscribe(topic, Subscriber { hears, done: Some(done), at: None }));
    }

    pub fn unsubscribe(&self, topic: Vec<u8>) {
        let _ = self.orders.send(Order::Unsubscribe(topic));
    }

    /// Tells the subscribers of topics that begin like this that they may have missed something.
    pub fn alarm(&self, topics: Vec<u8>) {
        let _ = self.orders.send(Order::Alarm(topics));
    }
}

struct Listener {
    slots: Slots,
    watched: watch::Receiver<Arc<Map>>,
    map: Arc<Map>,
    incoming: UnboundedReceiver<Order>,
    /// What is to be heard, whether or not there is a connection.
    topics: HashMap<Vec<u8>, Subscriber>,
    /// By address.
    lanes: HashMap<Arc<str>, Lane>,
    /// Connections so far.
    made: u64,
    pushes: UnboundedSender<(u64, PushInfo)>,
    pushed: UnboundedReceiver<(u64, PushInfo)>,
    /// Topics that a server did not take, since it does not serve their slot now, or whose slot nobody has.
    refused: HashSet<Vec<u8>>,
}

/// The connection to one server.
struct Lane {
    inner: Arc<Inner>,
    number: u64,
    connection: Option<MultiplexedConnection>,
    /// While it connects, or waits for answers.
    job: Option<Job<Told>>,
    /// Looks in a row that have found the same job.
    seconds: u8,
    joining: Vec<Vec<u8>>,
    leaving: Vec<Vec<u8>>,
    /// Of the job: what is joined, behind so many that are left.
    asked: (usize, Vec<Vec<u8>>),
    /// What was left, until that is confirmed.
    left: HashSet<Vec<u8>>,
    pauses: Pauses,
}

enum Told {
    Connected(Result<MultiplexedConnection, RedisError>),
    Answers(Result<Vec<Value>, ClientError>),
}

impl Listener {
    async fn run(mut self) {
        self.take_map();
        let mut seconds = interval(limits::REDIS_CHECK);
        loop {
            self.lanes.values_mut().for_each(|lane| lane.ask(&self.topics));
            tokio::select! {
                Some((number, push)) = self.pushed.recv() => self.hear(number, push),
                (address, told) = next(&mut self.lanes) => self.told(&address, told),
                changed = self.watched.changed() => match changed {
                    Ok(()) => self.take_map(),
                    Err(_) => return,
                },
                order = self.incoming.recv() => {
                    // Every handle is gone.
                    let Some(order) = order else { return };
                    self.carry_out(order);
                    while let Ok(order) = self.incoming.try_recv() {
                        self.carry_out(order);
                    }
                }
                _ = seconds.tick() => self.look(),
            }
        }
    }

    fn carry_out(&mut self, order: Order) {
        match order {
            Order::Subscribe(topic, subscriber) => {
                self.topics.insert(topic.clone(), subscriber);
                self.place(topic);
            }
            Order::Unsubscribe(topic) => {
                self.topics.remove(&topic);
                if let Some(lane) = self.lane_of(&topic) {
                    lane.leaving.push(topic);
                }
            }
            Order::Alarm(topics) => {
                let alarmed = self.topics.iter().filter(|(topic, _)| topic.starts_with(&topics));
                alarmed.for_each(|(_, subscriber)| (subscriber.hears)(Heard::Missed));
            }
        }
    }

    /// Who has the slot of a topic, if there is a connection. Whoever connects begins with all that are there.
    fn lane_of(&mut self, topic: &[u8]) -> Option<&mut Lane> {
        let master = self.map.master_of(slot_of(topic))?;
        self.lanes.get_mut(&master.address).filter(|lane| lane.connection.is_some())
    }

    fn place(&mut self, topic: Vec<u8>) {
        if self.map.master_of(slot_of(&topic)).is_none() {
            // Whoever told of the slots may not have known all.
            self.slots.doubt();
            self.refused.insert(topic);
        } else if let Some(lane) = self.lane_of(&topic) {
            lane.joining.push(topic);
        }
    }

    /// Goes by what is known of the servers now: what has moved is subscribed to where it is.
    fn take_map(&mut self) {
        self.map = Arc::clone(&self.watched.borrow_and_update());
        // They are nowhere, so they are placed here.
        self.refused.clear();
        let masters = &self.map.masters;
        self.lanes.retain(|address, _| masters.iter().any(|master| master.address == *address));
        for master in Arc::clone(&self.map).masters.iter() {
            if !self.lanes.contains_key(&master.address) {
                self.connect(master, Pauses::default(), Duration::ZERO);
            }
        }
        let is_at = |topic: &[u8], at| {
            let lane = self.map.master_of(slot_of(topic)).and_then(|master| self.lanes.get(&master.address));
            lane.is_some_and(|lane| Some(lane.number) == at)
        };
        let moved = self.topics.iter().filter(|(topic, subscriber)| !is_at(topic, subscriber.at));
        let moved: Vec<Vec<u8>> = moved.map(|(topic, _)| topic.clone()).collect();
        for topic in moved {
            if let Some(subscriber) = self.topics.get_mut(&topic) {
                subscriber.at = None;
            }
            self.place(topic);
        }
    }

    fn connect(&mut self, master: &Arc<Inner>, pauses: Pauses, wait: Duration) {
        self.made += 1;
        let (number, inner, pushes) = (self.made, Arc::clone(master), self.pushes.clone());
        let job = async move {
            sleep(wait).await;
            Told::Connected(inner.listen(move |push| pushes.send((number, push)).map_err(drop)).await)
        };
        let lane = Lane {
            inner: Arc::clone(master),
            number,
            connection: None,
            job: Some(Box::pin(job)),
            seconds: 0,
            joining: Vec::new(),
            leaving: Vec::new(),
            asked: (0, Vec::new()),
            left: HashSet::new(),
            pauses,
        };
        self.lanes.insert(Arc::clone(&master.address), lane);
    }

    fn hear(&mut self, number: u64, PushInfo { kind, data }: PushInfo) {
        let mut data = data.into_iter();
        let is_broken = match (kind, data.next(), data.next()) {
            (PushKind::SMessage, Some(Value::BulkString(topic)), Some(Value::BulkString(body))) => {
                if let Some(subscriber) = self.topics.get(&topic) {
                    (subscriber.hears)(Heard::Message(body.into()));
                }
                false
            }
            // Its slot has moved, if nobody has asked for that: then this counts as the answer to what was asked.
            (PushKind::SUnsubscribe, Some(Value::BulkString(topic)), _) => {
                let lane = self.lanes.values_mut().find(|lane| lane.number == number);
                lane.is_some_and(|lane| !lane.left.remove(&topic))
            }
            (PushKind::Disconnection, ..) => true,
            _ => false,
        };
        let broken = self.lanes.values().find(|lane| is_broken && lane.number == number);
        if let Some((inner, error)) = broken.map(|lane| (Arc::clone(&lane.inner), lane.inner.silent())) {
            self.broke(&inner, &error);
        }
    }

    fn told(&mut self, address: &Arc<str>, told: Told) {
        // What came before the answer, so what was left is confirmed by now.
        let number = self.lanes.get(address).map(|lane| lane.number);
        while let Ok((number, push)) = self.pushed.try_recv() {
            self.hear(number, push);
        }
        let Some(lane) = self.lanes.get_mut(address).filter(|lane| Some(lane.number) == number) else { return };
        (lane.job, lane.seconds) = (None, 0);
        lane.left.clear();
        let (inner, number) = (Arc::clone(&lane.inner), lane.number);
        match told {
            Told::Connected(Ok(connection)) => {
                lane.connection = Some(connection);
                lane.pauses = Pauses::default();
                let is_its =
                    |topic: &[u8]| self.map.master_of(slot_of(topic)).is_some_and(|master| master.address == *address);
                lane.joining = self.topics.keys().filter(|topic| is_its(topic)).cloned().collect();
            }
            Told::Connected(Err(error)) => self.broke(&inner, &error),
            Told::Answers(Err(error)) => self.broke(&inner, &inner.told("SSUBSCRIBE", &error)),
            Told::Answers(Ok(answers)) => {
                let (left, asked) = std::mem::take(&mut lane.asked);
                for (topic, answer) in asked.into_iter().zip(answers.into_iter().skip(left)) {
                    let Some(subscriber) = self.topics.get_mut(&topic) else { continue };
                    if matches!(answer, Value::ServerError(_)) {
                        self.refused.insert(topic);
                    } else if subscriber.at != Some(number) {
                        subscriber.at = Some(number);
                        match subscriber.done.take() {
                            Some(done) => done(),
                            None => (subscriber.hears)(Heard::Missed),
                        }
                    }
                }
                if !self.refused.is_empty() {
                    self.slots.doubt();
                }
            }
        }
    }

    /// Connects anew.
    fn broke(&mut self, inner: &Arc<Inner>, error: &RedisError) {
        tracing::debug!(%error, "what others publish is not heard");
        self.slots.doubt();
        let mut pauses = self.lanes.get(&inner.address).map_or_else(Pauses::default, |lane| lane.pauses);
        let pause = pauses.next();
        self.connect(inner, pauses, pause);
    }

    /// Each second: who has nothing to do is asked whether it is there.
    fn look(&mut self) {
        for topic in std::mem::take(&mut self.refused) {
            if self.topics.contains_key(&topic) {
                self.place(topic);
            }
        }
        for lane in self.lanes.values_mut() {
            match (&lane.connection, &lane.job) {
                (_, Some(_)) => {
                    lane.seconds = lane.seconds.saturating_add(1);
                    if lane.seconds > 1 {
                        // While it says nothing its slots may be another one's.
                        self.slots.doubt();
                    }
                }
                (Some(connection), None) => {
                    let mut connection = connection.clone();
                    lane.job = Some(Box::pin(async move {
                        let answer: Result<Value, _> = cmd("PING").query_async(&mut connection).await;
                        Told::Answers(answer.map(|_| Vec::new()))
                    }));
                }
                (None, None) => {}
            }
        }
    }
}

impl Lane {
    /// Leaves and joins what is to be left and joined by now.
    fn ask(&mut self, topics: &HashMap<Vec<u8>, Subscriber>) {
        let Some(connection) = self.connection.as_ref().filter(|_| self.job.is_none()) else { return };
        if self.joining.is_empty() && self.leaving.is_empty() {
            return;
        }
        let mut leaving = std::mem::take(&mut self.leaving);
        leaving.retain(|topic| !topics.contains_key(topic));
        let mut joining = std::mem::take(&mut self.joining);
        self.joining = joining.split_off(joining.len().min(limits::REDIS_TOPICS));
        joining.retain(|topic| topics.contains_key(topic));
        if leaving.is_empty() && joining.is_empty() {
            return;
        }
        // One by one, since those of different slots cannot be asked for together.
        let mut pipeline = pipe();
        pipeline.ignore_errors();
        for topic in &leaving {
            pipeline.cmd("SUNSUBSCRIBE").arg(topic);
        }
        for topic in &joining {
            pipeline.cmd("SSUBSCRIBE").arg(topic);
        }
        self.asked = (leaving.len(), joining);
        self.left.extend(leaving);
        let mut connection = connection.clone();
        self.job = Some(Box::pin(async move { Told::Answers(pipeline.query_async(&mut connection).await) }));
    }
}

impl Works for Lane {
    type Told = Told;

    fn job(&mut self) -> &mut Option<Job<Told>> {
        &mut self.job
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engines::redis::slots::tests::told;

    /// A map that a server told that knows only part, all of which are healthy: the others are asked, again and again.
    #[tokio::test]
    async fn who_has_a_topic_that_nobody_has_is_asked() {
        let slots = told(&[], &[(0, 0, 0)]);
        let tail = Tail::start(&slots);
        tail.subscribe(b"ls:{p1}t:room".to_vec(), Box::new(|_| {}), Box::new(|| {}));
        for _ in 0..2 {
            slots.doubted().await;
        }
    }
}
