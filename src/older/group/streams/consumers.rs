//! Reading: on each instance one consumer reads everything (`every`), and one takes what a single instance of all is to
//! do (`once`).
//!
//! A page of entries is handed over, then all its receipts are awaited, then the position moves on (or the
//! entries are acknowledged). So what was not done with comes again, in order. Streams keep no order among each
//! other.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
    time,
};

use crate::{
    clock::{Clock, OncePerSecond},
    engines::redis::{self, EntryId, Redis, RedisError},
    older::group::streams::{
        bus::Counts,
        duplicates::{Duplicates, Mark},
        entry::Entry,
        event::{
            Event, MEMBERS_ADDED, MEMBERS_REMOVED, MESSAGES, Malformed, NOTIFICATIONS, PUSHED_NOTIFICATIONS, Receipt,
            Received, VERIFY_PROGRESS,
        },
        position::Positions,
    },
};

mod every;
mod once;

/// What every instance reads.
pub const STREAMS: [&str; 6] =
    [MESSAGES, NOTIFICATIONS, PUSHED_NOTIFICATIONS, MEMBERS_ADDED, MEMBERS_REMOVED, VERIFY_PROGRESS];
/// What must be done once over all instances.
const ONCE: [&str; 2] = [NOTIFICATIONS, PUSHED_NOTIFICATIONS];
/// Before something that failed is tried again.
const PAUSE: Duration = Duration::from_millis(100);

/// What both consumers need. They go by the name of the instance.
#[derive(Clone)]
pub struct Consumers {
    pub redis: Redis,
    pub clock: Clock,
    pub origin: Arc<str>,
    pub inbox: mpsc::Sender<Received>,
    pub counts: Arc<Counts>,
    pub claim_after: Duration,
    pub warning: Arc<OncePerSecond>,
    /// Set when both know where they begin.
    pub is_reading: watch::Sender<bool>,
}

/// Nobody takes events any more.
struct InboxGone;

/// Resolves when the event is done with; fails when it has to come again.
type Done = oneshot::Receiver<()>;

impl Consumers {
    pub fn start(self, positions: Positions) -> Vec<JoinHandle<()>> {
        let (starts, begin) = oneshot::channel();
        let other = self.clone();
        vec![
            tokio::spawn(async move { drop(self.read_everything(positions, starts).await) }),
            tokio::spawn(async move { drop(other.take_once(begin).await) }),
        ]
    }

    /// None: it is our own, or a duplicate.
    fn understand(
        &self,
        stream: &str,
        entry: redis::Entry,
        duplicates: Option<&mut Duplicates>,
    ) -> Result<Option<(Event, Option<Mark>)>, Malformed> {
        let written = entry.id.millis / 1_000;
        let entry = Entry::decode(entry.fields)?;
        if entry.origin() == Some(&*self.origin) {
            return Ok(None);
        }
        let event = Event::read(stream, &entry, written)?;
        let Some(duplicates) = duplicates else {
            return Ok(Some((event, None)));
        };
        let mark = duplicates.take(stream, &entry);
        Ok(mark.map(|mark| (event, Some(mark))))
    }

    async fn hand_over(&self, event: Event) -> Result<Done, InboxGone> {
        let (receipt, done) = Receipt::new();
        self.inbox.send(Received { event, receipt }).await.map_err(|_| InboxGone)?;
        Counts::bump(&self.counts.received, 1);
        Ok(done)
    }

    /// Waits for what became of an event; of none it is done.
    async fn is_done(&self, event: Option<Done>) -> bool {
        let Some(event) = event else { return true };
        let is_done = event.await.is_ok();
        if !is_done {
            Counts::bump(&self.counts.repeated, 1);
        }
        is_done
    }

    /// None when it failed and is worth another try now.
    async fn tried<T>(&self, outcome: Result<T, RedisError>) -> Option<T> {
        match outcome {
            Ok(done) => Some(done),
            Err(error) => {
                self.warn(&error);
                time::sleep(PAUSE).await;
                self.redis.until_up().await;
                None
            }
        }
    }

    fn warn(&self, error: &RedisError) {
        // The connection itself warns, once, that Redis is away.
        if matches!(error, RedisError::Unreachable { .. }) {
            return tracing::debug!(%error, "the streams are not read");
        }
        if let Some(more) = self.warning.allows(&self.clock) {
            tracing::warn!(%error, more, "the streams are not read");
        }
    }

    fn warn_malformed(&self, stream: &str, id: EntryId, error: &Malformed) {
        Counts::bump(&self.counts.malformed, 1);
        if let Some(more) = self.warning.allows(&self.clock) {
            tracing::warn!(stream, %id, %error, more, "an entry of a stream is skipped");
        }
    }
}
