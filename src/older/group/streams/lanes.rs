//! Reading: one lane on which each instance reads everything (`follow`), one on which each entry goes to one
//! instance (`share`).
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
        entry::Entry,
        event::{
            Event, MEMBERS_ADDED, MEMBERS_REMOVED, MESSAGES, Malformed, NOTIFICATIONS, PUSHED_NOTIFICATIONS, Receipt,
            Received, VERIFY_PROGRESS,
        },
        position::Positions,
        seen::{Mark, Seen},
    },
};

mod follow;
mod share;

/// What every instance reads.
pub const STREAMS: [&str; 6] =
    [MESSAGES, NOTIFICATIONS, PUSHED_NOTIFICATIONS, MEMBERS_ADDED, MEMBERS_REMOVED, VERIFY_PROGRESS];
/// What must be done once over all instances.
const ONCE: [&str; 2] = [NOTIFICATIONS, PUSHED_NOTIFICATIONS];
/// Before something that failed is tried again.
const PAUSE: Duration = Duration::from_millis(100);

/// What both lanes need. The consumer's name is the origin.
#[derive(Clone)]
pub struct Lanes {
    pub redis: Redis,
    pub clock: Clock,
    pub origin: Arc<str>,
    pub inbox: mpsc::Sender<Received>,
    pub counts: Arc<Counts>,
    pub claim_after: Duration,
    pub warning: Arc<OncePerSecond>,
    /// Told when both lanes know where they begin.
    pub is_reading: watch::Sender<bool>,
}

/// Nobody takes events any more.
struct InboxGone;

impl Lanes {
    pub fn start(self, positions: Positions) -> Vec<JoinHandle<()>> {
        let (begun, begin) = oneshot::channel();
        let other = self.clone();
        vec![
            tokio::spawn(async move { drop(self.follow(positions, begun).await) }),
            tokio::spawn(async move { drop(other.share(begin).await) }),
        ]
    }

    /// None: it is our own, or was seen.
    fn understand(
        &self,
        stream: &str,
        entry: redis::Entry,
        seen: Option<&mut Seen>,
    ) -> Result<Option<(Event, Option<Mark>)>, Malformed> {
        let seconds = i64::try_from(entry.id.millis / 1_000).unwrap_or(0);
        let entry = Entry::decode(entry.fields)?;
        if entry.origin() == Some(&*self.origin) {
            return Ok(None);
        }
        let event = Event::read(stream, &entry, seconds)?;
        let Some(seen) = seen else {
            return Ok(Some((event, None)));
        };
        let mark = seen.take(stream, &entry);
        Ok(mark.map(|mark| (event, Some(mark))))
    }

    async fn hand_over(&self, event: Event) -> Result<oneshot::Receiver<()>, InboxGone> {
        let (receipt, heard) = Receipt::new();
        let received = Received { event, receipt };
        self.inbox.send(received).await.map_err(|_| InboxGone)?;
        Counts::bump(&self.counts.received, 1);
        Ok(heard)
    }

    async fn is_done(&self, heard: oneshot::Receiver<()>) -> bool {
        let is_done = heard.await.is_ok();
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
        // That Redis is away is told by its connection, once.
        if matches!(error, RedisError::Unreachable { .. }) {
            return tracing::debug!(%error, "the streams are not read");
        }
        if let Some(more) = self.warning.allows(&self.clock) {
            tracing::warn!(%error, more, "the streams are not read");
        }
    }

    fn warn_malformed(&self, stream: &str, id: EntryId, error: &Malformed) {
        if let Some(more) = self.warning.allows(&self.clock) {
            tracing::warn!(stream, %id, %error, more, "an entry of a stream is skipped");
        }
    }
}
