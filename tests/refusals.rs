//! Every refusal that a client can meet says what was refused, why, and what would allow it: one table for each protocol,
//! each row what is sent and the words that must come back (the texts of the documents are held by the files of
//! the protocols).
//!
//! What an operator can meet is told at the start: `src/cli/tests/faults.rs` and `src/config/tests` hold those texts.

mod ably;
mod chat;
mod group;
mod letshare;
mod operations;
mod postoffice;
mod relay;

use std::net::SocketAddr;

use futures_util::{SinkExt as _, StreamExt as _};
use letshare_server::config::Config;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{Message, client::IntoClientRequest as _},
};

use crate::support::{Http, PATIENCE, Response, UPGRADE};

/// An address opens one WebSocket at once, and each second one more.
fn one_at_once(config: &mut Config) {
    config.limits.connects_per_second = 1;
    config.limits.connect_burst = 1;
    config.limits.exempt_loopback = false;
}

const TOO_MANY: &str =
    "1 a second, 1 at once, are the most that limits.connects_per_second and limits.connect_burst allow";

const EVIL: (&str, &str) = ("Origin", "https://evil.example");

#[track_caller]
fn says(told: &str, words: &[&str], what: &str) {
    for word in words {
        assert!(told.contains(word), "{what}: \"{word}\" is not in {told}");
    }
}

/// A handshake of which one header is missing, or has another value, and the words that name it.
fn bad_handshakes() -> [(Vec<(&'static str, &'static str)>, &'static str); 5] {
    let but = |name: &str, value: Option<&'static str>| {
        let others = UPGRADE.into_iter().filter(|(known, _)| *known != name);
        let changed = UPGRADE.into_iter().find(|(known, _)| *known == name);
        others.chain(changed.zip(value).map(|((name, _), value)| (name, value))).collect::<Vec<_>>()
    };
    [
        (but("Upgrade", None), "Upgrade must be websocket"),
        (but("Connection", Some("close")), "Connection must have Upgrade"),
        (but("Sec-WebSocket-Version", None), "Sec-WebSocket-Version is missing"),
        (but("Sec-WebSocket-Version", Some("8")), "Sec-WebSocket-Version must be 13"),
        (but("Sec-WebSocket-Key", None), "Sec-WebSocket-Key is missing"),
    ]
}

/// Where requests go: each on a connection of its own.
#[derive(Clone, Copy)]
struct Client(SocketAddr);

impl Client {
    async fn ask(self, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Response {
        let length = body.len().to_string();
        let mut all = headers.to_vec();
        if !body.is_empty() {
            all.push(("Content-Length", &length));
            all.push(("Content-Type", "application/json"));
        }
        Http::connect_to(self.0).await.ask_with(method, target, &all, body.as_bytes()).await
    }

    /// The request is refused with this status, and body and reason together have these words.
    async fn refuses(
        self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &str,
        status: u16,
        words: &[&str],
    ) {
        let answer = self.ask(method, target, headers, body).await;
        let what = format!("{method} {}", target.get(..80).unwrap_or(target));
        assert_eq!(answer.status, status, "{what}: {answer:?}");
        let reason = answer.header("refusal-reason").unwrap_or_default();
        says(&format!("{}\n{reason}", answer.body), words, &what);
    }

    /// The same of a handshake with these headers more.
    async fn shuts(self, target: &str, headers: &[(&str, &str)], status: u16, words: &[&str]) {
        let all: Vec<_> = UPGRADE.iter().chain(headers).copied().collect();
        self.refuses("GET", target, &all, "", status, words).await;
    }

    /// Each bad handshake on `target`, which would let a good one in, names the header.
    async fn names_bad_headers(self, target: &str, headers: &[(&'static str, &str)]) {
        for (mut bad, words) in bad_handshakes() {
            bad.extend(headers.iter().map(|(name, value)| (*name, &*String::leak((*value).to_owned()))));
            self.refuses("GET", target, &bad, "", 400, &[words]).await;
        }
    }
}

struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    async fn open(client: Client, target: &str, headers: &[(&'static str, &str)]) -> Self {
        let mut request = format!("ws://{}{target}", client.0).into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let connected = tokio_tungstenite::connect_async_with_config(request, None, true).await;
        Self(connected.expect("the handshake succeeds").0)
    }

    async fn send(&mut self, text: &str) {
        // The server may close in the middle of what is too big.
        let _ = self.0.send(Message::text(text)).await;
    }

    async fn next(&mut self) -> Message {
        loop {
            let frame = tokio::time::timeout(PATIENCE, self.0.next()).await;
            match frame.expect("a frame comes in time").expect("the connection stays").expect("a frame") {
                Message::Ping(_) | Message::Pong(_) => {}
                frame => return frame,
            }
        }
    }

    async fn next_text(&mut self) -> String {
        match self.next().await {
            Message::Text(text) => text.to_string(),
            other => panic!("expected a text, got {other:?}"),
        }
    }

    async fn next_value(&mut self) -> Value {
        serde_json::from_str(&self.next_text().await).expect("JSON")
    }

    /// What is sent is answered with these words.
    async fn refuses(&mut self, sent: &str, words: &[&str]) {
        self.send(sent).await;
        let told = self.next_text().await;
        says(&told, words, sent.get(..200).unwrap_or(sent));
    }

    /// It ends with this code and these words; what comes before is dropped.
    async fn closes(&mut self, code: u16, words: &[&str]) {
        loop {
            match self.next().await {
                Message::Close(Some(close)) => {
                    assert_eq!(u16::from(close.code), code, "{close:?}");
                    return says(&close.reason, words, "a close frame");
                }
                Message::Text(_) | Message::Binary(_) => {}
                other => panic!("expected a close frame, got {other:?}"),
            }
        }
    }
}
