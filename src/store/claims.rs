//! Which of several servers that share a store has a row for itself. Its node stands in the row; the claim is void when that node
//! is gone. So what a server had in hand when it died is another's a little later, and nobody has to give anything back.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;

use crate::{clock::Clock, ids::NodeId, limits};

/// Who is said to have a row.
pub type Mark = [u8; 8];

/// Nobody has it.
pub const NOBODY: Mark = [0; 8];

/// What a server knows of the others who claim rows. Clones are the same.
#[derive(Clone)]
pub struct Claims(Arc<Inner>);

struct Inner {
    own: NodeId,
    alive: Box<dyn Fn() -> Vec<NodeId> + Send + Sync>,
    clock: Clock,
    /// A claim is void when its node was not seen for so long.
    void: Duration,
    /// Nodes that hold no lease, and since when they were not seen (monotonic).
    missing: Mutex<HashMap<Mark, Duration>>,
}

impl Claims {
    /// Of the node `own`; `alive` are those that hold a `lease`, which is that long.
    pub fn new(
        own: NodeId,
        alive: impl Fn() -> Vec<NodeId> + Send + Sync + 'static,
        lease: Duration,
        clock: Clock,
    ) -> Self {
        let void = lease * limits::LEASE_TRUST / limits::LEASE_RENEWALS;
        Self(Arc::new(Inner { own, alive: Box::new(alive), clock, void, missing: Mutex::default() }))
    }

    /// What stands in a row that this server has.
    pub fn own(&self) -> Mark {
        self.0.own.to_bytes()
    }

    /// Whether of those that hold a lease this server is the first in order: what one of all is to do is then its.
    pub fn is_first(&self) -> bool {
        (self.0.alive)().into_iter().map(NodeId::to_bytes).min() == Some(self.own())
    }

    /// Whether a row is another server's. One that is not seen may have begun just now, or Redis with all leases: it is gone only
    /// when it is not seen for some time.
    pub fn is_anothers(&self, mark: &[u8]) -> bool {
        let Ok(mark) = Mark::try_from(mark) else { return false };
        if mark == NOBODY || mark == self.own() {
            return false;
        }
        let (alive, now) = ((self.0.alive)(), self.0.clock.uptime());
        let mut missing = self.0.missing.lock();
        if alive.contains(&NodeId::from_bytes(mark)) {
            missing.remove(&mark);
            return true;
        }
        // Whoever was not asked for since then has left no rows.
        missing.retain(|_, since| now.saturating_sub(*since) < limits::CLAIMS_KNOWN);
        now.saturating_sub(*missing.entry(mark).or_insert(now)) < self.0.void
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Timestamp;

    const LEASE: Duration = Duration::from_secs(15);
    const VOID: Duration = Duration::from_secs(9);

    #[test]
    fn a_claim_is_void_when_its_node_was_not_seen_for_some_time() {
        let clock = Clock::manual(Timestamp::from_millis(1));
        let [own, other] = [7, 8].map(|number| NodeId::from_bytes([number; 8]));
        let alive = Arc::new(Mutex::new(vec![own, other]));
        let seen = Arc::clone(&alive);
        let claims = Claims::new(own, move || seen.lock().clone(), LEASE, clock.clone());
        let is_anothers = || claims.is_anothers(&other.to_bytes());
        assert!(is_anothers());
        assert!(!claims.is_anothers(&NOBODY) && !claims.is_anothers(&claims.own()) && !claims.is_anothers(b""));
        alive.lock().clear();
        assert!(is_anothers());
        clock.advance(VOID - Duration::from_millis(1));
        assert!(is_anothers());
        alive.lock().push(other);
        assert!(is_anothers(), "it is back");
        alive.lock().clear();
        assert!(is_anothers(), "and counts anew");
        clock.advance(VOID);
        assert!(!is_anothers());
    }
}
