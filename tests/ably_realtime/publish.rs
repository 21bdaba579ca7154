//! §6.1: what is checked before something is published, and in which order; §6.4, §6.7, §6.8.

use std::time::Duration;

use letshare_server::{clock::Clock, ids::Timestamp};
use serde_json::{Value, json};

use super::stage::{EVERYTHING, PUBLISH_ONLY, Stage, names};
use crate::support::{
    AblyClient, Server,
    ably::{action, flag},
};

/// One fault after the other is mended, from the last to be seen on.
#[tokio::test]
async fn the_order_of_the_checks() {
    let stage = Stage::with(|config| config.ably.max_message_bytes = 1024).await;
    let large = "x".repeat(2_000);
    let size = |data: &str| json!([{"id": "a:0", "data": data}, {"id": "b:1"}]);
    let many: Vec<Value> = (0..1_001).map(|_| json!({})).collect();
    let bad = json!([{"clientId": "bob", "extras": 1, "data": large, "id": "x:1"}, {"id": "y"}]);
    let extras = json!([{"extras": 1, "data": large, "id": "x:1"}, {"id": "y"}]);
    let token = json!({
        "capability": r#"{"room":["subscribe"],"open":["*"],"known:*":["*"]}"#,
    });
    let nobody = stage.token(token).await;
    let (mut nobody, _) = stage.with_token(&nobody).await;
    let publishing = json!({
        "action": action::ATTACH, "channel": "open", "flags": flag::SUBSCRIBE,
    });
    for (channel, messages, code) in [
        (":bad", &bad, 40010),
        ("room", &bad, 40160),
        ("known:x", &bad, 40161),
        ("open", &bad, 40012),
        ("open", &extras, 40032),
    ] {
        let serial = nobody.publish(channel, messages.clone()).await;
        nobody.nacked(serial, code).await;
    }
    nobody.attach_with(publishing).await;
    let serial = nobody.publish("open", bad).await;
    nobody.nacked(serial, 40165).await;

    let mut alice = stage.anybody().await;
    for (messages, code) in [
        (size(&large), 40009),
        (size("small"), 40031),
        (json!(many), 40034),
        (json!([{"data": 5}]), 40013),
        (json!([{"data": true}]), 40013),
        (json!([{"encoding": "base64", "data": "%"}]), 40013),
        (json!([{"extras": {"headers": {"a": {}}}}]), 40032),
        (json!([{"extras": {"userClaim": "x"}}]), 40032),
        (json!([{"connectionId": "someone-else"}]), 40006),
        (json!([{"connectionKey": "no-key"}]), 40006),
        (json!([{"extras": {"ephemeral": true}}, {}]), 40000),
    ] {
        let serial = alice.publish("room", messages).await;
        alice.nacked(serial, code).await;
    }
}

/// All of the messages of a frame, or none.
#[tokio::test]
async fn a_publish_is_atomic() {
    let stage = Stage::start().await;
    let mut watcher = stage.client("watcher").await;
    watcher.attach("room").await;
    let mut alice = stage.client("alice").await;
    let bad = json!([{"name": "a"}, {"name": "b", "data": 1}, {"name": "c"}]);
    let serial = alice.publish("room", bad).await;
    alice.nacked(serial, 40013).await;
    let good = json!([{"name": "d"}, {"name": "e"}, {"name": "f"}]);
    let serial = alice.publish("room", good).await;
    alice.acked(serial).await;
    let received = watcher.received_so_far().await;
    assert_eq!(received.len(), 1);
    assert_eq!(names(&received), ["d", "e", "f"]);
    let serial = received[0]["channelSerial"].as_str().unwrap();
    for (index, message) in received[0]["messages"].as_array().unwrap().iter().enumerate() {
        assert_eq!(message["serial"], format!("{serial}:{index:03}"));
    }
}

/// Without an attachment, and without anything in it.
#[tokio::test]
async fn transient_and_empty_publishes() {
    let stage = Stage::start().await;
    let query = stage.query(PUBLISH_ONLY);
    let (mut writer, connected) = AblyClient::connect_with(&stage.server, &query).await;
    let mut watcher = stage.client("watcher").await;
    watcher.attach("room").await;
    let serial = writer.publish("room", json!([{"name": null, "data": null}])).await;
    assert!(writer.acked(serial).await.is_empty());
    let frame = watcher.expect(action::MESSAGE).await;
    let connection = connected["connectionId"].as_str().unwrap();
    assert_eq!(frame["connectionId"], connection);
    assert_eq!(frame["id"], format!("{connection}:0"), "§3.8");
    assert!(frame["timestamp"].is_u64());
    let message = frame["messages"][0].as_object().unwrap();
    for absent in ["name", "data", "encoding", "clientId", "extras"] {
        assert_eq!(message.get(absent), None, "{message:?}");
    }
    // Nothing at all is published as nothing.
    let serial = writer.publish("room", json!([])).await;
    writer.acked(serial).await;
    assert!(watcher.received_so_far().await.is_empty());
}

