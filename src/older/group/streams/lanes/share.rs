//! The lane on which one instance of all gets an entry: a consumer group.

use futures_util::FutureExt as _;
use tokio::{
    sync::oneshot,
    time::{self, MissedTickBehavior},
};

use super::{InboxGone, Lanes, ONCE};
use crate::{
    engines::redis::{self, EntryId, RedisError},
    limits,
    older::group::streams::event::Event,
};

/// `docs/protocols/group.md §7`.
const GROUP: &str = "broker";

impl Lanes {
    /// The lane on which one instance of all gets an entry, for ever.
    pub(super) async fn share(self, begin: oneshot::Receiver<Vec<EntryId>>) -> Result<(), InboxGone> {
        let starts = begin.await.map_err(|_| InboxGone)?;
        self.make_groups(&starts).await;
        self.is_reading.send_replace(true);
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
            self.redis.forget_consumers(stream, GROUP, limits::STREAM_CONSUMER_GONE).await?;
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
                let heard = match self.understand(stream, entry, None) {
                    Ok(Some((Event::Notification(it), _))) => Some(self.hand_over(Event::StoreNotification(it)).await?),
                    _ => None,
                };
                handed.push((id, heard));
            }
            let mut done = Vec::new();
            for (id, heard) in handed {
                let is_done = match heard {
                    Some(heard) => self.is_done(heard).await,
                    None => true,
                };
                if is_done {
                    done.push(id);
                }
            }
            let acknowledge = || self.redis.acknowledge(stream, GROUP, &done);
            while !done.is_empty() && self.tried(acknowledge().await).await.is_none() {}
        }
        Ok(())
    }
}
