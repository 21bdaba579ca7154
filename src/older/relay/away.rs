//! Pushes for users who are away (`docs/protocols/relay.md §5`, `offline_ttl_seconds`): on disk before they are acknowledged,
//! handed over in order to the first connection that identifies. They stay in the mailbox of their user until that connection
//! has answered a ping that was sent behind them; when it is gone before, they wait again.
//!
//! Whether a user is there is decided while the mailbox is locked, by who pushes and by who comes. So a push either waits
//! here, and the relay's own sockets do not hear it from the channel, or is live, and comes behind what waited.

use std::{collections::HashMap, sync::Arc, time::Duration};

use actix_web::rt;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    actors::online::Online,
    clock::{Clock, OncePerSecond},
    core::budget::Account,
    error::Fault,
    ids::{SessionId, Timestamp},
    limits,
    older::relay::{commands::Push, schedule::to_fault},
    store::{
        Batch, NumberKey, Store, StoreError,
        mailbox::{Bounds, Contents, Mailbox, Mailboxes, Message, Owner, Put, Queue, Tables, UNTIL_READ},
    },
};

const TABLES: Tables = Tables { facts: "relay missed", bodies: "relay missed pushes" };
/// Where former versions kept them.
const FORMER_TABLE: &str = "relay kept";
const BOUNDS: Bounds = Bounds { messages: limits::RELAY_KEPT_PUSHES, bytes: limits::RELAY_KEPT_USER_BYTES };

/// The connections that pushes of a user are on their way to, by the number of the push.
#[derive(Default)]
pub struct InFlight(HashMap<u64, SessionId>);

impl Owner for InFlight {
    fn new(_: &str) -> Self {
        Self::default()
    }

    fn is_idle(&self) -> bool {
        self.0.is_empty()
    }
}

/// How long a push waits for its user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// As `offline_ttl` says.
    AsSet,
    UntilRead,
}

/// A push in its mailbox.
#[derive(Serialize, Deserialize)]
struct KeptPush<P> {
    /// When it was pushed.
    at: u64,
    push: P,
}

/// Whose mailbox a push is in, and its number there.
pub type MissedId = (Arc<str>, u64);

/// What waited for a user who has come.
pub struct Missed {
    pub id: MissedId,
    pub push: Push,
    /// When it was pushed.
    pub at: Timestamp,
}

/// See the module.
pub struct Away {
    mailboxes: Arc<Mailboxes<InFlight>>,
    online: Arc<Online<String>>,
    clock: Clock,
    /// Zero: nothing is kept but what waits until it was read.
    ttl: Duration,
    warning: OncePerSecond,
}

