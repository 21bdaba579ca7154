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

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use parking_lot::Mutex;
use tokio::sync::{
    Mutex as AsyncMutex,
    mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
};

use crate::{core::command::Publish, ids::ChannelName, limits};

#[cfg(test)]
mod tests;

/// Something to be done on a channel, in order.
pub enum Delivery {
    Publish(Box<Publish>),
    /// A user is a member of the group now: its connections attach.
    Attach {
        user: String,
        group: Arc<str>,
    },
    /// A user is none any more: its connections are detached.
    Detach {
        user: String,
    },
}

/// What waits, by channel.
pub struct DeliveryQueues {
    /// A queue is here as long as somebody is to empty it: its name is on its way by `ready`, or a [`Draining`] has it.
    queues: Mutex<HashMap<ChannelName, VecDeque<Delivery>>>,
    ready: UnboundedSender<ChannelName>,
    /// Locked by the thread that delivers.
    to_drain: AsyncMutex<UnboundedReceiver<ChannelName>>,
    waiting: AtomicUsize,
}

impl Default for DeliveryQueues {
    fn default() -> Self {
        let (ready, to_drain) = unbounded_channel();
        Self { queues: Mutex::default(), ready, to_drain: AsyncMutex::new(to_drain), waiting: AtomicUsize::new(0) }
    }
}

impl DeliveryQueues {
    /// Whether so much waits, for this channel or for all, that nothing more is to be accepted for it. The queue itself has
    /// no bound: what was committed must not be refused.
    pub fn is_full(&self, channel: &ChannelName) -> bool {
        self.waiting() >= limits::GROUP_OUTSTANDING
            || self.queues.lock().get(channel).is_some_and(|queue| queue.len() >= limits::GROUP_OUTSTANDING_OF_ONE)
    }

    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    pub fn push(&self, channel: ChannelName, delivery: Delivery) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let mut queues = self.queues.lock();
        if let Some(queue) = queues.get_mut(&channel) {
            return queue.push_back(delivery);
        }
        queues.insert(channel.clone(), VecDeque::from([delivery]));
        // Cannot fail: the receiver is in here.
        let _ = self.ready.send(channel);
    }

    /// Delivers, for ever, unless another thread does. `deliver` takes the first of the deliveries of a channel, and those
    /// behind it that go the same way; says how many are done with.
    pub async fn run(&self, deliver: impl AsyncFn(&ChannelName, &VecDeque<Delivery>) -> usize) {
        // Unlocked when the thread ends: the next one that comes takes over.
        let Ok(mut to_drain) = self.to_drain.try_lock() else {
            return;
        };
        // Dropped before that, so that the next thread finds whatever they have not delivered.
        let mut drains = FuturesUnordered::new();
        loop {
            tokio::select! {
                channel = to_drain.recv() => match channel {
                    // Made here, not by the future: one that is never polled puts its queue back, too.
                    Some(channel) => drains.push(Draining::new(self, channel).drain(&deliver)),
                    None => return,
                },
                Some(()) = drains.next() => {}
            }
        }
    }
}

/// One queue being emptied.
struct Draining<'a> {
    all: &'a DeliveryQueues,
    channel: ChannelName,
    /// Off the queue already, and not delivered yet.
    next: VecDeque<Delivery>,
    is_done: bool,
}

impl<'a> Draining<'a> {
    const fn new(all: &'a DeliveryQueues, channel: ChannelName) -> Self {
        Self { all, channel, next: VecDeque::new(), is_done: false }
    }

    async fn drain(mut self, deliver: &impl AsyncFn(&ChannelName, &VecDeque<Delivery>) -> usize) {
        while self.take() {
            let delivered = deliver(&self.channel, &self.next).await;
            self.next.drain(..delivered);
            self.all.waiting.fetch_sub(delivered, Ordering::Relaxed);
        }
    }

    /// Takes what may go together. False: there is nothing any more, and the queue is gone.
    fn take(&mut self) -> bool {
        let mut queues = self.all.queues.lock();
        if let Some(queue) = queues.get_mut(&self.channel) {
            let room = limits::GROUP_TOGETHER.saturating_sub(self.next.len());
            self.next.extend(queue.drain(..room.min(queue.len())));
        }
        self.is_done = self.next.is_empty();
        if self.is_done {
            queues.remove(&self.channel);
        }
        !self.is_done
    }
}

impl Drop for Draining<'_> {
    /// Interrupted, it leaves everything to the next thread, in order.
    fn drop(&mut self) {
        if self.is_done {
            return;
        }
        let mut queues = self.all.queues.lock();
        let queue = queues.entry(self.channel.clone()).or_default();
        while let Some(delivery) = self.next.pop_back() {
            queue.push_front(delivery);
        }
        let _ = self.all.ready.send(self.channel.clone());
    }
}
