//! A server in this process, on a thread and a free port of its own.

use std::{convert::Infallible, net::SocketAddr, sync::mpsc, thread::JoinHandle};

use letshare_server::{
    app,
    clock::Clock,
    config::{self, Config, Environment, Listener, Protocol},
};
use secrecy::ExposeSecret as _;
use tempfile::TempDir;
use tokio::sync::oneshot;

use super::nodes;

/// Stops with its last owner.
pub struct Server {
    pub address: SocketAddr,
    pub tls_address: Option<SocketAddr>,
    listening: Vec<(SocketAddr, Listener)>,
    /// The static token.
    pub token: String,
    drain: Option<oneshot::Sender<()>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    /// Nodes beside it.
    others: Vec<(Self, TempDir)>,
    _data: Option<TempDir>,
}

impl Server {
    /// A server with the default settings, but for what `adjust` changes.
    pub fn start(adjust: impl FnOnce(&mut Config)) -> Self {
        Self::start_at(Clock::system(), adjust)
    }

    /// The same, with a clock that the test moves.
    pub fn start_at(clock: Clock, adjust: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::defaults().expect("the defaults are valid");
        // All clients of a test come from one address, as fast as they can.
        config.limits.connects_per_second = 0;
        config.limits.requests_per_second = 0;
        let (config, data) = Self::adjusted(config, adjust);
        Self::launch(clock, config).keeping(data, Vec::new())
    }

    /// A server with the settings of a drop-in profile, on free ports of this machine alone; or several, if it is a node and
    /// that is asked for.
    pub fn start_as(mode: &str, clock: Clock, adjust: impl FnOnce(&mut Config)) -> Self {
        let nowhere = TempDir::new().expect("a folder without files");
        let environment = Environment {
            vars: [("MODE".to_owned(), mode.to_owned())].into(),
            dir: nowhere.path().to_owned(),
            ..Environment::default()
        };
        // The chat has no secret of its own.
        let flags = [("server.host", "127.0.0.1"), ("chat.jwt_secret", "a secret of the tests, 32 bytes long")];
        let flags = flags.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let loaded = config::load(&environment, &flags).expect("the profile is valid");
        let (config, data) = Self::adjusted(loaded.config, adjust);
        let launch = |config| Ok::<_, Infallible>(Self::launch(clock.clone(), config));
        let Ok((server, others)) = nodes::start(&config, launch, |server| {
            let addresses = server.listening.iter_mut().map(|(address, _)| address);
            addresses.chain([&mut server.address]).collect()
        });
        server.keeping(data, others)
    }

    fn adjusted(mut config: Config, adjust: impl FnOnce(&mut Config)) -> (Config, TempDir) {
        config.server.port = 0;
        let data = TempDir::new().expect("a folder for the data");
        config.data.dir = data.path().to_owned();
        adjust(&mut config);
        (config, data)
    }

    fn keeping(mut self, data: TempDir, others: Vec<(Self, TempDir)>) -> Self {
        (self._data, self.others) = (Some(data), others);
        self
    }

    fn launch(clock: Clock, config: Config) -> Self {
        let token = static_token(config.auth.secret.expose_secret());
        let (started, on_start) = mpsc::channel();
        let (drain, on_drain) = oneshot::channel();
        let (stop, mut on_stop) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let running = app::start(&config, clock).expect("the server starts");
                let listening = running.listening.clone();
                started.send((running.address, running.tls_address, listening)).expect("the test waits");
                tokio::select! {
                    _ = &mut on_stop => {}
                    Ok(()) = on_drain => tokio::select! {
                        () = running.drain(std::future::pending()) => return,
                        // As a second SIGTERM: no more waiting.
                        _ = &mut on_stop => {}
                    },
                }
                running.stop().await;
            });
        });
        let (address, tls_address, listening) = on_start.recv().expect("the server starts");
        Self {
            address,
            tls_address,
            listening,
            token,
            drain: Some(drain),
            stop: Some(stop),
            thread: Some(thread),
            others: Vec::new(),
            _data: None,
        }
    }

    /// Where a protocol is served.
    pub fn address_of(&self, protocol: Protocol) -> SocketAddr {
        let mut listening = self.listening.iter();
        let found = listening.find(|(_, listener)| listener.serves(protocol));
        found.expect("the protocol is served").0
    }

    /// A server on which anybody can make apps, with keys that may come over plain HTTP.
    pub fn sandbox(adjust: impl FnOnce(&mut Config)) -> Self {
        Self::sandbox_at(Clock::system(), adjust)
    }

    /// The same, with a clock that the test moves.
    pub fn sandbox_at(clock: Clock, adjust: impl FnOnce(&mut Config)) -> Self {
        Self::start_at(clock, |config| {
            config.ably.sandbox = true;
            config.ably.keys_over_http = true;
            adjust(config);
        })
    }

    /// `ws://…/ws?token=…&userId=user`
    pub fn url(&self, user: &str) -> String {
        format!("ws://{}{}", self.address, self.target(user))
    }

    /// `/ws?token=…&userId=user`
    pub fn target(&self, user: &str) -> String {
        format!("/ws?token={}&userId={user}", self.token)
    }

    /// What SIGTERM does; the server ends on its own.
    pub fn begin_drain(&mut self) {
        let drain = self.drain.take().expect("not draining yet");
        drain.send(()).expect("the server runs");
        self.others.iter_mut().for_each(|(other, _)| other.begin_drain());
    }

    /// Waits until the drained server has ended.
    pub fn join(&mut self) {
        let thread = self.thread.take().expect("not joined yet");
        thread.join().expect("the server does not panic");
        self.others.iter_mut().for_each(|(other, _)| other.join());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// docs/protocols/letshare.md §1.3: the lower-case hex SHA-256 of the secret.
pub fn static_token(secret: &str) -> String {
    use sha2::{Digest as _, Sha256};
    hex::encode(Sha256::digest(secret))
}
