//! The bytes that all owners of mailboxes together have kept: the one place where they are charged
//! (docs/architecture.md §6a).

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// Clones are the same account.
#[derive(Clone, Debug)]
pub struct Account {
    limit: usize,
    used: Arc<AtomicUsize>,
}

/// Lies beside what it pays for; gives back when it is dropped.
#[derive(Debug)]
pub struct Charge {
    bytes: usize,
    used: Arc<AtomicUsize>,
}

impl Account {
    pub fn new(limit: usize) -> Self {
        Self { limit, used: Arc::default() }
    }

    /// None when that is more than there is, `freed` bytes taken for given back already.
    pub fn charge(&self, bytes: usize, freed: usize) -> Option<Charge> {
        let fits = |used: usize| {
            let after = used.checked_add(bytes)?;
            (after.saturating_sub(freed) <= self.limit).then_some(after)
        };
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).ok()?;
        Some(Charge { bytes, used: Arc::clone(&self.used) })
    }

    /// For what is there already: that the limit was lowered loses nothing.
    pub fn charge_anyway(&self, bytes: usize) -> Charge {
        self.used.fetch_add(bytes, Ordering::Relaxed);
        Charge { bytes, used: Arc::clone(&self.used) }
    }
}

impl Charge {
    pub const fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
