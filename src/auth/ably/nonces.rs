//! The token requests that were granted (`docs/protocols/ably.md §12.2`): each is granted once, so that it is of no
//! use to anyone who overhears it.
//!
//! A request is known by its key, its timestamp and its nonce together, because clients may use one nonce with another
//! timestamp. It is remembered for as long as its timestamp would be taken, also over a restart: the caller keeps what
//! is spent on disk before it hands out the token, and brings it back by [`Nonces::restore`]. To refuse what was signed
//! before the start would not do in its place: a client whose clock is ahead signs, now, what looks new after the start.

use std::collections::BTreeSet;

use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

use crate::{error::Fault, ids::Timestamp, limits};

const MILLIS_BYTES: usize = 8;
const FINGERPRINT_BYTES: usize = 16;

/// A request that was granted. Sorted by when it is forgotten; so are its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spent {
    until: Timestamp,
    fingerprint: [u8; FINGERPRINT_BYTES],
}

impl Spent {
    pub(super) fn of(key_name: &str, timestamp: Timestamp, nonce: &str) -> Self {
        let age = limits::TOKEN_REQUEST_AGE.as_millis() as u64;
        let until = Timestamp::from_millis(timestamp.millis().saturating_add(age));
        // No name of a key has a zero byte in it.
        let hash = Sha256::new()
            .chain_update(key_name)
            .chain_update([0])
            .chain_update(timestamp.millis().to_be_bytes())
            .chain_update(nonce)
            .finalize();
        let mut fingerprint = [0; FINGERPRINT_BYTES];
        fingerprint.copy_from_slice(&hash[..FINGERPRINT_BYTES]);
        Self { until, fingerprint }
    }

    pub fn to_bytes(self) -> Vec<u8> {
        [&self.until.millis().to_be_bytes()[..], &self.fingerprint].concat()
    }

    /// None: these are not the bytes of one.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (until, fingerprint) = bytes.split_at_checked(MILLIS_BYTES)?;
        let until = u64::from_be_bytes(until.try_into().ok()?);
        Some(Self { until: Timestamp::from_millis(until), fingerprint: fingerprint.try_into().ok()? })
    }

    /// Its request would be refused for its age.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.until < now
    }
}

/// Bounded: [`limits::NONCES`] at once, each forgotten when its request would be refused for its age.
#[derive(Debug, Default)]
pub struct Nonces(Mutex<BTreeSet<Spent>>);

impl Nonces {
    /// Remembers a request; gives back those that are forgotten from now on.
    ///
    /// # Errors
    /// [`Fault::NonceReplayed`]; [`Fault::Busy`] when there is no place, because forgetting one early
    /// would let its request through again.
    pub fn spend(&self, spent: Spent, now: Timestamp) -> Result<Vec<Spent>, Fault> {
        let mut all = self.0.lock();
        let mut over = Vec::new();
        while let Some(first) = all.first().copied().filter(|first| first.is_over(now)) {
            all.pop_first();
            over.push(first);
        }
        if all.contains(&spent) {
            return Err(Fault::NonceReplayed);
        }
        if all.len() >= limits::NONCES {
            return Err(Fault::Busy);
        }
        all.insert(spent);
        Ok(over)
    }

    /// Takes up what was spent before a restart.
    pub fn restore(&self, spent: Spent) {
        self.0.lock().insert(spent);
    }

    /// No token was handed out for it after all.
    pub fn release(&self, spent: &Spent) {
        self.0.lock().remove(spent);
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.0.lock().len()
    }
}
