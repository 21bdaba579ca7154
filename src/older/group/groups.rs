//! All groups of a server (`docs/protocols/group.md §6`): who is in them, what was said, who is online. Shared by all worker
//! threads.
//!
//! Whatever changes is handed to the store under a number or in an order that memory follows as well; others hear of it
//! after its commit, by the channels (`delivery`). `send` stores messages, `members` knows who is in, `notifications` are
//! what concerns one user, `history` is what was said, `inbox` what other instances and services say, `nodes` what those of a
//! cluster have in common.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Mutex as AsyncMutex, mpsc};

use crate::{
    actors::{
        accounts::Charge,
        fanout::TransportHandle,
        metrics::GroupFigures,
        online::{Online, Registration},
    },
    clock::{Clock, OncePerSecond},
    config,
    ids::{ChannelName, ConnectionId, Timestamp},
    older::group::{
        code::Code,
        counters::Counters,
        membership::Membership,
        repository::{self, Numbers, Repository, Times},
        streams::{Bus, Outgoing, Received, Status},
    },
    store::{Batch, Commit, KeyedLock, Place, Readers, StoreError},
};

mod delivery;
mod history;
mod inbox;
mod members;
mod nodes;
mod notifications;
mod send;
#[cfg(test)]
mod tests;

use delivery::Delivery;
pub use delivery::REMOVED;
pub use history::Missed;
pub use members::Enrolment;
pub use nodes::NAME;
use nodes::Nodes;
pub use send::Sent;

/// See the module.
pub struct Groups {
    pub settings: config::Group,
    pub clock: Clock,
    /// Authenticated connections. Channels that they are to attach to are left for them.
    pub online: Arc<Online<Arc<str>, ChannelName, ConnectionId>>,
    pub counters: Counters,
    pub membership: RwLock<Membership>,
    repository: Repository,
    numbers: Mutex<Numbers>,
    /// Held while members change in memory and are handed to the store, so that both do it in one order.
    changing: Mutex<()>,
    /// By id.
    storing: Mutex<HashMap<String, Storing>>,
    /// Those who wait for an answer, of all of them.
    answering: AtomicUsize,
    /// The greatest number of a message that was heard, where the stream gives them.
    heard: AtomicU64,
    /// Set: the rows are those of all nodes of a cluster.
    nodes: Option<Nodes>,
    /// Notifications on their way to disk: user, NUL, id.
    notifying: Arc<KeyedLock>,
    /// Notifications that were sent from here and come back by Redis: user and id.
    echoes: Mutex<VecDeque<(String, String)>>,
    deliveries: delivery::DeliveryQueues,
    /// Names our messages among the entries of a channel, together with their numbers.
    publisher: ConnectionId,
    bus: Option<Bus>,
    /// Locked by the thread that listens.
    inbox: Option<AsyncMutex<mpsc::Receiver<Received>>>,
    warning: OncePerSecond,
    /// Permits to read beside the workers.
    readers: Readers,
}

/// The other instances and services, and what they say.
pub type Instances = (Bus, mpsc::Receiver<Received>);

/// An authenticated connection among those of its user.
pub type UserConnection = Registration<Arc<str>, ChannelName, ConnectionId>;

/// A message that is not stored yet.
#[derive(Default)]
struct Storing {
    /// Those of our clients who have sent it.
    waiting: Vec<AnswerTo>,
    /// For it, where nobody waits.
    _charge: Option<Charge>,
}

/// Where an answer goes that comes after a commit.
pub struct AnswerTo {
    pub handle: TransportHandle,
    /// What the client calls its request; empty = nothing.
    pub id: String,
    /// For what is kept until then; none where nobody pays.
    pub charge: Option<Charge>,
}

