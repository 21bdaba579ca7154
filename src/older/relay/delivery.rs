//! Delivers pushes to the connections of their recipients, and keeps those for users who are away
//! (`docs/protocols/relay.md §5`, `offline_ttl_seconds`): on disk before they are acknowledged, handed over in order to the
//! first connection that identifies, until it has read them ([`Inboxes`]).
//!
//! A push either waits, and the relay's own sockets do not hear it from the channel, or is live, and comes behind what
//! waited.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use actix_web::rt;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    actors::{
        broker::Broker,
        inbox::{Inboxes, Left},
    },
    clock::{Clock, OncePerSecond},
    core::{budget::Account, command::Publish, message::EntryId},
    error::Fault,
    ids::Timestamp,
    limits,
    older::relay::{push::Push, reply::RelayError, wire},
    store::{
        Batch, NumberKey, Place, Row, Store, StoreError,
        mailbox::{Bounds, Message, Tables, UNTIL_READ},
    },
};

const TABLES: Tables = Tables { facts: "relay missed", bodies: "relay missed pushes" };
/// Where former versions kept them.
const FORMER_TABLE: &str = "relay kept";
const BOUNDS: Bounds = Bounds { messages: limits::RELAY_KEPT_PUSHES, bytes: limits::RELAY_KEPT_USER_BYTES };

pub struct Delivery {
    /// Of the users, and which connections get their pushes.
    pub inboxes: Inboxes,
    /// How many connections get pushes to everybody.
    pub connections: AtomicUsize,
    clock: Clock,
    /// How long pushes wait; zero: none does but what waits until it was read.
    ttl: Duration,
    warning: OncePerSecond,
}

/// How long a push waits for its user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// As `offline_ttl` says.
    AsSet,
    UntilRead,
}

/// What became of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// Relay connections that it was delivered to.
    pub connections: usize,
    /// It waits for its user.
    pub is_kept: bool,
}

/// A push in a mailbox.
#[derive(Serialize, Deserialize)]
struct KeptPush<P> {
    /// When it was pushed.
    at: u64,
    push: P,
}

impl Delivery {
    /// Finds what earlier runs have left; what is too old by now is removed. `memory` pays for what is in memory.
    pub fn open(place: &Place, memory: &Account, clock: Clock, ttl: Duration) -> Result<Self, StoreError> {
        let (store, bytes) = (&place.store, limits::RELAY_KEPT_BYTES);
        let inboxes = Inboxes::open(place, TABLES, bytes, BOUNDS, memory, clock.clone())?;
        let delivery =
            Self { inboxes, connections: AtomicUsize::new(0), clock, ttl, warning: OncePerSecond::default() };
        if !delivery.inboxes.is_shared() {
            for row in store.scan(FORMER_TABLE, b"", limits::RELAY_KEPT_ROWS) {
                delivery.adopt_former(row?, store)?;
            }
            delivery.expire();
        }
        Ok(delivery)
    }

    /// Whether pushes are kept at all.
    pub const fn keeps(&self) -> bool {
        !self.ttl.is_zero()
    }

    /// How many wait, those included that are on their way.
    ///
    /// # Errors
    /// They are at another machine, which does not answer.
    pub async fn kept(&self) -> Result<u64, StoreError> {
        self.inboxes.mailboxes.stored().await
    }

    /// How many connections here a push reaches now.
    pub fn recipients(&self, push: &Push) -> usize {
        self.recipients_of(push.user.as_deref())
    }

    /// The same by the user; none: everybody.
    pub fn recipients_of(&self, user: Option<&str>) -> usize {
        match user {
            Some(user) => self.inboxes.online.transports_of(user),
            None => self.connections.load(Ordering::Relaxed),
        }
    }

