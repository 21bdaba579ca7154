//! Channel name → actor. Asked when a connection attaches and, after an actor has ended, whether those of a thread's
//! channels still live; never on the way of a message.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use actix::Addr;
use parking_lot::Mutex;

use crate::{
    actors::{
        broker::Broker,
        channels::{channel::Channel, names::Names},
    },
    error::Fault,
    ids::{AppId, ChannelName},
};

/// The channels that have an actor.
pub struct Directory {
    channels: Mutex<Channels>,
    limit: AtomicUsize,
    restarts: AtomicU64,
    ended: AtomicU64,
}

#[derive(Default)]
struct Channels {
    actors: HashMap<ChannelName, Addr<Channel>>,
    /// The same channels in the order of their names.
    names: Names,
}

impl Directory {
    /// At most `limit` channels at once.
    pub fn new(limit: usize) -> Self {
        Self { channels: Mutex::default(), limit: limit.into(), restarts: AtomicU64::new(0), ended: AtomicU64::new(0) }
    }

    /// Another bound from now on; the channels that there are stay.
    pub fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// The actor of a channel, which may still be reading its log. There is always one: it is made on the calling thread
    /// when it is missing, and made anew when the old one has died. A supervisor would not do that: after a panic the
    /// mailbox of an actix actor is closed for good.
    ///
    /// # Errors
    /// [`Fault::Busy`] when the server holds as many channels as it may.
    pub fn channel(&self, name: &ChannelName, broker: &Arc<Broker>) -> Result<Addr<Channel>, Fault> {
        let mut channels = self.channels.lock();
        if let Some(address) = channels.actors.get(name) {
            if address.connected() {
                return Ok(address.clone());
            }
            if broker.closing.load(Ordering::Relaxed) {
                // It ended with its thread: a new one would have none.
                return Err(Fault::Busy);
            }
            self.restarts.fetch_add(1, Ordering::Relaxed);
            tracing::error!("a channel actor died; it is made anew from its log");
        } else if channels.actors.len() >= self.limit.load(Ordering::Relaxed) {
            if let Some(more) = broker.refusal_warning.allows(&broker.clock) {
                let limit = self.limit.load(Ordering::Relaxed);
                tracing::warn!(limit, more, "no room for another channel (limits.channels)");
            }
            return Err(Fault::Busy);
        }
        let address = Channel::open(name.clone(), broker);
        channels.actors.insert(name.clone(), address.clone());
        channels.names.add(name.clone());
        Ok(address)
    }

    /// The actor of a channel, if there is one that works.
    pub fn open(&self, name: &ChannelName) -> Option<Addr<Channel>> {
        let channels = self.channels.lock();
        channels.actors.get(name).filter(|address| address.connected()).cloned()
    }

    /// Whether `address` is the channel's actor, and still works.
    pub fn is_in_charge(&self, name: &ChannelName, address: &Addr<Channel>) -> bool {
        address.connected() && self.channels.lock().actors.get(name) == Some(address)
    }

    /// Forgets a channel that retires, if `address` is still the one in charge.
    pub fn release(&self, name: &ChannelName, address: &Addr<Channel>) {
        let mut channels = self.channels.lock();
        if channels.actors.get(name) == Some(address) {
            channels.actors.remove(name);
            channels.names.remove(name);
        }
    }

    pub fn len(&self) -> usize {
        self.channels.lock().actors.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first `count` channels of an app that have an actor, begin with `prefix` and come after `after`, by name.
    pub fn names(&self, app: AppId, prefix: &str, after: Option<&str>, count: usize) -> Vec<ChannelName> {
        self.channels.lock().names.range(app, prefix, after).take(count).cloned().collect()
    }

    /// An actor has ended that may have been in charge, or a channel has got none. Connections that are attached to it have
    /// to be taken over.
    pub(in crate::actors) fn note_end(&self) {
        self.ended.fetch_add(1, Ordering::Release);
    }

    /// How often that has happened.
    pub(in crate::actors) fn ended(&self) -> u64 {
        self.ended.load(Ordering::Acquire)
    }

    /// How often an actor had to be made anew.
    pub fn restarts(&self) -> u64 {
        self.restarts.load(Ordering::Relaxed)
    }
}