impl Groups {
    /// Finds what earlier runs have left in `place`, which `readers` read; what nodes have in common later, when it is there.
    pub fn open(
        settings: &config::Group,
        place: Place,
        readers: Readers,
        clock: Clock,
        instances: Option<Instances>,
    ) -> anyhow::Result<Arc<Self>> {
        let repository = Repository::new(place.store);
        let unreadable = "cannot read the groups in the data folder";
        let (read, numbers, nodes) = match place.claims {
            None => (repository.membership(), repository.numbers().context(unreadable)?, None),
            // It is read when the streams are: until then clients are told to come again.
            Some(claims) => (Ok(Membership::default()), Numbers::new(0, []), Some(Nodes::new(claims))),
        };
        let membership = read.context(unreadable)?;
        let (bus, inbox) = instances.unzip();
        Ok(Arc::new(Self {
            settings: settings.clone(),
            clock,
            online: Arc::default(),
            counters: Counters::default(),
            membership: RwLock::new(membership),
            repository,
            numbers: Mutex::new(numbers),
            changing: Mutex::default(),
            storing: Mutex::default(),
            answering: AtomicUsize::new(0),
            heard: AtomicU64::new(0),
            nodes,
            notifying: Arc::default(),
            echoes: Mutex::default(),
            deliveries: delivery::DeliveryQueues::default(),
            publisher: ConnectionId::random(),
            bus,
            inbox: inbox.map(AsyncMutex::new),
            warning: OncePerSecond::default(),
            readers,
        }))
    }

    /// Publishes what waits for Redis, as far as that is possible in time, and takes this instance's users offline.
    pub async fn stop(&self, patience: Duration) {
        if let Some(bus) = &self.bus {
            bus.stop(patience).await;
        }
    }

    /// A connection says that it is `user`.
    pub fn enter(&self, user: &Arc<str>, handle: TransportHandle, connection: ConnectionId) -> UserConnection {
        let registered = self.online.register(Arc::clone(user), connection);
        // Of nodes, Redis alone knows that.
        if registered.enter(handle, self.clock.now(), false).is_first
            && !self.is_shared()
            && let Ok(times) = self.repository.times(user)
        {
            self.note_times(user, Times { online: self.seconds(), ..times });
        }
        if let Some(bus) = &self.bus {
            bus.online(user);
        }
        registered
    }

    pub fn leave(&self, connection: &UserConnection) {
        let user = &connection.user;
        if let Some(since) = connection.leave()
            && !self.is_shared()
        {
            self.note_times(user, Times { online: since.millis() / 1_000, offline: self.seconds() });
        }
        if let Some(bus) = &self.bus {
            bus.offline(user);
        }
    }

    fn note_times(&self, user: &str, times: Times) {
        // Nobody waits: a time that is not on disk is a small loss.
        drop(self.repository.commit(repository::put_times(Batch::new(), user, times)));
    }

    /// The connections that a user has here.
    pub fn connections_of(&self, user: &str) -> Vec<(TransportHandle, ConnectionId)> {
        let registered = self.online.registered(user);
        registered.iter().filter_map(|one| Some((one.handle()?.clone(), one.data))).collect()
    }

    /// Whether a user is online here, or, with Redis, on any instance, and since when.
    pub async fn status(self: &Arc<Self>, user: &str) -> Result<Status, Code> {
        if let Some(bus) = self.bus.as_ref().filter(|bus| bus.is_up())
            && let Ok(status) = bus.status(user).await
        {
            return Ok(status.unwrap_or_default());
        }
        let name = user.to_owned();
        let Times { online, offline } = self.beside(move |groups| groups.read(groups.repository.times(&name))).await?;
        let since = self.online.since(user).map(|since| since.millis() / 1_000);
        let last_seen = if since.is_some() { self.seconds() } else { offline };
        let times = [last_seen, since.unwrap_or(online), offline];
        let [last_seen, last_online_at, last_offline_at] = times.map(u64::cast_signed);
        Ok(Status { is_online: since.is_some(), last_seen, last_online_at, last_offline_at })
    }

