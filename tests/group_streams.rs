//! The group protocol's streams (`docs/protocols/group.md §7`) against Debian's `redis-server`.

mod once;
mod outages;
mod presence;
mod shared;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use letshare_server::{
    clock::Clock,
    engines::redis,
    older::group::streams::{Bus, Event, Outgoing, Received, Settings},
    store::{
        Store,
        embedded::EmbeddedStore,
        folder::{DataFolder, Terms},
    },
};
use tempfile::TempDir;
use tokio::{
    runtime::{self, Runtime},
    sync::mpsc,
    time::timeout,
};

use crate::support::{PATIENCE, eventually, redis::RedisServer};

/// So long that no instance that lives is taken for dead, however slow the machine.
const LEASE: Duration = Duration::from_secs(15);
/// Of those whose death is waited for.
const SHORT_LEASE: Duration = Duration::from_millis(400);

/// A broker instance as far as its streams go, on a runtime of its own so that it can be killed.
struct Instance {
    bus: Bus,
    inbox: mpsc::Receiver<Received>,
    runtime: Option<Runtime>,
}

impl Instance {
    /// One that has begun to read.
    async fn start(server: &RedisServer) -> Self {
        let instance = Self::launch(server.settings(), None, Clock::system());
        instance.until_reading().await;
        instance
    }

    /// The same, which says so often that it lives, and waits for others no longer than that.
    async fn start_with(server: &RedisServer, lease: Duration) -> Self {
        let instance = Self::launch_with(server.settings(), None, Clock::system(), lease);
        instance.until_reading().await;
        instance
    }

    fn launch(redis: redis::Settings, store: Option<Arc<dyn Store>>, clock: Clock) -> Self {
        Self::launch_with(redis, store, clock, LEASE)
    }

    fn launch_with(redis: redis::Settings, store: Option<Arc<dyn Store>>, clock: Clock, lease: Duration) -> Self {
        let runtime = runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let settings = Settings { lease, claim_after: lease, ..Settings::new(redis) };
        let (events, inbox) = mpsc::channel(64);
        let entered = runtime.enter();
        let bus = Bus::start(settings, clock, store, events).expect("the store can be read");
        drop(entered);
        Self { bus, inbox, runtime: Some(runtime) }
    }

    async fn until_reading(&self) {
        let reading = timeout(PATIENCE, self.bus.until_reading()).await;
        reading.expect("it reads");
    }

    async fn receive(&mut self) -> Received {
        let received = timeout(PATIENCE, self.inbox.recv()).await;
        received.expect("an event comes").expect("the bus runs")
    }

    /// The next event; it is done with.
    async fn event(&mut self) -> Event {
        let received = self.receive().await;
        received.receipt.done();
        received.event
    }

    /// The id of the next message.
    async fn message(&mut self) -> String {
        match self.event().await {
            Event::Message(message) => message.message_id,
            other => panic!("no message: {other:?}"),
        }
    }

    fn publish(&self, message_id: &str) {
        let published = self.bus.message(payload(message_id), message_id).map(Outgoing::send);
        published.expect("there is room");
    }

    fn malformed(&self) -> u64 {
        self.bus.counts().malformed.load(Ordering::Relaxed)
    }

    /// Ends it as a crash does.
    fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.end();
    }
}

/// What survives an instance.
struct Disk {
    store: Arc<dyn Store>,
    _folder: DataFolder,
    _dir: TempDir,
}

impl Disk {
    fn new() -> Self {
        let dir = TempDir::new().expect("a folder for the data");
        let terms = Terms { cache_bytes: 1 << 20, verify_bytes: 1 << 20 };
        let folder = DataFolder::open(dir.path(), terms, Clock::system()).expect("an empty folder");
        Self { store: Arc::new(EmbeddedStore::new(Arc::clone(folder.engine()))), _folder: folder, _dir: dir }
    }

    fn store(&self) -> Option<Arc<dyn Store>> {
        Some(Arc::clone(&self.store))
    }
}

fn payload(message_id: &str) -> String {
    format!(
        r#"{{"message_id":"{message_id}","group_id":"g","sender_id":"7","sender_name":"Wu","msg_type":1,"content":"hi","image_url":"","created_at":1760000000}}"#
    )
}

impl RedisServer {
    /// An entry as another service writes it with Watermill.
    async fn add(&self, stream: &str, uuid: &str, metadata: &[u8], payload: &str) {
        let fields: [&[u8]; 9] = [
            b"XADD",
            stream.as_bytes(),
            b"*",
            b"_watermill_message_uuid",
            uuid.as_bytes(),
            b"metadata",
            metadata,
            b"payload",
            payload.as_bytes(),
        ];
        self.command(&fields).await;
    }

    /// Waits until nothing of the consumer group waits for its acknowledgement.
    async fn until_acknowledged(&self, stream: &str) {
        eventually(async || {
            let pending = self.command(&[b"XPENDING", stream.as_bytes(), b"broker"]).await;
            pending.starts_with("*4\r\n:0\r\n").then_some(())
        })
        .await;
    }
}
