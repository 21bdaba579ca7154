//! Clients that do anything in any order, drawn by chance, with a clock that the test moves: whatever they do, no account is
//! ever above its limit, and once they are gone and time has passed nothing is kept.

use std::{env, time::Duration};

use futures_util::future::join_all;
use letshare_server::{clock::Clock, ids::Timestamp};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use super::text;
use crate::support::{
    Http, Server, TestApp,
    ably::action,
    eventually,
    raw::{Raw, handshake},
};

/// Of the server; an app may have half of it.
const MEMORY: usize = 4_000_000;
const CLIENTS: usize = 12;
const STEPS: usize = 300;
const APPS: usize = 2;

struct Crowd {
    server: Server,
    clock: Clock,
    apps: Vec<TestApp>,
    clients: Vec<Client>,
    chance: StdRng,
}

#[derive(Default)]
struct Client {
    socket: Option<Raw>,
    /// By which it may come back.
    key: Option<String>,
    serial: u64,
}

impl Crowd {
    async fn start(seed: u64) -> Self {
        let clock = Clock::manual(Timestamp::from_millis(1_800_000_000_000));
        let server = Server::sandbox_at(clock.clone(), |config| {
            config.limits.memory = MEMORY;
            config.limits.app_share = 50;
            config.limits.client_memory = 1 << 20;
            config.limits.connections_per_address = 0;
            config.history.window = Duration::from_secs(8);
        });
        let mut apps = Vec::new();
        for _ in 0..APPS {
            let setup =
                json!({"keys": [{"revocableTokens": true}], "namespaces": [{"id": "stored", "persisted": true}]});
            apps.push(TestApp::create(&server, setup).await);
        }
        let clients = (0..CLIENTS).map(|_| Client::default()).collect();
        Self { server, clock, apps, clients, chance: StdRng::seed_from_u64(seed) }
    }

    fn draw(&mut self, below: usize) -> usize {
        self.chance.random_range(0..below)
    }

    fn channel(&mut self) -> String {
        ["a", "b", "c", "stored:d"][self.draw(4)].to_owned()
    }

    fn data(&mut self, most: usize) -> String {
        let bytes = self.draw(most);
        "x".repeat(bytes)
    }

    /// One of them does something.
    async fn step(&mut self) {
        let number = self.draw(CLIENTS);
        if self.clients[number].socket.is_none() {
            return self.come(number).await;
        }
        let channel = self.channel();
        let frame = match self.draw(12) {
            0 | 1 => {
                let (rewind, alias) = (self.draw(100), self.draw(5));
                json!({"action": action::ATTACH, "channel": format!("[?rewind={rewind}&a={alias}]{channel}")})
            }
            2 => json!({"action": action::ATTACH, "channel": channel}),
            3 => json!({"action": action::DETACH, "channel": channel}),
            4 | 5 => {
                let member = json!([{"action": 2 + self.draw(3), "clientId": format!("m{}", self.draw(20)), "data": self.data(20_000)}]);
                self.numbered(number, json!({"action": action::PRESENCE, "channel": channel, "presence": member}))
            }
            6 | 7 => {
                let messages = json!([{"data": self.data(30_000)}]);
                self.numbered(number, json!({"action": action::MESSAGE, "channel": channel, "messages": messages}))
            }
            // It takes what has come; otherwise nobody reads.
            8 => {
                if let Some(raw) = &mut self.clients[number].socket {
                    let _ = timeout(Duration::from_millis(5), raw.reader.ignore()).await;
                }
                return;
            }
            9 => return self.ask(number, &channel).await,
            10 => {
                if let Some(raw) = self.clients[number].socket.take() {
                    raw.reset();
                }
                return;
            }
            _ => json!({"action": action::CLOSE}),
        };
        let client = &mut self.clients[number];
        if let Some(raw) = &mut client.socket
            && !raw.attack(&text(&frame)).await
        {
            client.socket = None;
        }
    }

    fn numbered(&mut self, number: usize, mut frame: Value) -> Value {
        let client = &mut self.clients[number];
        frame["msgSerial"] = json!(client.serial);
        client.serial += 1;
        frame
    }

