//! Redis: a connection that comes back, streams and consumer groups, scripts for what must be done at once.
//! The only file that names the crate `redis`. One server, no cluster.
//!
//! A command whose connection breaks fails; whether Redis has done it is then not known. Nothing is
//! repeated here.

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use parking_lot::Mutex;
use rand::RngExt as _;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ErrorKind, IntoConnectionInfo as _,
    Pipeline, RedisConnectionInfo, Value, aio::MultiplexedConnection,
};
use secrecy::{ExposeSecret as _, SecretString};
use thiserror::Error;
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
};

use crate::limits;

mod reply;

pub use reply::{Entry, EntryId};

#[derive(Clone, Debug)]
pub struct Settings {
    /// Name or address.
    pub host: String,
    pub port: u16,
    /// Empty: none.
    pub password: SecretString,
    /// Its number.
    pub database: u16,
}

/// Why Redis did not do what it was asked for. Never tells the password.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum RedisError {
    /// There is no connection, or it broke: then the command may have been carried out.
    #[error("no connection to redis at {address}: {why}")]
    Unreachable { address: Arc<str>, why: Arc<str> },
    /// The password is wrong or missing, or there is no such database.
    #[error("redis at {address} does not let us in: {why} (check the password and the database)")]
    Denied { address: Arc<str>, why: Arc<str> },
    /// Redis answered with an error.
    #[error("redis at {address} refuses {command}: {code} {why}")]
    Refused {
        address: Arc<str>,
        command: &'static str,
        code: Arc<str>,
        why: Arc<str>,
    },
    /// Redis answered with something else than what the command gives.
    #[error("redis at {address} answers {command} with something unknown")]
    Strange {
        address: Arc<str>,
        command: &'static str,
    },
}

impl RedisError {
    /// The consumer group is not there (any more).
    pub fn is_no_group(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if &**code == "NOGROUP")
    }
}

/// Whether Redis is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Link {
    /// Not yet known.
    Connecting,
    Up,
    Down(RedisError),
}

/// A handle, cheap to clone, for any thread. It reconnects until its last clone is dropped.
#[derive(Clone)]
pub struct Redis {
    inner: Arc<Inner>,
    _keeper: Arc<EndWithOwner>,
}

struct Inner {
    address: Arc<str>,
    client: Result<Client, RedisError>,
    connection: Mutex<Option<MultiplexedConnection>>,
    link: watch::Sender<Link>,
    /// A command failed: look whether the connection still works.
    doubt: Notify,
}

struct EndWithOwner(JoinHandle<()>);

impl Drop for EndWithOwner {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// One script with what it is run on.
#[derive(Clone, Debug)]
pub struct Run {
    pub script: &'static str,
    pub keys: Vec<String>,
    pub args: Vec<String>,
}

impl Redis {
    /// Connects in the background, on the current runtime.
    pub fn start(settings: Settings) -> Self {
        let address: Arc<str> = format!("{}:{}", settings.host, settings.port).into();
        let inner = Arc::new(Inner {
            client: client(&settings).map_err(|error| told(&address, "the settings", &error)),
            address,
            connection: Mutex::default(),
            link: watch::Sender::new(Link::Connecting),
            doubt: Notify::new(),
        });
        let keeper = tokio::spawn(Arc::clone(&inner).keep());
        Self {
            inner,
            _keeper: Arc::new(EndWithOwner(keeper)),
        }
    }

    pub fn is_up(&self) -> bool {
        *self.inner.link.borrow() == Link::Up
    }

    /// Whether Redis is there, as it changes.
    pub fn watch(&self) -> watch::Receiver<Link> {
        self.inner.link.subscribe()
    }

    pub async fn until_up(&self) {
        // Fails only without a sender, and this handle has it.
        let _ = self.watch().wait_for(|link| *link == Link::Up).await;
    }