    /// Publishes the push, for others than its user also when it is kept. Nobody there is no fault. Published again with
    /// the same `id` within two minutes, it is not sent again.
    ///
    /// # Errors
    /// It was neither kept nor published; a back end has to push it again.
    pub async fn deliver(
        &self,
        push: &Push,
        id: &str,
        wait: Wait,
        broker: &Arc<Broker>,
    ) -> Result<Delivered, RelayError> {
        let elsewhere = self.recipients_elsewhere(push, broker).await;
        let is_kept = elsewhere == 0 && self.keep(id, push, wait).await?;
        let connections = if is_kept { 0 } else { self.recipients(push) + elsewhere };
        let channel = push.channel();
        let publish = Publish::message(EntryId::Base(id.into()), wire::message(push, is_kept));
        match broker.publish(&channel, publish).await {
            // There is no room for another channel, so nobody is on this one.
            Err(_) if connections == 0 && broker.directory.channel(&channel, broker, None).is_err() => {}
            // Whoever pushes it again would have it kept twice; the user's node finds it without being told.
            Err(_) if is_kept && self.inboxes.is_shared() => {}
            published => drop(published?),
        }
        Ok(Delivered { connections, is_kept })
    }

    /// Keeps `push` unless its user is online, nothing is kept, or there is no room. When it is kept, it is on disk when
    /// this returns. The same `id` again is kept once.
    async fn keep(&self, id: &str, push: &Push, wait: Wait) -> Result<bool, RelayError> {
        let Some(user) = push.user.as_ref().filter(|_| self.keeps() || wait == Wait::UntilRead) else {
            return Ok(false);
        };
        if self.inboxes.online.is_online(user) {
            return Ok(false);
        }
        let at = self.clock.now();
        let body = serde_json::to_vec(&KeptPush { at: at.millis(), push }).map_err(|_| Fault::Internal)?;
        let since = if wait == Wait::UntilRead { UNTIL_READ } else { at };
        let left = self.inboxes.leave(user, message(id, since, body), true).await?;
        if let Left::Full(full) = left
            && let Some(more) = self.warning.allows(&self.clock)
        {
            let bytes = limits::RELAY_KEPT_BYTES;
            tracing::warn!(?full, bytes, more, "no room for another push for users who are away");
        }
        Ok(left == Left::Kept)
    }

    /// The frame of a push that has waited; none when it is too old by now, or damaged.
    pub fn frame(&self, since: Timestamp, body: &[u8]) -> Option<Bytes> {
        if since < self.oldest() {
            return None;
        }
        let kept: Result<KeptPush<Push>, _> = serde_json::from_slice(body);
        let KeptPush { at, push } = kept
            .inspect_err(|error| {
                tracing::error!(%error, "a push for a user who was away cannot be read; it is dropped");
            })
            .ok()?;
        Some(wire::missed(&push, Timestamp::from_millis(at)))
    }

    /// Removes what is too old.
    pub async fn sweep(&self) {
        match self.inboxes.is_shared() {
            true => self.inboxes.sweep(self.oldest()).await,
            false => self.expire(),
        }
    }