    /// Users who are online: on any instance with Redis, else here.
    pub async fn online_users(&self, here_only: bool) -> u64 {
        if let Some(bus) = self.bus.as_ref().filter(|bus| !here_only && bus.is_up())
            && let Ok(users) = bus.online_users().await
        {
            return users;
        }
        self.online.users() as u64
    }

    /// The groups of a user, by name.
    pub fn groups_of(&self, user: &str) -> Result<Vec<Arc<str>>, Code> {
        Ok(self.known()?.groups_of(user))
    }

    /// What was counted, for `/metrics`.
    pub fn figures(&self) -> GroupFigures {
        let mut figures = self.counters.read();
        figures.users = self.online.users() as u64;
        figures.undelivered = self.deliveries.waiting() as u64;
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

    /// Commits a batch with what Redis is to get; `then` hears of it on the store's thread, or on this one when the store
    /// refuses at once.
    fn commit(
        self: &Arc<Self>,
        batch: Batch,
        outgoing: impl IntoIterator<Item = Outgoing>,
        then: impl FnOnce(&Arc<Self>, Result<(), &StoreError>) + Send + 'static,
    ) -> Commit {
        let mut outgoing: Vec<_> = outgoing.into_iter().collect();
        let batch = outgoing.iter_mut().fold(batch, |batch, one| one.row(batch));
        let groups = Arc::clone(self);
        self.repository.commit_then(batch, move |outcome| {
            then(&groups, outcome.as_ref().map(drop));
            if outcome.is_ok() {
                if let Some(bus) = groups.bus.as_ref().filter(|_| groups.is_shared()) {
                    bus.counts().published.fetch_add(outgoing.len() as u64, Ordering::Relaxed);
                }
                outgoing.into_iter().for_each(Outgoing::send);
            }
        })
    }

    /// The same of what gets a number. Under the lock of the numbers, so that commits are in their order: a `then` that
    /// hears that the store has refused must not take it.
    fn commit_numbered(
        self: &Arc<Self>,
        put: impl FnOnce(Batch, u64) -> Batch,
        outgoing: Option<Outgoing>,
        then: impl FnOnce(&Arc<Self>, u64, Result<(), &StoreError>) + Send + 'static,
    ) -> Commit {
        let mut numbers = self.numbers.lock();
        let (number, batch) = numbers.give(self.clock.now(), Batch::new());
        self.commit(put(batch, number), outgoing, move |groups, outcome| {
            if outcome.is_ok() {
                groups.numbers.lock().committed(number);
            }
            then(groups, number, outcome);
        })
    }

    /// No message that there is has a greater number; of nodes, none that was heard here.
    fn last_number(&self) -> u64 {
        if self.is_shared() { self.heard.load(Ordering::Relaxed) } else { self.numbers.lock().last() }
    }

    async fn stored(&self, outcome: Commit) -> Result<(), Code> {
        outcome.await.map(drop).map_err(|error| self.not_stored(&error))
    }

    /// Unix seconds.
    pub fn seconds(&self) -> u64 {
        self.clock.now().millis() / 1_000
    }

    /// When what comes now is too old; none = never.
    fn too_old_at(&self) -> Option<Timestamp> {
        let age = u64::try_from(self.settings.message_age.as_millis()).unwrap_or(u64::MAX);
        (age > 0).then(|| Timestamp::from_millis(self.clock.now().millis().saturating_add(age)))
    }

    /// What a client is answered when the store does not read. The reason is for the log.
    fn to_code(&self, error: &StoreError) -> Code {
        if let Some(more) = self.warning.allows(&self.clock) {
            tracing::error!(%error, more, "groups cannot be read or written");
        }
        Code::from(&error.to_fault())
    }

    fn read<T>(&self, outcome: Result<T, StoreError>) -> Result<T, Code> {
        outcome.map_err(|error| self.to_code(&error))
    }

    /// The same of something that was to be written, whatever kept it from that (§5, 503).
    pub fn not_stored(&self, error: &StoreError) -> Code {
        self.to_code(error);
        Code::NotStored
    }
}
