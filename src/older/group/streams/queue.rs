//! What waits to be published: bounded, in order, and as rows of the store if its senders want so. Where instances have one store,
//! on the Redis of the streams, nothing waits: an entry is appended with the rows that it tells of, or not at all.
//!
//! An entry is taken off the queue when Redis has said that it took it. If Redis or the connection dies
//! between, it is published again: it may then stand twice in the stream, behind each other in the same order.
//! So receivers take a message by its `message_id` once; an entry published twice also has the same
//! `_watermill_message_uuid`.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::{
    limits,
    older::group::streams::{
        bus::{Counts, Instance, PAUSE},
        event::{Entry, KEPT, ORIGIN, PUSHED_NOTIFICATIONS},
    },
    store::{Batch, Row, Store, StoreError},
};

/// Key: number (8 bytes); value: [`Outgoing`]'s entry as JSON.
const OUTGOING: &str = "group outgoing";
/// Too much waits for Redis. The sender answers its client.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("too many entries wait for redis already")]
pub struct QueueFull;

/// Entries to be published.
pub struct Queue {
    store: Option<Arc<dyn Store>>,
    /// The instance's name, where entries are appended by the batches of the common store.
    node: Option<String>,
    /// For entries that wait, prepared, ready or on the way, and for the bytes of their payloads.
    places: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    next_number: AtomicU64,
    ready: Mutex<VecDeque<Job>>,
    /// There is something to publish.
    filled: Notify,
}

#[derive(Debug, Serialize, Deserialize)]
struct Job {
    #[serde(skip)]
    number: u64,
    #[serde(skip)]
    has_row: bool,
    /// Given back with it.
    #[serde(skip)]
    _place: Option<[OwnedSemaphorePermit; 2]>,
    stream: String,
    uuid: String,
    payload: String,
}

/// An entry that has its place in the queue. Dropped, it gives the place back and is not published.
#[must_use = "it is not published until it is sent"]
pub struct Outgoing {
    queue: Arc<Queue>,
    job: Job,
}

impl Outgoing {
    /// Adds to `batch` what makes the entry survive this process: it is published even if the process dies
    /// right after the commit. Call [`Outgoing::send`] when the batch is committed, drop this when it failed.
    /// Without a store nothing is added; to that of all nodes, the entry itself. After a restart rows are published in the order in which their places
    /// were taken: take the place and submit the batch in one go where order matters.
    pub fn row(&mut self, batch: Batch) -> Batch {
        if let Some(node) = &self.queue.node {
            let fields = self.job.entry(node, true).to_vec();
            return batch.append(&*self.job.stream, fields, limits::STREAM_ENTRIES);
        }
        if self.queue.store.is_none() {
            return batch;
        }
        self.job.has_row = true;
        // Cannot fail: three texts.
        let value = serde_json::to_vec(&self.job).unwrap_or_default();
        batch.put(OUTGOING, self.job.number.to_be_bytes(), value)
    }

    /// Publishes it after everything that was sent before, as soon as Redis is there.
    pub fn send(self) {
        if self.queue.node.is_some() {
            return;
        }
        self.queue.ready.lock().push_back(self.job);
        self.queue.filled.notify_one();
    }
}

impl Queue {
    /// With what an earlier process could not publish.
    pub fn load(store: Option<Arc<dyn Store>>) -> Result<Arc<Self>, StoreError> {
        let mut queue = Self {
            store,
            node: None,
            places: Arc::new(Semaphore::new(limits::STREAM_QUEUE)),
            bytes: Arc::new(Semaphore::new(limits::STREAM_QUEUE_BYTES)),
            next_number: AtomicU64::new(0),
            ready: Mutex::default(),
            filled: Notify::new(),
        };
        let mut left = VecDeque::new();
        for row in queue.store.iter().flat_map(|store| store.scan(OUTGOING, b"", limits::STREAM_PAGE)) {
            let Row { key, value } = row?;
            let job = Job::read(&key, &value);
            let job = job.ok_or_else(|| StoreError::damaged("a row of what waits to be published"))?;
            queue.next_number.store(job.number + 1, Ordering::Relaxed);
            left.push_back(Job { _place: queue.place(&job.payload), ..job });
        }
        if !left.is_empty() {
            tracing::info!(entries = left.len(), "publishing what an earlier process left");
        }
        queue.ready = Mutex::new(left);
        Ok(Arc::new(queue))
    }

    /// That of a node whose batches append.
    pub fn beside_rows(node: String) -> Result<Arc<Self>, StoreError> {
        let queue = Self::load(None)?;
        Ok(Arc::new(Self { node: Some(node), ..Arc::into_inner(queue).ok_or(StoreError::Closed)? }))
    }

