//! What was committed waits here for the channels, in the order of the commits (`docs/protocols/group.md §6`).
//!
//! Commits are reported on the store's thread, channels live on those of the workers: a task on one of these takes over.
//! Each channel has a queue of its own, so that one that is too busy holds up no other group. In a queue, messages stand in
//! the order of their numbers, and the removal of a member before what was sent after it. What was committed together goes
//! to its channel together, so that each socket is written to once.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use actix_web::rt;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use parking_lot::Mutex;
use tokio::sync::{
    Mutex as AsyncMutex,
    mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
};

use super::Groups;
use crate::{
    actors::{broker::Broker, channels::Command},
    core::{
        command::{AttachmentId, Detach, Publish},
        message::{Body, Message},
    },
    error::Fault,
    ids::ChannelName,
    limits,
};

#[cfg(test)]
mod tests;

/// Something to be done on a channel, in order.
#[derive(Clone)]
pub enum Delivery {
    Publish(Box<Publish>),
    /// A user is a member of the group now: its connections attach.
    Attach {
        user: String,
    },
    /// A user is none any more: its connections are detached.
    Detach {
        user: String,
    },
}

impl Delivery {
    /// What it keeps.
    fn bytes(&self) -> usize {
        match self {
            Self::Publish(publish) => match &publish.body {
                Body::Messages(messages) => messages.iter().map(Message::size).sum(),
                _ => 0,
            },
            Self::Attach { user } | Self::Detach { user } => user.len(),
        }
    }
}

/// What waits for one channel.
#[derive(Default)]
struct Queue {
    deliveries: VecDeque<Delivery>,
    bytes: usize,
}

/// What waits, by channel.
pub struct DeliveryQueues {
    /// A queue is here as long as somebody is to empty it: its name is on its way by `ready`, or a task of [`Self::run`]
    /// has it.
    queues: Mutex<HashMap<ChannelName, Queue>>,
    ready: UnboundedSender<ChannelName>,
    /// Locked by the thread that delivers.
    to_drain: AsyncMutex<UnboundedReceiver<ChannelName>>,
    waiting: AtomicUsize,
    bytes: AtomicUsize,
}

impl Default for DeliveryQueues {
    fn default() -> Self {
        let (ready, to_drain) = unbounded_channel();
        let (waiting, bytes) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self { queues: Mutex::default(), ready, to_drain: AsyncMutex::new(to_drain), waiting, bytes }
    }
}

impl DeliveryQueues {
    /// Whether so much waits, for this channel or for all, that nothing more is to be accepted for it. The queue itself has
    /// no bound: what was committed must not be refused.
    pub fn is_full(&self, channel: &ChannelName) -> bool {
        let is_full = |queue: &Queue| {
            queue.deliveries.len() >= limits::GROUP_OUTSTANDING_OF_ONE
                || queue.bytes >= limits::GROUP_OUTSTANDING_BYTES_OF_ONE
        };
        self.waiting() >= limits::GROUP_OUTSTANDING
            || self.bytes.load(Ordering::Relaxed) >= limits::GROUP_OUTSTANDING_BYTES
            || self.queues.lock().get(channel).is_some_and(is_full)
    }

    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    pub fn push(&self, channel: ChannelName, delivery: Delivery) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let bytes = delivery.bytes();
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let mut queues = self.queues.lock();
        let is_new = !queues.contains_key(&channel);
        let queue = queues.entry(channel.clone()).or_default();
        queue.bytes += bytes;
        queue.deliveries.push_back(delivery);
        if !is_new {
            return;
        }
        // Cannot fail: the receiver is in here.
        let _ = self.ready.send(channel);
    }

    /// Delivers, for ever, unless another thread does. `deliver` gets the first deliveries of a channel; says how many
    /// are done with.
    pub async fn run(&self, deliver: impl AsyncFn(&ChannelName, Vec<Delivery>) -> usize) {
        // Unlocked when the thread ends: the next one that comes takes over.
        let Ok(mut to_drain) = self.to_drain.try_lock() else {
            return;
        };
        let mut drains = FuturesUnordered::new();
        {
            // All that there are, those that the thread before was emptying as well.
            let queues = self.queues.lock();
            while to_drain.try_recv().is_ok() {}
            drains.extend(queues.keys().map(|channel| self.drain(channel.clone(), &deliver)));
        }
        loop {
            tokio::select! {
                channel = to_drain.recv() => match channel {
                    Some(channel) => drains.push(self.drain(channel, &deliver)),
                    None => return,
                },
                Some(()) = drains.next() => {}
            }
        }
    }

    /// Empties one queue. What it takes stays in the queue until it is delivered.
    async fn drain(&self, channel: ChannelName, deliver: &impl AsyncFn(&ChannelName, Vec<Delivery>) -> usize) {
        loop {
            let next: Vec<_> = {
                let mut queues = self.queues.lock();
                let next = queues.get(&channel).into_iter().flat_map(|queue| &queue.deliveries);
                let next = next.take(limits::GROUP_TOGETHER);
                let next: Vec<_> = next.cloned().collect();
                if next.is_empty() {
                    queues.remove(&channel);
                    return;
                }
                next
            };
            let delivered = deliver(&channel, next).await;
            self.waiting.fetch_sub(delivered, Ordering::Relaxed);
            if let Some(queue) = self.queues.lock().get_mut(&channel) {
                let bytes = queue.deliveries.drain(..delivered).map(|delivery| delivery.bytes()).sum();
                queue.bytes -= bytes;
                self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            }
        }
    }
}

