//! Reading: one lane on which each instance reads everything, one on which each entry goes to one instance.
//!
//! A page of entries is handed over, then all its receipts are awaited, then the position moves on (or the
//! entries are acknowledged). So what was not done with comes again, in order.

use std::{sync::Arc, time::Duration};

use futures_util::FutureExt as _;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::{self, MissedTickBehavior},
};

use crate::{
    clock::{Clock, OncePerSecond},
    engines::redis::{self, EntryId, Redis, RedisError},
    limits,
    protocols::group::streams::{
        bus::Counts,
        entry::Entry,
        event::{
            Event, MEMBERS_ADDED, MEMBERS_REMOVED, MESSAGES, Malformed, NOTIFICATIONS,
            PUSHED_NOTIFICATIONS, Receipt, Received, VERIFY_PROGRESS,
        },
        position::Positions,
    },
};

/// What every instance reads.
pub const STREAMS: [&str; 6] = [
    MESSAGES,
    NOTIFICATIONS,
    PUSHED_NOTIFICATIONS,
    MEMBERS_ADDED,
    MEMBERS_REMOVED,
    VERIFY_PROGRESS,
];
/// Of those, what concerns only who is connected now.
const LIVE: [&str; 3] = [NOTIFICATIONS, PUSHED_NOTIFICATIONS, VERIFY_PROGRESS];
/// What must be done once over all instances, and the consumer group for it (`protocols/group.md §7`).
const ONCE: [&str; 2] = [NOTIFICATIONS, PUSHED_NOTIFICATIONS];
const GROUP: &str = "broker";
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

    /// The lane of every instance, for ever.
    async fn follow(
        self,
        mut positions: Positions,
        begun: oneshot::Sender<Vec<EntryId>>,
    ) -> Result<(), InboxGone> {
        let starts = loop {
            if let Some(starts) = self.tried(self.begin(&mut positions).await).await {
                break starts;
            }
        };
        // Fails only when the other lane has ended.
        let _ = begun.send(starts);
        let mut reader = self.redis.reader();
        loop {
            let wait = limits::STREAM_BLOCK;
            match reader
                .read(&positions.all(), limits::STREAM_PAGE, wait)
                .await
            {
                Ok(read) => self.take(read, &mut positions).await?,
                Err(error) => {
                    let mut tried: Option<()> = self.tried(Err(error)).await;
                    while tried.is_none() {
                        tried = self.tried(self.look_again(&mut positions).await).await;
                    }
                }
            }
        }
    }

    /// Finds where to begin; gives the positions from which the streams of [`ONCE`] have to be done.
    async fn begin(&self, positions: &mut Positions) -> Result<Vec<EntryId>, RedisError> {
        let mut new = Vec::new();
        for stream in STREAMS {
            if positions.get(stream).is_none() {
                // `$`, but remembered: what comes between two reads is not lost.
                new.push((stream, self.redis.newest(stream).await?));
            }
        }
        positions.set(&new);
        let once = |stream| positions.get(stream).unwrap_or(EntryId::ZERO);
        let starts = ONCE.map(once).to_vec();
        let stale = self.clock.now().millis();
        let stale = EntryId {
            millis: stale.saturating_sub(limits::STREAM_STALE.as_millis() as u64),
            sequence: 0,
        };
        let live = LIVE.map(|stream| (stream, positions.get(stream).unwrap_or(stale)));
        let late = live.into_iter().filter(|(_, position)| *position < stale);
        positions.set(&late.map(|(stream, _)| (stream, stale)).collect::<Vec<_>>());
        Ok(starts)
    }

    /// After Redis was away: if it lost its newest entries, what is written now may have smaller ids than
    /// the position.
    async fn look_again(&self, positions: &mut Positions) -> Result<(), RedisError> {
        let mut back = Vec::new();
        for (stream, position) in positions.all() {
            let newest = self.redis.newest(stream).await?;
            if newest < position {
                tracing::warn!(stream, %position, %newest, "redis has lost entries of a stream");
                back.push((stream, newest));
            }
        }
        positions.set(&back);
        Ok(())
    }

    /// Hands over what was read and moves the positions behind what is done with.
    async fn take(&self, read: redis::Read, positions: &mut Positions) -> Result<(), InboxGone> {
        let mut handed = Vec::new();
        for (name, entries) in read {
            let Some(stream) = STREAMS.into_iter().find(|stream| *stream == name) else {
                continue;
            };
            for entry in entries {
                let id = entry.id;
                let heard = match self.understand(stream, entry) {
                    Ok(Some(event)) => Some(self.hand_over(event).await?),
                    Ok(None) => None,
                    Err(error) => {
                        Counts::bump(&self.counts.malformed, 1);
                        self.warn_malformed(stream, id, &error);
                        None
                    }
                };
                handed.push((stream, id, heard));
            }
        }
        let (mut moved, mut stuck): (Vec<(&'static str, EntryId)>, Vec<&str>) = Default::default();
        for (stream, id, heard) in handed {
            let is_done = self.is_done(heard).await;
            if stuck.contains(&stream) {
                continue;
            }
            if is_done {
                moved.retain(|(other, _)| *other != stream);
                moved.push((stream, id));
            } else {
                stuck.push(stream);
            }
        }
        positions.set(&moved);
        if !stuck.is_empty() {
            time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// The lane on which one instance of all gets an entry, for ever.
    async fn share(self, begin: oneshot::Receiver<Vec<EntryId>>) -> Result<(), InboxGone> {
        let starts = begin.await.map_err(|_| InboxGone)?;
        self.make_groups(&starts).await;
        let mut reader = self.redis.reader();
        let mut claims = time::interval(self.claim_after / 2);
        claims.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let wait = limits::STREAM_BLOCK.min(self.claim_after / 2);
        loop {
            let read = if claims.tick().now_or_never().is_some() {
                self.claim().await
            } else {
                let read = reader.read_group(GROUP, &self.origin, &ONCE, limits::STREAM_PAGE, wait);
                read.await
            };
            match read {
                Ok(read) => self.take_once(read).await?,
                // Redis lost its data. All that it has now is new.
                Err(error) if error.is_no_group() => {
                    self.make_groups(&ONCE.map(|_| EntryId::ZERO)).await;
                }
                Err(error) => drop(self.tried::<()>(Err(error)).await),
            }
        }
    }

    async fn make_groups(&self, starts: &[EntryId]) {
        for (stream, start) in ONCE.into_iter().zip(starts) {
            let make = || self.redis.create_group(stream, GROUP, *start);
            while self.tried(make().await).await.is_none() {}
        }
    }

    /// What others took and did not do, as when they died.
    async fn claim(&self) -> Result<redis::Read, RedisError> {
        let mut claimed = Vec::new();
        for stream in ONCE {
            let (idle, count) = (self.claim_after, limits::STREAM_PAGE);
            let claim = self.redis.claim(stream, GROUP, &self.origin, idle, count);
            claimed.push((stream.to_owned(), claim.await?));
            self.redis
                .forget_consumers(stream, GROUP, limits::STREAM_CONSUMER_GONE)
                .await?;
        }
        Ok(claimed)
    }

    async fn take_once(&self, read: redis::Read) -> Result<(), InboxGone> {
        for (name, entries) in read {
            let Some(stream) = ONCE.into_iter().find(|stream| *stream == name) else {
                continue;
            };
            let mut handed = Vec::new();
            for entry in entries {
                let id = entry.id;
                // What is malformed was counted on the other lane.
                let heard = match self.understand(stream, entry) {
                    Ok(Some(Event::Notification(it))) => {
                        Some(self.hand_over(Event::StoreNotification(it)).await?)
                    }
                    _ => None,
                };
                handed.push((id, heard));
            }
            let mut done = Vec::new();
            for (id, heard) in handed {
                if self.is_done(heard).await {
                    done.push(id);
                }
            }
            let acknowledge = || self.redis.acknowledge(stream, GROUP, &done);
            while !done.is_empty() && self.tried(acknowledge().await).await.is_none() {}
        }
        Ok(())
    }

    /// None: it is our own.
    fn understand(&self, stream: &str, entry: redis::Entry) -> Result<Option<Event>, Malformed> {
        let seconds = i64::try_from(entry.id.millis / 1_000).unwrap_or(0);
        let entry = Entry::decode(entry.fields)?;
        if entry.origin() == Some(&*self.origin) {
            return Ok(None);
        }
        Event::read(stream, &entry, seconds).map(Some)
    }

    async fn hand_over(&self, event: Event) -> Result<oneshot::Receiver<()>, InboxGone> {
        let (receipt, heard) = Receipt::new();
        let received = Received { event, receipt };
        self.inbox.send(received).await.map_err(|_| InboxGone)?;
        Counts::bump(&self.counts.received, 1);
        Ok(heard)
    }

    async fn is_done(&self, heard: Option<oneshot::Receiver<()>>) -> bool {
        let Some(heard) = heard else { return true };
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