    /// Takes a place, if there is one.
    pub fn prepare(
        queue: &Arc<Self>,
        stream: &'static str,
        uuid: String,
        payload: String,
    ) -> Result<Outgoing, QueueFull> {
        let _place = if queue.node.is_some() { None } else { Some(queue.place(&payload).ok_or(QueueFull)?) };
        let number = queue.next_number.fetch_add(1, Ordering::Relaxed);
        let job = Job { number, has_row: false, _place, stream: stream.to_owned(), uuid, payload };
        Ok(Outgoing { queue: Arc::clone(queue), job })
    }

    fn place(&self, payload: &str) -> Option<[OwnedSemaphorePermit; 2]> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let bytes = Arc::clone(&self.bytes).try_acquire_many_owned(u32::try_from(payload.len()).ok()?).ok()?;
        Some([place, bytes])
    }

    /// Entries that have a place.
    pub fn waiting(&self) -> usize {
        limits::STREAM_QUEUE - self.places.available_permits()
    }

    /// Meanwhile nothing more is taken.
    pub async fn until_empty(&self) {
        // Never closed.
        drop(self.places.acquire_many(limits::STREAM_QUEUE as u32).await);
    }

    /// Publishes, for ever. One task.
    pub async fn run(self: Arc<Self>, instance: Arc<Instance>) {
        let Instance { redis, clock, counts, warning, .. } = &*instance;
        loop {
            let page = self.take_page();
            let Some(first) = page.first() else {
                self.filled.notified().await;
                continue;
            };
            let entries: Vec<_> = page.iter().map(|job| job.entry(&instance.name, false)).collect();
            loop {
                redis.until_up().await;
                let Err(error) = redis.append(&first.stream, &entries, limits::STREAM_ENTRIES).await else {
                    break;
                };
                if let Some(more) = warning.allows(clock) {
                    let waiting = self.waiting();
                    tracing::warn!(%error, waiting, more, "publishing waits for Redis");
                }
                tokio::time::sleep(PAUSE).await;
            }
            Counts::bump(&counts.published, page.len());
            self.remove_rows(&page, &instance).await;
        }
    }

    /// What is to be published next, on one stream: Redis takes a page whole or not at all.
    fn take_page(&self) -> Vec<Job> {
        let mut ready = self.ready.lock();
        let stream = ready.front().map(|job| job.stream.clone());
        let mut bytes = 0;
        let fits = |job: &&Job| {
            // The first always does.
            let is_first = bytes == 0;
            bytes += job.payload.len().max(1);
            Some(&job.stream) == stream.as_ref() && (is_first || bytes <= limits::STREAM_PAGE_BYTES)
        };
        let length = ready.iter().take(limits::STREAM_PAGE).take_while(fits).count();
        ready.drain(..length).collect()
    }

    async fn remove_rows(&self, page: &[Job], instance: &Instance) {
        let keys: Vec<_> = page.iter().filter(|job| job.has_row).map(|job| job.number.to_be_bytes()).collect();
        let (Some(store), false) = (&self.store, keys.is_empty()) else { return };
        loop {
            let batch = keys.iter().fold(Batch::new(), |batch, key| batch.remove(OUTGOING, *key));
            match store.commit(batch).await {
                Ok(_) | Err(StoreError::Closed) => return,
                Err(StoreError::Full | StoreError::Busy) => {}
                // Published again at the next start, which receivers have to bear anyway.
                Err(error) => return tracing::error!(%error, "published entries keep their rows"),
            }
            if let Some(more) = instance.warning.allows(&instance.clock) {
                tracing::warn!(more, "publishing waits for the disk");
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

impl Job {
    fn read(key: &[u8], value: &[u8]) -> Option<Self> {
        let job: Self = serde_json::from_slice(value).ok()?;
        Some(Self { number: u64::from_be_bytes(key.try_into().ok()?), has_row: true, ..job })
    }

    fn entry(&self, origin: &str, is_kept: bool) -> [(&'static str, Vec<u8>); 3] {
        let mut metadata = BTreeMap::new();
        // A notification is for this instance, too.
        if is_kept || self.stream != PUSHED_NOTIFICATIONS {
            metadata.insert(ORIGIN.to_owned(), origin.to_owned());
        }
        if is_kept {
            metadata.insert(KEPT.to_owned(), String::new());
        }
        Entry { uuid: self.uuid.clone(), metadata, payload: self.payload.clone().into_bytes() }.encode()
    }
}

#[cfg(test)]
mod tests;
