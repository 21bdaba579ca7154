//! Delayed pushes: on disk before they are acknowledged, off it after they were handed over
//! (`docs/protocols/relay.md §5`). So a crash can repeat one and lose none.
//!
//! What falls due while the server is down, or while its clients are still coming back after the start, waits for them:
//! for its user until it was read ([`away`](super::away)), for everybody until that grace is over.

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
use tokio::sync::{Mutex, Notify, oneshot};

use crate::{
    actors::broker::Broker,
    clock::{Clock, OncePerSecond},
    error::Fault,
    ids::Timestamp,
    limits,
    older::relay::{
        away::Wait,
        delivery::{Delivery, Handed},
        push::Push,
    },
    store::{Batch, Scheduled, Store, StoreError},
};

/// Rows with due times: id, and the push.
const DELAYED: &str = "relay delayed";
/// Which ids there are.
const IDS: &str = "relay ids";

pub struct Schedule {
    store: Arc<dyn Store>,
    clock: Clock,
    /// Something new may be due first.
    changed: Notify,
    /// Held while a push is sent, so that none is cancelled that is on its way. Inside: what was sent and
    /// could not be removed yet.
    sent: Mutex<HashSet<Vec<u8>>>,
    /// Delayed pushes that are older when they could be sent are dropped.
    max_lateness: Option<Duration>,
    /// How long after the start clients are still coming back, and when that is over (monotonic).
    grace: Duration,
    grace_ends: OnceLock<Duration>,
    /// When this run began.
    started: Timestamp,
    /// Those that reached nobody, the newest last.
    unreached: parking_lot::Mutex<VecDeque<Unreached>>,
    warning: OncePerSecond,
    ids: Ids,
}

/// A delayed push that had nobody to go to when it was sent.
#[derive(Clone)]
pub struct Unreached {
    pub waiting: Waiting,
    /// Its user gets it all the same, when they come.
    pub is_kept: bool,
}

/// A delayed push as it is listed.
#[derive(Clone)]
pub struct Waiting {
    pub id: String,
    pub due: Timestamp,
    pub push: Push,
}

impl Schedule {
    /// A lateness of zero is none.
    pub fn new(store: Arc<dyn Store>, clock: Clock, max_lateness: Duration, grace: Duration) -> Self {
        Self {
            store,
            grace,
            grace_ends: OnceLock::new(),
            started: clock.now(),
            unreached: parking_lot::Mutex::default(),
            warning: OncePerSecond::default(),
            clock,
            changed: Notify::new(),
            sent: Mutex::default(),
            max_lateness: (!max_lateness.is_zero()).then_some(max_lateness),
            ids: Ids::default(),
        }
    }

    /// A new id; ids sort as they were made.
    pub fn mint_id(&self) -> String {
        self.ids.mint(self.clock.now())
    }

    /// Keeps `push` until its time; it is on disk when this returns.
    ///
    /// # Errors
    /// [`Fault::DiskFull`], [`Fault::Busy`], [`Fault::Internal`]: it is not kept.
    pub async fn keep(&self, id: &str, push: &Push, delay: Duration) -> Result<(), Fault> {
        let delay = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        let due = Timestamp::from_millis(self.clock.now().millis().saturating_add(delay));
        let value = serde_json::to_vec(push).map_err(|_| Fault::Internal)?;
        let batch = Batch::new().schedule(DELAYED, due, id, value).put(IDS, id, []);
        self.commit(batch).await?;
        self.changed.notify_one();
        Ok(())
    }

    /// The next ones, the earliest first; at most `limit`.
    ///
    /// # Errors
    /// When the disk cannot be read.
    pub fn list(&self, limit: usize) -> Result<Vec<Waiting>, Fault> {
        let rows = self.store.due(DELAYED, FOR_EVER, limit).map_err(told)?;
        Ok(rows.into_iter().filter_map(Waiting::read).collect())
    }

