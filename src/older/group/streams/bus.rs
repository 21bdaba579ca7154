//! The handle to what is shared: starts the tasks, publishes, reports who is online.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use serde_json::json;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time,
};

use crate::{
    clock::{Clock, OncePerSecond},
    engines::redis::{self, Redis, RedisError},
    limits,
    older::group::{
        message::{Notification, to_json, uuid},
        streams::{
            consumers::{Consumers, Positions, STREAMS},
            event::{CHANGES, Change, MEMBERS_ADDED, MEMBERS_REMOVED, MESSAGES, PUSHED_NOTIFICATIONS, Received},
            presence::{Presence, Status},
            queue::{Outgoing, Queue, QueueFull},
        },
    },
    store::{Store, StoreError},
};

/// What entries have in memory is estimated by some of them.
const TRIM: &str = "\
for _, key in ipairs(KEYS) do
    local bytes = redis.call('MEMORY', 'USAGE', key, 'SAMPLES', 50)
    if bytes and bytes > tonumber(ARGV[1]) then
        redis.call('XTRIM', key, 'MAXLEN', math.floor(redis.call('XLEN', key) / 2))
    end
end
return {}
";

/// Between attempts when Redis, or the store, refuses.
pub const PAUSE: Duration = Duration::from_millis(100);

#[derive(Clone, Debug)]
pub struct Settings {
    pub redis: redis::Settings,
    /// An instance that says nothing for so long is dead: its users are not online there any more.
    pub lease: Duration,
    /// What an instance took to do once and has not done after so long, another takes over.
    pub claim_after: Duration,
    /// Instances are nodes with one store, on the Redis of the streams: what they say is appended with its rows, and comes back to
    /// the one that wrote it, so all have the order of the stream.
    pub is_shared: bool,
}

impl Settings {
    /// With a lease of 15 s, and 30 s to store a notification.
    pub const fn new(redis: redis::Settings) -> Self {
        Self { redis, lease: Duration::from_secs(15), claim_after: Duration::from_secs(30), is_shared: false }
    }
}

/// What the bus has done since its start.
#[derive(Debug, Default)]
pub struct Counts {
    /// Entries that were understood and handed over.
    pub received: AtomicU64,
    /// Entries that were not understood; they are not read again.
    pub malformed: AtomicU64,
    /// Entries that Redis took.
    pub published: AtomicU64,
    /// Times that a stream had perhaps dropped entries before they were read.
    pub gaps: AtomicU64,
}

/// What all tasks of an instance need.
pub struct Instance {
    /// New in each process: two instances on copies of one data folder must not take each other's entries for their own.
    pub name: String,
    pub redis: Redis,
    pub clock: Clock,
    pub lease: Duration,
    pub claim_after: Duration,
    pub is_shared: bool,
    pub counts: Counts,
    pub warning: OncePerSecond,
}

impl Instance {
    /// Redis did not do something: says so, and waits until it is worth another try.
    pub async fn until_again(&self, error: &RedisError, what: &'static str) {
        // The connection itself warns, once, that Redis is away.
        if !matches!(error, RedisError::Unreachable { .. })
            && let Some(more) = self.warning.allows(&self.clock)
        {
            tracing::warn!(%error, more, "{what}");
        }
        time::sleep(PAUSE).await;
        self.redis.until_up().await;
    }
}

/// Cheap to clone, for any thread. The tasks behind it end with the last handle.
#[derive(Clone)]
pub struct Bus(Arc<Inner>);

struct Inner {
    instance: Arc<Instance>,
    queue: Arc<Queue>,
    presence: Arc<Presence>,
    is_reading: watch::Receiver<bool>,
    /// Aborted when it is dropped.
    tasks: Mutex<JoinSet<()>>,
}

impl Bus {
    /// Starts the tasks on the current runtime; Redis need not be there. Events go to `inbox`, those of
    /// one stream in its order; while it is full, reading waits.
    ///
    /// With a store, what was not published when the last process ended is published now, and reading goes
    /// on where it was. The store of all nodes need not be there, either.
    pub fn start(
        settings: Settings,
        clock: Clock,
        store: Option<Arc<dyn Store>>,
        inbox: mpsc::Sender<Received>,
    ) -> Result<Self, StoreError> {
        let Settings { redis, lease, claim_after, is_shared } = settings;
        let name = uuid();
        let (queue, positions) = match is_shared {
            true => (Queue::beside_rows(name.clone())?, Positions::of_nodes(store)),
            false => (Queue::load(store.clone())?, Positions::load(store)?),
        };
        let (redis, counts, warning) = (Redis::start(redis), Counts::default(), OncePerSecond::default());
        let instance = Arc::new(Instance { name, redis, clock, lease, claim_after, is_shared, counts, warning });
        let presence = Presence::new(Arc::clone(&instance));
        let (reading, is_reading) = watch::channel(false);
        let consumers = Consumers { instance: Arc::clone(&instance), inbox, is_reading: reading };
        let mut tasks = JoinSet::new();
        consumers.start(positions, &mut tasks);
        tasks.spawn(Arc::clone(&presence).run_for_ever());
        tasks.spawn(Arc::clone(&queue).run(Arc::clone(&instance)));
        Ok(Self(Arc::new(Inner { instance, queue, presence, is_reading, tasks: Mutex::new(tasks) })))
    }