    /// Connects, perhaps as one that was gone.
    async fn come(&mut self, number: usize) {
        let key = &self.apps[number % APPS].keys[0];
        let mut target = format!("/?v=6&key={key}");
        if let Some(resumed) = self.clients[number].key.take() {
            target += &format!("&resume={resumed}");
        }
        let mut raw = Raw::connect_narrow(self.server.address).await;
        raw.attack(handshake(self.server.address, &target, "").as_bytes()).await;
        let answer = raw.reader.try_head().await;
        if answer.is_some_and(|answer| answer.starts_with("HTTP/1.1 101"))
            && let Some(frame) = raw.reader.frame().await
        {
            let connected: Value = serde_json::from_slice(&frame.payload).unwrap_or_default();
            let key = connected["connectionDetails"]["connectionKey"].as_str().map(str::to_owned);
            self.clients[number] = Client { socket: Some(raw), key, serial: 0 };
        }
    }

    /// Something by plain HTTP, of which it reads the answer or not.
    async fn ask(&mut self, number: usize, channel: &str) {
        let (name, basic) = self.apps[number % APPS].basic(0);
        let (method, target, body) = match self.chance.random_range(0..3) {
            0 => ("GET", format!("/channels/{channel}/messages?limit=1000"), Value::Null),
            1 => ("POST", format!("/keys/{name}/requestToken"), json!({"keyName": name})),
            _ => {
                let target = format!("clientId:{}", "x".repeat(self.chance.random_range(1..300)));
                ("POST", format!("/keys/{name}/revokeTokens"), json!({"targets": [target]}))
            }
        };
        let body = body.to_string();
        let request = format!(
            "{method} {target} HTTP/1.1\r\nHost: x\r\nAuthorization: {basic}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let reads = self.draw(2) == 0;
        let mut raw = Raw::connect_narrow(self.server.address).await;
        raw.attack(request.as_bytes()).await;
        if reads {
            raw.reader.try_head().await;
        }
    }

    async fn kept(&self) -> Vec<(String, u64)> {
        let page = Http::connect(&self.server).await.ask("GET", "/metrics", &[]).await.json();
        let kinds = page["kept"].as_object().expect("kinds").iter();
        kinds.map(|(kind, bytes)| (kind.clone(), bytes.as_u64().expect("a figure"))).collect()
    }

    async fn is_within_limits(&self) {
        let kept = self.kept().await;
        // One that was given back twice would be enormous.
        let all: u128 = kept.iter().map(|(_, bytes)| u128::from(*bytes)).sum();
        assert!(all <= MEMORY as u128, "{kept:?}");
    }
}

/// Three that are the same each time, and one that is not; `LETSHARE_SEED=N` draws the steps of an earlier run alone.
#[tokio::test]
async fn whatever_clients_do_accounts_hold_and_everything_is_given_back() {
    let seed = env::var("LETSHARE_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = seed.map_or_else(|| vec![1, 2, 3, rand::random()], |seed| vec![seed]);
    join_all(seeds.into_iter().map(whatever_they_do)).await;
}

async fn whatever_they_do(seed: u64) {
    eprintln!("LETSHARE_SEED={seed}");
    let mut crowd = Crowd::start(seed).await;
    for step in 0..STEPS {
        crowd.step().await;
        if step % 20 == 0 {
            crowd.clock.advance(Duration::from_secs(1));
            crowd.is_within_limits().await;
        }
    }
    for client in &mut crowd.clients {
        client.socket = None;
    }
    eventually(async || {
        let page = Http::connect(&crowd.server).await.ask("GET", "/metrics", &[]).await.json();
        (page["websocket"]["active_connections"] == 0).then_some(())
    })
    .await;
    // Longer than anything is kept but revocations, which last as long as tokens can live.
    for _ in 0..20 {
        crowd.clock.advance(Duration::from_secs(5 * 60));
    }
    // What sweeps looks at the test's clock, but once in a while by its own.
    let end = Instant::now() + super::GIVEN_BACK;
    loop {
        let mut kept = crowd.kept().await;
        // Apps stay, and somebody asks.
        kept.retain(|(kind, bytes)| *bytes > 0 && !matches!(&**kind, "app" | "plain_connection"));
        if kept.is_empty() {
            return;
        }
        assert!(Instant::now() < end, "not given back: {kept:?}");
        crowd.clock.advance(Duration::from_secs(60));
        sleep(Duration::from_millis(100)).await;
    }
}