    /// Those of this run that reached nobody, the newest first.
    pub fn unreached(&self) -> Vec<Unreached> {
        self.unreached.lock().iter().rev().cloned().collect()
    }

    /// Whether there was one with this id, not yet sent.
    ///
    /// # Errors
    /// When the disk cannot be read or written; then it may still be sent.
    pub async fn cancel(&self, id: &str) -> Result<bool, Fault> {
        let sent = self.sent.lock().await;
        let is_known = self.store.get(IDS, id.as_bytes()).map_err(told)?.is_some();
        if !is_known || sent.contains(id.as_bytes()) {
            return Ok(false);
        }
        self.commit(removal(id.as_bytes())).await?;
        Ok(true)
    }

    /// Sends what is due, for ever. One task of the server.
    pub async fn run(&self, delivery: &Delivery, broker: &Arc<Broker>) {
        loop {
            let wait = match self.send_due(delivery, broker).await {
                Ok(next) => next,
                Err(fault) => {
                    if let Some(more) = broker.disk_warning.allows(&self.clock) {
                        tracing::error!(%fault, more, "delayed pushes cannot be sent yet");
                    }
                    Some(limits::RELAY_SCHEDULE_CHECK)
                }
            };
            let changed = self.changed.notified();
            match wait {
                // The wall clock may be set meanwhile, so no long sleeps.
                Some(wait) => {
                    let wait = wait.min(limits::RELAY_SCHEDULE_CHECK);
                    let _ = rt::time::timeout(wait, changed).await;
                }
                None => changed.await,
            }
        }
    }

    /// Sends everything that is due; how long until the next one is.
    async fn send_due(&self, delivery: &Delivery, broker: &Arc<Broker>) -> Result<Option<Duration>, Fault> {
        if self.is_grace() {
            self.send_to_who_is_back(delivery, broker).await?;
            if self.is_grace() {
                return Ok(Some(limits::RELAY_SCHEDULE_CHECK));
            }
        }
        loop {
            let next = self.store.due(DELAYED, FOR_EVER, 1).map_err(told)?;
            let Some(row) = next.into_iter().next() else {
                return Ok(None);
            };
            let now = self.clock.now().millis();
            let early = row.due.millis().saturating_sub(now);
            if early > 0 {
                return Ok(Some(Duration::from_millis(early)));
            }
            // Its recipients are being let go; after the restart they are there again.
            if broker.closing.load(Ordering::Relaxed) {
                return Ok(Some(limits::RELAY_SCHEDULE_CHECK));
            }
            self.send(row, now, delivery, broker).await?;
        }
    }

    /// Whether clients are still coming back. It begins when it is asked first: by then the server listens.
    fn is_grace(&self) -> bool {
        let now = self.clock.uptime();
        now < *self.grace_ends.get_or_init(|| now + self.grace)
    }

    /// Sends what is due, but for that which is for everybody and should find more of them.
    async fn send_to_who_is_back(&self, delivery: &Delivery, broker: &Arc<Broker>) -> Result<(), Fault> {
        let now = self.clock.now();
        for row in self.store.due(DELAYED, now, limits::RELAY_OVERDUE_ROWS).map_err(told)? {
            if broker.closing.load(Ordering::Relaxed) {
                break;
            }
            let is_older = Ids::time_of(&row.key).is_none_or(|made| made < self.started);
            let waits = Waiting::read(row.clone()).is_some_and(|Waiting { push, .. }| {
                let is_alone = || delivery.groups.count(&push.channel()) == 0;
                push.user.is_none() && (is_older || is_alone())
            });
            if !waits {
                self.send(row, now.millis(), delivery, broker).await?;
            }
        }
        Ok(())
    }

