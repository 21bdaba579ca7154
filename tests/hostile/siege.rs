//! A thousand hostile sockets of one kind against one server, while twenty well-behaved clients of two other apps go on
//! (`docs/findings/bounds.md`): nobody of them is refused, cut or left unanswered, memory grows by 100 MiB at most, and
//! what was kept for the attackers is given back once they are gone.
//!
//! A kind of attack is a function that opens its sockets and gives them back, so that they stay open while the server is
//! looked at. What the server does to an attacker does not matter: it may be refused or cut at any time.

mod ably;
mod accounts;
mod channels;
mod chat;
mod credentials;
mod files;
mod group;
mod inbound;
mod model;
mod peace;
mod plain;
mod postoffice;
mod readers;
mod relay;

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use letshare_server::limits;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use super::MIB;
use crate::support::{
    TestApp,
    process::ServerProcess,
    raw::{FIN, Raw, TEXT, frame, handshake},
};
use peace::Peace;

/// Sockets of one kind.
const CROWD: usize = 1_000;
/// Of one address: what `limits.connections_per_address` allows by default.
const OF_ONE_ADDRESS: usize = 200;
/// What the server may grow by, in KiB.
const BUDGET: u64 = 100 * MIB;
/// An attacker gives up what takes longer: the server may have stopped reading.
const STUBBORN: Duration = Duration::from_secs(5);
/// Longest wait for what the server gives back within a minute of its own.
const GIVEN_BACK: Duration = Duration::from_secs(90);

/// The keys of the attackers' app.
const EVERYTHING: usize = 0;
/// May do nothing that anybody asks for.
const NO_RIGHTS: usize = 1;
/// Its tokens can be revoked.
const REVOCABLE: usize = 2;

const SECRET: &str = "a secret of the siege that is long enough";
const API_KEY: &str = "a key that only back ends know";

/// What is kept longer than a minute because a protocol promises it: where a connection was (two minutes), ids that were
/// published or spent (two and four) and the channels that remember them, revocations (as long as tokens live), what waits
/// for a user who is away, how a file ended (two minutes), groups and who is in them (for good).
const PROMISED: [&str; 7] = ["connection", "seen_ids", "channel", "revocations", "mailbox", "transfer", "membership"];
/// What the window of a channel that remembers ids has paid for at most, although it is empty.
const EMPTY_WINDOW: u64 = limits::WINDOW_STEP as u64;

pub struct Siege {
    server: ServerProcess,
    app: TestApp,
    /// Attackers come from the address of the good clients.
    is_from_within: bool,
}

/// See the module. `settings` beside those of [`Siege::start`].
async fn besiege(settings: &[(&str, &str)], attack: impl AsyncFnOnce(&Siege) -> Vec<Raw>) {
    Siege::start(settings).await.run(attack).await;
}

