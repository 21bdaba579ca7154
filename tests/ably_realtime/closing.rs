//! §4.6: how connections and transports end.

use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use super::stage::{Stage, assert_error, connection_key, events};
use crate::support::{AblyClient, PATIENCE, ably::action};

/// CLOSED, then the close frame (T26); members leave at once (T46).
#[tokio::test]
async fn close_ends_the_connection_for_good() {
    let stage = Stage::start().await;
    let mut watcher = stage.client("watcher").await;
    watcher.attach("room").await;
    let (mut alice, first) = stage.open("clientId=alice").await;
    alice.attach("room").await;
    let serial = alice.presence("room", json!([{"action": 2}])).await;
    alice.acked(serial).await;
    watcher.expect(action::PRESENCE).await;
    alice.received_so_far().await;
    alice.send(json!({"action": action::CLOSE})).await;
    let last = alice.next().await;
    assert_eq!(last, json!({"action": action::CLOSED}));
    alice.expect_end().await;
    let leave = watcher.expect(action::PRESENCE).await;
    assert_eq!(events(std::slice::from_ref(&leave)), [(3, "alice")]);
    // T44: not the client's own event.
    let id = leave["presence"][0]["id"].as_str().unwrap();
    assert!(!id.starts_with(first["connectionId"].as_str().unwrap()));
}

/// The transport goes, the connection stays: so does who was present.
#[tokio::test]
async fn disconnect_and_a_lost_socket_keep_the_connection() {
    let stage = Stage::start().await;
    for how in ["disconnect", "close frame", "cut"] {
        let (mut alice, first) = stage.open("clientId=alice").await;
        alice.attach(how).await;
        let serial = alice.presence(how, json!([{"action": 2}])).await;
        alice.acked(serial).await;
        alice.received_so_far().await;
        match how {
            "disconnect" => {
                alice.send(json!({"action": action::DISCONNECT})).await;
                alice.expect_end().await;
            }
            "close frame" => {
                alice.send_raw(Message::Close(None)).await;
                alice.expect_end().await;
            }
            _ => alice.cut(),
        }
        let query = format!("clientId=alice&resume={}", connection_key(&first));
        let (mut alice, again) = stage.open(&query).await;
        assert_eq!(again["connectionId"], first["connectionId"], "{how}");
        alice.attach(how).await;
        let sync = alice.expect(action::SYNC).await;
        assert_eq!(sync["presence"][0]["clientId"], "alice", "{how}");
    }
}

/// Every transport is told to come back, with an error (T5), before it is closed (T26).
#[tokio::test]
async fn a_server_that_shuts_down_says_so() {
    let mut stage = Stage::start().await;
    let mut clients = Vec::new();
    for format in ["json", "msgpack"] {
        clients.push(stage.open(&format!("format={format}")).await.0);
    }
    stage.server.begin_drain();
    for client in &mut clients {
        let disconnected = client.expect(action::DISCONNECTED).await;
        assert_error(&disconnected, 80003, 503);
        assert_eq!(disconnected.get("channel"), None);
        assert_eq!(close_code(client).await, Some(1001));
    }
}

async fn close_code(client: &mut AblyClient) -> Option<u16> {
    use futures_util::StreamExt as _;
    loop {
        let frame = tokio::time::timeout(PATIENCE, client.socket.next()).await;
        match frame.expect("the end comes in time") {
            Some(Ok(Message::Close(close))) => return close.map(|close| close.code.into()),
            Some(Ok(_)) => {}
            other => panic!("expected a close frame, got {other:?}"),
        }
    }
}

/// Nobody publishes for a client that has said goodbye.
#[tokio::test]
async fn what_follows_close_is_not_heard() {
    let stage = Stage::start().await;
    let mut watcher = stage.client("watcher").await;
    watcher.attach("room").await;
    let mut alice = stage.client("alice").await;
    alice.send(json!({"action": action::CLOSE})).await;
    alice.publish("room", json!([{"name": "late"}])).await;
    alice.expect(action::CLOSED).await;
    alice.expect_end().await;
    assert!(watcher.received_so_far().await.is_empty());
}

/// findings S6: the key of a connection that its client has closed resumes nothing, by whatever parameter.
#[tokio::test]
async fn a_closed_connection_is_not_resumed() {
    let stage = Stage::start().await;
    for way in ["resume", "recover"] {
        let (mut alice, first) = stage.open("clientId=alice").await;
        alice.send(json!({"action": action::CLOSE})).await;
        alice.expect(action::CLOSED).await;
        let (_, other) = stage.open(&format!("clientId=alice&{way}={}", connection_key(&first))).await;
        assert_error(&other, 80008, 400);
        assert_ne!(other["connectionId"], first["connectionId"]);
        // It belongs to nobody any more, so neither does its clientId.
        let (_, other) = stage.open(&format!("clientId=bob&{way}={}", connection_key(&first))).await;
        assert_error(&other, 80008, 400);
    }
}
