//! The server of `MODE=chat`, on free ports and in this process.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, mpsc},
    thread::JoinHandle,
};

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use letshare_server::{
    app,
    clock::Clock,
    config::{self, Complaints, Config, Environment, Loaded, Protocol},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{net::TcpStream, sync::oneshot};

use crate::{
    chat::client::Client,
    support::{
        Http, Response, UPGRADE, nodes,
        redis::{RedisServer, join_if_asked},
    },
};

pub const SECRET: &str = "a secret of the chat that is long enough";

/// Stops with its owner; the data folder goes with the last of those that had it.
pub struct House {
    pub address: SocketAddr,
    /// Where the other protocols are.
    pub shared: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    /// Nodes beside it.
    others: Vec<(Self, TempDir)>,
    redis: Option<RedisServer>,
    data: Arc<TempDir>,
}

/// What `MODE=chat` says with these variables, and the files in `dir`.
pub fn load(vars: &[(&str, &str)], dir: &std::path::Path) -> Result<Loaded, Complaints> {
    let mut all = BTreeMap::from([("MODE".to_owned(), "chat".to_owned())]);
    all.extend(vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    let environment = Environment { vars: all, dir: dir.to_owned(), ..Environment::default() };
    config::load(&environment, &[])
}

fn folder() -> Arc<TempDir> {
    Arc::new(TempDir::new().expect("a folder for the data"))
}

fn profile() -> Config {
    // No settings files there.
    let nowhere = std::env::temp_dir().join("nowhere");
    let vars = [("CHAT_JWT_SECRET", SECRET), ("LETSHARE_SERVER_HOST", "127.0.0.1")];
    load(&vars, &nowhere).expect("the profile is valid").config
}

impl House {
    pub fn start(adjust: impl FnOnce(&mut Config)) -> Self {
        Self::start_on(folder(), Clock::system(), adjust, join_if_asked).expect("the server starts")
    }

    /// With a clock that the test moves: alone, since nodes take the time of Redis.
    pub fn start_at(clock: Clock, adjust: impl FnOnce(&mut Config)) -> Self {
        Self::start_on(folder(), clock, adjust, |_| None).expect("the server starts")
    }

    /// Alone: what was imported is in the data folder.
    pub fn start_alone(adjust: impl FnOnce(&mut Config)) -> Self {
        Self::start_at(Clock::system(), adjust)
    }

    /// What is said when it cannot start.
    pub fn fails(adjust: impl FnOnce(&mut Config)) -> String {
        let started = Self::start_on(folder(), Clock::system(), adjust, |_| None);
        started.err().expect("it does not start")
    }

    /// Stops it and starts it again with its data.
    pub fn restart(mut self, adjust: impl FnOnce(&mut Config)) -> Self {
        self.end();
        drop(self.redis.take());
        Self::start_on(Arc::clone(&self.data), Clock::system(), adjust, join_if_asked).expect("the server starts")
    }

    fn start_on(
        data: Arc<TempDir>,
        clock: Clock,
        adjust: impl FnOnce(&mut Config),
        join: impl FnOnce(&mut Config) -> Option<RedisServer>,
    ) -> Result<Self, String> {
        let mut config = profile();
        config.server.port = 0;
        config.server.workers = 2;
        config.chat.port = Some(0);
        config.chat.timezone = "UTC".to_owned();
        config.data.dir = data.path().to_owned();
        adjust(&mut config);
        let redis = join(&mut config);
        let launch = |config| Self::launch(Arc::clone(&data), clock.clone(), config);
        let (mut server, others) =
            nodes::start(&config, launch, |server| vec![&mut server.address, &mut server.shared])?;
        (server.others, server.redis) = (others, redis);
        Ok(server)
    }

    fn launch(data: Arc<TempDir>, clock: Clock, config: Config) -> Result<Self, String> {
        let (started, on_start) = mpsc::channel();
        let (stop, on_stop) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let running = match app::start(&config, clock) {
                    Ok(running) => running,
                    Err(error) => {
                        let _ = started.send(Err(format!("{error:#}")));
                        return;
                    }
                };
                let address = running.address_of(Protocol::Chat).expect("it is served");
                let addresses = Ok((address, running.address));
                started.send(addresses).expect("the test waits");
                let _ = on_stop.await;
                running.stop().await;
            });
        });
        let (address, shared) = on_start.recv().expect("it says something")?;
        Ok(Self { address, shared, stop: Some(stop), thread: Some(thread), others: Vec::new(), redis: None, data })
    }

    fn end(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the server does not panic");
        }
        self.others.iter_mut().for_each(|(other, _)| other.end());
    }

    /// A connection that has been welcomed.
    pub async fn connect(&self, user: u64) -> Client {
        Client::connect(self.address, user).await
    }

    /// A request with the headers of a handshake and these.
    pub async fn shake(&self, target: &str, headers: &[(&str, &str)]) -> Response {
        let all: Vec<_> = UPGRADE.iter().chain(headers).copied().collect();
        self.ask("GET", target, &all).await
    }

    pub async fn ask(&self, method: &str, target: &str, headers: &[(&str, &str)]) -> Response {
        self.http().await.ask(method, target, headers).await
    }

    /// A request of a user.
    pub async fn get(&self, target: &str, user: u64) -> Response {
        self.ask("GET", target, &[("x-token", &token(user))]).await
    }

    pub async fn post(&self, target: &str, user: u64, body: &Value) -> Response {
        self.post_text(target, user, &body.to_string()).await
    }

    pub async fn post_text(&self, target: &str, user: u64, body: &str) -> Response {
        let mut http = self.http().await;
        http.post(target, &[("x-token", &token(user))], body).await
    }

    async fn http(&self) -> Http<TcpStream> {
        Http::connect_to(self.address).await
    }

    /// Who is online, as the server tells `user`.
    pub async fn users(&self, user: u64) -> Value {
        self.get("/api/ws/online-users", user).await.json()["data"]["users"].take()
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// As the older server's login service issues them: without `exp`.
pub fn token(user: u64) -> String {
    signed(&json!({"ID": user, "NickName": "somebody", "AuthorityId": 1}))
}

pub fn signed(claims: &Value) -> String {
    signed_by(SECRET, claims)
}

pub fn signed_by(secret: &str, claims: &Value) -> String {
    let key = EncodingKey::from_secret(secret.as_bytes());
    encode(&Header::new(Algorithm::HS256), claims, &key).expect("a token")
}