impl Away {
    /// Finds what earlier runs have left; what is too old by now is removed.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(
        store: &Arc<dyn Store>,
        account: &Account,
        online: Arc<Online<String>>,
        clock: Clock,
        ttl: Duration,
    ) -> Result<Self, StoreError> {
        let mailboxes = Mailboxes::open(Arc::clone(store), TABLES, limits::RELAY_KEPT_BYTES, account)?;
        let away = Self { mailboxes, online, clock, ttl, warning: OncePerSecond::default() };
        away.adopt_former(store)?;
        away.expire();
        Ok(away)
    }

    /// Whether pushes are kept at all.
    pub const fn keeps(&self) -> bool {
        !self.ttl.is_zero()
    }

    /// How many wait, those included that are on their way.
    pub fn count(&self) -> u64 {
        self.mailboxes.on_disk()
    }

    /// Keeps `push` unless its user is there, nothing is kept, or there is no room. When it is kept, it is on disk when this
    /// returns. The same `id` again is kept once.
    ///
    /// # Errors
    /// [`Fault::DiskFull`], [`Fault::Busy`], [`Fault::Internal`]: it is not kept.
    pub async fn keep(&self, id: &str, push: &Push, wait: Wait) -> Result<bool, Fault> {
        let Some(user) = push.user.as_ref().filter(|_| self.keeps() || wait == Wait::UntilRead) else {
            return Ok(false);
        };
        if self.online.is_online(user) {
            return Ok(false);
        }
        let at = self.clock.now();
        let body = serde_json::to_vec(&KeptPush { at: at.millis(), push }).map_err(|_| Fault::Internal)?;
        let since = if wait == Wait::UntilRead { UNTIL_READ } else { at };
        let mailbox = self.mailboxes.of(user);
        let put = {
            let queue = &mut mailbox.lock().queue;
            if queue.has(id) {
                return Ok(true);
            }
            // They may have come meanwhile.
            let is_there = self.online.is_online(user);
            if is_there { None } else { self.put(queue, id, since, body.into()) }
        };
        let is_kept = match put {
            Some(put) => self.mailboxes.write(&mailbox, put).await.map(|_| true),
            None => Ok(false),
        };
        if is_kept != Ok(true) {
            self.mailboxes.release(&mailbox);
        }
        is_kept.map_err(|error| to_fault(&error))
    }

    /// None: there is no room.
    fn put(&self, queue: &mut Queue, id: &str, since: Timestamp, body: Bytes) -> Option<Put> {
        let bytes = body.len() + limits::RELAY_KEPT_OVERHEAD;
        let message = Message { body, bytes, since, level: 0, key: id.into() };
        let put = queue.put(message, BOUNDS, 0, &self.mailboxes.payers);
        if let Err(full) = &put
            && let Some(more) = self.warning.allows(&self.clock)
        {
            let bytes = limits::RELAY_KEPT_BYTES;
            tracing::warn!(?full, bytes, more, "no room for another push for users who are away");
        }
        put.ok()
    }

    /// What waits for a user whose connection has come, in order; until it is confirmed it is this connection's. From
    /// `enter` on the user is there.
    pub fn hand_over(&self, user: &str, session: SessionId, enter: impl FnOnce()) -> Vec<Missed> {
        let mailbox = self.mailboxes.of(user);
        let waiting = {
            let mut contents = mailbox.lock();
            enter();
            put_in_flight(&mut contents, session)
        };
        let oldest = self.oldest();
        let (mut missed, mut gone) = (Vec::new(), Vec::new());
        for (number, since, body) in waiting {
            match self.read(user, number, body).filter(|_| since >= oldest) {
                Some(KeptPush { at, push }) => {
                    let id = (Arc::clone(&mailbox.name), number);
                    missed.push(Missed { id, push, at: Timestamp::from_millis(at) });
                }
                None => gone.push(number),
            }
        }
        self.remove(&mailbox, gone);
        missed
    }

    /// They were read.
    pub fn confirm(&self, read: &[MissedId]) {
        for (mailbox, read) in self.by_mailbox(read) {
            self.remove(&mailbox, read.iter().map(|(_, number)| *number));
        }
    }

    /// The connection is gone: what it has not confirmed goes to another one of the user, or waits.
    pub fn give_back(&self, unread: &[MissedId], session: SessionId) {
        for (mailbox, _) in self.by_mailbox(unread) {
            mailbox.lock().owner.0.retain(|_, to| *to != session);
            let others = self.online.registered(&*mailbox.name);
            if let Some(other) = others.iter().find_map(|other| other.handle()) {
                other.nudge();
            }
            self.mailboxes.release(&mailbox);
        }
    }

    fn by_mailbox<'a>(&'a self, ids: &'a [MissedId]) -> impl Iterator<Item = (Arc<Mailbox<InFlight>>, &'a [MissedId])> {
        let of_users = ids.chunk_by(|(user, _), (next, _)| user == next);
        of_users.filter_map(|ids| Some((self.mailboxes.find(&ids.first()?.0)?, ids)))
    }

    /// Removes what is too old.
    pub fn expire(&self) {
        let oldest = self.oldest();
        for mailbox in self.mailboxes.all() {
            self.mailboxes.expire(&mailbox, oldest);
            self.mailboxes.release(&mailbox);
        }
    }

    /// What was pushed before is too old.
    fn oldest(&self) -> Timestamp {
        if !self.keeps() {
            return Timestamp::from_millis(u64::MAX);
        }
        let ttl = u64::try_from(self.ttl.as_millis()).unwrap_or(u64::MAX);
        Timestamp::from_millis(self.clock.now().millis().saturating_sub(ttl))
    }

    fn read(&self, user: &str, number: u64, body: Option<Bytes>) -> Option<KeptPush<Push>> {
        let body = body.map_or_else(|| self.mailboxes.body(user, number), |body| Ok(Some(body)));
        let kept = body.map(|body| serde_json::from_slice(&body?).ok());
        if !matches!(kept, Ok(Some(_))) {
            let error = kept.as_ref().err();
            tracing::error!(?error, "a push for a user who was away cannot be read; it is dropped");
        }
        kept.ok()?
    }

    fn remove(&self, mailbox: &Arc<Mailbox<InFlight>>, numbers: impl IntoIterator<Item = u64>) {
        let removed = {
            let Contents { queue, owner } = &mut *mailbox.lock();
            let remove = |number| {
                owner.0.remove(&number);
                queue.remove(number)
            };
            numbers.into_iter().filter_map(remove).collect()
        };
        self.mailboxes.discard(mailbox, removed);
        self.mailboxes.release(mailbox);
    }

    /// Moves what a former version has left into mailboxes.
    fn adopt_former(&self, store: &Arc<dyn Store>) -> Result<(), StoreError> {
        #[derive(Deserialize)]
        struct Former {
            id: String,
            at: u64,
            #[serde(default)]
            until_read: bool,
        }
        for row in store.scan(FORMER_TABLE, b"", limits::RELAY_KEPT_ROWS) {
            let (row, damaged) = (row?, || StoreError::damaged("a push for a user who is away"));
            let user = NumberKey::read(&row.key).ok_or_else(damaged)?.owner;
            let Former { id, at, until_read } = serde_json::from_slice(&row.value).map_err(|_| damaged())?;
            let since = if until_read { UNTIL_READ } else { Timestamp::from_millis(at) };
            let mailbox = self.mailboxes.of(user);
            let (is_known, put) = {
                let queue = &mut mailbox.lock().queue;
                let is_known = queue.has(&id);
                (is_known, if is_known { None } else { self.put(queue, &id, since, row.value.into()) })
            };
            let moved = put.map(|put| self.mailboxes.write(&mailbox, put));
            let store = Arc::clone(store);
            rt::spawn(async move {
                let is_moved = match moved {
                    Some(moved) => moved.await.is_ok(),
                    None => is_known,
                };
                // What cannot be moved stays for the next start.
                if is_moved {
                    let _ = store.commit(Batch::new().remove(FORMER_TABLE, row.key)).await;
                }
            });
        }
        Ok(())
    }
}

