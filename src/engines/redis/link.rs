//! The connection: made, watched, made again.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use rand::RngExt as _;
use secrecy::ExposeSecret as _;
use tokio::sync::{Notify, watch};

use super::{
    AsyncConnectionConfig, Client, ClientError, ConnectionAddr, ErrorKind, IntoConnectionInfo as _, Link,
    MultiplexedConnection, ProtocolVersion, PushInfo, RedisConnectionInfo, RedisError, Settings, Value, cmd,
};
use crate::limits;

pub struct Inner {
    pub address: Arc<str>,
    pub settings: Settings,
    client: Result<Client, RedisError>,
    connection: Mutex<Option<MultiplexedConnection>>,
    pub link: watch::Sender<Link>,
    /// A command failed: look whether the connection still works.
    doubt: Notify,
}

impl Inner {
    pub fn new(settings: &Settings) -> Self {
        let address: Arc<str> = format!("{}:{}", settings.host, settings.port).into();
        Self {
            client: client(settings, ProtocolVersion::RESP2).map_err(|error| told(&address, "the settings", &error)),
            address,
            settings: settings.clone(),
            connection: Mutex::default(),
            link: watch::Sender::new(Link::Connecting),
            doubt: Notify::new(),
        }
    }

    /// Keeps one connection, for ever.
    pub async fn keep(self: Arc<Self>) {
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

    /// A connection whose answers are awaited for `patience`.
    pub async fn connect(&self, patience: Duration) -> Result<MultiplexedConnection, RedisError> {
        let client = self.client.as_ref().map_err(Clone::clone)?;
        self.connect_by(client, AsyncConnectionConfig::new().set_response_timeout(Some(patience))).await
    }

    /// A connection that also hears what is published; `hears` is called by a task of the connection.
    pub async fn listen(
        &self,
        hears: impl Fn(PushInfo) -> Result<(), ()> + Send + Sync + 'static,
    ) -> Result<MultiplexedConnection, RedisError> {
        let client = client(&self.settings, ProtocolVersion::RESP3);
        let client = client.map_err(|error| self.told("the settings", &error))?;
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(limits::REDIS_ANSWER));
        self.connect_by(&client, config.set_push_sender(hears)).await
    }

    async fn connect_by(
        &self,
        client: &Client,
        config: AsyncConnectionConfig,
    ) -> Result<MultiplexedConnection, RedisError> {
        let config = config.set_connection_timeout(Some(limits::REDIS_CONNECT));
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
        let answer: Result<Value, _> = cmd("PING").query_async(connection).await;
        answer.map(drop).map_err(|error| told(&self.address, "PING", &error))
    }

    /// The one that is kept.
    pub fn connection(&self) -> Result<MultiplexedConnection, RedisError> {
        if let Some(connection) = &*self.connection.lock() {
            return Ok(connection.clone());
        }
        if let Link::Down(error) = &*self.link.borrow() {
            return Err(error.clone());
        }
        Err(RedisError::Unreachable { address: Arc::clone(&self.address), why: "not connected yet".into() })
    }

    pub fn told(&self, command: &'static str, error: &ClientError) -> RedisError {
        told(&self.address, command, error)
    }

    /// What a greeting was answered with: whether it was greeted, or another server has its key.
    pub fn welcomed(&self, answer: Result<String, ClientError>) -> Result<bool, RedisError> {
        match answer.map_err(|error| self.told("EVAL", &error)) {
            Ok(ok) if ok == "ok" => Ok(true),
            Ok(why) => Err(RedisError::Foreign { address: Arc::clone(&self.address), why: why.into() }),
            Err(error) if error.code() == Some("MOVED") => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// It does not answer.
    pub fn silent(&self) -> RedisError {
        RedisError::Unreachable { address: Arc::clone(&self.address), why: "it does not answer".into() }
    }

    pub fn failed(&self, command: &'static str, error: &ClientError) -> RedisError {
        let error = told(&self.address, command, error);
        if matches!(error, RedisError::Unreachable { .. }) {
            self.doubt.notify_one();
        }
        error
    }
}

fn client(settings: &Settings, protocol: ProtocolVersion) -> Result<Client, ClientError> {
    let access = RedisConnectionInfo::default().set_db(settings.database.into()).set_skip_set_lib_name();
    let mut access = access.set_protocol(protocol);
    let password = settings.password.expose_secret();
    if !password.is_empty() {
        access = access.set_password(password);
    }
    let address = ConnectionAddr::Tcp(settings.host.clone(), settings.port);
    Client::open(address.into_connection_info()?.set_redis_settings(access))
}

fn told(address: &Arc<str>, command: &'static str, error: &ClientError) -> RedisError {
    let address = Arc::clone(address);
    let code = error.code().unwrap_or_default();
    let why = error.to_string().into();
    match (error.kind(), code) {
        (ErrorKind::AuthenticationFailed, _) | (_, "NOAUTH" | "WRONGPASS") => RedisError::Denied { address, why },
        (ErrorKind::Server(_) | ErrorKind::Extension, _) => {
            RedisError::Refused { address, command, code: code.into(), why: error.detail().unwrap_or_default().into() }
        }
        _ => RedisError::Unreachable { address, why },
    }
}
