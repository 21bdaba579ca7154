//! Much of the past, asked for by clients that do not read it.

use std::fs;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{MIB, besiege};
use crate::support::{
    AblyClient,
    ably::action,
    process::ServerProcess,
    raw::{FIN, Raw, TEXT, frame, get, in_time},
};

const KEY: &str = "siege1.root:every-thing-is-allowed-here";
const APPS: &str = "\
apps:
  - id: siege1
    keys:
      - id: root
        secret: every-thing-is-allowed-here
";
const MESSAGE_BYTES: usize = 65_000;
/// Beside what this file asks for.
const SETTINGS: [(&str, &str); 3] =
    [("ABLY_APPS_FILE", "apps.yaml"), ("ABLY_KEYS_OVER_HTTP", "true"), ("LIMITS_PUBLISHES_PER_SECOND", "0")];

/// A server with messages in the channel `big`, and a client that may do everything.
async fn with_messages(count: usize, settings: &[(&str, &str)]) -> (ServerProcess, AblyClient, TempDir) {
    let dir = TempDir::new().expect("a working directory");
    fs::write(dir.path().join("apps.yaml"), APPS).expect("a file of apps");
    let settings = [&SETTINGS[..], settings].concat();
    let server = ServerProcess::try_start(dir.path(), &[], "local", &settings).unwrap_or_else(|why| panic!("{why}"));
    let mut client = AblyClient::open_at(server.address, &format!("v=6&key={KEY}")).await;
    client.expect(action::CONNECTED).await;
    for number in 0..count {
        let data = "x".repeat(MESSAGE_BYTES);
        let serial = client.publish("big", json!([{"name": number.to_string(), "data": data}])).await;
        client.acked(serial).await;
    }
    (server, client, dir)
}

fn request(address: std::net::SocketAddr, target: &str) -> String {
    let basic = BASE64_STANDARD.encode(KEY);
    format!(
        "GET {target} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Basic {basic}\r\nX-Ably-Version: 6\r\n\
         Accept: application/json\r\nConnection: close\r\n\r\n"
    )
}

async fn kept(server: &ServerProcess, kind: &str) -> u64 {
    server.metrics().await["kept"][kind].as_u64().expect("a figure")
}

/// findings B1: 450 backlogs of 6.5 MB cost one socket that reads nothing what is on its way to it, and everything comes, in
/// order, once it reads.
#[tokio::test]
async fn backlogs_that_nobody_reads_are_not_built() {
    const ATTACHES: usize = 450;
    let (server, mut client, _dir) = with_messages(100, &[("WEBSOCKET_STALL_TIMEOUT", "1m")]).await;
    client.attach("done").await;
    let attack = async {
        let mut attacker = Raw::connect_narrow(server.address).await;
        let upgrade = format!(
            "GET /?v=6&key={KEY} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            server.address
        );
        attacker.write(upgrade.as_bytes()).await.expect("the server reads");
        assert!(attacker.reader.head().await.starts_with("HTTP/1.1 101"));
        let mut frames = Vec::new();
        for number in 0..ATTACHES {
            let channel = format!("[?rewind=100&a={number}]big");
            for action in [action::ATTACH, action::DETACH] {
                let text = json!({"action": action, "channel": channel}).to_string();
                frames.extend(frame(FIN | TEXT, text.as_bytes()));
            }
        }
        let last =
            json!({"action": action::MESSAGE, "channel": "done", "msgSerial": 0, "messages": [{"name": "done"}]});
        frames.extend(frame(FIN | TEXT, last.to_string().as_bytes()));
        attacker.write(&frames).await.expect("the server reads");
        // Then it has asked for all of them.
        client.expect(action::MESSAGE).await;
        let outbox = kept(&server, "outbox").await;
        assert!(outbox < 2 << 20, "{outbox}");
        attacker
    };
    let mut attacker = besiege(&server, 12 * MIB, attack).await;
    let mut next = async || -> Value { serde_json::from_str(&attacker.text().await).expect("JSON") };
    assert_eq!(next().await["action"], action::CONNECTED);
    for number in 0..3 {
        let channel = format!("[?rewind=100&a={number}]big");
        let attached = next().await;
        assert_eq!((&attached["action"], &attached["channel"]), (&json!(action::ATTACHED), &json!(channel)));
        for name in 0..100 {
            let message = next().await;
            assert_eq!(
                (&message["channel"], &message["messages"][0]["name"]),
                (&json!(channel), &json!(name.to_string()))
            );
        }
        let detached = next().await;
        assert_eq!((&detached["action"], &detached["channel"]), (&json!(action::DETACHED), &json!(channel)));
    }
    attacker.reset();
    in_time(async { while kept(&server, "outbox").await > 0 {} }).await;
}

/// findings B2: pages of 31 MB that 60 sockets ask for and do not read are not built; who reads gets all of it.
#[tokio::test]
async fn pages_that_nobody_reads_are_not_built() {
    const MESSAGES: usize = 480;
    let roomy = [("HISTORY_CHANNEL_BYTES", "134217728"), ("HISTORY_TOTAL_BYTES", "268435456")];
    let (server, _client, _dir) = with_messages(MESSAGES, &roomy).await;
    let page = request(server.address, "/channels/big/messages?limit=1000");
    let attack = async {
        let mut readers = Vec::new();
        for _ in 0..60 {
            let mut raw = Raw::connect_narrow(server.address).await;
            raw.write(page.as_bytes()).await.expect("the server reads");
            assert!(raw.reader.head().await.starts_with("HTTP/1.1 200"));
            readers.push(raw);
        }
        assert!(kept(&server, "answer").await > 60 * (MESSAGE_BYTES as u64));
        assert!(get(server.address, "/health", "").await.starts_with("HTTP/1.1 200"));
        readers
    };
    let mut readers = besiege(&server, 48 * MIB, attack).await;
    let mut reader = readers.pop().expect("one");
    drop(readers);
    let chunks = in_time(reader.reader.rest()).await;
    let (mut body, mut rest) = (String::new(), &chunks[..]);
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).expect("a length");
        body.push_str(&after[..size]);
        rest = &after[(size + 2).min(after.len())..];
    }
    let messages: Vec<Value> = serde_json::from_str(&body).expect("a list");
    assert_eq!(messages.len(), MESSAGES);
    for (place, message) in messages.iter().rev().enumerate() {
        assert_eq!(message["name"], place.to_string());
    }
    in_time(async { while kept(&server, "answer").await > 0 {} }).await;
}
