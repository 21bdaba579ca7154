//! What others publish, as it comes: a connection of its own, which is subscribed to all topics again when it comes back.

use std::{collections::HashMap, future::Future, pin::pin, sync::Arc};

use bytes::Bytes;
use futures_util::StreamExt as _;
use rand::RngExt as _;
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::{sleep, timeout},
};

use super::{EndWithOwner, PubSubSink, Redis, RedisError, link::Inner};
use crate::limits;

/// What a subscriber hears.
pub enum Heard {
    Message(Bytes),
    /// The connection was away: what was published meanwhile is not heard.
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
    Alarm(&'static [u8]),
}

struct Subscriber {
    hears: Hears,
    /// Called when it is subscribed to.
    done: Option<Box<dyn FnOnce() + Send>>,
}

impl Tail {
    /// Connects in the background, on the current runtime.
    pub fn start(redis: &Redis) -> Self {
        let (orders, incoming) = unbounded_channel();
        let listener = Listener { inner: Arc::clone(&redis.inner), incoming, topics: HashMap::new() };
        Self { orders, _task: Arc::new(EndWithOwner(tokio::spawn(listener.run()))) }
    }

    /// From the moment of `done` on, everything that is published there is heard, or that something was missed. Takes the
    /// place of an earlier subscriber.
    pub fn subscribe(&self, topic: Vec<u8>, hears: Hears, done: Box<dyn FnOnce() + Send>) {
        // Its listener ends with the last handle only.
        let _ = self.orders.send(Order::Subscribe(topic, Subscriber { hears, done: Some(done) }));
    }

    pub fn unsubscribe(&self, topic: Vec<u8>) {
        let _ = self.orders.send(Order::Unsubscribe(topic));
    }

    /// Tells the subscribers of topics that begin like this that they may have missed something.
    pub fn alarm(&self, topics: &'static [u8]) {
        let _ = self.orders.send(Order::Alarm(topics));
    }
}

struct Listener {
    inner: Arc<Inner>,
    incoming: UnboundedReceiver<Order>,
    /// What is to be heard, whether or not there is a connection.
    topics: HashMap<Vec<u8>, Subscriber>,
}

impl Listener {
    async fn run(mut self) {
        let mut pause = limits::REDIS_PAUSE_FIRST;
        loop {
            match self.listen().await {
                // Every handle is gone.
                None => return,
                Some((error, was_up)) => {
                    tracing::debug!(%error, "what others publish is not heard");
                    if was_up {
                        pause = limits::REDIS_PAUSE_FIRST;
                    }
                }
            }
            let share = rand::rng().random_range(0.5..1.0);
            if self.meanwhile(sleep(pause.mul_f64(share))).await.is_none() {
                return;
            }
            pause = limits::REDIS_PAUSE_LAST.min(pause * 2);
        }
    }

    /// Listens until the connection breaks: why, and whether there was one. None: every handle is gone.
    async fn listen(&mut self) -> Option<(RedisError, bool)> {
        let inner = Arc::clone(&self.inner);
        let (mut sink, mut messages) = match self.meanwhile(inner.pubsub()).await? {
            Ok(connection) => connection.split(),
            Err(error) => return Some((error, false)),
        };
        let topics: Vec<Vec<u8>> = self.topics.keys().cloned().collect();
        for topics in topics.chunks(limits::REDIS_TOPICS) {
            if let Err(error) = subscribe(&self.inner, &mut sink, topics).await {
                return Some((error, false));
            }
        }
        for subscriber in self.topics.values_mut() {
            match subscriber.done.take() {
                Some(done) => done(),
                None => (subscriber.hears)(Heard::Missed),
            }
        }
        loop {
            tokio::select! {
                message = messages.next() => match message {
                    Some(message) => {
                        if let Some(subscriber) = self.topics.get(message.get_channel_name().as_bytes()) {
                            (subscriber.hears)(Heard::Message(Bytes::copy_from_slice(message.get_payload_bytes())));
                        }
                    }
                    None => return Some((self.inner.silent(), true)),
                },
                order = self.incoming.recv() => {
                    if let Err(error) = self.carry_out(order?, &mut sink).await {
                        return Some((error, true));
                    }
                }
                // Asked only while nothing comes. To subscribe again changes nothing, and is answered.
                () = sleep(limits::REDIS_CHECK) => {
                    if let Err(error) = subscribe(&self.inner, &mut sink, &[b"ls:alive".to_vec()]).await {
                        return Some((error, true));
                    }
                }
            }
        }
    }

    /// Waits for something; meanwhile what is ordered is noted, to be carried out with the next connection.
    async fn meanwhile<T>(&mut self, what: impl Future<Output = T>) -> Option<T> {
        let mut what = pin!(what);
        loop {
            tokio::select! {
                biased;
                answer = &mut what => return Some(answer),
                order = self.incoming.recv() => {
                    match order? {
                        Order::Subscribe(topic, subscriber) => drop(self.topics.insert(topic, subscriber)),
                        Order::Unsubscribe(topic) => drop(self.topics.remove(&topic)),
                        // All are told when the connection is back.
                        Order::Alarm(_) => {}
                    }
                }
            }
        }
    }

    /// Carries out this order and those that wait behind it, subscriptions that follow each other by one command.
    async fn carry_out(&mut self, first: Order, sink: &mut PubSubSink) -> Result<(), RedisError> {
        let mut next = Some(first);
        let mut joining = Vec::new();
        while let Some(order) = next.take() {
            let leaving = match order {
                Order::Subscribe(topic, subscriber) => {
                    self.topics.insert(topic.clone(), subscriber);
                    joining.push(topic);
                    None
                }
                Order::Unsubscribe(topic) => Some(topic),
                Order::Alarm(topics) => {
                    let alarmed = self.topics.iter().filter(|(topic, _)| topic.starts_with(topics));
                    alarmed.for_each(|(_, subscriber)| (subscriber.hears)(Heard::Missed));
                    None
                }
            };
            if joining.len() < limits::REDIS_TOPICS {
                next = self.incoming.try_recv().ok();
            }
            if !joining.is_empty() && (leaving.is_some() || next.is_none()) {
                // If the connection breaks it is done with the next one.
                subscribe(&self.inner, sink, &joining).await?;
                for topic in joining.drain(..) {
                    if let Some(done) = self.topics.get_mut(&topic).and_then(|subscriber| subscriber.done.take()) {
                        done();
                    }
                }
            }
            if let Some(topic) = leaving {
                self.topics.remove(&topic);
                let left = timeout(limits::REDIS_ANSWER, sink.unsubscribe(&topic[..])).await;
                left.map_err(|_| self.inner.silent())?.map_err(|error| self.inner.told("UNSUBSCRIBE", &error))?;
            }
        }
        Ok(())
    }
}

async fn subscribe(inner: &Inner, sink: &mut PubSubSink, topics: &[Vec<u8>]) -> Result<(), RedisError> {
    let subscribed = timeout(limits::REDIS_ANSWER, sink.subscribe(topics)).await;
    subscribed.map_err(|_| inner.silent())?.map_err(|error| inner.told("SUBSCRIBE", &error))
}
