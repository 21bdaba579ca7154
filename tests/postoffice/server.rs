//! The server of `MODE=postoffice`, on free ports and in this process.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock, mpsc},
    thread::JoinHandle,
};

use letshare_server::{
    app,
    clock::Clock,
    config::{self, Config, Engine, Environment, Protocol},
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{net::TcpStream, sync::oneshot};

use crate::support::{
    Http, Response, UPGRADE, eventually, raw,
    redis::{RedisServer, join_if_asked},
};

/// Stops with its owner; the data folder goes with the last of those that had it.
pub struct PostOfficeServer {
    pub address: SocketAddr,
    /// Where the other protocols are.
    pub shared: SocketAddr,
    stop: Option<oneshot::Sender<bool>>,
    thread: Option<JoinHandle<()>>,
    data: Arc<Data>,
}

/// What a server has beside its process.
struct Data {
    folder: TempDir,
    /// Only a node of a cluster.
    redis: OnceLock<Option<RedisServer>>,
}

/// What `MODE=postoffice` says.
pub fn profile() -> Config {
    let environment = Environment {
        vars: [("MODE".to_owned(), "postoffice".to_owned())].into(),
        // No settings files there.
        dir: std::env::temp_dir().join("nowhere"),
        ..Environment::default()
    };
    let loaded = config::load(&environment, &[]).expect("the profile is valid");
    loaded.config
}

impl PostOfficeServer {
    pub fn start(adjust: impl FnOnce(&mut Config)) -> Self {
        Self::start_at(Clock::system(), adjust)
    }

    pub fn start_at(clock: Clock, adjust: impl FnOnce(&mut Config)) -> Self {
        let folder = TempDir::new().expect("a folder for the data");
        Self::start_on(Arc::new(Data { folder, redis: OnceLock::new() }), clock, adjust)
    }

    /// Stops it in order and starts it again with its data.
    pub fn restart(mut self, adjust: impl FnOnce(&mut Config)) -> Self {
        self.end(true);
        Self::start_on(Arc::clone(&self.data), Clock::system(), adjust)
    }

    fn start_on(data: Arc<Data>, clock: Clock, adjust: impl FnOnce(&mut Config)) -> Self {
        let mut config = profile();
        config.server.port = 0;
        config.server.workers = 2;
        config.postoffice.port = Some(0);
        let folder = data.folder.path();
        config.data.dir = folder.to_owned();
        let redis = data.redis.get_or_init(|| join_if_asked(&mut config, folder));
        if let Some(redis) = redis {
            config.cluster.engine = Engine::Redis;
            config.cluster.endpoint = Some(format!("127.0.0.1:{}", redis.port));
            config.cluster.secret_file = Some(folder.join("secret"));
        }
        adjust(&mut config);
        let (started, on_start) = mpsc::channel();
        let (stop, on_stop) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let running = app::start(&config, clock).expect("the server starts");
                let address = running.address_of(Protocol::PostOffice);
                started.send((address, running.address)).expect("the test waits");
                if on_stop.await.unwrap_or_default() {
                    running.drain(std::future::pending()).await;
                } else {
                    running.stop().await;
                }
            });
        });
        let (address, shared) = on_start.recv().expect("the server starts");
        Self { address: address.expect("it is served"), shared, stop: Some(stop), thread: Some(thread), data }
    }

    /// What SIGTERM does; the server ends on its own.
    pub fn begin_drain(&mut self) {
        let stop = self.stop.take().expect("not stopped yet");
        stop.send(true).expect("the server runs");
    }

    fn end(&mut self, in_order: bool) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(in_order);
        }
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the server does not panic");
        }
    }

    pub async fn stats(&self) -> Value {
        stats(self.address).await
    }

    /// Waits until a figure of `/stats` is `expected`.
    pub async fn until(&self, figure: &str, expected: u64) {
        until(self.address, figure, expected).await;
    }

    /// A request with the headers of a handshake and these.
    pub async fn shake(&self, target: &str, headers: &[(&str, &str)]) -> Response {
        let all: Vec<_> = UPGRADE.iter().chain(headers).copied().collect();
        self.ask(target, &all).await
    }

    pub async fn ask(&self, target: &str, headers: &[(&str, &str)]) -> Response {
        let stream = TcpStream::connect(self.address).await.expect("it listens");
        Http::over(stream, self.address).ask("GET", target, headers).await
    }
}

pub async fn stats(address: SocketAddr) -> Value {
    let answer = raw::get(address, "/stats", "").await;
    let (_, body) = answer.split_once("\r\n\r\n").expect("an HTTP answer");
    serde_json::from_str(body).expect("JSON")
}

pub async fn until(address: SocketAddr, figure: &str, expected: u64) {
    eventually(async || (stats(address).await[figure] == expected).then_some(())).await;
}

impl Drop for PostOfficeServer {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(false);
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
