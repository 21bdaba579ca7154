//! §5.9: how many use a channel.

use serde_json::{Value, json};

use super::stage::{PUBLISH_ONLY, SUBSCRIBE_ONLY, Stage, assert_error};
use crate::support::{
    AblyClient,
    ably::{action, flag},
};

fn observe(what: &str) -> Value {
    json!({"action": action::ATTACH, "channel": "room", "params": {"occupancy": what}})
}

/// The counts of the next event that tells them.
async fn metrics(client: &mut AblyClient) -> Value {
    let frame = client.expect(action::MESSAGE).await;
    assert_eq!(frame["channel"], "room");
    let message = &frame["messages"][0];
    assert_eq!(message["name"], "[meta]occupancy", "{frame}");
    assert_eq!(message["action"], 3);
    assert_eq!(message["encoding"], "json");
    let data: Value = serde_json::from_str(message["data"].as_str().unwrap()).expect("JSON");
    data["metrics"].clone()
}

/// Soon after ATTACHED, the own attachment counted; then whenever it changes.
#[tokio::test]
async fn occupancy_is_told_at_first_and_on_change() {
    let stage = Stage::start().await;
    let mut alice = stage.client("alice").await;
    let attached = alice.attach_with(observe("metrics")).await;
    assert_eq!(attached["params"], json!({"occupancy": "metrics"}));
    let mut one = stage.client("one").await;
    one.attach_with(observe("metrics.subscribers")).await;
    let expected = json!({
        "connections": 2, "publishers": 2, "subscribers": 2, "presenceConnections": 2,
        "presenceMembers": 0, "presenceSubscribers": 2, "objectPublishers": 0,
        "objectSubscribers": 0,
    });
    let mut told = metrics(&mut alice).await;
    if told["connections"] == 1 {
        told = metrics(&mut alice).await;
    }
    assert_eq!(told, expected);
    let mut part = metrics(&mut one).await;
    if part == json!({"subscribers": 1}) {
        part = metrics(&mut one).await;
    }
    assert_eq!(part, json!({"subscribers": 2}));

    // A member, and somebody who only publishes, who is gone again later.
    let mut bob = stage.client("bob").await;
    let publishing = flag::PUBLISH | flag::PRESENCE;
    let frame = json!({"action": action::ATTACH, "channel": "room", "flags": publishing});
    bob.attach_with(frame).await;
    let serial = bob.presence("room", json!([{"action": 2}])).await;
    bob.acked(serial).await;
    loop {
        let told = next_metrics(&mut alice).await;
        if told["presenceMembers"] == 1 {
            assert_eq!(told["connections"], 3);
            assert_eq!(told["publishers"], 3);
            assert_eq!(told["subscribers"], 2);
            assert_eq!(told["presenceConnections"], 3);
            assert_eq!(told["presenceSubscribers"], 2);
            break;
        }
    }
    bob.send(json!({"action": action::CLOSE})).await;
    while next_metrics(&mut alice).await != expected {}
}

async fn next_metrics(client: &mut AblyClient) -> Value {
    loop {
        let frame = client.next().await;
        if frame["action"] == action::MESSAGE {
            let data = frame["messages"][0]["data"].as_str().unwrap();
            let data: Value = serde_json::from_str(data).expect("JSON");
            return data["metrics"].clone();
        }
    }
}

/// It has no place in the log, and is not for who has not asked.
#[tokio::test]
async fn occupancy_is_not_history() {
    let stage = Stage::start().await;
    let mut plain = stage.client("plain").await;
    let start = plain.attach("room").await["channelSerial"].clone();
    let mut alice = stage.client("alice").await;
    alice.attach_with(observe("metrics")).await;
    metrics(&mut alice).await;
    assert!(plain.received_so_far().await.is_empty());
    assert_eq!(stage.get("/channels/room/messages").await, json!([]));
    let mut again = stage.client("again").await;
    let attached = again.attach_with(super::stage::attach_after("room", &start)).await;
    assert_eq!(super::stage::told(&attached), flag::RESUMED);
}

#[tokio::test]
async fn occupancy_needs_channel_metadata() {
    let stage = Stage::start().await;
    for key in [SUBSCRIBE_ONLY, PUBLISH_ONLY] {
        let query = stage.query(key);
        let (mut client, _) = AblyClient::connect_with(&stage.server, &query).await;
        client.send(observe("metrics")).await;
        let error = client.expect(action::ERROR).await;
        assert_eq!(error["channel"], "room");
        assert_error(&error, 40160, 401);
    }
}
