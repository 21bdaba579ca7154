//! What all worker threads of one server share.

use std::{
    net::IpAddr,
    num::NonZeroU32,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64},
    },
    time::Duration,
};

use actix::Addr;
use governor::{
    Quota, RateLimiter,
    middleware::NoOpMiddleware,
    nanos::Nanos,
    state::{InMemoryState, NotKeyed},
};
use parking_lot::Mutex;

use crate::{
    actors::{
        accounts::Accounts,
        attendants::Attendants,
        channels::{Directory, listening::Listening},
        connections::Connections,
        fanout::{HubHandle, hub::CredentialsChanged},
        metrics::Metrics,
        nodes::About,
        refusals::{Reason, Refusals},
        stats::Stats,
    },
    clock::{Clock, OncePerSecond},
    core::{keepalive::Timeouts, rate::FrameRate, rules::Namespaces},
    live::Live,
    log::Log,
};

/// One server's shared parts; every actor holds an `Arc` of it.
pub struct Broker {
    pub clock: Clock,
    pub log: Arc<dyn Log>,
    pub namespaces: Arc<dyn Namespaces>,
    pub connections: Connections,
    /// Whatever is kept for a client is charged here.
    pub accounts: Arc<Accounts>,
    pub directory: Directory,
    pub metrics: Addr<Metrics>,
    pub stats: Addr<Stats>,
    pub settings: Live<Settings>,
    /// What `/ready` says: off from the moment the server begins to stop.
    pub ready: Arc<AtomicBool>,
    /// No new client is admitted: load balancers have had the time to see that the server is not ready.
    pub closing: AtomicBool,
    /// For at most one warning a second about channels that there is no room for.
    pub refusal_warning: OncePerSecond,
    /// Who was turned away, and why.
    pub refusals: Refusals,
    /// For at most one warning a second about messages that could not be written to disk.
    pub disk_warning: OncePerSecond,
    /// Who hears what protocols ask and tell each other at other nodes.
    pub attendants: Attendants,
    /// Which metachannels are open at which nodes.
    pub listening: Listening,
    /// The hubs of all worker threads, for what concerns every connection.
    pub hubs: Mutex<Vec<HubHandle>>,
    /// Said once, when the ports are open.
    pub about: OnceLock<About>,
    /// How long the slowest worker thread took to answer the last time, in microseconds.
    pub round_trip: AtomicU64,
}

/// The part of the configuration that the actors need.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bytes that may wait for one socket.
    pub outbox_bytes: usize,
    /// What an attachment may be sent of what it missed, in bytes of memory ([`crate::core::message::Entry::cost`]).
    pub replay_bytes: usize,
    pub channels_per_connection: usize,
    pub timeouts: Timeouts,
    /// How long the peer may take to answer a close frame.
    pub close_timeout: Duration,
    /// Frames that one connection may send; none = as many as it likes.
    pub frame_rate: Option<FrameRate>,
    /// How often a channel looks at what it still needs.
    pub channel_sweep: Duration,
}

/// Counts what somebody sends, for limits that a protocol has beside the rate of a connection.
pub type FrameLimiter = RateLimiter<NotKeyed, InMemoryState, Clock, NoOpMiddleware<Nanos>>;

/// Lets `per_second` through; none: 0, which is as many as there are.
pub fn limiter(per_second: u32, clock: &Clock) -> Option<FrameLimiter> {
    let rate = NonZeroU32::new(per_second)?;
    Some(RateLimiter::direct_with_clock(Quota::per_second(rate), clock.clone()))
}

impl Broker {
    /// Every connection is to look whether its credentials are worth what they were.
    pub fn credentials_changed(&self) {
        for hub in self.hubs.lock().iter() {
            hub.address.do_send(CredentialsChanged);
        }
    }

    /// Counts a refusal, and logs why; the reason must not contain a token.
    pub fn refused(&self, reason: Reason, address: Option<IpAddr>, why: impl FnOnce() -> String) {
        self.refusals.note(&self.clock, reason, address, why);
    }
}
