//! All groups of a server (`docs/protocols/group.md §6`): who is in them, what was said, who is here. Shared by all worker
//! threads.
//!
//! Whatever changes is first handed to the store, under a number or in an order that memory follows as well; what
//! others are told of it, they are told after its commit. `sending` takes messages in, `members` knows who is in, `notices`
//! are what concerns one user, `past` what was said, `inbox` is what other instances and services say.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::{
    actors::{broker::Broker, metrics::GroupFigures},
    clock::{Clock, OncePerSecond},
    config,
    ids::{ConnectionId, Timestamp},
    limits,
    older::group::{
        code::Code,
        courier::{Courier, ToChannels},
        figures::Figures,
        registry::Registry,
        roll::{Roll, Visitor},
        shelf::{self, Digest, Shelf, Times},
        streams::{Bus, Received, Status},
    },
    store::{Batch, Committed, Store, StoreError},
};

mod inbox;
mod markers;
mod members;
mod notices;
mod past;
mod sending;
#[cfg(test)]
mod tests;

pub use members::Enrolment;
pub use past::Missed;
pub use sending::{Answer, Sent};

/// See the module.
pub struct Forum {
    pub settings: config::Group,
    pub clock: Clock,
    pub roll: Roll,
    pub figures: Figures,
    pub(super) registry: RwLock<Registry>,
    shelf: Shelf,
    line: Mutex<Line>,
    /// Held while members change in memory and are handed to the store, so that both do it in one order.
    changing: Mutex<()>,
    /// What is on its way to disk, by what its sender sent.
    sending: Mutex<HashMap<Digest, Arc<sending::Pending>>>,
    /// The same of what others sent, by its id.
    arriving: Mutex<HashSet<String>>,
    /// Notifications on their way to disk: user and id.
    keeping: Mutex<HashSet<(String, String)>>,
    /// Notifications that were sent from here and come back by Redis: user and id.
    echoes: Mutex<VecDeque<(String, String)>>,
    courier: Courier,
    /// Names our messages among the entries of a channel, together with their numbers.
    postmark: ConnectionId,
    bus: Option<Bus>,
    inbox: Mutex<Option<mpsc::Receiver<Received>>>,
    warning: OncePerSecond,
    /// Turns to read beside the workers.
    readers: Arc<Semaphore>,
}

/// Numbers are given under its lock, and what they name is handed to the store under it.
struct Line {
    last: u64,
    /// Hour since the epoch -> its first number.
    hours: BTreeMap<u64, u64>,
}

/// The other instances and services, and what they say.
pub type Shared = (Bus, mpsc::Receiver<Received>);

impl Forum {
    /// Finds what earlier runs have left in `store`.
    ///
    /// # Errors
    /// When that cannot be read.
    pub fn open(
        settings: &config::Group,
        store: Arc<dyn Store>,
        clock: Clock,
        shared: Option<Shared>,
    ) -> anyhow::Result<Arc<Self>> {
        let shelf = Shelf::new(store);
        let unreadable = "cannot read the groups in the data folder";
        let registry = shelf.registry().context(unreadable)?;
        let mut line = Line { last: shelf.last().context(unreadable)?, hours: BTreeMap::new() };
        let hours = shelf.hours(|hour, first| {
            line.hours.insert(hour, first);
        });
        hours.context(unreadable)?;
        let (bus, inbox) = shared.unzip();
        Ok(Arc::new(Self {
            settings: settings.clone(),
            clock,
            roll: Roll::default(),
            figures: Figures::default(),
            registry: RwLock::new(registry),
            shelf,
            line: Mutex::new(line),
            changing: Mutex::default(),
            sending: Mutex::default(),
            arriving: Mutex::default(),
            keeping: Mutex::default(),
            echoes: Mutex::default(),
            courier: Courier::default(),
            postmark: ConnectionId::random(),
            bus,
            inbox: Mutex::new(inbox),
            warning: OncePerSecond::default(),
            readers: Arc::new(Semaphore::new(limits::GROUP_READERS)),
        }))
    }

    /// Delivers, for ever, unless another worker thread does.
    pub async fn deliver(&self, broker: &Arc<Broker>) {
        self.courier.run(&ToChannels { roll: &self.roll, broker }).await;
    }

    /// Publishes what waits for Redis, as far as that is possible in time, and takes this instance's users offline.
    pub async fn stop(&self, patience: Duration) {
        if let Some(bus) = &self.bus {
            bus.stop(patience).await;
        }
    }

