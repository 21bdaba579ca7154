//! The lane on which every instance reads everything, from a remembered position.

use tokio::{sync::oneshot, time};

use super::{InboxGone, Lanes, ONCE, PAUSE, STREAMS};
use crate::{
    engines::redis::{self, EntryId, RedisError},
    limits,
    older::group::streams::{
        bus::Counts,
        event::{NOTIFICATIONS, PUSHED_NOTIFICATIONS, VERIFY_PROGRESS},
        position::Positions,
        seen::Seen,
    },
};

/// Of [`STREAMS`], what concerns only who is connected now.
const LIVE: [&str; 3] = [NOTIFICATIONS, PUSHED_NOTIFICATIONS, VERIFY_PROGRESS];

impl Lanes {
    /// The lane of every instance, for ever.
    pub(super) async fn follow(
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
        let mut seen = Seen::default();
        loop {
            let wait = limits::STREAM_BLOCK;
            match reader.read(&positions.all(), limits::STREAM_PAGE, wait).await {
                Ok(read) => self.take(read, &mut positions, &mut seen).await?,
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
            match positions.get(stream) {
                Some(position) => self.look_for_gap(stream, position).await?,
                // `$`, but remembered: what comes between two reads is not lost.
                None => new.push((stream, self.redis.newest(stream).await?)),
            }
        }
        // A process that dies right after its first start must not begin at the end once more.
        positions.set_for_good(&new).await;
        let once = |stream| positions.get(stream).unwrap_or(EntryId::ZERO);
        let starts = ONCE.map(once).to_vec();
        let stale = self.clock.now().millis();
        let stale = EntryId { millis: stale.saturating_sub(limits::STREAM_STALE.as_millis() as u64), sequence: 0 };
        let mut late = Vec::new();
        for stream in LIVE {
            // Not behind what the stream has: a position says that there were entries up to it.
            let skipped = stale.min(self.redis.newest(stream).await?);
            if positions.get(stream).is_none_or(|position| position < skipped) {
                late.push((stream, skipped));
            }
        }
        positions.set(&late);
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
            } else {
                self.look_for_gap(stream, position).await?;
            }
        }
        positions.set(&back);
        Ok(())
    }

    /// Streams let go of their oldest entries. When the one that was read last is among those, some behind
    /// it may be, too.
    async fn look_for_gap(&self, stream: &'static str, position: EntryId) -> Result<(), RedisError> {
        let is_live = LIVE.contains(&stream);
        if is_live || position == EntryId::ZERO {
            return Ok(());
        }
        let oldest = self.redis.oldest(stream).await?;
        if oldest > position {
            Counts::bump(&self.counts.gaps, 1);
            tracing::error!(stream, %position, %oldest, "entries of a stream may have been lost: this instance was away for too long");
        }
        Ok(())
    }

    /// Hands over what was read and moves the positions behind what is done with.
    async fn take(&self, read: redis::Read, positions: &mut Positions, seen: &mut Seen) -> Result<(), InboxGone> {
        let mut handed = Vec::new();
        for (name, entries) in read {
            let Some(stream) = STREAMS.into_iter().find(|stream| *stream == name) else {
                continue;
            };
            for entry in entries {
                let id = entry.id;
                let waiting = match self.understand(stream, entry, Some(&mut *seen)) {
                    Ok(Some((event, mark))) => Some((self.hand_over(event).await?, mark)),
                    Ok(None) => None,
                    Err(error) => {
                        Counts::bump(&self.counts.malformed, 1);
                        self.warn_malformed(stream, id, &error);
                        None
                    }
                };
                handed.push((stream, id, waiting));
            }
        }
        let (mut moved, mut stuck): (Vec<(&'static str, EntryId)>, Vec<&str>) = Default::default();
        for (stream, id, waiting) in handed {
            let is_done = match waiting {
                Some((heard, mark)) => {
                    let is_done = self.is_done(heard).await;
                    // What comes behind it comes again, too, so that the order is kept.
                    if !is_done || stuck.contains(&stream) {
                        mark.inspect(|mark| seen.give_back(mark));
                    }
                    is_done
                }
                None => true,
            };
            if !is_done {
                stuck.push(stream);
            } else if !stuck.contains(&stream) {
                moved.retain(|(other, _)| *other != stream);
                moved.push((stream, id));
            }
        }
        positions.set(&moved);
        if !stuck.is_empty() {
            time::sleep(PAUSE).await;
        }
        Ok(())
    }
}
