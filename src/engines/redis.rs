//! Redis: a connection that comes back, streams and consumer groups, scripts for what must be done at once.
//! The only file that names the crate `redis`.
//!
//! * `link` keeps the connection to one server, `streams` writes to streams and asks of them, `reader` waits for entries,
//!   `reply` reads the answers, `setup` says whether a server is set up so that it can be relied upon.
//! * Of a Redis Cluster, or of one server: `slots` knows which server has which keys, `line` runs scripts in order, `tail`
//!   hears what is published; `masters` is what both have in common.
//!
//! A command whose connection breaks fails; whether Redis has done it is then not known. Nothing but a line repeats
//! anything.

use std::sync::Arc;

// The folder takes what it needs of the crate from here.
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ErrorKind, IntoConnectionInfo, Pipeline, ProtocolVersion,
    PushInfo, PushKind, RedisConnectionInfo, RedisError as ClientError, Value, aio::MultiplexedConnection, cmd, pipe,
};
use secrecy::SecretString;
use thiserror::Error;
use tokio::{sync::watch, task::JoinHandle};

mod line;
mod link;
mod masters;
mod reader;
mod reply;
mod setup;
mod slots;
mod streams;
mod tail;

pub use line::{Call, CallError, Line};
use link::Inner;
pub use reader::{Read, Reader};
pub use reply::{Entry, EntryId};
pub use setup::{Durability, Needs};
pub use slots::Slots;
pub use tail::{Heard, Tail};

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

/// Its port where none is named.
const PORT: u16 = 6379;

impl Settings {
    /// At `host:port`.
    pub fn at(endpoint: &str, password: SecretString, database: u16) -> Self {
        let (host, port) = endpoint.rsplit_once(':').unwrap_or((endpoint, ""));
        let host = host.trim_matches(['[', ']']).to_owned();
        Self { host, port: port.parse().unwrap_or(PORT), password, database }
    }

    /// At each of `host:port,host:port…`.
    pub fn at_each(endpoints: &str, password: &SecretString) -> Vec<Self> {
        endpoints.split(',').map(|endpoint| Self::at(endpoint.trim(), password.clone(), 0)).collect()
    }
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
    Refused { address: Arc<str>, command: &'static str, code: Arc<str>, why: Arc<str> },
    /// What others have left there does not agree with what this server is.
    #[error("redis at {address} belongs to servers that are set up otherwise: {why}")]
    Foreign { address: Arc<str>, why: Arc<str> },
    /// No server can use it as it is.
    #[error("redis at {address} cannot be used: {why}")]
    Unfit { address: Arc<str>, why: Arc<str> },
    /// Redis answered with something else than what the command gives.
    #[error("redis at {address} answers {command} with something unknown")]
    Strange { address: Arc<str>, command: &'static str },
}

impl RedisError {
    /// The consumer group is not there (any more).
    pub fn is_no_group(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if &**code == "NOGROUP")
    }

    /// The word by which Redis names the reason of a refusal.
    pub fn code(&self) -> Option<&str> {
        if let Self::Refused { code, .. } = self { Some(code) } else { None }
    }

    /// The script is not there (any more).
    fn is_no_script(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if &**code == "NOSCRIPT")
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

impl Run {
    fn command(&self) -> Cmd {
        let mut command = cmd("EVAL");
        command.arg(self.script).arg(self.keys.len()).arg(&self.keys).arg(&self.args);
        command
    }
}

impl Redis {
    /// Connects in the background, on the current runtime.
    pub fn start(settings: Settings) -> Self {
        Self::of(Arc::new(Inner::new(&settings)))
    }

    fn of(inner: Arc<Inner>) -> Self {
        let keeper = tokio::spawn(Arc::clone(&inner).keep());
        Self { inner, _keeper: Arc::new(EndWithOwner(keeper)) }
    }

    pub fn is_up(&self) -> bool {
        *self.inner.link.borrow() == Link::Up
    }

    /// Why it is not there, in words.
    pub fn why_away(&self) -> String {
        match &*self.inner.link.borrow() {
            Link::Down(error) => error.to_string(),
            Link::Connecting | Link::Up => format!("redis at {} is not connected yet", self.inner.address),
        }
    }

    /// Whether Redis is there, as it changes.
    pub fn watch(&self) -> watch::Receiver<Link> {
        self.inner.link.subscribe()
    }

    pub async fn until_up(&self) {
        // Fails only without a sender, and this handle has it.
        let _ = self.watch().wait_for(|link| *link == Link::Up).await;
    }

    /// Runs scripts, one after the other; each is done at once. Numbers in their answers come as text,
    /// what is not there as empty text.
    ///
    /// # Errors
    /// [`RedisError`]; some may have been run.
    pub async fn run(&self, runs: &[Run]) -> Result<Vec<Vec<String>>, RedisError> {
        let mut pipeline = pipe();
        for run in runs {
            pipeline.add_command(run.command());
        }
        let replies = reply::texts(self.ask_all("EVAL", &pipeline).await?);
        replies.ok_or_else(|| self.strange("EVAL"))
    }

    /// A connection of its own for reads that wait.
    pub fn reader(&self) -> Reader {
        Reader { redis: self.clone(), connection: None }
    }

    async fn ask(&self, name: &'static str, command: &Cmd) -> Result<Value, RedisError> {
        let mut connection = self.inner.connection()?;
        let answer = command.query_async(&mut connection).await;
        answer.map_err(|error| self.inner.failed(name, &error))
    }

    async fn ask_all(&self, name: &'static str, pipeline: &Pipeline) -> Result<Vec<Value>, RedisError> {
        let mut connection = self.inner.connection()?;
        let answer = pipeline.query_async(&mut connection).await;
        answer.map_err(|error| self.inner.failed(name, &error))
    }

    fn strange(&self, command: &'static str) -> RedisError {
        let address = Arc::clone(&self.inner.address);
        RedisError::Strange { address, command }
    }
}
