//! The consumer by which every instance reads everything, from a remembered position.

use tokio::{sync::oneshot, time};

use super::{Consumers, InboxGone, ONCE, PAUSE, STREAMS};
use crate::{
    engines::redis::{self, EntryId, RedisError},
    limits,
    older::group::streams::{
        bus::Counts,
        duplicates::Duplicates,
        event::{NOTIFICATIONS, PUSHED_NOTIFICATIONS, VERIFY_PROGRESS},
        position::Positions,
    },
};

/// Of [`STREAMS`], what concerns only who is connected now.
const LIVE: [&str; 3] = [NOTIFICATIONS, PUSHED_NOTIFICATIONS, VERIFY_PROGRESS];

impl Consumers {
    /// Reads, for ever. `starts` gets the positions from which the streams of [`ONCE`] have to be done.
    pub(super) async fn read_everything(
        self,
        mut positions: Positions,
        starts: oneshot::Sender<Vec<EntryId>>,
    ) -> Result<(), InboxGone> {
        let begun = loop {
            if let Some(begun) = self.tried(self.begin(&mut positions).await).await {
                break begun;
            }
        };
        // Fails only when the other consumer has ended.
        let _ = starts.send(begun);
        let mut reader = self.redis.reader();
        let mut duplicates = Duplicates::default();
        loop {
            match reader.read(&positions.all(), limits::STREAM_PAGE, limits::STREAM_BLOCK).await {
                Ok(read) => self.take(read, &mut positions, &mut duplicates).await?,
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
        let starts = ONCE.map(|stream| positions.get(stream).unwrap_or(EntryId::ZERO)).to_vec();
        let stale = self.clock.now().millis().saturating_sub(limits::STREAM_STALE.as_millis() as u64);
        let stale = EntryId { millis: stale, sequence: 0 };
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

    /// Streams drop their oldest entries. When the one that was read last is among those, some behind it may be, too.
    async fn look_for_gap(&self, stream: &'static str, position: EntryId) -> Result<(), RedisError> {
        if LIVE.contains(&stream) || position == EntryId::ZERO {
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
    async fn take(
        &self,
        read: redis::Read,
        positions: &mut Positions,
        duplicates: &mut Duplicates,
    ) -> Result<(), InboxGone> {
        let handed = self.hand_over(read, Some(&mut *duplicates)).await?;
        let (mut moved, mut stuck): (Vec<(&'static str, EntryId)>, Vec<&str>) = Default::default();
        for mut one in handed {
            if !self.is_done(&mut one).await {
                stuck.push(one.stream);
            }
            if !stuck.contains(&one.stream) {
                moved.retain(|(other, _)| *other != one.stream);
                moved.push((one.stream, one.id));
            } else if let Some(mark) = one.mark {
                // What comes behind it comes again, too, so that the order is kept.
                duplicates.give_back(&mark);
            }
        }
        positions.set(&moved);
        if !stuck.is_empty() {
            time::sleep(PAUSE).await;
        }
        Ok(())
    }
}
