//! The consumer by which every instance reads everything, from a remembered position.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::future::OptionFuture;
use tokio::{sync::oneshot, time};

use super::{Consumers, InboxGone, ONCE, PAUSE, STREAMS};
use crate::{
    engines::redis::{self, EntryId, RedisError},
    limits,
    older::group::streams::{
        bus::Counts,
        duplicates::Duplicates,
        event::{
            Author, CHANGES, Event, MESSAGES, NOTIFICATIONS, PUSHED_NOTIFICATIONS, Receipt, Received, VERIFY_PROGRESS,
        },
    },
    store::{Batch, Commit, Read, Store, StoreError},
};

/// Of [`STREAMS`], what concerns only who is connected now.
const LIVE: [&str; 3] = [NOTIFICATIONS, PUSHED_NOTIFICATIONS, VERIFY_PROGRESS];

/// Key: the stream; value: the id of the last entry as text.
const POSITIONS: &str = "group positions";

/// Up to where the streams were read; in the store too, if there is one, so that a restart goes on there. Nodes have them in common:
/// up to there one of them has written what services say, so they note them when there was something to be written, and now and then.
pub struct Positions {
    store: Option<Arc<dyn Store>>,
    known: BTreeMap<&'static str, EntryId>,
    /// Of a node: when it last noted them, by the uptime.
    noted: Option<Duration>,
}

impl Positions {
    pub fn load(store: Option<Arc<dyn Store>>) -> Result<Self, StoreError> {
        let mut known = BTreeMap::new();
        for stream in STREAMS {
            let Some(store) = &store else { break };
            if let Some(row) = store.get(POSITIONS, stream.as_bytes())? {
                known.insert(stream, id_of(&row)?);
            }
        }
        Ok(Self { store, known, noted: None })
    }

    /// Those of all nodes: read when their store is there.
    pub fn of_nodes(store: Option<Arc<dyn Store>>) -> Self {
        Self { store, known: BTreeMap::new(), noted: Some(Duration::ZERO) }
    }

    async fn recall(&mut self) -> Result<(), StoreError> {
        let Some(store) = self.store.as_ref().filter(|_| self.noted.is_some()) else { return Ok(()) };
        let reads = STREAMS.map(|stream| Read::get(POSITIONS, stream)).to_vec();
        for (stream, found) in STREAMS.into_iter().zip(store.read(reads).await?) {
            // What changed of groups is read from the rows.
            if let Some(row) = found.value()?.filter(|_| stream != CHANGES) {
                self.known.insert(stream, id_of(&row)?);
            }
        }
        Ok(())
    }

