//! Channel name → actor. Asked when a connection attaches and, once a tick, whether the actors of a thread's
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
    actors::{broker::Broker, channels::channel::Channel},
    error::Fault,
    ids::{AppId, ChannelName},
};

/// The channels that have an actor.
pub struct Directory {
    channels: Mutex<HashMap<ChannelName, Addr<Channel>>>,
    limit: AtomicUsize,
    restarts: AtomicU64,
}

impl Directory {
    /// At most `limit` channels at once.
    pub fn new(limit: usize) -> Self {
        Self { channels: Mutex::default(), limit: limit.into(), restarts: AtomicU64::new(0) }
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
        if let Some(address) = channels.get(name) {
            if address.connected() {
                return Ok(address.clone());
            }
            if broker.closing.load(Ordering::Relaxed) {
                // It ended with its thread: a new one would have none.
                return Err(Fault::Busy);
            }
            self.restarts.fetch_add(1, Ordering::Relaxed);
            tracing::error!("a channel actor died; it is made anew from its log");
        } else if channels.len() >= self.limit.load(Ordering::Relaxed) {
            if let Some(more) = broker.refusal_warning.allows(&broker.clock) {
                let limit = self.limit.load(Ordering::Relaxed);
                tracing::warn!(limit, more, "no room for another channel (limits.channels)");
            }
            return Err(Fault::Busy);
        }
        let address = Channel::open(name.clone(), broker);
        channels.insert(name.clone(), address.clone());
        Ok(address)
    }

    /// The actor of a channel, if there is one that works.
    pub fn open(&self, name: &ChannelName) -> Option<Addr<Channel>> {
        let channels = self.channels.lock();
        channels.get(name).filter(|address| address.connected()).cloned()
    }

    /// Whether `address` is the channel's actor, and still works.
    pub fn is_in_charge(&self, name: &ChannelName, address: &Addr<Channel>) -> bool {
        address.connected() && self.channels.lock().get(name) == Some(address)
    }

    /// Forgets a channel that retires, if `address` is still the one in charge.
    pub fn release(&self, name: &ChannelName, address: &Addr<Channel>) {
        let mut channels = self.channels.lock();
        if channels.get(name) == Some(address) {
            channels.remove(name);
        }
    }

    pub fn len(&self) -> usize {
        self.channels.lock().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The channels of an app that have an actor, by name.
    pub fn names(&self, app: AppId) -> Vec<ChannelName> {
        let channels = self.channels.lock();
        let of_app = channels.keys().filter(|name| name.app() == app);
        let mut names: Vec<ChannelName> = of_app.cloned().collect();
        drop(channels);
        names.sort_unstable();
        names
    }

    /// How often an actor had to be made anew.
    pub fn restarts(&self) -> u64 {
        self.restarts.load(Ordering::Relaxed)
    }
}
