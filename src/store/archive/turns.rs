//! One at a time by key: what looks first and then writes must not meet another one that does the same.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Whose turn it is.
#[derive(Default)]
pub struct Turns(Mutex<HashMap<Vec<u8>, Arc<Notify>>>);

/// Ends when it is dropped. Goes along with what is written, which may outlive whoever asked for it.
pub struct Turn {
    turns: Arc<Turns>,
    key: Vec<u8>,
}

impl Turns {
    /// Waits until nobody else has this key.
    pub async fn take(self: &Arc<Self>, key: Vec<u8>) -> Turn {
        loop {
            let ended = match self.0.lock().entry(key.clone()) {
                Entry::Occupied(taken) => Arc::clone(taken.get()).notified_owned(),
                Entry::Vacant(free) => {
                    free.insert(Arc::default());
                    break;
                }
            };
            ended.await;
        }
        let turns = Arc::clone(self);
        Turn { turns, key }
    }

    /// None when somebody has it.
    pub fn try_take(self: &Arc<Self>, key: Vec<u8>) -> Option<Turn> {
        match self.0.lock().entry(key.clone()) {
            Entry::Occupied(_) => return None,
            Entry::Vacant(free) => free.insert(Arc::default()),
        };
        let turns = Arc::clone(self);
        Some(Turn { turns, key })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(ended) = self.turns.0.lock().remove(&self.key) {
            ended.notify_waiters();
        }
    }
}
