//! The server of `MODE=postoffice`, on free ports and in this process.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, mpsc},
    thread::JoinHandle,
};

use letshare_server::{
    app,
    clock::Clock,
    config::{self, Config, Environment, Protocol},
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{net::TcpStream, sync::oneshot};

use crate::support::{
    Http, Response, UPGRADE, eventually, nodes, raw,
    redis::{RedisServer, join_if_asked},
};

/// Stops with its owner; the data folder goes with the last of those that had it.
pub struct PostOfficeServer {
    pub address: SocketAddr,
    /// Where the other protocols are.
    pub shared: SocketAddr,
    stop: Option<oneshot::Sender<bool>>,
    thread: Option<JoinHandle<()>>,
    /// Nodes beside it.
    others: Vec<(Self, TempDir)>,
    redis: Option<RedisServer>,
    data: Arc<TempDir>,
}

fn folder() -> Arc<TempDir> {
    Arc::new(TempDir::new().expect("a folder for the data"))
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
        Self::start_on(folder(), Clock::system(), adjust, join_if_asked)
    }

    /// With a clock that the test moves: alone, since nodes take the time of Redis.
    pub fn start_at(clock: Clock, adjust: impl FnOnce(&mut Config)) -> Self {
        Self::start_on(folder(), clock, adjust, |_| None)
    }

    /// Alone: what a test counts is each node's own.
    pub fn start_alone(adjust: impl FnOnce(&mut Config)) -> Self {
        Self::start_at(Clock::system(), adjust)
    }

    /// Stops it in order and starts it again with its data.
    pub fn restart(mut self, adjust: impl FnOnce(&mut Config)) -> Self {
        self.end(true);
        drop(self.redis.take());
        Self::start_on(Arc::clone(&self.data), Clock::system(), adjust, join_if_asked)
    }

    fn start_on(
        data: Arc<TempDir>,
        clock: Clock,
        adjust: impl FnOnce(&mut Config),
        join: impl FnOnce(&mut Config) -> Option<RedisServer>,
    ) -> Self {
        let mut config = profile();
        config.server.port = 0;
        config.server.workers = 2;
        config.postoffice.port = Some(0);
        config.data.dir = data.path().to_owned();
        adjust(&mut config);
        let redis = join(&mut config);
        let launch = |config| Ok::<_, Infallible>(Self::launch(Arc::clone(&data), clock.clone(), config));
        let Ok((mut server, others)) =
            nodes::start(&config, launch, |server| vec![&mut server.address, &mut server.shared]);
        (server.others, server.redis) = (others, redis);
        server
    }

    fn launch(data: Arc<TempDir>, clock: Clock, config: Config) -> Self {
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
        let (address, stop, thread) = (address.expect("it is served"), Some(stop), Some(thread));
        Self { address, shared, stop, thread, others: Vec::new(), redis: None, data }
    }

    /// What SIGTERM does; the server ends on its own.
    pub fn begin_drain(&mut self) {
        let stop = self.stop.take().expect("not stopped yet");
        stop.send(true).expect("the server runs");
        self.others.iter_mut().for_each(|(other, _)| other.begin_drain());
    }

    fn end(&mut self, in_order: bool) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(in_order);
        }
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the server does not panic");
        }
        self.others.iter_mut().for_each(|(other, _)| other.end(in_order));
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