    pub fn bus(&self) -> Option<&Bus> {
        self.bus.as_ref()
    }

    /// A connection says that it is `user`.
    pub fn enter(&self, user: &Arc<str>, visitor: Arc<Visitor>) {
        let online = self.seconds();
        if self.roll.enter(user, visitor, online)
            && let Ok(times) = self.shelf.times(user)
        {
            self.note_times(user, Times { online, ..times });
        }
        if let Some(bus) = &self.bus {
            bus.online(user);
        }
    }

    pub fn leave(&self, user: &Arc<str>, visitor: &Visitor) {
        if let Some(online) = self.roll.leave(user, visitor.handle.session) {
            let offline = self.seconds();
            self.note_times(user, Times { online, offline });
        }
        if let Some(bus) = &self.bus {
            bus.offline(user);
        }
    }

    fn note_times(&self, user: &str, times: Times) {
        let batch = shelf::put_times(Batch::new(), user, times);
        // A status that is not on disk is no loss worth a word.
        self.shelf.submit(batch, Box::new(drop));
    }

    /// Whether a user is here, or, with Redis, on any instance, and since when.
    ///
    /// # Errors
    /// [`Code::Internal`] when the disk cannot be read.
    pub async fn status(&self, user: &str) -> Result<Status, Code> {
        if let Some(bus) = self.bus.as_ref().filter(|bus| bus.is_up())
            && let Ok(status) = bus.status(user).await
        {
            return Ok(status.unwrap_or_default());
        }
        let times = self.shelf.times(user);
        let Times { online, offline } = times.map_err(|error| self.told(&error))?;
        let here_since = self.roll.since(user);
        let (is_online, online) = (here_since.is_some(), here_since.unwrap_or(online));
        let last_seen = if is_online { self.seconds() } else { offline };
        let [last_seen, last_online_at, last_offline_at] = [last_seen, online, offline].map(u64::cast_signed);
        Ok(Status { is_online, last_seen, last_online_at, last_offline_at })
    }

    /// Users who are online: on any instance with Redis, else here.
    pub async fn online_users(&self, here_only: bool) -> u64 {
        if let Some(bus) = self.bus.as_ref().filter(|bus| !here_only && bus.is_up())
            && let Ok(users) = bus.online_users().await
        {
            return users;
        }
        self.roll.len() as u64
    }

    /// What was counted, for `/metrics`.
    pub fn read_figures(&self) -> GroupFigures {
        let mut figures = self.figures.read();
        figures.users = self.roll.len() as u64;
        figures.undelivered = self.courier.outstanding() as u64;
        if let Some(bus) = &self.bus {
            let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
            let counts = bus.counts();
            figures.redis_up = u64::from(bus.is_up());
            figures.redis_waiting = bus.waiting() as u64;
            figures.redis_published = read(&counts.published);
            figures.redis_received = read(&counts.received);
            figures.redis_malformed = read(&counts.malformed);
        }
        figures
    }

    /// The groups of a user, by name.
    pub fn groups_of(&self, user: &str) -> Vec<Arc<str>> {
        self.registry.read().groups_of(user)
    }

    async fn commit(&self, batch: Batch) -> Result<Committed, StoreError> {
        let (told, outcome) = oneshot::channel();
        self.shelf.submit(batch, Box::new(move |result| drop(told.send(result))));
        outcome.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Unix seconds.
    pub fn seconds(&self) -> u64 {
        self.clock.now().millis() / 1_000
    }

    /// When what comes now is too old; none = never.
    fn too_old_at(&self) -> Option<Timestamp> {
        let age = self.settings.message_age;
        let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        (age > 0).then(|| Timestamp::from_millis(self.clock.now().millis().saturating_add(age)))
    }

    /// The same of something that was to be written, whatever kept it from that (§5, 503).
    fn not_stored(&self, error: &StoreError) -> Code {
        self.told(error);
        Code::NotStored
    }

    /// What a client is told of a fault of the store; the log is told the rest.
    fn told(&self, error: &StoreError) -> Code {
        if let Some(more) = self.warning.allows(&self.clock) {
            tracing::error!(%error, more, "groups cannot be read or written");
        }
        match error {
            StoreError::Full => Code::NotStored,
            StoreError::Busy | StoreError::Closed | StoreError::Unreachable(_) => Code::Busy,
            StoreError::Io(_) | StoreError::Damaged(_) => Code::Internal,
        }
    }
}