    /// What marks the entries of this instance.
    pub fn origin(&self) -> &str {
        &self.0.instance.name
    }

    /// A message for the other instances and services; `payload` is the data of its `new_message` as JSON. This and the
    /// next ones fail when too many wait already: then nothing is published.
    pub fn message(&self, payload: String, message_id: &str) -> Result<Outgoing, QueueFull> {
        // Watermill wants a UUID, and so is the id of every message of ours.
        Queue::prepare(&self.0.queue, MESSAGES, message_id.to_owned(), payload)
    }

    /// Says to the others that a user is a member of a group now.
    pub fn member_added(&self, group_id: &str, user_id: &str) -> Result<Outgoing, QueueFull> {
        self.member(MEMBERS_ADDED, group_id, user_id)
    }

    /// Says to the others that a user is no member of a group any more.
    pub fn member_removed(&self, group_id: &str, user_id: &str) -> Result<Outgoing, QueueFull> {
        self.member(MEMBERS_REMOVED, group_id, user_id)
    }

    /// Says to the other nodes what rows of a group are from now on.
    pub fn changed(&self, change: &Change) -> Result<Outgoing, QueueFull> {
        Queue::prepare(&self.0.queue, CHANGES, uuid(), to_json(change))
    }

    fn member(&self, stream: &'static str, group_id: &str, user_id: &str) -> Result<Outgoing, QueueFull> {
        let payload = json!({ "group_id": group_id, "user_id": user_id });
        Queue::prepare(&self.0.queue, stream, uuid(), payload.to_string())
    }

    /// Delivers a notification to its user on every instance, this one too, and has it stored by one of them: it
    /// comes back through the inbox like one of another service.
    pub fn notification(&self, notification: &Notification) -> Result<Outgoing, QueueFull> {
        let Notification { user_id, notification_id, kind, title, content, created_at } = notification;
        let payload = json!({
            "user_id": user_id,
            "notification_id": notification_id,
            "type": kind,
            "title": title,
            "content": content,
            "timestamp": created_at,
        });
        Queue::prepare(&self.0.queue, PUSHED_NOTIFICATIONS, uuid(), payload.to_string())
    }

    /// One more connection of a user is authenticated here. Never waits.
    pub fn online(&self, user_id: &str) {
        self.0.presence.count(user_id, 1);
    }

    /// One connection of a user that was [`Bus::online`] is gone. Never waits.
    pub fn offline(&self, user_id: &str) {
        self.0.presence.count(user_id, -1);
    }

    /// Whether a user is online on any instance, and since or until when; none if nobody ever heard of it.
    pub async fn status(&self, user_id: &str) -> Result<Option<Status>, RedisError> {
        self.0.presence.status(user_id).await
    }

    /// Users who are online on any instance.
    pub async fn online_users(&self) -> Result<u64, RedisError> {
        self.0.presence.online_users().await
    }

    /// Whether Redis answers.
    pub fn is_up(&self) -> bool {
        self.0.instance.redis.is_up()
    }

    /// Whether Redis answers, as it changes.
    pub fn watch(&self) -> watch::Receiver<redis::Link> {
        self.0.instance.redis.watch()
    }

    /// Waits until it is known from where the streams are read: what is written to them later is not missed.
    /// Without a store, what was written before is.
    pub async fn until_reading(&self) {
        // Fails only when the tasks have ended.
        let _ = self.0.is_reading.clone().wait_for(|is| *is).await;
    }

    /// Halves streams that have more bytes than they may: of nodes one does that, now and then.
    pub async fn trim(&self) -> Result<(), RedisError> {
        let keys = STREAMS.map(str::to_owned).to_vec();
        let args = vec![limits::STREAM_BYTES.to_string()];
        self.0.instance.redis.run(&[redis::Run { script: TRIM, keys, args }]).await.map(drop)
    }

    /// Entries that wait to be published.
    pub fn waiting(&self) -> usize {
        self.0.queue.waiting()
    }

    pub fn counts(&self) -> &Counts {
        &self.0.instance.counts
    }

    /// The orderly end: publishes what waits and takes this instance's users offline, as far as Redis does
    /// it within `patience`. Rows of what is not published stay for the next start.
    pub async fn stop(&self, patience: Duration) {
        let last = async {
            self.0.queue.until_empty().await;
            if let Err(error) = self.0.presence.leave().await {
                tracing::warn!(%error, "users of this instance stay online until its lease ends");
            }
        };
        let _ = time::timeout(patience, last).await;
        self.0.tasks.lock().abort_all();
    }
}

impl Counts {
    pub(super) fn bump(counter: &AtomicU64, by: usize) {
        counter.fetch_add(by as u64, Ordering::Relaxed);
    }
}
