//! Delayed pushes: on disk before they are acknowledged, off it after they were delivered
//! (`docs/protocols/relay.md §5`). So a crash can repeat one and lose none.
//!
//! What falls due while the server is down, or while its clients are still coming back after the start, waits for them:
//! for its user until it was read ([`delivery`](super::delivery)), for everybody until that grace is over.

use std::{
    collections::{HashSet, VecDeque},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use actix_web::rt;
use rand::RngExt as _;
use serde_json::value::RawValue;
use tokio::sync::{Mutex, Notify};

use crate::{
    actors::broker::Broker,
    clock::{Clock, OncePerSecond},
    error::Fault,
    ids::Timestamp,
    limits,
    older::relay::{
        delivery::{Delivered, Delivery, Wait},
        push::Push,
        reply::RelayError,
    },
    store::{Batch, Claims, Place, Read, Scheduled, Store, StoreError},
};

/// Pushes by id, each with the time when it is due.
const DELAYED: &str = "relay delayed";
/// The ids of those pushes.
const IDS: &str = "relay ids";
const FOR_EVER: Timestamp = Timestamp::from_millis(u64::MAX - 1);

pub struct Schedule {
    store: Arc<dyn Store>,
    /// Set: other nodes send what is delayed as well, each push one of them.
    claims: Option<Claims>,
    clock: Clock,
    /// Something new may be due first.
    changed: Notify,
    /// Held while a push is sent, so that none is cancelled that is on its way. Inside: what was sent and could not be
    /// removed yet.
    sent: Mutex<HashSet<String>>,
    /// Delayed pushes that are older when they could be sent are dropped.
    max_lateness: Option<Duration>,
    /// How long after the start clients are still coming back, and when that is over (monotonic).
    grace: Duration,
    grace_ends: OnceLock<Duration>,
    /// When this run began.
    started: Timestamp,
    /// Those of this run that had nobody to go to when they were sent, the newest last, and whether their user gets them
    /// all the same, when they come.
    pub unreached: parking_lot::Mutex<VecDeque<(DelayedPush, bool)>>,
    warning: OncePerSecond,
    minted: AtomicU32,
}

pub struct DelayedPush {
    pub id: String,
    pub due: Timestamp,
    pub push: Push,
}

impl Schedule {
    /// A lateness of zero is none.
    pub fn new(place: Place, clock: Clock, max_lateness: Duration, grace: Duration) -> Self {
        Self {
            store: place.store,
            claims: place.claims,
            grace,
            grace_ends: OnceLock::new(),
            started: clock.now(),
            unreached: parking_lot::Mutex::default(),
            warning: OncePerSecond::default(),
            clock,
            changed: Notify::new(),
            sent: Mutex::default(),
            max_lateness: (!max_lateness.is_zero()).then_some(max_lateness),
            minted: AtomicU32::default(),
        }
    }

    /// A new id: time, a counter, some chance. Ids sort as they were made.
    pub fn mint_id(&self) -> String {
        let (count, chance) = (self.minted.fetch_add(1, Ordering::Relaxed), rand::rng().random::<u16>());
        let id = u128::from(self.clock.now().millis()) << 48 | u128::from(count) << 16 | u128::from(chance);
        format!("{id:024x}")
    }

    /// Keeps `push` until its time; it is on disk when this returns.
    ///
    /// # Errors
    /// It is not kept.
    pub async fn keep(&self, id: &str, push: &Push, delay: Duration) -> Result<(), RelayError> {
        let delay = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        let due = Timestamp::from_millis(self.clock.now().millis().saturating_add(delay));
        let value = serde_json::to_vec(push).map_err(|_| RelayError::Failed)?;
        let waiting = self.store.read_one(Read::bytes(DELAYED)).await?.number()?;
        let limit = limits::RELAY_DELAYED_BYTES;
        let size = usize::try_from(waiting).unwrap_or(usize::MAX).saturating_add(value.len());
        if size > limit {
            return Err(Fault::TooLarge { what: "all delayed pushes together, with this one,", size, limit }.into());
        }
        self.store.commit(Batch::new().schedule(DELAYED, due, id, value).put(IDS, id, [])).await?;
        self.changed.notify_one();
        Ok(())
    }

    /// The next ones, the earliest first; at most `limit`.
    ///
    /// # Errors
    /// When the disk cannot be read.
    pub async fn list(&self, limit: usize) -> Result<Vec<DelayedPush>, StoreError> {
        let rows = self.store.read_one(Read::due(DELAYED, FOR_EVER, limit)).await?.due()?;
        Ok(rows.iter().filter_map(DelayedPush::read).collect())
    }

    /// Whether there was one with this id, not yet sent.
    ///
    /// # Errors
    /// When the disk cannot be read or written; then it may still be sent.
    pub async fn cancel(&self, id: &str) -> Result<bool, RelayError> {
        let sent = self.sent.lock().await;
        let mark = self.mark(id).await?;
        let Some(mark) = mark.filter(|mark| !sent.contains(id) && !self.is_anothers(mark)) else { return Ok(false) };
        let batch = Batch::new().expect(IDS, id, Some(mark)).cancel(DELAYED, id).remove(IDS, id);
        match self.store.commit(batch).await {
            Ok(_) => Ok(true),
            // Another node is sending it.
            Err(StoreError::Changed) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// What is due, without the pushes: every node asks for it all the time.
    async fn due(&self, until: Timestamp, limit: usize) -> Result<Vec<Scheduled>, StoreError> {
        self.store.read_one(Read::due_keys(DELAYED, until, limit)).await?.due()
    }

    /// Which node sends a push; none: it is sent, or cancelled.
    async fn mark(&self, id: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.read_one(Read::get(IDS, id)).await?.value()
    }

    fn is_anothers(&self, mark: &[u8]) -> bool {
        self.claims.as_ref().is_some_and(|claims| claims.is_anothers(mark))
    }

    /// Sends what is due, for ever. One task of the server.
    pub async fn run(&self, delivery: &Delivery, broker: &Arc<Broker>) {
        loop {
            let wait = self.send_due(delivery, broker).await.unwrap_or_else(|error| {
                if let Some(more) = broker.disk_warning.allows(&self.clock) {
                    tracing::error!(error = %error.reply().text, more, "delayed pushes cannot be sent yet");
                }
                Some(limits::RELAY_SCHEDULE_CHECK)
            });
            let changed = self.changed.notified();
            match wait {
                // The wall clock may be set meanwhile, so no long sleeps.
                Some(wait) => {
                    let _ = rt::time::timeout(wait.min(limits::RELAY_SCHEDULE_CHECK), changed).await;
                }
                // Another node may take one in.
                None if self.claims.is_some() => {
                    let _ = rt::time::timeout(limits::RELAY_SCHEDULE_CHECK, changed).await;
                }
                None => changed.await,
            }
        }
    }

    /// Sends everything that is due; how long until there may be more, none when nothing is delayed.
    async fn send_due(&self, delivery: &Delivery, broker: &Arc<Broker>) -> Result<Option<Duration>, RelayError> {
        loop {
            // While clients come back some wait for them, as some wait that other nodes are sending, and must not hold up the others.
            let limit = if self.is_grace() || self.claims.is_some() { limits::RELAY_OVERDUE_ROWS } else { 1 };
            let mut has_sent = false;
            for row in self.due(self.clock.now(), limit).await? {
                // Its recipients are being let go; after the restart they are there again.
                if broker.closing.load(Ordering::Relaxed) {
                    break;
                }
                has_sent |= self.send(row, delivery, broker).await?;
            }
            if !has_sent {
                break;
            }
        }
        let now = self.clock.now().millis();
        Ok(self.due(FOR_EVER, 1).await?.first().map(|next| match next.due.millis().saturating_sub(now) {
            0 => limits::RELAY_SCHEDULE_CHECK,
            early => Duration::from_millis(early),
        }))
    }

    /// Sends a push that is due and removes it. False: it waits for clients to come back.
    async fn send(&self, row: Scheduled, delivery: &Delivery, broker: &Arc<Broker>) -> Result<bool, RelayError> {
        let Ok(id) = String::from_utf8(row.key.clone()) else {
            tracing::error!("a delayed push cannot be read; it is dropped");
            self.remove(&row.key).await?;
            return Ok(true);
        };
        let mut sent = self.sent.lock().await;
        // Not there: cancelled, or another node has sent it meanwhile.
        if !sent.contains(&id)
            && let Some(mark) = self.mark(&id).await?
        {
            if self.is_anothers(&mark) {
                return Ok(false);
            }
            let mut row = row;
            // Whether it waits for clients to come back is known only of the push itself.
            let is_read = self.is_grace();
            if is_read {
                self.fill(&mut row).await?;
                if DelayedPush::read(&row).is_some_and(|delayed| self.waits_for_clients(&delayed, delivery)) {
                    return Ok(false);
                }
            }
            if !self.claim(&id, mark).await? {
                return Ok(false);
            }
            if !is_read {
                self.fill(&mut row).await?;
            }
            match DelayedPush::read(&row) {
                Some(delayed) => self.deliver(delayed, delivery, broker).await?,
                // Whoever took it for this node's death has sent it.
                None if row.value.is_empty() => {}
                None => tracing::error!("a delayed push cannot be read; it is dropped"),
            }
            sent.insert(id.clone());
        }
        self.remove(id.as_bytes()).await?;
        sent.remove(&id);
        Ok(true)
    }

    /// Reads the push itself into a row that has its key and time only.
    async fn fill(&self, row: &mut Scheduled) -> Result<(), StoreError> {
        let value = self.store.read_one(Read::scheduled(DELAYED, &*row.key)).await?.value()?;
        row.value = value.unwrap_or_default();
        Ok(())
    }

    /// One for everybody waits while clients come back: if it is of an earlier run, or nobody is here.
    fn waits_for_clients(&self, delayed: &DelayedPush, delivery: &Delivery) -> bool {
        let is_of_earlier_run = delayed.made().is_none_or(|made| made < self.started);
        delayed.push.user.is_none() && (is_of_earlier_run || delivery.recipients(&delayed.push) == 0)
    }

    /// # Errors
    /// It was not published, and may be when it is tried again.
    async fn deliver(&self, delayed: DelayedPush, delivery: &Delivery, broker: &Arc<Broker>) -> Result<(), RelayError> {
        let late = Duration::from_millis(self.clock.now().millis().saturating_sub(delayed.due.millis()));
        if self.max_lateness.is_some_and(|max| late > max) {
            tracing::warn!(?late, "a delayed push is dropped (relay.max_lateness)");
            return Ok(());
        }
        let wait = if self.is_grace() { Wait::UntilRead } else { Wait::AsSet };
        match delivery.deliver(&delayed.push, &delayed.id, wait, broker).await {
            Ok(Delivered { connections: 0, is_kept }) if !is_kept || wait == Wait::UntilRead => {
                self.note_unreached(delayed, is_kept);
            }
            Ok(delivered) => tracing::debug!(?delivered, "a delayed push is sent"),
            Err(error @ (RelayError::Busy | RelayError::DiskFull)) => return Err(error),
            Err(error) => tracing::error!(error = %error.reply().text, "a delayed push cannot be sent"),
        }
        Ok(())
    }

    /// A push that reached nobody is written to the log, and listed.
    fn note_unreached(&self, mut push: DelayedPush, is_kept: bool) {
        if let Some(more) = self.warning.allows(&self.clock) {
            let id = &push.id;
            tracing::warn!(id, is_kept, more, "a delayed push fell due while none of its recipients was connected");
        }
        let mut unreached = self.unreached.lock();
        if unreached.len() == limits::RELAY_UNREACHED {
            unreached.pop_front();
        }
        // It is listed without them.
        push.push.subject = RawValue::NULL.to_owned();
        push.push.token = None;
        unreached.push_back((push, is_kept));
    }

    /// Whether clients are still coming back. It begins when it is asked first: by then the server listens.
    fn is_grace(&self) -> bool {
        let now = self.clock.uptime();
        now < *self.grace_ends.get_or_init(|| now + self.grace)
    }

    /// Whether it is this node that sends a push. One that died while it sent it has published it under its id, or not at all: so
    /// whoever sends it then does it once.
    async fn claim(&self, id: &str, mark: Vec<u8>) -> Result<bool, StoreError> {
        let Some(claims) = &self.claims else { return Ok(true) };
        if claims.is_anothers(&mark) {
            return Ok(false);
        }
        match self.store.commit(Batch::new().expect(IDS, id, Some(mark)).put(IDS, id, claims.own())).await {
            Ok(_) => Ok(true),
            Err(StoreError::Changed) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn remove(&self, id: &[u8]) -> Result<(), StoreError> {
        self.store.commit(Batch::new().cancel(DELAYED, id).remove(IDS, id)).await.map(drop)
    }
}

impl DelayedPush {
    fn read(row: &Scheduled) -> Option<Self> {
        Some(Self {
            id: String::from_utf8(row.key.clone()).ok()?,
            due: row.due,
            push: serde_json::from_slice(&row.value).ok()?,
        })
    }

    /// When its id was minted.
    fn made(&self) -> Option<Timestamp> {
        u64::from_str_radix(self.id.get(..12)?, 16).ok().map(Timestamp::from_millis)
    }
}
