//! The lease of a node: as long as it renews it, others leave alone what it owns (`docs/design/cluster.md §3`).

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::oneshot,
    time::{sleep, timeout},
};

use super::{Done, RENEW, SharedLog, understand};
use crate::{engines::redis::Call, ids::NodeId, limits};

pub(super) const LEASES: &[u8] = b"ls:leases";

/// The channels in which a node has members or is counted.
pub(super) fn owned_by(node: NodeId) -> Vec<u8> {
    [b"ls:c:", &node.to_bytes()[..]].concat()
}

/// What a node knows of its own lease.
#[derive(Debug)]
pub(super) struct Lease {
    length: Duration,
    /// Until when it is held for certain, in milliseconds of the own clock (monotonic).
    until: AtomicU64,
    /// Renewals in a row that have found it held.
    renewals: AtomicU32,
}

/// What a renewal has told.
#[derive(Debug, PartialEq, Eq)]
pub struct Renewed {
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

    /// Its lease was renewed within its time.
    pub fn holds_lease(&self) -> bool {
        u64::try_from(self.0.clock.uptime().as_millis())
            .is_ok_and(|now| now < self.0.lease.until.load(Ordering::Relaxed))
    }

    /// A node that has not renewed its lease for so long is dead.
    pub fn lease(&self) -> Duration {
        self.0.lease.length
    }

    /// Renews the lease. To be called [`limits::LEASE_RENEWALS`] times in the time of a lease, and when the log tells that it is
    /// over.
    pub fn renew(&self, done: Done<Renewed>) {
        let asked = self.0.clock.uptime();
        let args = vec![node_bytes(self.0.node), self.lease().as_millis().to_string().into()];
        let log = self.clone();
        let renewed = move |answer| {
            let renewed = understand(answer, |parts| {
                let (standing, dead) = parts.split_at_checked(2)?;
                let dead: Option<Vec<NodeId>> = dead.iter().map(|node| read_node(node)).collect();
                Some((&standing[0][..] == b"1", read_node(&standing[1])?, dead?))
            });
            done(renewed.map(|(was_held, lowest, dead)| {
                let is_trusted = log.0.lease.note(asked, was_held);
                Renewed { lowest, dead: if is_trusted { dead } else { Vec::new() } }
            }));
        };
        self.0.appends.call(Call {
            script: RENEW,
            keys: vec![LEASES.to_vec()],
            args,
            repeats: true,
            done: Box::new(renewed),
        });
    }

    /// This node ends: waits for a moment until Redis has what it was asked for, and leaves the lease and what it stands for. Whoever
    /// comes back to another node before it is over was never away.
    pub async fn depart(&self) {
        let (told, renewed) = oneshot::channel();
        // Behind all that was appended before.
        self.renew(Box::new(|renewed| drop(told.send(renewed))));
        let flushed = async {
            let renewed = renewed.await;
            while self.waiting() > 0 {
                sleep(limits::DRAIN_CHECK).await;
            }
            renewed
        };
        if !matches!(timeout(limits::DRAIN_LAST_WORDS, flushed).await, Ok(Ok(Ok(_)))) {
            tracing::warn!("redis has not taken all that this server had to tell");
        }
    }
}

impl Lease {
    pub(super) const fn new(length: Duration) -> Self {
        Self { length, until: AtomicU64::new(0), renewals: AtomicU32::new(0) }
    }

    /// It was renewed by what was asked at a moment (monotonic): whether it was held for long enough to judge others.
    fn note(&self, asked: Duration, was_held: bool) -> bool {
        let until = u64::try_from((asked + self.length).as_millis()).unwrap_or_default();
        self.until.fetch_max(until, Ordering::Relaxed);
        if !was_held {
            self.renewals.store(0, Ordering::Relaxed);
            return false;
        }
        self.renewals.fetch_add(1, Ordering::Relaxed) + 1 >= limits::LEASE_TRUST
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
        let lease = Lease::new(Duration::from_secs(15));
        let at = Duration::from_secs;
        assert!(!lease.note(at(0), false), "it is new");
        assert!(!lease.note(at(3), true));
        assert!(!lease.note(at(6), true));
        assert!(lease.note(at(9), true));
        assert!(!lease.note(at(60), false), "it slept, or Redis was away");
        assert!(!lease.note(at(63), true));
        assert_eq!(lease.until.load(Ordering::Relaxed), 78_000);
    }
}
