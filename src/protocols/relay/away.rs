//! Pushes for users who are away (`docs/protocols/relay.md §5`, `offline_ttl_seconds`): on disk before they are acknowledged,
//! handed over in order to the first connection that identifies.
//!
//! Whether a user is there is decided under one lock, by who pushes and by who comes. So a push either waits
//! here, and the relay's own sockets do not hear it from the channel, or is live, and comes behind what waited.
//!
//! Table `relay kept`: user, NUL, number (8 bytes) → a [`Row`].

mod queues;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use actix_web::rt;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::{
    clock::{Clock, OncePerSecond},
    error::Fault,
    ids::Timestamp,
    limits,
    protocols::relay::{
        away::queues::{Users, Waiting},
        push::Push,
        schedule,
    },
    store::{Batch, Done, Store, StoreError},
};

const KEPT: &str = "relay kept";
const NUMBER_BYTES: usize = 8;

/// A push as it is kept.
#[derive(Serialize, Deserialize)]
pub struct Row {
    id: String,
    /// When it was pushed.
    at: u64,
    push: Push,
}

/// What waited for a user who has come.
pub struct Missed {
    pub push: Push,
    /// When it was pushed.
    pub at: Timestamp,
}

/// What became of a push.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The user is there, or nothing is kept.
    Live,
    /// It is on disk.
    Kept,
}

/// See the module.
pub struct Away {
    store: Arc<dyn Store>,
    clock: Clock,
    /// Zero: nothing is kept.
    ttl: Duration,
    users: Mutex<Users>,
    full: OncePerSecond,
}