    /// As [`Self::set`]; `is_needed`: an entry was another service's.
    fn note(&mut self, positions: &[(&'static str, EntryId)], is_needed: bool, now: Duration) {
        match &mut self.noted {
            Some(noted) if !is_needed && now.saturating_sub(*noted) < limits::STREAM_NOTED => {
                self.known.extend(positions.iter().copied());
            }
            noted => {
                noted.iter_mut().for_each(|noted| *noted = now);
                self.set(positions);
            }
        }
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
    fn all(&self) -> Vec<(&'static str, EntryId)> {
        self.known.iter().map(|(stream, id)| (*stream, *id)).collect()
    }
}

fn id_of(row: &[u8]) -> Result<EntryId, StoreError> {
    let id = std::str::from_utf8(row).ok().and_then(|text| text.parse().ok());
    id.ok_or_else(|| StoreError::damaged("the position in a stream"))
}

impl Consumers {
    /// Reads, for ever. `starts` gets the positions from which the streams of [`ONCE`] have to be done.
    pub(super) async fn read_everything(
        self,
        mut positions: Positions,
        starts: oneshot::Sender<Vec<EntryId>>,
    ) -> Result<(), InboxGone> {
        while let Err(error) = positions.recall().await {
            tracing::debug!(%error, "the positions of the streams are not read yet");
            time::sleep(PAUSE).await;
        }
        let began = loop {
            if let Some(newest) = self.tried(self.instance.redis.newest(MESSAGES).await).await {
                break if self.instance.is_shared { newest } else { EntryId::ZERO };
            }
        };
        let begun = loop {
            if let Some(begun) = self.tried(self.begin(&mut positions).await).await {
                break begun;
            }
        };
        self.read_again(began).await?;
        // Fails only when the other consumer has ended.
        let _ = starts.send(begun);
        let mut reader = self.instance.redis.reader();
        let mut duplicates = Duplicates::default();
        loop {
            match reader.read(&positions.all(), limits::STREAM_PAGE, limits::STREAM_BLOCK).await {
                Ok(read) => self.take(read, &mut positions, &mut duplicates, began).await?,
                Err(error) => {
                    let mut is_lost: Option<bool> = self.tried(Err(error)).await;
                    while is_lost.is_none() {
                        is_lost = self.tried(self.look_again(&mut positions).await).await;
                    }
                    if is_lost == Some(true) {
                        self.read_again(began).await?;
                    }
                }
            }
        }
    }

    /// Has what nodes have in common of groups read; what changes from the position of [`CHANGES`] on is heard behind that.
    async fn read_again(&self, id: EntryId) -> Result<(), InboxGone> {
        let mut is_read = !self.instance.is_shared;
        while !is_read {
            let (receipt, done) = Receipt::new();
            let again = Received { event: Event::ReadAgain, id, author: Author::Own, is_live: true, receipt };
            self.inbox.send(again).await.map_err(|_| InboxGone)?;
            is_read = done.await.is_ok();
            if !is_read {
                time::sleep(PAUSE).await;
            }
        }
        Ok(())
    }

    /// Finds where to begin; gives the positions from which the streams of [`ONCE`] have to be done.
    async fn begin(&self, positions: &mut Positions) -> Result<Vec<EntryId>, RedisError> {
        let mut new = Vec::new();
        for stream in STREAMS {
            match positions.get(stream) {
                Some(position) => drop(self.look_for_gap(stream, position).await?),
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
    /// the position. Whether changes of groups may be among what is lost.
    async fn look_again(&self, positions: &mut Positions) -> Result<bool, RedisError> {
        let (mut back, mut is_lost) = (Vec::new(), false);
        for (stream, position) in positions.all() {
            let newest = self.instance.redis.newest(stream).await?;
            if newest < position {
                tracing::warn!(stream, %position, %newest, "redis has lost entries of a stream");
                back.push((stream, newest));
                is_lost |= stream == CHANGES;
            } else {
                is_lost |= self.look_for_gap(stream, position).await? && stream == CHANGES;
            }
        }
        positions.set(&back);
        Ok(is_lost)
    }

    /// Streams drop their oldest entries. When the one that was read last is among those, some behind it may be, too.
    async fn look_for_gap(&self, stream: &'static str, position: EntryId) -> Result<bool, RedisError> {
        if LIVE.contains(&stream) || position == EntryId::ZERO {
            return Ok(false);
        }
        let oldest = self.instance.redis.oldest(stream).await?;
        if oldest > position {
            Counts::bump(&self.instance.counts.gaps, 1);
            tracing::error!(stream, %position, %oldest, "entries of a stream may have been lost: this instance was away for too long");
        }
        Ok(oldest > position)
    }

    /// Hands over what was read and moves the positions behind what is done with.
    async fn take(
        &self,
        read: redis::Read,
        positions: &mut Positions,
        duplicates: &mut Duplicates,
        began: EntryId,
    ) -> Result<(), InboxGone> {
        let handed = self.hand_over(read, Some(&mut *duplicates), began).await?;
        let (mut moved, mut stuck): (Vec<(&'static str, EntryId)>, Vec<&str>) = Default::default();
        let is_needed = handed.iter().any(|one| one.author == Author::Other && one.event.is_some());
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
        positions.note(&moved, is_needed, self.instance.clock.uptime());
        if !stuck.is_empty() {
            time::sleep(PAUSE).await;
        }
        Ok(())
    }
}
