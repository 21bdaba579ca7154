//! What waits to be published: bounded, in order, and as rows of the store if its senders want so.
//!
//! An entry is taken off the queue when Redis has said that it took it. If Redis or the connection dies
//! between, it is published again: it may then stand twice in the stream, behind each other in the same order.
//! So receivers take a message by its `message_id` once; an entry published twice also has the same
//! `_watermill_message_uuid`.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::Notify;

use crate::{
    clock::{Clock, OncePerSecond},
    engines::redis::Redis,
    limits,
    older::group::streams::{
        bus::Counts,
        entry::{Entry, ORIGIN},
        event::PUSHED_NOTIFICATIONS,
    },
    store::{Batch, Row, Store, StoreError},
};

/// Key: number (8 bytes); value: [`Outgoing`]'s entry as JSON.
const OUTGOING: &str = "group outgoing";
/// Between attempts when Redis refuses an entry, and when the store refuses the removal of rows.
const PAUSE: Duration = Duration::from_millis(250);

/// Too much waits for Redis. The sender answers its client.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("too many entries wait for redis already")]
pub struct QueueFull;

/// Entries to be published.
pub struct Queue {
    store: Option<Arc<dyn Store>>,
    waiting: Mutex<Waiting>,
    /// There is something to publish.
    filled: Notify,
    /// Nothing waits any more.
    emptied: Notify,
}

#[derive(Default)]
struct Waiting {
    ready: VecDeque<Job>,
    /// Places taken, and their bytes: prepared, ready or on the way.
    taken: usize,
    taken_bytes: usize,
    next_number: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Job {
    #[serde(skip)]
    number: u64,
    #[serde(skip)]
    has_row: bool,
    stream: String,
    uuid: String,
    payload: String,
}

/// An entry that has its place in the queue. Dropped, it gives the place back and is not published.
#[must_use = "it is not published until it is sent"]
pub struct Outgoing {
    queue: Arc<Queue>,
    job: Option<Job>,
}

impl Outgoing {
    /// Adds to `batch` what makes the entry survive this process: it is published even if the process dies
    /// right after the commit. Call [`Outgoing::send`] when the batch is committed, drop this when it failed.
    /// Without a store nothing is added. After a restart rows are published in the order in which their places
    /// were taken: take the place and submit the batch in one go where order matters.
    pub fn row(&mut self, batch: Batch) -> Batch {
        let (Some(job), Some(_)) = (&mut self.job, &self.queue.store) else {
            return batch;
        };
        job.has_row = true;
        // Cannot fail: three texts.
        let value = serde_json::to_vec(&job).unwrap_or_default();
        batch.put(OUTGOING, job.number.to_be_bytes(), value)
    }

    /// Publishes it after everything that was sent before, as soon as Redis is there.
    pub fn send(mut self) {
        if let Some(job) = self.job.take() {
            self.queue.waiting.lock().ready.push_back(job);
            self.queue.filled.notify_one();
        }
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        if let Some(job) = self.job.take() {
            self.queue.give_back(&[job]);
        }
    }
}

impl Queue {
    /// With what an earlier process could not publish.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn load(store: Option<Arc<dyn Store>>) -> Result<Arc<Self>, StoreError> {
        let mut waiting = Waiting::default();
        let rows = store.iter().flat_map(|store| store.scan(OUTGOING, b"", limits::STREAM_PAGE));
        for row in rows {
            let Row { key, value } = row?;
            let job = Job::read(&key, &value);
            let job = job.ok_or_else(|| StoreError::damaged("a row of what waits to be published"))?;
            waiting.next_number = job.number + 1;
            waiting.taken += 1;
            waiting.taken_bytes += job.payload.len();
            waiting.ready.push_back(job);
        }
        if waiting.taken > 0 {
            tracing::info!(entries = waiting.taken, "publishing what an earlier process left");
        }
        Ok(Arc::new(Self { store, waiting: Mutex::new(waiting), filled: Notify::new(), emptied: Notify::new() }))
    }

