//! The lease of a node: as long as it renews it, others leave alone what it owns (`docs/design/cluster.md §3`).
//!
//! It holds it in each domain ([`Domain`]), as one server of a Redis Cluster may be away while others are not.

use std::{collections::HashMap, time::Duration};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{
    sync::mpsc::unbounded_channel,
    time::{sleep, timeout},
};

use super::{Domain, Done, RENEW, SharedLog, counted, understand};
use crate::{
    engines::redis::Call,
    ids::{ChannelName, NodeId},
    limits,
    log::StoreError,
};

/// What a node knows of its own lease in one domain.
#[derive(Debug, Default)]
struct Lease {
    /// Until when it is held for certain, by the own clock (monotonic).
    until: Duration,
    /// Renewals in a row that have found it held.
    renewals: u32,
}

#[derive(Debug)]
pub(super) struct Leases {
    length: Duration,
    held: Mutex<HashMap<Domain, Lease>>,
}

/// What a renewal has told.
#[derive(Debug, PartialEq, Eq)]
pub struct Renewed {
    pub domain: Domain,
    /// The live node that is lowest in order.
    pub lowest: NodeId,
    /// Nodes that are dead and have left something, if this one may judge that.
    pub dead: Vec<NodeId>,
}

impl SharedLog {
    /// Who this server is among the nodes.
    pub fn node(&self) -> NodeId {
        self.0.node
    }

    /// Its lease was renewed within its time, where it counts for a channel.
    pub fn holds_lease(&self, channel: &ChannelName) -> bool {
        let leases = self.0.leases.held.lock();
        leases.get(&Domain::of(channel)).is_some_and(|lease| self.0.clock.uptime() < lease.until)
    }

    /// A node that has not renewed its lease for so long is dead.
    pub fn lease(&self) -> Duration {
        self.0.leases.length
    }

    /// Renews the lease in all domains, and tells `renewed` of each. To be called [`limits::LEASE_RENEWALS`]
    /// times in the time of a lease.
    pub fn renew(&self, renewed: impl Fn(Result<Vec<Renewed>, StoreError>) + Clone + Send + 'static) {
        let all: Vec<Domain> = Domain::all().collect();
        // One server does it by one script.
        let at_once = if self.0.appends.is_one_server() { all.len() } else { 1 };
        all.chunks(at_once).for_each(|domains| self.renew_in(domains.to_vec(), renewed.clone()));
    }

    /// Renews it where it counts for a channel, as when the log tells that it is over.
    pub fn renew_for(&self, channel: &ChannelName, done: Done<()>) {
        self.renew_in(vec![Domain::of(channel)], |renewed| done(renewed.map(drop)));
    }

    fn renew_in(&self, domains: Vec<Domain>, renewed: impl FnOnce(Result<Vec<Renewed>, StoreError>) + Send + 'static) {
        let asked = self.0.clock.uptime();
        let (life, count) = (self.lease().as_millis().to_string(), domains.len().to_string());
        let args = vec![node_bytes(self.0.node), life.into(), count.into()];
        let keys = domains.iter().map(|domain| domain.leases()).collect();
        let log = self.clone();
        let done = move |answer| {
            let mut lost = 0;
            renewed(understand(answer, |mut rest| {
                let read = |domain: Domain| {
                    let (standing, others) = rest.split_at_checked(2)?;
                    let dead;
                    (dead, rest) = counted(others)?;
                    let dead: Option<Vec<NodeId>> = dead.iter().map(|node| read_node(node)).collect();
                    let (was_held, mut leases) = (&standing[0][..] == b"1", log.0.leases.held.lock());
                    let lease = leases.entry(domain).or_default();
                    if !was_held && asked < lease.until {
                        lost += 1;
                        log.0.tail.alarm(domain.topics());
                    }
                    let dead = if lease.note(asked, was_held, log.lease()) { dead? } else { Vec::new() };
                    Some(Renewed { domain, lowest: read_node(&standing[1])?, dead })
                };
                domains.into_iter().map(read).collect()
            }));
            if lost > 0 {
                tracing::warn!(
                    parts = lost,
                    "redis has lost what it had of some parts; their channels look what is left"
                );
            }
        };
        self.0.appends.call(Call { script: RENEW, keys, args, repeats: true, done: Box::new(done) });
    }

    /// This node ends: waits for a moment until Redis has what it was asked for, and leaves the lease and what it stands for. Whoever
    /// comes back to another node before it is over was never away.
    pub async fn depart(&self) {
        // Behind all that was appended before.
        let (told, mut renewals) = unbounded_channel();
        self.renew(move |renewed| told.send(renewed.is_ok()).unwrap_or_default());
        let flushed = async {
            let mut is_done = true;
            while let Some(is_renewed) = renewals.recv().await {
                is_done &= is_renewed;
            }
            while self.waiting() > 0 {
                sleep(limits::DRAIN_CHECK).await;
            }
            is_done
        };
        if !matches!(timeout(limits::DRAIN_LAST_WORDS, flushed).await, Ok(true)) {
            tracing::warn!("redis has not taken all that this server had to tell");
        }
    }
}

impl Leases {
    pub fn new(length: Duration) -> Self {
        Self { length, held: Mutex::default() }
    }
}

impl Lease {
    /// It was renewed by what was asked at a moment (monotonic): whether it was held for long enough to judge others.
    fn note(&mut self, asked: Duration, was_held: bool, length: Duration) -> bool {
        self.until = self.until.max(asked + length);
        self.renewals = if was_held { self.renewals + 1 } else { 0 };
        self.renewals >= limits::LEASE_TRUST
    }
}

pub(super) fn node_bytes(node: NodeId) -> Bytes {
    Bytes::copy_from_slice(&node.to_bytes())
}

pub(super) fn read_node(bytes: &[u8]) -> Option<NodeId> {
    Some(NodeId::from_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_judges_others_after_it_has_held_its_own_lease_for_some_time() {
        let mut lease = Lease::default();
        let at = Duration::from_secs;
        let mut note = |seconds, was_held| lease.note(at(seconds), was_held, at(15));
        assert!(!note(0, false), "it is new");
        assert!(!note(3, true));
        assert!(!note(6, true));
        assert!(note(9, true));
        assert!(!note(60, false), "it slept, or Redis was away");
        assert!(!note(63, true));
        assert_eq!(lease.until, at(78));
    }
}
