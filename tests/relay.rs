//! The relay protocol against the drop-in profile, with the original paths (`docs/protocols/relay.md`).

mod away;
mod cross;
mod delays;
mod identify;
mod ports;
mod pushes;
mod refusals;
mod sockets;

use std::net::SocketAddr;

use futures_util::{SinkExt as _, StreamExt as _};
use letshare_server::{
    clock::Clock,
    config::{Config, Protocol},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{Message, protocol::CloseFrame},
};

use crate::support::{
    Http, PATIENCE, Response, Server, eventually, nodes,
    redis::{RedisServer, join_if_asked},
};

const KEY: &str = "a key that only back ends know";

/// A server process with the original paths and without a port of the relay's own.
const ON_THE_SHARED_PORT: [(&str, &str); 4] = [
    ("LETSHARE_ENABLED", "false"),
    ("RELAY_ENABLED", "true"),
    ("RELAY_WS_PATH", "/ws"),
    ("RELAY_PUSH_PATH", "/api/push"),
];

/// A relay and a back end that pushes to it.
struct Rig {
    server: Server,
    _redis: Option<RedisServer>,
    address: SocketAddr,
    http: Http<TcpStream>,
}

impl Rig {
    async fn start(adjust: impl FnOnce(&mut Config)) -> Self {
        Self::start_with(Clock::system(), adjust, join_if_asked).await
    }

    /// With a clock that the test moves: alone, since nodes take the time of Redis.
    async fn start_at(clock: Clock, adjust: impl FnOnce(&mut Config)) -> Self {
        Self::start_with(clock, adjust, |_| None).await
    }

    /// Alone: what a test counts is each node's own.
    async fn start_alone(adjust: impl FnOnce(&mut Config)) -> Self {
        Self::start_at(Clock::system(), adjust).await
    }

    async fn start_with(
        clock: Clock,
        adjust: impl FnOnce(&mut Config),
        join: impl FnOnce(&mut Config) -> Option<RedisServer>,
    ) -> Self {
        let mut redis = None;
        let server = Server::start_as("relay", clock, |config| {
            // On the shared port: what was pushed is read back there.
            config.ably.enabled = true;
            config.relay.port = Some(0);
            config.relay.api_key = KEY.to_owned().into();
            config.relay.stats_path = Some("/stats".into());
            adjust(config);
            redis = join(config);
        });
        let address = server.address_of(Protocol::Relay);
        let http = Http::connect_to(address).await;
        Self { server, _redis: redis, address, http }
    }

    /// Each request goes to the next node, where there are several.
    async fn turn(&mut self) {
        if nodes::count() > 1 {
            self.http = Http::connect_to(self.address).await;
        }
    }

    async fn post(&mut self, body: &str) -> Response {
        self.turn().await;
        self.http.post("/api/push", &[("X-API-KEY", KEY)], body).await
    }

    /// A push that is accepted; the `data` of its answer.
    async fn push(&mut self, push: Value) -> Value {
        let response = self.post(&push.to_string()).await;
        assert_eq!(response.status, 200, "{response:?}");
        let answer = response.json();
        assert_eq!(answer["code"], 0, "{answer}");
        assert_eq!(answer["msg"], "ok");
        answer["data"].clone()
    }

    /// Pushes to everybody: who gets this next has got nothing before it.
    async fn fence(&mut self) {
        self.push(json!({"event_name": "fence", "subject": null})).await;
    }

    async fn ask(&mut self, method: &str, target: &str) -> Response {
        self.turn().await;
        self.http.ask(method, target, &[("X-API-KEY", KEY)]).await
    }

    /// Waits until so many are connected, and so many of them are in the group of a user.
    async fn until(&mut self, connections: usize, identified: usize) {
        eventually(async || {
            let stats = self.ask("GET", "/stats").await.json();
            let is_so = stats["data"]["connections"] == connections && stats["data"]["identified"] == identified;
            is_so.then_some(())
        })
        .await;
    }

    /// What waits, as listed.
    async fn scheduled(&mut self) -> Vec<Value> {
        let listed = self.ask("GET", "/api/push/scheduled").await;
        assert_eq!(listed.status, 200, "{listed:?}");
        let data = listed.json()["data"]["scheduled"].clone();
        data.as_array().expect("a list").clone()
    }

    /// What was sent and reached nobody, as listed.
    async fn unreached(&mut self) -> Vec<Value> {
        let listed = self.ask("GET", "/api/push/scheduled").await.json();
        listed["data"]["unreached"].as_array().expect("a list").clone()
    }

    /// A socket on `/ws` with this query.
    async fn socket(&self, query: &str) -> Socket {
        Socket::connect(&format!("ws://{}/ws{query}", self.address)).await
    }

    /// A socket that is in the group of `token`, alone on this server.
    async fn user(&mut self, token: &str) -> Socket {
        let socket = self.socket(&format!("?token={token}")).await;
        self.until(1, 1).await;
        socket
    }
}

pub struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    pub async fn connect(url: &str) -> Self {
        let connected = tokio_tungstenite::connect_async_with_config(url, None, true).await;
        Self(connected.expect("the relay upgrades").0)
    }

    async fn send(&mut self, text: &str) {
        let text = Message::text(text);
        self.0.send(text).await.expect("the connection is open");
    }

    pub async fn identify(&mut self, token: Value) {
        let identify = json!({"event": "identify", "data": {"token": token}});
        self.send(&identify.to_string()).await;
    }

    async fn next_text(&mut self) -> String {
        loop {
            let frame = tokio::time::timeout(PATIENCE, self.0.next()).await;
            match frame.expect("a frame comes in time") {
                Some(Ok(Message::Text(text))) => return text.to_string(),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("expected a text frame, got {other:?}"),
            }
        }
    }

    pub async fn next(&mut self) -> Value {
        serde_json::from_str(&self.next_text().await).expect("JSON")
    }

    /// The next frame is this event.
    pub async fn expect(&mut self, event: &str) -> Value {
        let frame = self.next().await;
        assert_eq!(frame["event"], event, "{frame}");
        frame["data"].clone()
    }

    async fn expect_close(&mut self, code: u16) {
        loop {
            let frame = tokio::time::timeout(PATIENCE, self.0.next()).await;
            match frame.expect("a frame comes in time") {
                Some(Ok(Message::Close(Some(CloseFrame { code: told, .. })))) => {
                    assert_eq!(u16::from(told), code);
                    return;
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("expected a close frame, got {other:?}"),
            }
        }
    }
}
