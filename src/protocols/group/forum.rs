//! All groups of a server (`protocols/group.md §6`): who is in them, what was said, who is here. Shared by all worker
//! threads.
//!
//! Whatever changes is first handed to the store, under a number or in an order that memory follows as well; what
//! others are told of it, they are told after its commit. `sending` takes messages in, `members` knows who is in, `notices`
//! are what concerns one user, `inbox` is what other instances and services say.

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
use tokio::sync::{mpsc, oneshot};

use crate::{
    actors::{broker::Broker, metrics::GroupFigures},
    clock::{Clock, OncePerSecond},
    config,
    ids::{ConnectionId, Timestamp},
    limits,
    protocols::group::{
        code::Code,
        courier::Courier,
        figures::Figures,
        registry::Registry,
        roll::{Roll, Visitor},
        shelf::{self, Digest, Kept, Shelf, Times},
        streams::{Bus, Received, Status},
    },
    store::{Batch, Committed, Store, StoreError},
};

mod inbox;
mod members;
mod notices;
mod sending;

pub use members::Enrolment;
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
    /// Notifications that were sent from here and come back by Redis: user and id.
    echoes: Mutex<VecDeque<(String, String)>>,
    courier: Courier,
    /// Names our messages among the entries of a channel, together with their numbers.
    postmark: ConnectionId,
    bus: Option<Bus>,
    inbox: Mutex<Option<mpsc::Receiver<Received>>>,
    warning: OncePerSecond,
}

/// Numbers are given under its lock, and what they name is handed to the store under it.
struct Line {
    last: u64,
    /// Hour since the epoch -> its first number.
    hours: BTreeMap<u64, u64>,
}

/// The other instances and services, and what they say.
pub type Shared = (Bus, mpsc::Receiver<Received>);

/// Missed messages, the oldest first.
pub struct Missed {
    pub messages: Vec<Kept>,
    pub has_more: bool,
}

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
        let mut line = Line {
            last: shelf.last().context(unreadable)?,
            hours: BTreeMap::new(),
        };
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
            echoes: Mutex::default(),
            courier: Courier::default(),
            postmark: ConnectionId::random(),
            bus,
            inbox: Mutex::new(inbox),
            warning: OncePerSecond::default(),
        }))
    }

    /// Delivers, for ever, unless another worker thread does.
    pub async fn deliver(&self, broker: &Arc<Broker>) {
        self.courier.run(&self.roll, broker).await;
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
        if let Some(online) = self.roll.leave(user, visitor.peer.session) {
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
        let [last_seen, last_online_at, last_offline_at] =
            [last_seen, online, offline].map(u64::cast_signed);
        Ok(Status {
            is_online,
            last_seen,
            last_online_at,
            last_offline_at,
        })
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

    /// The number of a message and its group.
    ///
    /// # Errors
    /// [`Code::NoMessage`], [`Code::Internal`].
    pub fn find(&self, message: &str) -> Result<(u64, String), Code> {
        let found = self
            .shelf
            .find(message)
            .map_err(|error| self.told(&error))?;
        found.ok_or(Code::NoMessage)
    }

    /// The group messages that a user has not got since `after`.
    ///
    /// # Errors
    /// [`Code::Internal`].
    pub fn missed(&self, user: &str, after: u64, limit: usize) -> Result<Missed, Code> {
        let registry = self.registry.read();
        let groups = registry.groups_of(user).into_iter();
        let from = |group: Arc<str>| {
            let joined = registry
                .member(&group, user)
                .map_or(0, |member| member.joined_after);
            (group, after.max(joined))
        };
        let groups: Vec<_> = groups.map(from).collect();
        drop(registry);
        let mut messages: Vec<Kept> = Vec::new();
        for (group, after) in groups {
            let kept = self.shelf.after(&group, after, limit + 1);
            messages.extend(kept.map_err(|error| self.told(&error))?);
            messages.sort_unstable_by_key(|message| message.number);
            messages.truncate(limit + 1);
        }
        let has_more = messages.len() > limit;
        messages.truncate(limit);
        Ok(Missed { messages, has_more })
    }

    /// The messages of a group before a number, the newest first; one more than `limit` if there are.
    ///
    /// # Errors
    /// [`Code::Internal`].
    pub fn past(&self, group: &str, before: u64, limit: usize) -> Result<Vec<Kept>, Code> {
        let kept = self.shelf.before(group, before, limit + 1);
        kept.map_err(|error| self.told(&error))
    }

    /// Messages in a group that a user has not read and others have sent; counted up to a limit.
    ///
    /// # Errors
    /// [`Code::Internal`].
    pub fn unread(&self, group: &str, user: &str) -> Result<usize, Code> {
        let member = self.registry.read().member(group, user).cloned();
        let Some(member) = member else { return Ok(0) };
        let (mut after, mut count) = (member.seen(), 0);
        while count < limits::GROUP_UNREAD {
            let kept = self.shelf.after(group, after, limits::GROUP_PAGE_MAX);
            let kept = kept.map_err(|error| self.told(&error))?;
            let Some(last) = kept.last() else { break };
            after = last.number;
            count += kept.iter().filter(|message| message.sender != user).count();
        }
        Ok(count)
    }

    /// A number that no message after `seconds` has: from there on they can be looked for.
    pub fn number_before(&self, seconds: u64) -> u64 {
        let line = self.line.lock();
        let hour = line.hours.range(..=seconds / 3_600).next_back();
        hour.map_or(0, |(_, first)| first.saturating_sub(1))
    }

    /// Removes what is too old; a few rows at a time.
    ///
    /// # Errors
    /// When the disk cannot be read or written.
    pub async fn sweep(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        while let Some(batch) = self.shelf.sweep_due(now)? {
            self.commit(batch).await?;
        }
        let age = self.settings.message_age;
        if age.is_zero() {
            return Ok(());
        }
        let until = (now.millis() / 1_000).saturating_sub(age.as_secs());
        let groups = self.registry.read().names();
        for group in groups {
            while let Some(batch) = self.shelf.sweep_group(&group, until)? {
                self.commit(batch).await?;
            }
            // Other tasks of the thread have their turn.
            tokio::task::yield_now().await;
        }
        let old: Vec<u64> = self
            .line
            .lock()
            .hours
            .range(..until / 3_600)
            .map(|(hour, _)| *hour)
            .collect();
        // The last one of them still says where what is left begins.
        if let Some((_, gone)) = old.split_last() {
            let batch = gone
                .iter()
                .fold(Batch::new(), |batch, hour| Shelf::remove_hour(batch, *hour));
            self.commit(batch).await?;
            let mut line = self.line.lock();
            for hour in gone {
                line.hours.remove(hour);
            }
        }
        Ok(())
    }

    async fn commit(&self, batch: Batch) -> Result<Committed, StoreError> {
        let (told, outcome) = oneshot::channel();
        self.shelf
            .submit(batch, Box::new(move |result| drop(told.send(result))));
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
