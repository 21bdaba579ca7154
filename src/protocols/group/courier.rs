//! Brings what was committed to the channels, in the order of the commits (`docs/protocols/group.md §6`).
//!
//! The store tells on its own thread, channels live on those of the workers: a task on one of these takes over. So
//! everybody sees the messages of a group in the order of their numbers, and somebody who was removed sees none that
//! was sent after that. What was committed together goes to its channel together, so that each socket is written to once.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use actix_web::rt;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::{
    actors::{
        broker::Broker,
        questions::{AppendAll, ask},
        undone::Command,
    },
    core::{
        command::{AttachmentId, Detach, Publish},
        message::{Body, EntryId, Message},
    },
    error::Fault,
    ids::ChannelName,
    limits,
    protocols::group::{post::group_channel, roll::Roll},
};

/// Comes back with the detachment of somebody who is no member any more.
pub const REMOVED: Bytes = Bytes::from_static(b"removed");

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
    bag: UnboundedSender<Parcel>,
    /// Taken by the thread that carries; put back when that ends.
    waiting: Mutex<Option<Waiting>>,
    outstanding: AtomicUsize,
}

/// What is to be carried, in order.
struct Waiting {
    /// Seen already, and not carried yet.
    next: VecDeque<Parcel>,
    more: UnboundedReceiver<Parcel>,
}

impl Waiting {
    /// Waits for a parcel and looks how many there are behind it. False: none will come any more.
    async fn look(&mut self) -> bool {
        if self.next.is_empty() {
            self.next.extend(self.more.recv().await);
        }
        while self.next.len() < limits::GROUP_TOGETHER
            && let Ok(parcel) = self.more.try_recv()
        {
            self.next.push_back(parcel);
        }
        !self.next.is_empty()
    }
}

impl Default for Courier {
    fn default() -> Self {
        let (bag, more) = unbounded_channel();
        let next = VecDeque::new();
        Self { bag, waiting: Mutex::new(Some(Waiting { next, more })), outstanding: AtomicUsize::new(0) }
    }
}

/// Puts the parcels back when the thread ends: the next one that comes takes over.
struct Carrying<'a> {
    courier: &'a Courier,
    waiting: Option<Waiting>,
}

impl Drop for Carrying<'_> {
    fn drop(&mut self) {
        *self.courier.waiting.lock() = self.waiting.take();
    }
}

impl Courier {
    /// Whether so much waits that nothing more is to be taken in. The queue itself has no bound: what was committed
    /// must not be refused.
    pub fn is_full(&self) -> bool {
        self.outstanding() >= limits::GROUP_OUTSTANDING
    }

    /// What waits.
    pub fn outstanding(&self) -> usize {
        self.outstanding.load(Ordering::Relaxed)
    }

    pub fn hand_over(&self, parcel: Parcel) {
        self.outstanding.fetch_add(1, Ordering::Relaxed);
        // Cannot fail: the receiver is in here, or with a task that puts it back.
        let _ = self.bag.send(parcel);
    }

    /// Carries, for ever, unless another thread does.
    pub async fn run(&self, roll: &Roll, broker: &Arc<Broker>) {
        let Some(waiting) = self.waiting.lock().take() else {
            return;
        };
        let mut carrying = Carrying { courier: self, waiting: Some(waiting) };
        while let Some(waiting) = &mut carrying.waiting
            && waiting.look().await
        {
            let carried = deliver(&waiting.next, roll, broker).await;
            waiting.next.drain(..carried);
            self.outstanding.fetch_sub(carried, Ordering::Relaxed);
        }
    }
}

impl Parcel {
    /// Something to publish on `channel`.
    fn to(&self, channel: &ChannelName) -> Option<Publish> {
        match self {
            Self::Publish { channel: own, id, message, is_ephemeral } if own == channel => Some(Publish {
                reply: None,
                attached: None,
                publisher: None,
                id: id.clone(),
                body: Body::Messages(vec![message.clone()]),
                is_ephemeral: *is_ephemeral,
                refusal: None,
            }),
            _ => None,
        }
    }
}

/// Carries the first of the parcels, and those behind it that go the same way; how many these were.
async fn deliver(parcels: &VecDeque<Parcel>, roll: &Roll, broker: &Arc<Broker>) -> usize {
    match parcels.front() {
        None => return 0,
        Some(Parcel::Publish { channel, .. }) => {
            let together = parcels.iter().map_while(|parcel| parcel.to(channel));
            return publish_there(channel, together.collect(), broker).await;
        }
        Some(Parcel::Welcome { user, group }) => {
            for visitor in roll.of(user) {
                visitor.invite(group);
            }
        }
        Some(Parcel::Evict { user, group }) => evict(user, group, roll, broker),
    }
    1
}

/// How many of them are done with.
async fn publish_there(channel: &ChannelName, publishes: Vec<Publish>, broker: &Arc<Broker>) -> usize {
    for _ in 0..limits::GROUP_RETRIES {
        // No room for another channel: then nobody is on this one.
        let Ok(address) = broker.directory.channel(channel, broker) else {
            return publishes.len();
        };
        match ask(Ok(address.recipient()), AppendAll(publishes.clone())).await {
            Err(Fault::Busy | Fault::DiskFull) if !broker.closing.load(Ordering::Relaxed) => {
                rt::time::sleep(limits::GROUP_RETRY).await;
            }
            Ok(count) => return count,
            Err(fault) => {
                tracing::error!(%fault, "a stored group message is not delivered to who is connected");
                return 1;
            }
        }
    }
    tracing::error!("a channel was busy for too long; who is connected misses a stored group message");
    1
}

fn evict(user: &str, group: &Arc<str>, roll: &Roll, broker: &Arc<Broker>) {
    let name = group_channel(group);
    for visitor in roll.of(user) {
        let Ok(channel) = broker.directory.channel(&name, broker) else {
            return;
        };
        let hub = visitor.peer.hub.clone();
        let body = Detach {
            id: AttachmentId { session: visitor.peer.session, alias: 0 },
            connection: visitor.connection,
            hub: hub.id,
            context: REMOVED,
        };
        // Not refused by a full mailbox: somebody who stays although removed would be worse.
        channel.do_send(Command::new(hub, name.clone(), body));
    }
}
