//! The connection of a line to one server.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;

use super::calls::Pot;
use crate::{
    engines::redis::{
        ClientError, MultiplexedConnection, RedisError, Run, Value, cmd,
        link::Inner,
        masters::{Job, Pauses, Works},
        pipe,
    },
    limits,
};

/// What every script of a line begins with. Its first argument is the moment by which it must have begun; its answer begins
/// with the time of Redis. It may have one key more than its call, which is none: see [`super::Runner::send`].
const PROLOGUE: &str = "\
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
if now > tonumber(ARGV[1]) then return {now} end
";

/// The connection to one server.
pub struct Lane {
    pub inner: Arc<Inner>,
    pub connected: Option<Connected>,
    /// What waits for it.
    pub waiting: Pot,
    /// While it connects, or waits for answers.
    pub job: Option<Job<Told>>,
    /// Since when, or when that was last found to be long (monotonic).
    pub since: Duration,
    /// The slots of the calls in flight, in their order.
    pub batch: Vec<u16>,
    /// The last slot that had a turn.
    pub turn: u16,
    pub awaits_copies: bool,
    pub ahead: u64,
    pub pauses: Pauses,
}

pub enum Told {
    Connected(Result<Connected, RedisError>),
    Answers(Result<Value, ClientError>),
}

/// A connection that knows the scripts, by their hashes.
pub struct Connected {
    pub connection: MultiplexedConnection,
    pub hashes: Vec<String>,
    /// It has the key of the greeting, and this one is welcome there.
    pub is_greeted: bool,
    pub now: u64,
}

impl Lane {
    pub fn new(inner: Arc<Inner>) -> Self {
        let (since, batch, pauses) = (Duration::ZERO, Vec::new(), Pauses::default());
        Self {
            inner,
            connected: None,
            waiting: Arc::default(),
            job: None,
            since,
            batch,
            turn: 0,
            awaits_copies: false,
            ahead: 0,
            pauses,
        }
    }

    pub fn connect(
        &mut self,
        pause: Duration,
        scripts: &'static [&'static str],
        greeting: Option<Arc<Run>>,
        now: Duration,
    ) {
        (self.connected, self.since) = (None, now);
        let inner = Arc::clone(&self.inner);
        self.job = Some(Box::pin(async move {
            sleep(pause).await;
            Told::Connected(connect(inner, scripts, greeting).await)
        }));
    }
}

/// A connection that knows the scripts, their hashes, and the time of Redis.
async fn connect(inner: Arc<Inner>, scripts: &[&str], greeting: Option<Arc<Run>>) -> Result<Connected, RedisError> {
    let mut connection = inner.connect(limits::REDIS_ANSWER).await?;
    let is_greeted = match greeting {
        Some(greeting) => inner.welcomed(greeting.command().query_async(&mut connection).await)?,
        None => true,
    };
    let mut loading = pipe();
    for script in scripts {
        loading.cmd("SCRIPT").arg("LOAD").arg(format!("{PROLOGUE}{script}"));
    }
    let loaded = loading.query_async(&mut connection).await;
    let hashes = loaded.map_err(|error| inner.failed("SCRIPT", &error))?;
    let time: Result<(u64, u64), _> = cmd("TIME").query_async(&mut connection).await;
    let (seconds, micros) = time.map_err(|error| inner.failed("TIME", &error))?;
    Ok(Connected { connection, hashes, is_greeted, now: seconds * 1_000 + micros / 1_000 })
}

impl Works for Lane {
    type Told = Told;

    fn job(&mut self) -> &mut Option<Job<Told>> {
        &mut self.job
    }
}
