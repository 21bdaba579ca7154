//! What the group door counts, for `/metrics` (`protocols/group.md §8`). Numbers only: no user, no group.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::protocols::group::code::Code;

/// See the module.
#[derive(Debug, Default)]
pub struct Figures {
    stored: AtomicU64,
    rate_limited: AtomicU64,
    barred: AtomicU64,
    failed_auth: AtomicU64,
    refused: AtomicU64,
}

/// The counts at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages that were stored.
    pub stored: u64,
    /// Frames that a rate limit refused.
    pub rate_limited: u64,
    /// Requests from addresses on the blacklist, or banned.
    pub barred: u64,
    /// Attempts to authenticate that failed.
    pub failed_auth: u64,
    /// Errors told, of any code.
    pub refused: u64,
}

impl Figures {
    pub fn stored(&self) {
        self.stored.fetch_add(1, Ordering::Relaxed);
    }

    pub fn barred(&self) {
        self.barred.fetch_add(1, Ordering::Relaxed);
    }

    pub fn failed_auth(&self) {
        self.failed_auth.fetch_add(1, Ordering::Relaxed);
    }

    pub fn refused(&self, code: Code) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        if code == Code::TooFrequent {
            self.rate_limited.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub fn read(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            stored: read(&self.stored),
            rate_limited: read(&self.rate_limited),
            barred: read(&self.barred),
            failed_auth: read(&self.failed_auth),
            refused: read(&self.refused),
        }
    }
}
