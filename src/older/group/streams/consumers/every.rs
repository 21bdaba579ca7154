//! The consumer by which every instance reads everything, from a remembered position.

use std::{collections::BTreeMap, sync::Arc};

use futures_util::future::OptionFuture;
use tokio::{sync::oneshot, time};

use super::{Consumers, InboxGone, ONCE, PAUSE, STREAMS};
use crate::{
    engines::redis::{self, EntryId, RedisError},
    limits,
    older::group::streams::{
        bus::Counts,
        duplicates::Duplicates,
        event::{NOTIFICATIONS, PUSHED_NOTIFICATIONS, VERIFY_PROGRESS},
    },
    store::{Batch, Commit, Store, StoreError},
};

/// Of [`STREAMS`], what concerns only who is connected now.
const LIVE: [&str; 3] = [NOTIFICATIONS, PUSHED_NOTIFICATIONS, VERIFY_PROGRESS];

/// Key: the stream; value: the id of the last entry as text.
const POSITIONS: &str = "group positions";

/// Up to where the streams were read; in the store too, if there is one, so that a restart goes on there.
pub struct Positions {
    store: Option<Arc<dyn Store>>,
    known: BTreeMap<&'static str, EntryId>,
}

impl Positions {
    pub fn load(store: Option<Arc<dyn Store>>) -> Result<Self, StoreError> {
        let mut known = BTreeMap::new();
        for stream in STREAMS {
            let Some(store) = &store else { break };
            let Some(row) = store.get(POSITIONS, stream.as_bytes())? else {
                continue;
            };
            let id = std::str::from_utf8(&row).ok();
            let id = id.and_then(|text| text.parse().ok());
            known.insert(stream, id.ok_or_else(|| StoreError::damaged("the position in a stream"))?);
        }
        Ok(Self { store, known })
    }

    pub fn get(&self, stream: &str) -> Option<EntryId> {
        self.known.get(stream).copied()
    }

    /// Remembers positions. They may be on disk a moment later, or not at all: what is read twice has to be borne anyway.
    pub fn set(&mut self, positions: &[(&'static str, EntryId)]) {
        drop(self.write(positions));
    }

    /// The same; on disk when this returns, as far as the disk can be written.
    pub async fn set_for_good(&mut self, positions: &[(&'static str, EntryId)]) {
        if let Some(Err(error)) = OptionFuture::from(self.write(positions)).await {
            tracing::warn!(%error, "the position in the streams is not kept; a restart reads again");
        }
    }

    fn write(&mut self, positions: &[(&'static str, EntryId)]) -> Option<Commit> {
        let mut batch = Batch::new();
        for (stream, id) in positions {
            self.known.insert(stream, *id);
            batch = batch.put(POSITIONS, *stream, id.to_string());
        }
        let store = self.store.as_ref().filter(|_| !positions.is_empty())?;
        Some(store.commit(batch))
    }

    /// All of them, for a read.
    pub fn all(&self) -> Vec<(&'static str, EntryId)> {
        self.known.iter().map(|(stream, id)| (*stream, *id)).collect()
    }
}

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
        let mut reader = self.instance.redis.reader();
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
                None => new.push((stream, self.instance.redis.newest(stream).await?)),
            }
        }
        // A process that dies right after its first start must not begin at the end once more.
        positions.set_for_good(&new).await;
        let starts = ONCE.map(|stream| positions.get(stream).unwrap_or(EntryId::ZERO)).to_vec();
        let stale = self.instance.clock.now().millis().saturating_sub(limits::STREAM_STALE.as_millis() as u64);
        let stale = EntryId { millis: stale, sequence: 0 };
        let mut late = Vec::new();
        for stream in LIVE {
            // Not behind what the stream has: a position says that there were entries up to it.
            let skipped = stale.min(self.instance.redis.newest(stream).await?);
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
            let newest = self.instance.redis.newest(stream).await?;
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
        let oldest = self.instance.redis.oldest(stream).await?;
        if oldest > position {
            Counts::bump(&self.instance.counts.gaps, 1);
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
            if !one.is_done().await {
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