    /// Appends to a stream, in order, all or nothing, and lets go of the oldest entries beyond about `keep`.
    ///
    /// # Errors
    /// [`RedisError`]; after [`RedisError::Unreachable`] the entries may be there.
    pub async fn append<F, N, V>(
        &self,
        stream: &str,
        entries: &[F],
        keep: usize,
    ) -> Result<Vec<EntryId>, RedisError>
    where
        F: AsRef<[(N, V)]>,
        N: AsRef<[u8]>,
        V: AsRef<[u8]>,
    {
        let mut pipeline = redis::pipe();
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
    ///
    /// # Errors
    /// [`RedisError`].
    pub async fn newest(&self, stream: &str) -> Result<EntryId, RedisError> {
        let mut command = redis::cmd("XREVRANGE");
        command.arg(stream).arg("+").arg("-").arg("COUNT").arg(1);
        let entries = reply::entries(self.ask("XREVRANGE", &command).await?);
        let entries = entries.ok_or_else(|| self.strange("XREVRANGE"))?;
        Ok(entries.first().map_or(EntryId::ZERO, |entry| entry.id))
    }

    /// Makes a consumer group that gets what comes after `after`, and its stream, if they are not there.
    ///
    /// # Errors
    /// [`RedisError`].
    pub async fn create_group(
        &self,
        stream: &str,
        group: &str,
        after: EntryId,
    ) -> Result<(), RedisError> {
        let mut command = redis::cmd("XGROUP");
        command.arg("CREATE").arg(stream).arg(group);
        command.arg(after.to_string()).arg("MKSTREAM");
        match self.ask("XGROUP", &command).await {
            Err(RedisError::Refused { code, .. }) if &*code == "BUSYGROUP" => Ok(()),
            other => other.map(drop),
        }
    }

    /// Says that entries which were read for a group are done with.
    ///
    /// # Errors
    /// [`RedisError`].
    pub async fn acknowledge(
        &self,
        stream: &str,
        group: &str,
        ids: &[EntryId],
    ) -> Result<(), RedisError> {
        let mut command = redis::cmd("XACK");
        command.arg(stream).arg(group);
        for id in ids {
            command.arg(id.to_string());
        }
        self.ask("XACK", &command).await.map(drop)
    }

    /// Takes over what consumers of a group read and have not acknowledged for `idle`; at most `count`.
    ///
    /// # Errors
    /// [`RedisError`].
    pub async fn claim(
        &self,
        stream: &str,
        group: &str,
        consumer: &str,
        idle: Duration,
        count: usize,
    ) -> Result<Vec<Entry>, RedisError> {
        let mut command = redis::cmd("XAUTOCLAIM");
        command.arg(stream).arg(group).arg(consumer);
        command.arg(millis(idle)).arg("0-0").arg("COUNT").arg(count);
        let claimed = reply::claimed(self.ask("XAUTOCLAIM", &command).await?);
        claimed.ok_or_else(|| self.strange("XAUTOCLAIM"))
    }

    /// Forgets consumers of a group who have nothing to acknowledge and asked for nothing for `idle`.
    ///
    /// # Errors
    /// [`RedisError`].
    pub async fn forget_consumers(
        &self,
        stream: &str,
        group: &str,
        idle: Duration,
    ) -> Result<(), RedisError> {
        let mut command = redis::cmd("XINFO");
        command.arg("CONSUMERS").arg(stream).arg(group);
        let consumers = reply::consumers(self.ask("XINFO", &command).await?);
        for consumer in consumers.ok_or_else(|| self.strange("XINFO"))? {
            if consumer.pending == 0 && consumer.idle > idle {
                let mut command = redis::cmd("XGROUP");
                command.arg("DELCONSUMER").arg(stream).arg(group);
                self.ask("XGROUP", command.arg(consumer.name)).await?;
            }
        }
        Ok(())
    }

    /// Runs scripts, one after the other; each is done at once. Numbers in their answers come as text,
    /// what is not there as empty text.
    ///
    /// # Errors
    /// [`RedisError`]; some may have been run.
    pub async fn run(&self, runs: &[Run]) -> Result<Vec<Vec<String>>, RedisError> {
        let mut pipeline = redis::pipe();
        for run in runs {
            let command = pipeline.cmd("EVAL").arg(run.script).arg(run.keys.len());
            command.arg(&run.keys).arg(&run.args);
        }
        let replies = reply::texts(self.ask_all("EVAL", &pipeline).await?);
        replies.ok_or_else(|| self.strange("EVAL"))
    }

    /// A connection of its own for reads that wait.
    pub fn reader(&self) -> Reader {
        Reader {
            redis: self.clone(),
            connection: None,
        }
    }

    async fn ask(&self, name: &'static str, command: &Cmd) -> Result<Value, RedisError> {
        let mut connection = self.inner.connection()?;
        let answer = command.query_async(&mut connection).await;
        answer.map_err(|error| self.inner.failed(name, &error))
    }

    async fn ask_all(
        &self,
        name: &'static str,
        pipeline: &Pipeline,
    ) -> Result<Vec<Value>, RedisError> {
        let mut connection = self.inner.connection()?;
        let answer = pipeline.query_async(&mut connection).await;
        answer.map_err(|error| self.inner.failed(name, &error))
    }

    fn strange(&self, command: &'static str) -> RedisError {
        let address = Arc::clone(&self.inner.address);
        RedisError::Strange { address, command }
    }
}

/// Reads streams and waits for what comes; one read at a time. After an error it connects anew.
pub struct Reader {
    redis: Redis,
    connection: Option<MultiplexedConnection>,
}

/// What was read: in the order of each stream.
pub type Read = Vec<(String, Vec<Entry>)>;

impl Reader {
    /// What comes after the given positions, at most `count` of each stream; nothing when nothing came in `wait`.
    ///
    /// # Errors
    /// [`RedisError`]; nothing is lost by it.
    pub async fn read(
        &mut self,
        positions: &[(&str, EntryId)],
        count: usize,
        wait: Duration,
    ) -> Result<Read, RedisError> {
        let mut command = redis::cmd("XREAD");
        command
            .arg("COUNT")
            .arg(count)
            .arg("BLOCK")
            .arg(millis(wait));
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
    ///
    /// # Errors
    /// [`RedisError`]; what was on the way is found by [`Redis::claim`].
    pub async fn read_group(
        &mut self,
        group: &str,
        consumer: &str,
        streams: &[&str],
        count: usize,
        wait: Duration,
    ) -> Result<Read, RedisError> {
        let mut command = redis::cmd("XREADGROUP");
        command.arg("GROUP").arg(group).arg(consumer);
        command
            .arg("COUNT")
            .arg(count)
            .arg("BLOCK")
            .arg(millis(wait));
        command.arg("STREAMS").arg(streams);
        for _ in streams {
            command.arg(">");
        }
        self.ask("XREADGROUP", &command, wait).await
    }

    async fn ask(
        &mut self,
        name: &'static str,
        command: &Cmd,
        wait: Duration,
    ) -> Result<Read, RedisError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                self.redis
                    .inner
                    .connect(wait + limits::REDIS_ANSWER)
                    .await?
            }
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

impl Inner {
    /// Keeps one connection, for ever.
    async fn keep(self: Arc<Self>) {
        let mut pause = limits::REDIS_PAUSE_FIRST;
        loop {
            match self.connect(limits::REDIS_ANSWER).await {
                Ok(connection) => {
                    pause = limits::REDIS_PAUSE_FIRST;
                    *self.connection.lock() = Some(connection.clone());
                    self.link.send_replace(Link::Up);
                    tracing::info!(address = %self.address, "redis is connected");
                    let error = self.until_broken(connection).await;
                    *self.connection.lock() = None;
                    self.is_down(error);
                }
                Err(error) => self.is_down(error),
            }
            // By chance, so that the instances do not all come back in the same moment.
            let share = rand::rng().random_range(0.5..1.0);
            tokio::time::sleep(pause.mul_f64(share)).await;
            pause = limits::REDIS_PAUSE_LAST.min(pause * 2);
        }
    }