    /// Takes a place.
    ///
    /// # Errors
    /// When there is none.
    pub fn prepare(
        queue: &Arc<Self>,
        stream: &'static str,
        uuid: String,
        payload: String,
    ) -> Result<Outgoing, QueueFull> {
        let mut waiting = queue.waiting.lock();
        let bytes = waiting.taken_bytes + payload.len();
        if waiting.taken >= limits::STREAM_QUEUE || bytes > limits::STREAM_QUEUE_BYTES {
            return Err(QueueFull);
        }
        waiting.taken += 1;
        waiting.taken_bytes = bytes;
        let number = waiting.next_number;
        waiting.next_number += 1;
        drop(waiting);
        let job = Job { number, has_row: false, stream: stream.to_owned(), uuid, payload };
        Ok(Outgoing { queue: Arc::clone(queue), job: Some(job) })
    }

    /// Entries that have a place.
    pub fn waiting(&self) -> usize {
        self.waiting.lock().taken
    }

    pub async fn until_empty(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.waiting() == 0 {
                return;
            }
            emptied.await;
        }
    }

    /// Publishes, for ever. One task.
    pub async fn run(self: Arc<Self>, redis: Redis, clock: Clock, origin: Arc<str>, counts: Arc<Counts>) {
        let warning = OncePerSecond::default();
        loop {
            let page = self.next_page().await;
            let Some(first) = page.first() else { continue };
            let entries: Vec<_> = page.iter().map(|job| job.entry(&origin)).collect();
            loop {
                redis.until_up().await;
                let Err(error) = redis.append(&first.stream, &entries, limits::STREAM_ENTRIES).await else {
                    break;
                };
                Counts::bump(&counts.retries, 1);
                if let Some(more) = warning.allows(&clock) {
                    let waiting = self.waiting();
                    tracing::warn!(%error, waiting, more, "publishing waits for Redis");
                }
                tokio::time::sleep(PAUSE).await;
            }
            Counts::bump(&counts.published, page.len());
            self.remove_rows(&page, &clock, &warning).await;
            self.give_back(&page);
        }
    }

    async fn next_page(&self) -> Vec<Job> {
        loop {
            let filled = self.filled.notified();
            let page = self.take_page();
            if !page.is_empty() {
                return page;
            }
            filled.await;
        }
    }

    /// What is to be published next, on one stream: Redis takes a page whole or not at all.
    fn take_page(&self) -> Vec<Job> {
        let mut waiting = self.waiting.lock();
        let stream = waiting.ready.front().map(|job| job.stream.clone());
        let mut bytes = 0;
        let fits = |job: &&Job| {
            // The first always does.
            let is_first = bytes == 0;
            bytes += job.payload.len().max(1);
            Some(&job.stream) == stream.as_ref() && (is_first || bytes <= limits::STREAM_PAGE_BYTES)
        };
        let length = waiting.ready.iter().take(limits::STREAM_PAGE).take_while(fits).count();
        waiting.ready.drain(..length).collect()
    }

    async fn remove_rows(&self, page: &[Job], clock: &Clock, warning: &OncePerSecond) {
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
            if let Some(more) = warning.allows(clock) {
                tracing::warn!(more, "publishing waits for the disk");
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn give_back(&self, jobs: &[Job]) {
        let mut waiting = self.waiting.lock();
        waiting.taken -= jobs.len();
        waiting.taken_bytes -= jobs.iter().map(|job| job.payload.len()).sum::<usize>();
        if waiting.taken == 0 {
            drop(waiting);
            self.emptied.notify_waiters();
        }
    }
}

impl Job {
    fn read(key: &[u8], value: &[u8]) -> Option<Self> {
        let job: Self = serde_json::from_slice(value).ok()?;
        Some(Self { number: u64::from_be_bytes(key.try_into().ok()?), has_row: true, ..job })
    }

    fn entry(&self, origin: &str) -> [(&'static str, Vec<u8>); 3] {
        let mut metadata = BTreeMap::new();
        // A notification is for this instance, too.
        if self.stream != PUSHED_NOTIFICATIONS {
            metadata.insert(ORIGIN.to_owned(), origin.to_owned());
        }
        Entry { uuid: self.uuid.clone(), metadata, payload: self.payload.clone().into_bytes() }.encode()
    }
}

#[cfg(test)]
mod tests;