impl Away {
    /// Finds what earlier runs have left; what is too old by now is removed, all of it when `ttl` is zero.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(store: Arc<dyn Store>, clock: Clock, ttl: Duration) -> Result<Self, StoreError> {
        let mut users = Users::default();
        let mut after: Option<Vec<u8>> = None;
        loop {
            let rows = store.list(KEPT, b"", after.as_deref(), limits::RELAY_KEPT_ROWS)?;
            let Some(last) = rows.last() else { break };
            after = Some(last.key.clone());
            for row in rows {
                let damaged = || StoreError::damaged("a push for a user who is away");
                let (user, number) = place(&row.key).ok_or_else(damaged)?;
                let bytes = row.value.len();
                let row: Row = serde_json::from_slice(&row.value).map_err(|_| damaged())?;
                let waiting = Waiting { number, id: row.id.into(), at: row.at, bytes, row: None };
                users.put(user, waiting);
            }
        }
        let away = Self { store, clock, ttl, users: Mutex::new(users), full: OncePerSecond::default() };
        away.expire();
        Ok(away)
    }

    /// Whether pushes are kept at all.
    pub const fn keeps(&self) -> bool {
        !self.ttl.is_zero()
    }

    /// How many wait.
    pub fn count(&self) -> usize {
        let users = self.users.lock();
        users.waiting.values().map(VecDeque::len).sum()
    }

    /// Keeps `push` unless its user is there; it is on disk when this returns. The same `id` again is kept once.
    ///
    /// # Errors
    /// [`Fault::DiskFull`], [`Fault::Busy`], [`Fault::Internal`]: it is not kept.
    pub async fn keep(&self, id: &str, push: &Push, is_there: impl FnOnce() -> bool) -> Result<Outcome, Fault> {
        let Some(user) = push.user.as_deref().filter(|_| self.keeps()) else {
            return Ok(Outcome::Live);
        };
        let row = Row { id: id.to_owned(), at: self.clock.now().millis(), push: push.clone() };
        let value = serde_json::to_vec(&row).map_err(|_| Fault::Internal)?;
        let (told, outcome) = oneshot::channel();
        let number = {
            let mut users = self.users.lock();
            if is_there() {
                return Ok(Outcome::Live);
            }
            if users.has(user, id) {
                return Ok(Outcome::Kept);
            }
            let (gone, fits) = users.make_room(user, value.len());
            if !fits {
                drop(users);
                self.remove(user, gone);
                if let Some(more) = self.full.allows(&self.clock) {
                    let bytes = limits::RELAY_KEPT_BYTES;
                    tracing::warn!(bytes, more, "no room for another push for users who are away");
                }
                return Ok(Outcome::Live);
            }
            let number = users.last + 1;
            let waiting = Waiting { number, id: id.into(), at: row.at, bytes: value.len(), row: Some(Arc::new(row)) };
            users.put(user, waiting);
            let batch = Batch::new().put(KEPT, key(user, number), value);
            // While the lock is held: whoever takes it out removes the row behind this.
            let done: Done<_> = Box::new(move |result| drop(told.send(result)));
            self.store.submit(removal(batch, user, gone), done);
            number
        };
        let outcome = outcome.await.unwrap_or(Err(StoreError::Closed));
        let mut users = self.users.lock();
        match outcome {
            Ok(_) => {
                if let Some(waiting) = users.find(user, number) {
                    waiting.row = None;
                }
                Ok(Outcome::Kept)
            }
            Err(error) => {
                users.drop_one(user, number);
                Err(schedule::told(error))
            }
        }
    }

    /// A connection of `user` has come: `enter` counts it. What waited, in order; it waits no more.
    pub fn arrive(&self, user: &str, enter: impl FnOnce() -> usize) -> (usize, Vec<Missed>) {
        if !self.keeps() {
            return (enter(), Vec::new());
        }
        let (connections, waiting) = {
            let mut users = self.users.lock();
            (enter(), users.take(user))
        };
        let oldest = self.oldest();
        let missed = waiting.iter().filter(|waiting| waiting.at >= oldest);
        let missed: Vec<Missed> = missed.filter_map(|waiting| self.read(user, waiting)).collect();
        self.remove(user, waiting.iter().map(|waiting| waiting.number));
        (connections, missed)
    }

    /// Removes what is too old, for ever. One task of the server.
    pub async fn sweep(&self) {
        loop {
            rt::time::sleep(limits::RELAY_KEPT_SWEEP).await;
            self.expire();
        }
    }

    fn expire(&self) {
        let oldest = self.oldest();
        let expired = self.users.lock().expire(oldest);
        for (user, numbers) in expired {
            self.remove(&user, numbers);
        }
    }

    /// Milliseconds; what was pushed before is too old.
    fn oldest(&self) -> u64 {
        if !self.keeps() {
            return u64::MAX;
        }
        let ttl = u64::try_from(self.ttl.as_millis()).unwrap_or(u64::MAX);
        self.clock.now().millis().saturating_sub(ttl)
    }

    fn read(&self, user: &str, waiting: &Waiting) -> Option<Missed> {
        let missed = |row: &Row| Missed { push: row.push.clone(), at: Timestamp::from_millis(row.at) };
        if let Some(row) = &waiting.row {
            return Some(missed(row));
        }
        let read = self.store.get(KEPT, &key(user, waiting.number));
        let row = read.map(|value| serde_json::from_slice::<Row>(&value?).ok());
        match row {
            Ok(Some(row)) => Some(missed(&row)),
            Ok(None) => {
                tracing::error!("a push for a user who was away cannot be read; it is dropped");
                None
            }
            Err(error) => {
                tracing::error!(%error, "a push for a user who was away cannot be read; it is dropped");
                None
            }
        }
    }

    fn remove(&self, user: &str, numbers: impl IntoIterator<Item = u64>) {
        let batch = removal(Batch::new(), user, numbers);
        let done: Done<_> = Box::new(|outcome| {
            if let Err(error) = outcome {
                tracing::error!(%error, "pushes that were handed over will come again after a restart");
            }
        });
        self.store.submit(batch, done);
    }
}

fn key(user: &str, number: u64) -> Vec<u8> {
    [user.as_bytes(), &[0], &number.to_be_bytes()].concat()
}

fn place(key: &[u8]) -> Option<(&str, u64)> {
    let (user, number) = key.split_last_chunk::<NUMBER_BYTES>()?;
    let user = std::str::from_utf8(user).ok()?.strip_suffix('\0')?;
    Some((user, u64::from_be_bytes(*number)))
}

fn removal(batch: Batch, user: &str, numbers: impl IntoIterator<Item = u64>) -> Batch {
    let remove = |batch: Batch, number| batch.remove(KEPT, key(user, number));
    numbers.into_iter().fold(batch, remove)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_tell_user_and_number() {
        for user in ["a", "", "nul\0in it", "小明"] {
            assert_eq!(place(&key(user, 7)), Some((user, 7)));
        }
        assert_eq!(place(b"short"), None);
    }
}