/// T39: the client's own ids, on whatever connection.
#[tokio::test]
async fn t39_a_publish_with_a_known_id_is_not_published_again() {
    let stage = Stage::start().await;
    let mut watcher = stage.client("watcher").await;
    watcher.attach("room").await;
    let (mut alice, mut bob) = (stage.client("alice").await, stage.client("bob").await);
    for messages in [
        json!([{"id": "single", "name": "a"}]),
        json!([{"id": "base:0", "name": "b"}]),
        json!([{"id": "many:0", "name": "c"}, {"id": "many:1", "name": "d"}]),
    ] {
        let mut answers = Vec::new();
        for client in [&mut alice, &mut bob] {
            for _ in 0..2 {
                client.publish("room", messages.clone()).await;
                answers.push(client.expect(action::ACK).await["res"].clone());
            }
        }
        assert!(answers.iter().all(|res| *res == answers[0]), "{answers:?}");
        let serial = bob.publish("other", messages).await;
        bob.acked(serial).await;
    }
    let received = watcher.received_so_far().await;
    assert_eq!(names(&received), ["a", "b", "c", "d"]);
    let ids: Vec<Value> = (0..2).map(|at| received[at]["messages"][0]["id"].clone()).collect();
    assert_eq!(ids[0], "single");
    // Derived from the frame's, or its own.
    assert!(received[1]["id"] == "base" || ids[1] == "base:0", "{received:?}");
    assert_eq!(received[2]["id"], "many");
    for ids in [["a:0", "b:1"], ["a:1", "a:0"], ["a:0", "a:2"], ["a", "b"], ["a:0", ""]] {
        let messages = json!([{"id": ids[0]}, {"id": ids[1]}]);
        let serial = alice.publish("room", messages).await;
        alice.nacked(serial, 40031).await;
    }
}

/// §6.7: live, and nowhere else.
#[tokio::test]
async fn ephemeral_messages_leave_no_trace() {
    let stage = Stage::start().await;
    let mut watcher = stage.client("watcher").await;
    watcher.attach("room").await;
    let mut alice = stage.client("alice").await;
    let now = json!([{"name": "now", "extras": {"ephemeral": true}}]);
    let serial = alice.publish("room", now).await;
    alice.acked(serial).await;
    let received = watcher.received_so_far().await;
    assert_eq!(names(&received), ["now"]);
    assert_eq!(received[0]["messages"][0]["extras"]["ephemeral"], true);
    assert_eq!(stage.get("/channels/room/messages").await, json!([]));
}

/// §6.8.
#[tokio::test]
async fn a_nack_on_demand() {
    let stage = Stage::start().await;
    let mut alice = stage.client("alice").await;
    alice.attach("room").await;
    let frame = json!({
        "action": action::MESSAGE, "channel": "room", "msgSerial": 0, "messages": [{}],
        "params": {"_forceNack": "true"},
    });
    alice.send(frame).await;
    alice.nacked(0, 40099).await;
    assert!(alice.received_so_far().await.is_empty());
}

/// §4.8: that frame is refused, and the connection lives.
#[tokio::test]
async fn too_many_frames() {
    let clock = Clock::manual(Timestamp::from_millis(1_800_000_000_000));
    let server = Server::sandbox_at(clock.clone(), |config| {
        config.limits.publishes_per_second = 1;
        config.limits.publish_burst = 3;
    });
    let stage = Stage::on(server).await;
    let mut alice = stage.client("alice").await;
    for _ in 0..10 {
        alice.publish("room", json!([{}])).await;
    }
    let mut refused = 0;
    for serial in 0..10 {
        let answer = alice.next().await;
        assert_eq!(answer["msgSerial"], serial, "{answer}");
        if answer["action"] == action::NACK {
            super::stage::assert_error(&answer, 42911, 429);
            refused += 1;
        }
    }
    assert_eq!(refused, 7);
    clock.advance(Duration::from_secs(1));
    alice.answered_so_far().await;
}

/// T35: what was acknowledged is there for who asks then.
#[tokio::test]
async fn t35_history_has_what_was_acknowledged() {
    let stage = Stage::start().await;
    let query = stage.query(EVERYTHING);
    let (mut alice, _) = AblyClient::connect_with(&stage.server, &query).await;
    for number in 0..20 {
        let serial = alice.publish("room", json!([{"name": number.to_string()}])).await;
        alice.acked(serial).await;
        let history = stage.get("/channels/room/messages?limit=1").await;
        assert_eq!(history[0]["name"], number.to_string());
    }
}
