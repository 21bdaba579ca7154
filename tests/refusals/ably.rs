//! `docs/protocols/ably.md` §1.8, §13: the code is Ably's, the message says the rest. Which code belongs to which fault is in
//! `tests/ably_rest` and `tests/ably_realtime`.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use letshare_server::{clock::Clock, ids::Timestamp, limits};
use serde_json::json;

use super::*;
use crate::support::{Server, TestApp, ably::action};

async fn start() -> (Server, Client, TestApp) {
    let clock = Clock::manual(Timestamp::from_millis(1_800_000_000_000));
    let server = Server::sandbox_at(clock, |config| {
        config.limits.publishes_per_second = 1;
        config.limits.publish_burst = 11;
        config.limits.channels_per_connection = 3;
    });
    let app = TestApp::create(&server, json!({"keys": [{}, {"capability": r#"{"*":["subscribe"]}"#}]})).await;
    let client = Client(server.address);
    (server, client, app)
}

#[tokio::test]
async fn rest() {
    let (_server, client, app) = start().await;
    let basic = |key: &str| format!("Basic {}", BASE64_STANDARD.encode(key));
    let (all, few) = (basic(&app.keys[0]), basic(&app.keys[1]));
    let (all, few) = ([("Authorization", &*all)], [("Authorization", &*few)]);
    let wrong = [("Authorization", "Bearer x")];
    let path = "/channels/a/messages";
    let large = format!(r#"{{"data":"{}"}}"#, "x".repeat(70_000));
    for (method, target, headers, body, status, words) in [
        ("GET", path, &[][..], "", 401, ["credentials", "invalid"]),
        ("GET", path, &wrong, "", 401, ["invalid credentials", "keys and tokens begin with"]),
        ("POST", path, &few, r#"{"data":"x"}"#, 401, ["do not permit publish", "they permit subscribe"]),
        ("POST", path, &all, "x", 400, ["body cannot be read", "JSON"]),
        ("POST", "/apps", &[], "5", 400, ["found integer `5`", "expected an object"]),
        ("POST", "/apps", &[], r#"{"keys":{}}"#, 400, ["keys: found an object", "expected a list"]),
        ("POST", path, &all, &large, 413, ["too large", "65536 bytes"]),
        ("GET", "/channels/a/messages?limit=x", &all, "", 400, ["invalid parameter limit", "allowed: "]),
        ("DELETE", path, &all, "", 405, ["does not have the method", "GET, HEAD, POST"]),
        ("GET", "/channels/a/nothing", &all, "", 404, ["path", "not found"]),
        ("POST", "/channels/a/object", &all, r#"{"counterInc":{"number":1}}"#, 400, ["needs", "an objectId or a path"]),
        (
            "POST",
            "/channels/a/object",
            &all,
            r#"{"path":"x","mapSet":{"key":"a"}}"#,
            400,
            ["mapSet.value", "found nothing"],
        ),
        ("GET", "/channels/a/object?path=x", &all, "", 400, ["the path leads to nothing", "x"]),
        ("GET", "/comet/some-key/recv", &all, "", 410, ["no comet conversation", "connect again"]),
        ("GET", "/sse?channels=a", &all, "", 400, ["protocol version (v or X-Ably-Version)", "a number from 1"]),
    ] {
        let answer = client.ask(method, target, headers, body).await;
        assert_eq!(answer.status, status, "{method} {target}: {answer:?}");
        let error = answer.json()["error"].clone();
        assert!(error["code"].is_u64() && error["href"].is_string(), "{error}");
        says(&error["message"].to_string(), &words, target);
    }
    let allowed = client.ask("DELETE", path, &all, "").await;
    assert_eq!(allowed.header("allow"), Some("GET, HEAD, POST"));
}

#[tokio::test]
async fn before_and_at_the_upgrade() {
    let (_server, client, app) = start().await;
    let target = format!("/?v=6&key={}", app.keys[0]);
    client.names_bad_headers(&target, &[]).await;
    let plain = client.ask("GET", &target, &[], "").await;
    let told = "Only WebSockets are served here, and this request is not a WebSocket handshake: the header Upgrade must be \
                websocket (a proxy on the way must pass Upgrade and Connection on).\n";
    assert_eq!((plain.status, &*plain.body), (400, told));
    for (query, words) in [
        ("v=6".to_owned(), ["invalid credentials", "credentials"]),
        ("v=x&key=a".to_owned(), ["protocol version", "a number from 1"]),
        (format!("v=6&key={}.nobody:x", app.id), ["key", "not found"]),
        ("v=6&access_token=x".to_owned(), ["credentials", "token"]),
    ] {
        let mut socket = Socket::open(client, &format!("/?{query}"), &[]).await;
        let error = socket.next_value().await;
        assert_eq!(error["action"], action::ERROR, "{error}");
        says(&error["error"]["message"].to_string(), &words, &query);
    }
    let full = Server::sandbox(|config| config.limits.connections = 1);
    let app = TestApp::plain(&full).await;
    let target = format!("/?v=6&key={}", app.keys[0]);
    let _first = Socket::open(Client(full.address), &target, &[]).await;
    Client(full.address).shuts(&target, &[], 503, &["1 WebSockets are open", "limits.connections"]).await;
    // findings B6: new connections of one address are rated.
    let rated = Server::sandbox_at(Clock::manual(Timestamp::from_millis(0)), one_at_once);
    let app = TestApp::plain(&rated).await;
    let target = format!("/?v=6&key={}", app.keys[0]);
    let _first = Socket::open(Client(rated.address), &target, &[]).await;
    Client(rated.address).shuts(&target, &[], 429, &["too many new WebSockets", TOO_MANY]).await;
}

#[tokio::test]
async fn frames() {
    let (_server, client, app) = start().await;
    let mut socket = Socket::open(client, &format!("/?v=6&key={}", app.keys[1]), &[]).await;
    assert_eq!(socket.next_value().await["action"], action::CONNECTED);
    let attach = |channel: &str| json!({"action": action::ATTACH, "channel": channel}).to_string();
    socket.send(&attach("a")).await;
    assert_eq!(socket.next_value().await["action"], action::ATTACHED);
    let publish = |serial: u64, messages: Value| {
        json!({"action": action::MESSAGE, "channel": "a", "msgSerial": serial, "messages": messages}).to_string()
    };
    let enter = json!({"action": action::PRESENCE, "channel": "a", "msgSerial": 1, "presence": [{"action": 2}]});
    for (sent, words) in [
        (publish(0, json!([{"data": "x"}])), ["do not permit publish", "they permit subscribe"]),
        (enter.to_string(), ["presence", "permit"]),
        (attach(""), ["channel name", "allowed: "]),
        (attach("[x"), ["channel name", "allowed: "]),
    ] {
        socket.refuses(&sent, &words).await;
    }
    let mut large = Socket::open(client, &format!("/?v=6&key={}", app.keys[0]), &[]).await;
    assert_eq!(large.next_value().await["action"], action::CONNECTED);
    large.send(&"x".repeat(limits::ABLY_FRAME_BYTES + 1)).await;
    let told = large.next_text().await;
    says(&told, &["larger than", &limits::ABLY_FRAME_BYTES.to_string()], "a large frame");
}
