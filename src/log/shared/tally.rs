//! What is counted of a shared log since the start, for the operator.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::store::StoreError;

/// Each is counted where it happens; nobody waits for another.
#[derive(Debug, Default)]
pub struct Tally {
    appends: [AtomicU64; Outcome::NAMES.len()],
    /// Microseconds that they took, all together.
    appending: AtomicU64,
    catch_ups: AtomicU64,
    breaks: [AtomicU64; Break::NAMES.len()],
}

/// What an append came to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome {
    Kept,
    /// It was known by its id.
    Again,
    /// It was judged by too little, and is judged again.
    Behind,
    /// It has to bring its whole message.
    Bare,
    /// The lease of this node was over.
    Fenced,
    Late,
    Failed,
}

impl Outcome {
    const NAMES: [&str; 7] = ["kept", "again", "behind", "bare", "fenced", "late", "failed"];
}

/// Why a channel could not follow its log any more.
#[derive(Clone, Copy, Debug)]
pub enum Break {
    /// Redis has another log: it lost its data, or the newest of it.
    OtherLog,
    /// What is missing here is too old for Redis.
    Expired,
}

impl Break {
    const NAMES: [&str; 2] = ["other_log", "expired"];
}

impl Tally {
    pub(super) fn append(&self, outcome: Result<Outcome, &StoreError>, took: Duration) {
        let outcome = outcome.unwrap_or_else(|error| match error {
            StoreError::Late => Outcome::Late,
            _ => Outcome::Failed,
        });
        self.appends[outcome as usize].fetch_add(1, Ordering::Relaxed);
        self.appending.fetch_add(u64::try_from(took.as_micros()).unwrap_or_default(), Ordering::Relaxed);
    }

    pub(super) fn catch_up(&self) {
        self.catch_ups.fetch_add(1, Ordering::Relaxed);
    }

    pub fn broke(&self, why: Break) {
        self.breaks[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Appends, by what they came to.
    pub fn appends(&self) -> [(&'static str, u64); Outcome::NAMES.len()] {
        named(Outcome::NAMES, &self.appends)
    }

    /// How long they took, all together.
    pub fn appending(&self) -> Duration {
        Duration::from_micros(self.appending.load(Ordering::Relaxed))
    }

    /// How often a channel has read what it missed.
    pub fn catch_ups(&self) -> u64 {
        self.catch_ups.load(Ordering::Relaxed)
    }

    /// How often a channel could not follow its log, by why.
    pub fn breaks(&self) -> [(&'static str, u64); Break::NAMES.len()] {
        named(Break::NAMES, &self.breaks)
    }
}

fn named<const N: usize>(names: [&'static str; N], counters: &[AtomicU64; N]) -> [(&'static str, u64); N] {
    std::array::from_fn(|at| (names[at], counters[at].load(Ordering::Relaxed)))
}
