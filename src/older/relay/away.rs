//! Pushes for users who are away (`docs/protocols/relay.md §5`, `offline_ttl_seconds`): on disk before they are acknowledged,
//! handed over in order to the first connection that identifies. They stay there until it has answered a ping that was sent
//! behind them; when it is gone before, they wait again.
//!
//! Whether a user is there is decided under one lock, by who pushes and by who comes. So a push either waits
//! here, and the relay's own sockets do not hear it from the channel, or is live, and comes behind what waited.
//!
//! Table `relay kept`: user, NUL, number (8 bytes) → a [`Row`].

mod queues;

use std::{sync::Arc, time::Duration};

use actix_web::rt;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::{
    clock::{Clock, OncePerSecond},
    error::Fault,
    ids::{SessionId, Timestamp},
    limits,
    older::relay::{
        away::queues::{Lent, Users, Waiting},
        commands::Push,
        schedule::to_fault,
    },
    store::{Batch, Done, NumberKey, Store, StoreError},
};

const KEPT: &str = "relay kept";

/// A push as it is kept.
#[derive(Serialize, Deserialize)]
pub struct Row {
    id: String,
    /// When it was pushed.
    at: u64,
    push: Push,
    /// It is never too old.
    #[serde(default)]
    until_read: bool,
}

/// How long a push waits for its user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// As `offline_ttl` says.
    AsSet,
    /// Until it was read.
    UntilRead,
}

/// What waited for a user who has come.
pub struct Missed {
    pub number: u64,
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
        for row in store.scan(KEPT, b"", limits::RELAY_KEPT_ROWS) {
            let (row, damaged) = (row?, || StoreError::damaged("a push for a user who is away"));
            let NumberKey { owner: user, number } = NumberKey::read(&row.key).ok_or_else(damaged)?;
            let bytes = row.value.len();
            let Row { id, at, until_read, .. } = serde_json::from_slice(&row.value).map_err(|_| damaged())?;
            users.put(user, Waiting { number, id: id.into(), at, bytes, row: None, until_read, lent: None });
        }
        let away = Self { store, clock, ttl, users: Mutex::new(users), full: OncePerSecond::default() };
        away.expire();
        Ok(away)
    }

    /// Whether pushes are kept at all.
    pub const fn keeps(&self) -> bool {
        !self.ttl.is_zero()
    }

    /// How many wait, those included that are on their way.
    pub fn count(&self) -> usize {
        self.users.lock().count()
    }

    /// Keeps `push` unless its user is there; it is on disk when this returns. The same `id` again is kept once.
    ///
    /// # Errors
    /// [`Fault::DiskFull`], [`Fault::Busy`], [`Fault::Internal`]: it is not kept.
    pub async fn keep(
        &self,
        id: &str,
        push: &Push,
        wait: Wait,
        is_there: impl FnOnce() -> bool,
    ) -> Result<Outcome, Fault> {
        let until_read = wait == Wait::UntilRead;
        let Some(user) = push.user.as_deref().filter(|_| until_read || self.keeps()) else {
            return Ok(Outcome::Live);
        };
        let row = Row { id: id.to_owned(), at: self.clock.now().millis(), push: push.clone(), until_read };
        let value = serde_json::to_vec(&row).map_err(|_| Fault::Internal)?;
        let (number, gone, commit) = {
            let mut users = self.users.lock();
            if is_there() {
                return Ok(Outcome::Live);
            }
            if users.has(user, id) {
                return Ok(Outcome::Kept);
            }
            let Some(gone) = users.room_for(user, value.len()) else {
                if let Some(more) = self.full.allows(&self.clock) {
                    let bytes = limits::RELAY_KEPT_BYTES;
                    tracing::warn!(bytes, more, "no room for another push for users who are away");
                }
                return Ok(Outcome::Live);
            };
            let number = users.last + 1;
            let (at, bytes) = (row.at, value.len());
            let row = Some(Arc::new(row));
            users.put(user, Waiting { number, id: id.into(), at, bytes, row, until_read, lent: None });
            let batch = Batch::new().put(KEPT, NumberKey::new(user, number), value);
            // While the lock is held: whoever takes it out removes the row behind this.
            let commit = self.store.commit(removal(batch, user, gone.iter().copied()));
            (number, gone, commit)
        };
        let outcome = commit.await;
        let mut users = self.users.lock();
        match outcome {
            Ok(_) => {
                users.written(user, number);
                // Not before: had the disk refused the new one, nothing would have gone for it.
                users.forget(user, &gone);
                Ok(Outcome::Kept)
            }
            Err(error) => {
                users.forget(user, &[number]);
                Err(to_fault(&error))
            }
        }
    }

    /// A connection of `user` has come: `enter` makes it one that is there. What waited, in order; until it is confirmed
    /// it is this connection's.
    pub fn arrive(&self, user: &str, session: SessionId, enter: impl FnOnce()) -> Vec<Missed> {
        let lent = {
            let mut users = self.users.lock();
            enter();
            users.lend(user, session)
        };
        self.missed(user, lent)
    }

    /// What waits again for a user who is there.
    pub fn take(&self, user: &str, session: SessionId) -> Vec<Missed> {
        let lent = self.users.lock().lend(user, session);
        self.missed(user, lent)
    }

    /// The connection has read what it was sent, up to this number.
    pub fn confirm(&self, user: &str, session: SessionId, upto: u64) {
        let read = self.users.lock().confirm(user, session, upto);
        self.remove(user, read);
    }

    /// The connection is gone: what it has not confirmed waits again. Whether there is any.
    pub fn give_back(&self, user: &str, session: SessionId) -> bool {
        self.users.lock().give_back(user, session)
    }

    /// What is sent now. What is too old, or cannot be read, waits no more.
    fn missed(&self, user: &str, lent: Vec<Lent>) -> Vec<Missed> {
        let oldest = self.oldest();
        let (mut missed, mut gone) = (Vec::new(), Vec::new());
        for lent in lent {
            let is_young = lent.at >= oldest || lent.until_read;
            match self.read(user, &lent).filter(|_| is_young) {
                Some(push) => missed.push(push),
                None => gone.push(lent.number),
            }
        }
        if !gone.is_empty() {
            self.users.lock().forget(user, &gone);
            self.remove(user, gone);
        }
        missed
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

    fn read(&self, user: &str, lent: &Lent) -> Option<Missed> {
        let number = lent.number;
        let missed = |row: &Row| Missed { number, push: row.push.clone(), at: Timestamp::from_millis(row.at) };
        if let Some(row) = &lent.row {
            return Some(missed(row));
        }
        let read = self.store.get(KEPT, &NumberKey::new(user, number).bytes());
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

fn removal(batch: Batch, user: &str, numbers: impl IntoIterator<Item = u64>) -> Batch {
    let remove = |batch: Batch, number| batch.remove(KEPT, NumberKey::new(user, number));
    numbers.into_iter().fold(batch, remove)
}
