//! The consumer by which one instance of all gets an entry: it is one of a consumer group of Redis.

use futures_util::FutureExt as _;
use tokio::{
    sync::oneshot,
    time::{self, MissedTickBehavior},
};

use super::{Consumers, InboxGone, ONCE};
use crate::{
    engines::redis::{self, EntryId, RedisError},
    limits,
};

/// `docs/protocols/group.md §7`.
const GROUP: &str = "broker";

impl Consumers {
    /// Reads, for ever, from where `starts` says.
    pub(super) async fn take_once(self, starts: oneshot::Receiver<Vec<EntryId>>) -> Result<(), InboxGone> {
        let starts = starts.await.map_err(|_| InboxGone)?;
        self.make_groups(&starts).await;
        self.is_reading.send_replace(true);
        let mut reader = self.instance.redis.reader();
        let mut claims = time::interval(self.instance.claim_after / 2);
        claims.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let wait = limits::STREAM_BLOCK.min(self.instance.claim_after / 2);
        loop {
            let read = if claims.tick().now_or_never().is_some() {
                self.claim().await
            } else {
                reader.read_group(GROUP, &self.instance.name, &ONCE, limits::STREAM_PAGE, wait).await
            };
            match read {
                Ok(read) => self.store(read).await?,
                // Redis lost its data. All that it has now is new.
                Err(error) if error.is_no_group() => self.make_groups(&ONCE.map(|_| EntryId::ZERO)).await,
                Err(error) => drop(self.tried::<()>(Err(error)).await),
            }
        }
    }

    async fn make_groups(&self, starts: &[EntryId]) {
        for (stream, start) in ONCE.into_iter().zip(starts) {
            while self.tried(self.instance.redis.create_group(stream, GROUP, *start).await).await.is_none() {}
        }
    }

    /// What others took and did not do, as when they died.
    async fn claim(&self) -> Result<redis::Read, RedisError> {
        let mut claimed = Vec::new();
        for stream in ONCE {
            let entries = self
                .instance
                .redis
                .claim(stream, GROUP, &self.instance.name, self.instance.claim_after, limits::STREAM_PAGE)
                .await?;
            claimed.push((stream.to_owned(), entries));
            self.instance.redis.forget_consumers(stream, GROUP, limits::STREAM_CONSUMER_GONE).await?;
        }
        Ok(claimed)
    }

    async fn store(&self, read: redis::Read) -> Result<(), InboxGone> {
        let mut done = Vec::new();
        for mut one in self.hand_over(read, None, EntryId::ZERO).await? {
            if one.is_done().await {
                done.push((one.stream, one.id));
            }
        }
        for stream in ONCE {
            let ids: Vec<_> = done.iter().filter(|(of, _)| *of == stream).map(|(_, id)| *id).collect();
            while !ids.is_empty()
                && self.tried(self.instance.redis.acknowledge(stream, GROUP, &ids).await).await.is_none()
            {}
        }
        Ok(())
    }
}
