//! Commands on streams and their consumer groups that Redis answers at once.

use std::time::Duration;

use super::{Entry, EntryId, Redis, RedisError, cmd, pipe, reader::millis, reply};

impl Redis {
    /// Appends to a stream, in order, all or nothing, and lets go of the oldest entries beyond about `keep`.
    ///
    /// # Errors
    /// [`RedisError`]; after [`RedisError::Unreachable`] the entries may be there.
    pub async fn append<F, N, V>(&self, stream: &str, entries: &[F], keep: usize) -> Result<Vec<EntryId>, RedisError>
    where
        F: AsRef<[(N, V)]>,
        N: AsRef<[u8]>,
        V: AsRef<[u8]>,
    {
        let mut pipeline = pipe();
        pipeline.atomic();
        for fields in entries {
            let command = pipeline.cmd("XADD").arg(stream);
            command.arg("MAXLEN").arg("~").arg(keep).arg("*");
            for (name, value) in fields.as_ref() {
                command.arg(name.as_ref()).arg(value.as_ref());
            }
        }
        let ids = reply::ids(self.ask_all("XADD", &pipeline).await?);
        ids.ok_or_else(|| self.strange("XADD"))
    }

    /// The id of the newest entry of a stream; 0-0 when there is none.
    pub async fn newest(&self, stream: &str) -> Result<EntryId, RedisError> {
        self.first("XREVRANGE", stream, ["+", "-"]).await
    }

    /// The id of the oldest entry that a stream still has; 0-0 when there is none.
    pub async fn oldest(&self, stream: &str) -> Result<EntryId, RedisError> {
        self.first("XRANGE", stream, ["-", "+"]).await
    }

    async fn first(&self, name: &'static str, stream: &str, range: [&str; 2]) -> Result<EntryId, RedisError> {
        let mut command = cmd(name);
        command.arg(stream).arg(&range).arg("COUNT").arg(1);
        let entries = reply::entries(self.ask(name, &command).await?);
        let entries = entries.ok_or_else(|| self.strange(name))?;
        Ok(entries.first().map_or(EntryId::ZERO, |entry| entry.id))
    }

    /// Makes a consumer group that gets what comes after `after`, and its stream, if they are not there.
    pub async fn create_group(&self, stream: &str, group: &str, after: EntryId) -> Result<(), RedisError> {
        let mut command = cmd("XGROUP");
        command.arg("CREATE").arg(stream).arg(group);
        command.arg(after.to_string()).arg("MKSTREAM");
        match self.ask("XGROUP", &command).await {
            Err(RedisError::Refused { code, .. }) if &*code == "BUSYGROUP" => Ok(()),
            other => other.map(drop),
        }
    }

    /// Says that entries which were read for a group are done with.
    pub async fn acknowledge(&self, stream: &str, group: &str, ids: &[EntryId]) -> Result<(), RedisError> {
        let mut command = cmd("XACK");
        command.arg(stream).arg(group);
        for id in ids {
            command.arg(id.to_string());
        }
        self.ask("XACK", &command).await.map(drop)
    }

    /// Takes over what consumers of a group read and have not acknowledged for `idle`; at most `count`.
    pub async fn claim(
        &self,
        stream: &str,
        group: &str,
        consumer: &str,
        idle: Duration,
        count: usize,
    ) -> Result<Vec<Entry>, RedisError> {
        let mut command = cmd("XAUTOCLAIM");
        command.arg(stream).arg(group).arg(consumer);
        command.arg(millis(idle)).arg("0-0").arg("COUNT").arg(count);
        let claimed = reply::claimed(self.ask("XAUTOCLAIM", &command).await?);
        claimed.ok_or_else(|| self.strange("XAUTOCLAIM"))
    }

    /// Forgets consumers of a group who have nothing to acknowledge and asked for nothing for `idle`.
    pub async fn forget_consumers(&self, stream: &str, group: &str, idle: Duration) -> Result<(), RedisError> {
        let mut command = cmd("XINFO");
        command.arg("CONSUMERS").arg(stream).arg(group);
        let consumers = reply::consumers(self.ask("XINFO", &command).await?);
        for consumer in consumers.ok_or_else(|| self.strange("XINFO"))? {
            if consumer.pending == 0 && consumer.idle > idle {
                let mut command = cmd("XGROUP");
                command.arg("DELCONSUMER").arg(stream).arg(group);
                self.ask("XGROUP", command.arg(consumer.name)).await?;
            }
        }
        Ok(())
    }
}