impl Siege {
    /// The limits are the defaults, but for those of memory, so that there is less to fill, and for how long things are kept.
    async fn start(settings: &[(&str, &str)]) -> Self {
        let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
        setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("up to the hard limit");
        let own = [
            ("LIMITS_MEMORY", "67108864"),
            ("HISTORY_WINDOW", "3s"),
            ("HISTORY_TOTAL_BYTES", "33554432"),
            ("DATA_CACHE_BYTES", "8388608"),
            ("ABLY_SANDBOX", "true"),
            ("ABLY_KEYS_OVER_HTTP", "true"),
            ("RELAY_ENABLED", "true"),
            ("RELAY_API_KEY", API_KEY),
            ("CHAT_ENABLED", "true"),
            ("CHAT_JWT_SECRET", SECRET),
            ("GROUP_ENABLED", "true"),
            ("GROUP_JWT_SECRET", SECRET),
            ("GROUP_OPEN_GROUPS", "true"),
            ("POSTOFFICE_ENABLED", "true"),
        ];
        let server = ServerProcess::start(&[&own[..], settings].concat());
        let setup = json!({
            "keys": [{}, {"capability": r#"{"nowhere":["subscribe"]}"#}, {"revocableTokens": true}],
            "namespaces": [{"id": "stored", "persisted": true}],
        });
        let app = TestApp::create_at(server.address, setup).await;
        Self { server, app, is_from_within: false }
    }

    async fn run(self, attack: impl AsyncFnOnce(&Self) -> Vec<Raw>) {
        let (mut kept_before, files_before) = (self.kept().await, self.server.descriptors());
        let mut peace = Peace::start(self.server.address).await;
        // Apps stay; everything else of the good clients has to go as well.
        kept_before["app"] = self.kept().await["app"].clone();
        let before = self.server.memory();
        self.server.forget_peak();
        let held = attack(&self).await;
        eprintln!("{} sockets are open at the end of the attack; kept: {}", held.len(), self.kept().await);
        peace.goes_on().await;
        drop(held);
        peace.goes_on().await;
        let longest = peace.finish().await;
        let grown = self.server.peak_memory().saturating_sub(before);
        eprintln!("memory: {before} KiB, and {grown} KiB more at most; a good client waited {longest:?} at most");
        assert!(grown <= BUDGET, "{grown} KiB more, {BUDGET} allowed");
        self.given_back(&kept_before, files_before).await;
    }

    /// Waits until nothing is kept that was not kept before the attack.
    async fn given_back(&self, kept_before: &Value, files_before: usize) {
        let end = Instant::now() + GIVEN_BACK;
        loop {
            let (mut kept, mut expected) = (self.kept().await, kept_before.clone());
            for kind in PROMISED {
                kept[kind] = Value::Null;
                expected[kind] = Value::Null;
            }
            let websocket = &self.server.metrics().await["websocket"];
            let rooms = websocket["total_rooms"].as_u64().expect("a number");
            if kept["window"].as_u64().expect("bytes") <= rooms * EMPTY_WINDOW {
                kept["window"] = expected["window"].clone();
            }
            // The connection that asks is left, however many there were before.
            if kept["plain_connection"].as_u64() <= Some(limits::PLAIN_CONNECTION_COST as u64) {
                kept["plain_connection"] = expected["plain_connection"].clone();
            }
            let files = self.server.descriptors();
            let open = &websocket["active_connections"];
            // The connection that asks.
            if kept == expected && *open == 0 && files <= files_before + 1 {
                return;
            }
            let left = format!("{open} connections, {files} of {files_before} descriptors, {kept} of {expected}");
            assert!(Instant::now() < end, "not given back: {left}");
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// `letshare_kept_bytes`.
    async fn kept(&self) -> Value {
        self.server.metrics().await["kept"].clone()
    }

    /// `CROWD` times what `attack` does, many at a time; what it holds in the end.
    async fn crowd(&self, attack: impl AsyncFn(usize) -> Option<Raw>) -> Vec<Raw> {
        self.some(CROWD, attack).await
    }

    async fn some(&self, count: usize, attack: impl AsyncFn(usize) -> Option<Raw>) -> Vec<Raw> {
        let all = stream::iter(0..count).map(|number| attack(number)).buffer_unordered(OF_ONE_ADDRESS);
        all.filter_map(async |held| held).collect().await
    }

    /// Where the attacker with this number comes from.
    fn source(&self, number: usize) -> IpAddr {
        let host = if self.is_from_within { 1 } else { 10 + number / OF_ONE_ADDRESS };
        Ipv4Addr::new(127, 0, 0, host.try_into().expect("few addresses")).into()
    }

    /// A TCP connection of the attacker with this number.
    async fn connect(&self, number: usize) -> Option<Raw> {
        Raw::connect_from(Some(self.source(number)), false, self.server.address).await.ok()
    }

    /// One that takes little.
    async fn connect_narrow(&self, number: usize) -> Option<Raw> {
        Raw::connect_from(Some(self.source(number)), true, self.server.address).await.ok()
    }

    /// A WebSocket on `raw`, unless it is refused.
    async fn upgrade(&self, mut raw: Raw, target: &str, headers: &str) -> Option<Raw> {
        let request = handshake(self.server.address, target, headers);
        if !raw.attack(request.as_bytes()).await {
            return None;
        }
        let answer = timeout(STUBBORN, raw.reader.try_head()).await.ok()??;
        answer.starts_with("HTTP/1.1 101").then_some(raw)
    }

    /// An Ably WebSocket, with these parameters beside the key.
    async fn ably(&self, number: usize, more: &str) -> Option<Raw> {
        let target = format!("/?v=6&key={}{more}", self.app.keys[EVERYTHING]);
        self.upgrade(self.connect(number).await?, &target, "").await
    }

    /// The same, of a client that takes little.
    async fn narrow_ably(&self, number: usize) -> Option<Raw> {
        let target = format!("/?v=6&key={}", self.app.keys[EVERYTHING]);
        self.upgrade(self.connect_narrow(number).await?, &target, "").await
    }

    /// `bytes` by one plain connection, what comes back is thrown away.
    async fn plain(&self, number: usize, bytes: &[u8]) -> Option<Raw> {
        let mut raw = self.connect(number).await?;
        raw.flood(bytes).await;
        Some(raw)
    }
}

/// What an attacker does; none of it fails.
impl Raw {
    /// Sends without reading; false when the server does not take it any more.
    async fn attack(&mut self, bytes: &[u8]) -> bool {
        use tokio::io::AsyncWriteExt as _;
        matches!(timeout(STUBBORN, self.writer.write_all(bytes)).await, Ok(Ok(())))
    }

    /// Sends while throwing away what comes back.
    async fn flood(&mut self, bytes: &[u8]) -> bool {
        use tokio::io::AsyncWriteExt as _;
        let Self { reader, writer } = self;
        let sent = async {
            tokio::select! {
                sent = writer.write_all(bytes) => sent.is_ok(),
                () = reader.ignore() => false,
            }
        };
        timeout(STUBBORN, sent).await.unwrap_or(false)
    }

    /// Throws away what comes for a moment, so that what was sent has an effect.
    async fn linger(&mut self) {
        let _ = timeout(Duration::from_millis(300), self.reader.ignore()).await;
    }
}

/// A text frame.
fn text(message: &Value) -> Vec<u8> {
    frame(FIN | TEXT, message.to_string().as_bytes())
}

/// Text frames, one behind the other.
fn texts(messages: impl IntoIterator<Item = Value>) -> Vec<u8> {
    messages.into_iter().flat_map(|message| text(&message)).collect()
}
