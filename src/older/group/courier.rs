//! Brings what was committed to the channels, in the order of the commits (`docs/protocols/group.md §6`).
//!
//! The store tells on its own thread, channels live on those of the workers: a task on one of these takes over. Each
//! channel has a queue of its own, so that one that is too busy holds up nobody but its own group. Within a queue everybody
//! sees messages in the order of their numbers, and somebody who was removed sees none that was sent after that. What was
//! committed together goes to its channel together, so that each socket is written to once.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use parking_lot::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::{
    core::{
        command::Publish,
        message::{EntryId, Message},
    },
    ids::ChannelName,
    limits,
    older::group::post::group_channel,
};

mod carrier;
#[cfg(test)]
mod tests;

pub use carrier::{REMOVED, ToChannels};

/// Something to be done where channels are, in order.
pub enum Parcel {
    Publish {
        channel: ChannelName,
        id: EntryId,
        message: Message,
        is_ephemeral: bool,
    },
    /// A user is a member now: its connections attach.
    Welcome {
        user: String,
        group: Arc<str>,
    },
    /// A user is none any more: its connections are detached.
    Evict {
        user: String,
        group: Arc<str>,
    },
}

/// The way to the task.
pub struct Courier {
    /// A queue is here as long as somebody is to empty it: its name is on its way by `ready`, or a [`Line`] has it.
    queues: Mutex<HashMap<ChannelName, VecDeque<Parcel>>>,
    ready: UnboundedSender<ChannelName>,
    /// Taken by the thread that carries; put back when that ends.
    waiting: Mutex<Option<UnboundedReceiver<ChannelName>>>,
    outstanding: AtomicUsize,
}

/// Carries the first of the parcels of a channel, and those behind it that go the same way; tells how many are done with.
pub trait Carry {
    fn carry(&self, channel: &ChannelName, parcels: &VecDeque<Parcel>) -> impl Future<Output = usize>;
}

impl Default for Courier {
    fn default() -> Self {
        let (ready, waiting) = unbounded_channel();
        Self { queues: Mutex::default(), ready, waiting: Mutex::new(Some(waiting)), outstanding: AtomicUsize::new(0) }
    }
}

impl Courier {
    /// Whether so much waits, for this channel or for all, that nothing more is to be taken in for it. The queue itself has
    /// no bound: what was committed must not be refused.
    pub fn is_full(&self, channel: &ChannelName) -> bool {
        self.outstanding() >= limits::GROUP_OUTSTANDING
            || self.queues.lock().get(channel).is_some_and(|queue| queue.len() >= limits::GROUP_OUTSTANDING_OF_ONE)
    }

    /// What waits.
    pub fn outstanding(&self) -> usize {
        self.outstanding.load(Ordering::Relaxed)
    }

    pub fn hand_over(&self, parcel: Parcel) {
        self.outstanding.fetch_add(1, Ordering::Relaxed);
        let channel = parcel.channel();
        let mut queues = self.queues.lock();
        match queues.get_mut(&channel) {
            Some(queue) => queue.push_back(parcel),
            None => {
                queues.insert(channel.clone(), VecDeque::from([parcel]));
                // Cannot fail: the receiver is in here, or with a task that puts it back.
                let _ = self.ready.send(channel);
            }
        }
    }

    /// Carries, for ever, unless another thread does.
    pub async fn run(&self, carrier: &impl Carry) {
        let Some(waiting) = self.waiting.lock().take() else {
            return;
        };
        let mut carrying = Carrying { courier: self, waiting: Some(waiting) };
        // Dropped before the receiver is put back: whatever they have not carried is announced to who comes next.
        let mut lines = FuturesUnordered::new();
        while let Some(waiting) = &mut carrying.waiting {
            tokio::select! {
                channel = waiting.recv() => match channel {
                    // Made here, not by the future: one that is never polled puts its queue back, too.
                    Some(channel) => lines.push(Line::new(self, channel).empty(carrier)),
                    None => return,
                },
                Some(()) = lines.next() => {}
            }
        }
    }
}

/// Puts the receiver back when the thread ends: the next one that comes takes over.
struct Carrying<'a> {
    courier: &'a Courier,
    waiting: Option<UnboundedReceiver<ChannelName>>,
}

impl Drop for Carrying<'_> {
    fn drop(&mut self) {
        *self.courier.waiting.lock() = self.waiting.take();
    }
}

/// One queue being emptied.
struct Line<'a> {
    courier: &'a Courier,
    channel: ChannelName,
    /// Off the queue already, and not carried yet.
    next: VecDeque<Parcel>,
    is_empty: bool,
}

impl<'a> Line<'a> {
    const fn new(courier: &'a Courier, channel: ChannelName) -> Self {
        Self { courier, channel, next: VecDeque::new(), is_empty: false }
    }

    async fn empty(mut self, carrier: &impl Carry) {
        while self.look() {
            let carried = carrier.carry(&self.channel, &self.next).await;
            self.next.drain(..carried);
            self.courier.outstanding.fetch_sub(carried, Ordering::Relaxed);
        }
    }

    /// Takes what may go together. False: there is nothing any more, and the queue is gone.
    fn look(&mut self) -> bool {
        let mut queues = self.courier.queues.lock();
        if let Some(queue) = queues.get_mut(&self.channel) {
            let room = limits::GROUP_TOGETHER.saturating_sub(self.next.len());
            self.next.extend(queue.drain(..room.min(queue.len())));
        }
        self.is_empty = self.next.is_empty();
        if self.is_empty {
            queues.remove(&self.channel);
        }
        !self.is_empty
    }
}

impl Drop for Line<'_> {
    /// Interrupted, it leaves everything to the next thread, in order.
    fn drop(&mut self) {
        if self.is_empty {
            return;
        }
        let mut queues = self.courier.queues.lock();
        let queue = queues.entry(self.channel.clone()).or_default();
        while let Some(parcel) = self.next.pop_back() {
            queue.push_front(parcel);
        }
        let _ = self.courier.ready.send(self.channel.clone());
    }
}

impl Parcel {
    /// Whose queue it waits in: a member's coming and going stands between the messages of its group.
    fn channel(&self) -> ChannelName {
        match self {
            Self::Publish { channel, .. } => channel.clone(),
            Self::Welcome { group, .. } | Self::Evict { group, .. } => group_channel(group),
        }
    }

    fn publish(&self) -> Option<Publish> {
        match self {
            Self::Publish { id, message, is_ephemeral, .. } => {
                let publish = Publish::message(id.clone(), message.clone());
                Some(Publish { is_ephemeral: *is_ephemeral, ..publish })
            }
            Self::Welcome { .. } | Self::Evict { .. } => None,
        }
    }
}
