//! What is counted of a shared log since the start, for the operator.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::store::StoreError;

/// Each is counted where it happens; nobody waits for another.
#[derive(Debug, Default)]
pub struct Tally {
    kept: AtomicU64,
    again: AtomicU64,
    behind: AtomicU64,
    fenced: AtomicU64,
    late: AtomicU64,
    failed: AtomicU64,
    catch_ups: AtomicU64,
    breaks: AtomicU64,
}

/// What an append came to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome {
    Kept,
    Again,
    /// It was judged by too little, and is judged again.
    Behind,
    /// The lease of this node was over.
    Fenced,
}

impl Tally {
    pub(super) fn append(&self, outcome: Result<Outcome, &StoreError>) {
        let counter = match outcome {
            Ok(Outcome::Kept) => &self.kept,
            Ok(Outcome::Again) => &self.again,
            Ok(Outcome::Behind) => &self.behind,
            Ok(Outcome::Fenced) => &self.fenced,
            Err(StoreError::Late) => &self.late,
            Err(_) => &self.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn catch_up(&self) {
        self.catch_ups.fetch_add(1, Ordering::Relaxed);
    }

    /// A channel could not follow its log any more.
    pub fn broke(&self) {
        self.breaks.fetch_add(1, Ordering::Relaxed);
    }

    /// Appends, by what they came to.
    pub fn appends(&self) -> [(&'static str, u64); 6] {
        let counters = [
            ("kept", &self.kept),
            ("again", &self.again),
            ("behind", &self.behind),
            ("fenced", &self.fenced),
            ("late", &self.late),
            ("failed", &self.failed),
        ];
        counters.map(|(name, counter)| (name, counter.load(Ordering::Relaxed)))
    }

    /// How often a channel has read what it missed.
    pub fn catch_ups(&self) -> u64 {
        self.catch_ups.load(Ordering::Relaxed)
    }

    pub fn breaks(&self) -> u64 {
        self.breaks.load(Ordering::Relaxed)
    }
}
