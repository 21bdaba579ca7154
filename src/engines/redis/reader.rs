//! Reads that wait, on a connection of their own.

use std::time::Duration;

use super::{Cmd, Entry, EntryId, MultiplexedConnection, Redis, RedisError, Value, cmd, reply};
use crate::limits;

/// Reads streams and waits for what comes; one read at a time. After an error it connects anew.
pub struct Reader {
    pub(super) redis: Redis,
    pub(super) connection: Option<MultiplexedConnection>,
}

/// What was read: in the order of each stream.
pub type Read = Vec<(String, Vec<Entry>)>;

impl Reader {
    /// What comes after the given positions, at most `count` of each stream; nothing when nothing came in `wait`.
    /// Error: [`RedisError`]; nothing is lost by it.
    pub async fn read(
        &mut self,
        positions: &[(&str, EntryId)],
        count: usize,
        wait: Duration,
    ) -> Result<Read, RedisError> {
        let mut command = cmd("XREAD");
        command.arg("COUNT").arg(count).arg("BLOCK").arg(millis(wait));
        command.arg("STREAMS");
        for (stream, _) in positions {
            command.arg(*stream);
        }
        for (_, position) in positions {
            command.arg(position.to_string());
        }
        self.ask("XREAD", &command, wait).await
    }

    /// What no consumer of the group has got yet. It has to be acknowledged.
    /// Error: [`RedisError`]; what was on the way is found by [`Redis::claim`].
    pub async fn read_group(
        &mut self,
        group: &str,
        consumer: &str,
        streams: &[&str],
        count: usize,
        wait: Duration,
    ) -> Result<Read, RedisError> {
        let mut command = cmd("XREADGROUP");
        command.arg("GROUP").arg(group).arg(consumer);
        command.arg("COUNT").arg(count).arg("BLOCK").arg(millis(wait));
        command.arg("STREAMS").arg(streams);
        for _ in streams {
            command.arg(">");
        }
        self.ask("XREADGROUP", &command, wait).await
    }

    async fn ask(&mut self, name: &'static str, command: &Cmd, wait: Duration) -> Result<Read, RedisError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.redis.inner.connect(wait + limits::REDIS_ANSWER).await?,
        };
        let answer: Result<Value, _> = command.query_async(&mut connection).await;
        match answer {
            Ok(answer) => {
                self.connection = Some(connection);
                reply::read(answer).ok_or_else(|| self.redis.strange(name))
            }
            Err(error) => Err(self.redis.inner.failed(name, &error)),
        }
    }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