    fn expire(&self) {
        let (mailboxes, oldest) = (&self.inboxes.mailboxes, self.oldest());
        for mailbox in mailboxes.all() {
            mailboxes.expire(&mailbox, oldest);
            mailboxes.release(&mailbox);
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

    /// Moves a push that a former version has left into a mailbox.
    fn adopt_former(&self, row: Row, store: &Arc<dyn Store>) -> Result<(), StoreError> {
        #[derive(Deserialize)]
        struct Former {
            id: String,
            at: u64,
            #[serde(default)]
            until_read: bool,
        }
        let damaged = || StoreError::damaged("a push for a user who is away");
        let user = NumberKey::read(&row.key).ok_or_else(damaged)?.owner;
        let Former { id, at, until_read } = serde_json::from_slice(&row.value).map_err(|_| damaged())?;
        let since = if until_read { UNTIL_READ } else { Timestamp::from_millis(at) };
        let moved = self.inboxes.leave(user, message(&id, since, row.value), false);
        let store = Arc::clone(store);
        rt::spawn(async move {
            // What cannot be moved stays for the next start.
            if moved.await == Ok(Left::Kept) {
                let _ = store.commit(Batch::new().remove(FORMER_TABLE, row.key)).await;
            }
        });
        Ok(())
    }
}

fn message(id: &str, since: Timestamp, body: Vec<u8>) -> Message {
    Message { bytes: body.len() + limits::RELAY_KEPT_OVERHEAD, since, key: id.into(), ..Message::until_read(body) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::{actors::inbox::Inbox, store::faulty::FaultyDisk};

    const HOUR: Duration = Duration::from_secs(3_600);

    fn place() -> Place {
        Place { store: FaultyDisk::default().store(), claims: None }
    }

    fn memory() -> Account {
        Account::server(usize::MAX)
    }

    fn push(event: &str) -> Push {
        let body = format!(r#"{{"event_name":"{event}","subject":{{"no": 1}},"user":"a","token":"a"}}"#);
        serde_json::from_str(&body).unwrap()
    }

    /// What waits for the user, event and time.
    fn take(inbox: &mut Inbox) -> Vec<(String, u64)> {
        let frames = inbox.take("a", || {});
        let shown = frames.iter().map(|frame| {
            let json = &frame[frame.iter().position(|byte| *byte == b'{').unwrap()..];
            let json: serde_json::Value = serde_json::from_slice(json).unwrap();
            (json["event"].as_str().unwrap().to_owned(), json["data"]["ts"].as_u64().unwrap())
        });
        shown.collect()
    }

    fn events(taken: &[(String, u64)]) -> Vec<&str> {
        taken.iter().map(|(event, _)| &**event).collect()
    }

    fn inbox(delivery: &Arc<Delivery>) -> Inbox {
        let kept = Arc::clone(delivery);
        Inbox::new(delivery.inboxes.clone(), move |since, body| kept.frame(since, body))
    }

    /// findings C11: what was sent waits until it is confirmed, and again when its connection is gone.
    #[actix_web::test]
    async fn what_is_in_flight_comes_back_unless_it_was_read() {
        let delivery =
            Arc::new(Delivery::open(&place(), &memory(), Clock::manual(Timestamp::from_millis(1)), HOUR).unwrap());
        let [mut first, mut second] = [(); 2].map(|()| inbox(&delivery));
        for event in ["one", "two", "three"] {
            assert_eq!(delivery.keep(event, &push(event), Wait::AsSet).await, Ok(true));
        }
        assert_eq!(delivery.keep("two", &push("two"), Wait::AsSet).await, Ok(true), "it is known");
        assert_eq!(events(&take(&mut first)), ["one", "two", "three"]);
        assert!(take(&mut second).is_empty());
        first.pong(&2_u64.to_be_bytes());
        assert_eq!(delivery.kept().await, Ok(1));
        first.close();
        assert_eq!(events(&take(&mut second)), ["three"]);
        second.pong(&1_u64.to_be_bytes());
        assert_eq!((delivery.kept().await, delivery.inboxes.mailboxes.count()), (Ok(0), 0));
    }

    #[actix_web::test]
    async fn what_a_former_version_has_kept_is_moved() {
        let (place, clock) = (place(), Clock::manual(Timestamp::from_millis(2 * 3_600_000)));
        let old = r#"{"id":"old","at":5,"push":{"event_name":"old","subject":1,"user":"a","token":"a"}}"#;
        let young = old.replace("old", "young").replace(":5", ":7100000");
        let held = old.replace("old", "held").replace("}}", "},\"until_read\":true}");
        let rows = (1..).zip([old, &young, &held]);
        let batch =
            rows.fold(Batch::new(), |batch, (number, row)| batch.put(FORMER_TABLE, NumberKey::new("a", number), row));
        let store = &place.store;
        store.commit(batch).await.unwrap();
        for _ in 0..2 {
            let delivery = Arc::new(Delivery::open(&place, &memory(), clock.clone(), HOUR).unwrap());
            let missed = take(&mut inbox(&delivery));
            assert_eq!(events(&missed), ["young", "held"]);
            assert_eq!(missed[0].1, 7_100_000);
            // The moves, and behind them the removals.
            for _ in 0..2 {
                store.commit(Batch::new()).await.unwrap();
                tokio::task::yield_now().await;
            }
            assert!(store.list(FORMER_TABLE, b"", None, 9).unwrap().is_empty());
        }
    }
}
