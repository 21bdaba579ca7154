//! The nonces of token requests that have been seen (`docs/protocols/ably.md §12.2`).

use std::collections::BTreeSet;

use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

use crate::{error::Fault, ids::Timestamp, limits};

/// What is kept of a nonce, and until when.
type Fingerprint = [u8; 16];

/// Bounded: a fingerprint for each, forgotten when its request would be refused for its age.
#[derive(Debug, Default)]
pub struct Nonces(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    by_age: BTreeSet<(Timestamp, Fingerprint)>,
    all: std::collections::HashSet<Fingerprint>,
}

impl Nonces {
    /// Remembers a nonce of a key until `until`.
    ///
    /// # Errors
    /// [`Fault::NonceReplayed`]; [`Fault::Busy`] when there is no place, because forgetting one early
    /// would let its request through again.
    pub fn remember(&self, key_name: &str, nonce: &str, until: Timestamp, now: Timestamp) -> Result<(), Fault> {
        let hash = Sha256::new().chain_update(key_name).chain_update([0]).chain_update(nonce).finalize();
        let mut fingerprint = [0; 16];
        fingerprint.copy_from_slice(&hash[..16]);
        let mut seen = self.0.lock();
        seen.forget_before(now);
        if seen.all.contains(&fingerprint) {
            return Err(Fault::NonceReplayed);
        }
        if seen.all.len() >= limits::NONCES {
            return Err(Fault::Busy);
        }
        seen.all.insert(fingerprint);
        seen.by_age.insert((until, fingerprint));
        Ok(())
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.0.lock().all.len()
    }
}

impl Seen {
    fn forget_before(&mut self, now: Timestamp) {
        while let Some((until, fingerprint)) = self.by_age.first().copied()
            && until < now
        {
            self.by_age.pop_first();
            self.all.remove(&fingerprint);
        }
    }
}
