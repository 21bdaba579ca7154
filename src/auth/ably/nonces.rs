//! The token requests that were granted (`docs/protocols/ably.md §12.2`): each is granted once, so that it is of no
//! use to anyone who overhears it.
//!
//! A request is known by its key, its timestamp and its nonce together, because clients may use one nonce with another
//! timestamp. It is remembered for as long as its timestamp would be taken, also over a restart: the caller keeps what
//! is spent on disk before it hands out the token, and brings it back by [`Nonces::restore`]. To refuse what was signed
//! before the start would not do in its place: a client whose clock is ahead signs, now, what looks new after the start.

use std::{
    collections::{BTreeMap, HashMap},
    mem,
    sync::Arc,
};

use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

use crate::{
    core::budget::{Account, Kind, Tab},
    error::Fault,
    ids::Timestamp,
    limits,
};

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

/// Bounded for each key by [`limits::NONCES`] and by the account of its app; each is forgotten when its request would be
/// refused for its age.
#[derive(Debug, Default)]
pub struct Nonces(Mutex<All>);

#[derive(Debug, Default)]
struct All {
    /// With the name of its key, which is part of the fingerprint.
    spent: BTreeMap<Spent, Arc<str>>,
    keys: HashMap<Arc<str>, OfKey>,
    /// Those that were forgotten, until somebody takes them off the disk.
    over: Vec<Spent>,
}

#[derive(Debug)]
struct OfKey {
    count: usize,
    /// Of the app.
    tab: Tab,
}

impl All {
    fn of_key(&mut self, key: &Arc<str>, account: impl FnOnce() -> Account) -> &mut OfKey {
        let tab = || Tab::new(account(), Kind::SeenIds);
        self.keys.entry(Arc::clone(key)).or_insert_with(|| OfKey { count: 0, tab: tab() })
    }

    fn remove(&mut self, spent: &Spent) {
        let Some(key) = self.spent.remove(spent) else { return };
        if let Some(of_key) = self.keys.get_mut(&key) {
            of_key.count -= 1;
            of_key.tab.remove(limits::NONCE_COST);
            if of_key.count == 0 {
                self.keys.remove(&key);
            }
        }
    }

    fn forget(&mut self, now: Timestamp) {
        while let Some(first) = self.spent.first_key_value().map(|(first, _)| *first).filter(|first| first.is_over(now))
        {
            self.remove(&first);
            self.over.push(first);
        }
    }
}

impl Nonces {
    /// Remembers a request of a key; `account` is that of its app.
    ///
    /// # Errors
    /// [`Fault::NonceReplayed`]. [`Fault::TooManyTokenRequests`] or [`Fault::MemoryFull`] when there is no
    /// place: to forget one early would let its request through again.
    pub fn spend(
        &self,
        spent: Spent,
        key: &Arc<str>,
        account: impl FnOnce() -> Account,
        now: Timestamp,
    ) -> Result<(), Fault> {
        let mut all = self.0.lock();
        all.forget(now);
        if all.spent.contains_key(&spent) {
            return Err(Fault::NonceReplayed);
        }
        let of_key = all.of_key(key, account);
        let limit = limits::NONCES;
        if of_key.count >= limit {
            return Err(Fault::TooManyTokenRequests { limit });
        }
        let paid = of_key.tab.add(limits::NONCE_COST);
        of_key.count += usize::from(paid.is_ok());
        if let Err(full) = paid {
            if of_key.count == 0 {
                all.keys.remove(key);
            }
            return Err(full.to_fault());
        }
        all.spent.insert(spent, Arc::clone(key));
        Ok(())
    }

    /// Takes up what was spent before a restart.
    pub fn restore(&self, spent: Spent, key: &Arc<str>, account: impl FnOnce() -> Account) {
        let mut all = self.0.lock();
        if all.spent.insert(spent, Arc::clone(key)).is_none() {
            let of_key = all.of_key(key, account);
            of_key.count += 1;
            of_key.tab.add_anyway(limits::NONCE_COST);
        }
    }

    /// Those that are remembered.
    pub fn all(&self, now: Timestamp) -> Vec<Spent> {
        self.0.lock().spent.keys().filter(|spent| !spent.is_over(now)).copied().collect()
    }

    /// No token was handed out for it after all.
    pub fn release(&self, spent: &Spent) {
        self.0.lock().remove(spent);
    }

    /// Those that were forgotten by now, and have not been taken yet.
    pub fn take_over(&self, now: Timestamp) -> Vec<Spent> {
        let mut all = self.0.lock();
        all.forget(now);
        mem::take(&mut all.over)
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.0.lock().spent.len()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::core::budget::Level;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000_000);

    fn spend(nonces: &Nonces, key: &str, account: &Account, number: usize, now: Timestamp) -> Result<(), Fault> {
        let spent = Spent::of(key, now, &number.to_string());
        nonces.spend(spent, &key.into(), || account.clone(), now)
    }

    /// findings B5: what one key may have remembered is its own; another one finds its place, and all of it is given back.
    #[test]
    fn a_flood_of_one_key_takes_no_place_of_another() {
        let (nonces, account) = (Nonces::default(), Account::server(usize::MAX));
        for number in 0..limits::NONCES {
            spend(&nonces, "app.flood", &account, number, NOW).unwrap();
        }
        let fault = spend(&nonces, "app.flood", &account, limits::NONCES, NOW).unwrap_err();
        assert_eq!(fault, Fault::TooManyTokenRequests { limit: limits::NONCES });
        assert!(fault.to_string().contains(&limits::NONCES.to_string()), "{fault}");
        spend(&nonces, "app.other", &account, 0, NOW).unwrap();
        assert!(account.kept_of(Kind::SeenIds) >= limits::NONCES * limits::NONCE_COST);
        let later = Timestamp::from_millis(NOW.millis() + limits::TOKEN_REQUEST_AGE.as_millis() as u64 + 1);
        assert_eq!(nonces.take_over(later).len(), limits::NONCES + 1);
        assert_eq!((nonces.len(), nonces.0.lock().keys.len(), account.kept()), (0, 0, 0));
    }

    /// findings B5: the app of a key pays, and nobody else when it has no room.
    #[test]
    fn an_app_without_room_is_refused() {
        let (nonces, server) = (Nonces::default(), Account::server(usize::MAX));
        let [small, other] = [limits::NONCE_COST, usize::MAX].map(|limit| server.open(Level::App, limit));
        spend(&nonces, "small.key", &small, 0, NOW).unwrap();
        for key in ["small.key", "small.second"] {
            let fault = spend(&nonces, key, &small, 1, NOW).unwrap_err();
            assert!(
                matches!(fault, Fault::MemoryFull { kind: "seen_ids", setting: "limits.app_share", .. }),
                "{fault}"
            );
        }
        spend(&nonces, "other.key", &other, 0, NOW).unwrap();
        assert_eq!((nonces.len(), nonces.0.lock().keys.len()), (2, 2));
    }
}
