//! `docs/protocols/relay.md` §2 to §5: the texts are the document's, the header `refusal-reason` is ours.

use letshare_server::{
    clock::Clock,
    config::{Config, Protocol, UnresolvedToken},
    ids::Timestamp,
};

use super::*;
use crate::support::Server;

const KEY: (&str, &str) = ("X-API-KEY", "a key that only back ends know");

fn start(adjust: impl FnOnce(&mut Config)) -> (Server, Client) {
    let server = Server::start_as("relay", Clock::manual(Timestamp::from_millis(0)), |config| {
        config.relay.port = Some(0);
        config.relay.api_key = KEY.1.to_owned().into();
        adjust(config);
    });
    let client = Client(server.address_of(Protocol::Relay));
    (server, client)
}

#[tokio::test]
async fn pushes() {
    let (_server, client) = start(|config| config.relay.unresolved_token = UnresolvedToken::Reject);
    let key = &[KEY][..];
    let long = format!(r#"{{"event_name":"e","subject":1,"token":"{}"}}"#, "x".repeat(1_025));
    let large = "x".repeat((1 << 20) + 1);
    for (headers, body, status, words) in [
        (&[][..], "{}", 401, ["invalid api key", "relay.api_key in the header X-API-KEY"]),
        (key, "x", 400, ["invalid json", "must be a JSON object"]),
        (key, "{}", 400, ["缺少 event_name", "event_name must be a text"]),
        (key, r#"{"event_name":"e"}"#, 400, ["缺少 subject", "relay.lenient_push"]),
        (key, r#"{"event_name":"e","subject":1,"delay_seconds":2592001}"#, 400, ["delay_seconds", "2592000"]),
        (key, r#"{"event_name":"e","subject":1,"token":[1]}"#, 400, ["token", "relay.unresolved_token"]),
        (key, &long, 400, ["token too long", "1024 bytes"]),
        (key, &large, 413, ["body too large", "1048576 bytes"]),
    ] {
        client.refuses("POST", "/api/push", headers, body, status, &words).await;
    }
    client.refuses("GET", "/api/push", key, "", 405, &["method not allowed", "Allow"]).await;
    client
        .refuses("DELETE", "/api/push/scheduled/x", key, "", 404, &["unknown or already sent", "no push with this id"])
        .await;
    client.refuses("GET", "/nothing", key, "", 404, &["404 page not found", "no protocol"]).await;
}

#[tokio::test]
async fn too_many_pushes() {
    let (_server, client) = start(|config| config.relay.pushes_per_second = 1);
    let body = r#"{"event_name":"e","subject":1}"#;
    assert_eq!(client.ask("POST", "/api/push", &[KEY], body).await.status, 200);
    let words = ["too many requests", "relay.pushes_per_second", "again in a second"];
    client.refuses("POST", "/api/push", &[KEY], body, 429, &words).await;
}

#[tokio::test]
async fn sockets() {
    let (_server, client) = start(|config| {
        config.relay.allowed_origins = vec!["https://shop.example".into()];
        config.relay.identify = letshare_server::config::Identify::Jwt;
        config.relay.identify_secret = "a secret of the tests, 32 bytes long".to_owned().into();
        config.websocket.max_message_bytes = 1_024;
    });
    client.shuts("/ws", &[EVIL], 403, &["evil.example", "relay.allowed_origins"]).await;
    client.refuses("POST", "/ws", &UPGRADE, "", 405, &["method not allowed", "Allow"]).await;
    client.names_bad_headers("/ws", &[]).await;
    let mut wrong = Socket::open(client, "/ws", &[]).await;
    wrong.refuses(r#"{"event":"identify","data":{"token":"x"}}"#, &["invalid token"]).await;
    wrong.closes(4401, &["proves no identifier", "relay.identify"]).await;
    let mut nonsense = Socket::open(client, "/ws", &[]).await;
    for _ in 0..letshare_server::limits::RELAY_UNREADABLE_FRAMES {
        nonsense.send("x").await;
    }
    nonsense.closes(1008, &["no JSON objects"]).await;
    let mut large = Socket::open(client, "/ws", &[]).await;
    large.send(&"x".repeat(1_025)).await;
    large.closes(1009, &["too big", "1024 bytes"]).await;
}

/// `docs/protocols/relay.md §4`: the close frame says what the event before it says.
#[tokio::test]
async fn a_token_that_is_too_long() {
    let (_server, client) = start(|_| {});
    let mut socket = Socket::open(client, "/ws", &[]).await;
    let long = format!(r#"{{"event":"identify","data":{{"token":"{}"}}}}"#, "x".repeat(1_025));
    socket.refuses(&long, &["token too long", "1024 bytes"]).await;
    socket.closes(4401, &["token is too long"]).await;
    let push = format!(r#"{{"event_name":"e","token":"{}","subject":1}}"#, "x".repeat(1_025));
    client
        .refuses("POST", "/api/push", &[KEY], &push, 400, &["token too long", "1024 bytes", "identifier of a user"])
        .await;
}

#[tokio::test]
async fn when_it_is_full() {
    let (_server, client) = start(|config| config.limits.connections = 1);
    let _first = Socket::open(client, "/ws", &[]).await;
    client.shuts("/ws", &[], 503, &["server is busy", "1 WebSockets are open", "limits.connections"]).await;
    let (_server, client) = start(|config| {
        config.limits.connections_per_address = 1;
        config.limits.exempt_loopback = false;
    });
    let _first = Socket::open(client, "/ws", &[]).await;
    client.shuts("/ws", &[], 429, &["too many connections", "limits.connections_per_address"]).await;
}
