//! One at a time by key: what looks first and then writes must not meet another one that does the same.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::sync::{Notify, futures::OwnedNotified};

/// The keys that are locked.
#[derive(Default)]
pub struct KeyedLock(Mutex<HashMap<Vec<u8>, Arc<Notify>>>);

/// Unlocks its key when it is dropped.
pub struct KeyedGuard {
    lock: Arc<KeyedLock>,
    key: Vec<u8>,
}

impl KeyedLock {
    /// Waits until nobody else has this key.
    pub async fn lock(self: &Arc<Self>, key: Vec<u8>) -> KeyedGuard {
        loop {
            match self.try_lock(key.clone()) {
                Ok(guard) => return guard,
                Err(unlocked) => unlocked.await,
            }
        }
    }

    /// # Errors
    /// When somebody has it: what to wait for.
    pub fn try_lock(self: &Arc<Self>, key: Vec<u8>) -> Result<KeyedGuard, OwnedNotified> {
        match self.0.lock().entry(key.clone()) {
            Entry::Occupied(locked) => return Err(Arc::clone(locked.get()).notified_owned()),
            Entry::Vacant(free) => free.insert(Arc::default()),
        };
        Ok(KeyedGuard { lock: Arc::clone(self), key })
    }
}

impl Drop for KeyedGuard {
    fn drop(&mut self) {
        if let Some(unlocked) = self.lock.0.lock().remove(&self.key) {
            unlocked.notify_waiters();
        }
    }
}