/// Comes back with the detachment of somebody who is no member any more.
pub const REMOVED: Bytes = Bytes::from_static(b"removed");

impl Groups {
    /// Delivers, for ever, unless another worker thread does.
    pub async fn deliver(&self, broker: &Arc<Broker>) {
        let deliver = async |channel: &ChannelName, all: Vec<Delivery>| {
            let mut publishes = Vec::new();
            for delivery in all {
                match delivery {
                    Delivery::Publish(publish) => publishes.push(*publish),
                    // After those that stand before it.
                    _ if !publishes.is_empty() => break,
                    Delivery::Attach { user } => {
                        for connection in self.online.registered(&*user) {
                            connection.notify(channel.clone());
                        }
                        return 1;
                    }
                    Delivery::Detach { user } => {
                        self.detach(broker, channel, &user);
                        return 1;
                    }
                }
            }
            publish_all(broker, channel, publishes).await
        };
        self.deliveries.run(deliver).await;
    }

    fn detach(&self, broker: &Arc<Broker>, name: &ChannelName, user: &str) {
        for (handle, connection) in self.connections_of(user) {
            let Ok(channel) = broker.directory.channel(name, broker, None) else {
                return;
            };
            let body = Detach {
                id: AttachmentId { session: handle.session, alias: 0 },
                connection,
                hub: handle.hub.id,
                context: REMOVED,
            };
            // Not refused by a full mailbox: somebody who stays although removed would be worse.
            channel.do_send(Command::new(handle.hub, name.clone(), body));
        }
    }
}

/// How many of them are done with. A channel that is too busy is asked again until it has them: nothing of a stored
/// message is left out, and meanwhile no more is accepted for its group than its queue may have.
async fn publish_all(broker: &Arc<Broker>, channel: &ChannelName, publishes: Vec<Publish>) -> usize {
    let mut rounds = 0_u32;
    loop {
        // No room for another channel: then nobody is on this one.
        if broker.directory.channel(channel, broker, None).is_err() {
            return publishes.len();
        }
        match broker.publish_all(channel, publishes.clone()).await {
            Err(Fault::Busy | Fault::DiskFull) if !broker.closing.load(Ordering::Relaxed) => {
                rounds += 1;
                if rounds.is_multiple_of(limits::GROUP_RETRIES) {
                    tracing::error!("a group's channel is busy for long; who is connected waits for its messages");
                }
                rt::time::sleep(limits::GROUP_RETRY).await;
            }
            Ok(count) => return count,
            Err(fault) => {
                tracing::error!(%fault, "a stored group message is not delivered to who is connected");
                return 1;
            }
        }
    }
}