    /// Somebody has to know of a push that reached nobody: the log, and who asks for the list.
    fn told_nobody(&self, waiting: Waiting, is_kept: bool) {
        if let Some(more) = self.warning.allows(&self.clock) {
            let id = &waiting.id;
            tracing::warn!(id, is_kept, more, "a delayed push fell due while none of its recipients was connected");
        }
        let mut unreached = self.unreached.lock();
        if unreached.len() == limits::RELAY_UNREACHED {
            unreached.pop_front();
        }
        unreached.push_back(Unreached { waiting, is_kept });
    }

    async fn send(&self, row: Scheduled, now: u64, delivery: &Delivery, broker: &Arc<Broker>) -> Result<(), Fault> {
        let mut sent = self.sent.lock().await;
        if self.store.get(IDS, &row.key).map_err(told)?.is_none() {
            // Cancelled meanwhile.
            return self.commit(removal(&row.key)).await;
        }
        let late = Duration::from_millis(now.saturating_sub(row.due.millis()));
        let key = row.key.clone();
        if self.max_lateness.is_some_and(|max| late > max) {
            tracing::warn!(?late, "a delayed push is dropped (relay.max_lateness)");
        } else if !sent.contains(&key) {
            match Waiting::read(row) {
                Some(waiting) => {
                    let wait = if self.is_grace() { Wait::UntilRead } else { Wait::AsSet };
                    let handed = delivery.hand_over(&waiting.push, &waiting.id, wait, broker);
                    match handed.await {
                        Ok(Handed { connections: 0, is_kept }) if !is_kept || wait == Wait::UntilRead => {
                            self.told_nobody(waiting, is_kept);
                        }
                        Ok(handed) => tracing::debug!(?handed, "a delayed push is sent"),
                        Err(fault @ (Fault::Busy | Fault::DiskFull)) => return Err(fault),
                        Err(fault) => tracing::error!(%fault, "a delayed push cannot be sent"),
                    }
                }
                None => tracing::error!("a delayed push cannot be read; it is dropped"),
            }
            sent.insert(key.clone());
        }
        self.commit(removal(&key)).await?;
        sent.remove(&key);
        Ok(())
    }

    async fn commit(&self, batch: Batch) -> Result<(), Fault> {
        let (told_outcome, outcome) = oneshot::channel();
        let done = Box::new(move |result| drop(told_outcome.send(result)));
        self.store.submit(batch, done);
        let outcome = outcome.await.unwrap_or(Err(StoreError::Closed));
        outcome.map(drop).map_err(told)
    }
}

const FOR_EVER: Timestamp = Timestamp::from_millis(u64::MAX - 1);

fn removal(id: &[u8]) -> Batch {
    Batch::new().cancel(DELAYED, id).remove(IDS, id)
}

/// For what became of rows that a push is kept in.
pub fn told(error: StoreError) -> Fault {
    match error {
        StoreError::Full => Fault::DiskFull,
        StoreError::Busy | StoreError::Closed => Fault::Busy,
        StoreError::Io(_) | StoreError::Damaged(_) | StoreError::Unreachable(_) => {
            tracing::error!(%error, "pushes that are kept cannot be read or written");
            Fault::Internal
        }
    }
}

impl Waiting {
    fn read(row: Scheduled) -> Option<Self> {
        Some(Self {
            id: String::from_utf8(row.key).ok()?,
            due: row.due,
            push: serde_json::from_slice(&row.value).ok()?,
        })
    }
}

/// Makes ids of pushes: time, a counter, some chance.
#[derive(Default)]
struct Ids(AtomicU32);

impl Ids {
    fn mint(&self, now: Timestamp) -> String {
        let count = self.0.fetch_add(1, Ordering::Relaxed);
        let chance: u16 = rand::rng().random();
        format!("{:012x}{count:08x}{chance:04x}", now.millis())
    }

    /// When an id was made.
    fn time_of(id: &[u8]) -> Option<Timestamp> {
        let time = std::str::from_utf8(id.get(..12)?).ok()?;
        u64::from_str_radix(time, 16).ok().map(Timestamp::from_millis)
    }
}