    fn is_down(&self, error: RedisError) {
        let was = self.link.send_replace(Link::Down(error.clone()));
        // Told once, not with each attempt.
        if was != Link::Down(error.clone()) {
            tracing::warn!(%error, "redis is away; connecting goes on");
        }
    }

    async fn connect(&self, patience: Duration) -> Result<MultiplexedConnection, RedisError> {
        let client = self.client.as_ref().map_err(Clone::clone)?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(limits::REDIS_CONNECT))
            .set_response_timeout(Some(patience));
        let connection = client.get_multiplexed_async_connection_with_config(&config);
        let mut connection = connection.await.map_err(|error| {
            match told(&self.address, "the connection", &error) {
                // Such as SELECT: whatever it refuses before it is asked for anything.
                RedisError::Refused { address, why, .. } => RedisError::Denied { address, why },
                other => other,
            }
        })?;
        self.ping(&mut connection).await?;
        Ok(connection)
    }

    async fn until_broken(&self, mut connection: MultiplexedConnection) -> RedisError {
        loop {
            let _ = tokio::time::timeout(limits::REDIS_CHECK, self.doubt.notified()).await;
            if let Err(error) = self.ping(&mut connection).await {
                return error;
            }
        }
    }

    /// Fails also while Redis loads its data.
    async fn ping(&self, connection: &mut MultiplexedConnection) -> Result<(), RedisError> {
        let answer: Result<Value, _> = redis::cmd("PING").query_async(connection).await;
        answer
            .map(drop)
            .map_err(|error| told(&self.address, "PING", &error))
    }

    fn connection(&self) -> Result<MultiplexedConnection, RedisError> {
        if let Some(connection) = &*self.connection.lock() {
            return Ok(connection.clone());
        }
        if let Link::Down(error) = &*self.link.borrow() {
            return Err(error.clone());
        }
        Err(RedisError::Unreachable {
            address: Arc::clone(&self.address),
            why: "not connected yet".into(),
        })
    }

    fn failed(&self, command: &'static str, error: &redis::RedisError) -> RedisError {
        let error = told(&self.address, command, error);
        if matches!(error, RedisError::Unreachable { .. }) {
            self.doubt.notify_one();
        }
        error
    }
}

fn client(settings: &Settings) -> Result<Client, redis::RedisError> {
    let mut access = RedisConnectionInfo::default()
        .set_db(settings.database.into())
        .set_skip_set_lib_name();
    let password = settings.password.expose_secret();
    if !password.is_empty() {
        access = access.set_password(password);
    }
    let address = ConnectionAddr::Tcp(settings.host.clone(), settings.port);
    Client::open(address.into_connection_info()?.set_redis_settings(access))
}

fn told(address: &Arc<str>, command: &'static str, error: &redis::RedisError) -> RedisError {
    let address = Arc::clone(address);
    let code = error.code().unwrap_or_default();
    let why = error.to_string().into();
    match (error.kind(), code) {
        (ErrorKind::AuthenticationFailed, _) | (_, "NOAUTH" | "WRONGPASS") => {
            RedisError::Denied { address, why }
        }
        (ErrorKind::Server(_) | ErrorKind::Extension, _) => RedisError::Refused {
            address,
            command,
            code: code.into(),
            why: error.detail().unwrap_or_default().into(),
        },
        _ => RedisError::Unreachable { address, why },
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