/// Marks what no connection has been sent as sent to this one: number, age, and the body unless it is on disk only.
fn put_in_flight(
    Contents { queue, owner }: &mut Contents<InFlight>,
    session: SessionId,
) -> Vec<(u64, Timestamp, Option<Bytes>)> {
    let waiting = queue.behind(0).filter(|(number, _)| !owner.0.contains_key(number));
    let waiting: Vec<_> = waiting.map(|(number, waiting)| (number, waiting.since, waiting.body.clone())).collect();
    owner.0.extend(waiting.iter().map(|(number, ..)| (*number, session)));
    waiting
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::store::{embedded::EmbeddedStore, engine::Engine, faulty::FaultyDisk};

    const HOUR: Duration = Duration::from_secs(3_600);

    fn open(store: &Arc<dyn Store>, clock: &Clock) -> Away {
        Away::open(store, &Account::server(usize::MAX), Arc::default(), clock.clone(), HOUR).unwrap()
    }

    fn store() -> Arc<dyn Store> {
        let engine = Engine::start(FaultyDisk::default().opener(), Clock::system()).unwrap();
        Arc::new(EmbeddedStore::new(Arc::new(engine)))
    }

    fn push(event: &str) -> Push {
        let body = format!(r#"{{"event_name":"{event}","subject":{{"no": 1}},"user":"a","token":"a"}}"#);
        serde_json::from_str(&body).unwrap()
    }

    fn events(missed: &[Missed]) -> Vec<&str> {
        missed.iter().map(|missed| &*missed.push.event_name).collect()
    }

    /// findings C11: what was sent waits until it is confirmed, and again when its connection is gone.
    #[actix_web::test]
    async fn what_is_in_flight_comes_back_unless_it_was_read() {
        let away = open(&store(), &Clock::manual(Timestamp::from_millis(1)));
        let [first, second] = [1, 2].map(SessionId::from_number);
        for event in ["one", "two", "three"] {
            assert_eq!(away.keep(event, &push(event), Wait::AsSet).await, Ok(true));
        }
        assert_eq!(away.keep("two", &push("two"), Wait::AsSet).await, Ok(true), "it is known");
        let missed = away.hand_over("a", first, || {});
        assert_eq!(events(&missed), ["one", "two", "three"]);
        assert!(away.hand_over("a", second, || {}).is_empty());
        let ids: Vec<_> = missed.into_iter().map(|missed| missed.id).collect();
        away.confirm(&ids[..2]);
        assert_eq!(away.count(), 1);
        away.give_back(&ids[2..], first);
        assert_eq!(events(&away.hand_over("a", second, || {})), ["three"]);
        away.confirm(&ids);
        assert_eq!((away.count(), away.mailboxes.count()), (0, 0));
    }

    #[actix_web::test]
    async fn what_a_former_version_has_kept_is_moved() {
        let (store, clock) = (store(), Clock::manual(Timestamp::from_millis(2 * 3_600_000)));
        let old = r#"{"id":"old","at":5,"push":{"event_name":"old","subject":1,"user":"a","token":"a"}}"#;
        let young = old.replace("old", "young").replace(":5", ":7100000");
        let held = old.replace("old", "held").replace("}}", "},\"until_read\":true}");
        let rows = (1..).zip([old, &young, &held]);
        let batch =
            rows.fold(Batch::new(), |batch, (number, row)| batch.put(FORMER_TABLE, NumberKey::new("a", number), row));
        store.commit(batch).await.unwrap();
        for _ in 0..2 {
            let away = open(&store, &clock);
            let missed = away.hand_over("a", SessionId::from_number(1), || {});
            assert_eq!(events(&missed), ["young", "held"]);
            assert_eq!(missed[0].at, Timestamp::from_millis(7_100_000));
            // The moves, and behind them the removals.
            for _ in 0..2 {
                store.commit(Batch::new()).await.unwrap();
                tokio::task::yield_now().await;
            }
            assert!(store.list(FORMER_TABLE, b"", None, 9).unwrap().is_empty());
        }
    }
}
