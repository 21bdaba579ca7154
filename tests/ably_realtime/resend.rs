//! §4.5: frames that come again, because their answers were lost.

use serde_json::{Value, json};

use super::stage::{Stage, connection_key, events, names};
use crate::support::{AblyClient, ably::action};

async fn ack_of(client: &mut AblyClient, serial: u64) -> Value {
    let ack = client.expect(action::ACK).await;
    assert_eq!(ack["msgSerial"], serial, "{ack}");
    ack
}

/// T40: published once, and answered again as the first time.
#[tokio::test]
async fn t40_a_repeated_publish_is_answered_again() {
    let stage = Stage::start().await;
    let mut watcher = stage.client("watcher").await;
    watcher.attach("room").await;
    let (mut alice, first) = stage.open("clientId=alice").await;
    let messages = json!([{"name": "a"}, {"name": "b"}]);
    alice.publish("room", messages.clone()).await;
    let ack = ack_of(&mut alice, 0).await;
    assert_eq!(ack["res"][0]["serials"].as_array().map(Vec::len), Some(2));
    // On one transport as well as on the next.
    alice.push_again(0, action::MESSAGE, "messages", "room", messages.clone()).await;
    assert_eq!(ack_of(&mut alice, 0).await, ack);
    alice.cut();
    for _ in 0..2 {
        let query = format!("clientId=alice&resume={}", connection_key(&first));
        let (mut alice, _) = stage.open(&query).await;
        alice.push_again(0, action::MESSAGE, "messages", "room", messages.clone()).await;
        assert_eq!(ack_of(&mut alice, 0).await, ack);
        alice.cut();
    }
    let received = watcher.received_so_far().await;
    assert_eq!(names(&received), ["a", "b"]);
}

/// The same frame twice before its answer is there: one publish, one answer at least.
#[tokio::test]
async fn a_publish_that_overtakes_its_answer() {
    let stage = Stage::start().await;
    let mut alice = stage.client("alice").await;
    alice.attach("room").await;
    let message = json!([{"name": "a"}]);
    for _ in 0..3 {
        alice.push_again(0, action::MESSAGE, "messages", "room", message.clone()).await;
    }
    let received = alice.received_so_far().await;
    assert_eq!(names(&received), ["a"]);
    let is_ack = |frame: &&Value| frame["action"] == action::ACK;
    let acks: Vec<_> = received.iter().filter(is_ack).collect();
    assert!(!acks.is_empty());
    assert!(acks.iter().all(|ack| *ack == acks[0]), "{acks:?}");
}

#[tokio::test]
async fn a_refused_publish_is_refused_again() {
    let stage = Stage::start().await;
    let (mut alice, first) = stage.open("clientId=alice").await;
    let foreign = json!([{"clientId": "bob"}]);
    let serial = alice.publish("room", foreign.clone()).await;
    let nack = alice.nacked(serial, 40012).await;
    alice.cut();
    let query = format!("clientId=alice&resume={}", connection_key(&first));
    let (mut alice, _) = stage.open(&query).await;
    alice.push_again(serial, action::MESSAGE, "messages", "room", foreign).await;
    assert_eq!(alice.nacked(serial, 40012).await, nack);
}

#[tokio::test]
async fn a_repeated_enter_is_one_event() {
    let stage = Stage::start().await;
    let mut watcher = stage.client("watcher").await;
    watcher.attach("room").await;
    let mut alice = stage.client("alice").await;
    alice.attach("room").await;
    let enter = json!([{"action": 2, "data": "x"}]);
    for _ in 0..2 {
        alice.push_again(0, action::PRESENCE, "presence", "room", enter.clone()).await;
        alice.acked(0).await;
    }
    assert_eq!(events(&watcher.received_so_far().await), [(2, "alice")]);
}

/// A client may have given up on what lies between.
#[tokio::test]
async fn serials_that_skip_ahead_are_taken() {
    let stage = Stage::start().await;
    let mut alice = stage.client("alice").await;
    for serial in [0, 1, 7, 1_000_000, 9_007_199_254_740_992] {
        alice.push_again(serial, action::MESSAGE, "messages", "room", json!([{}])).await;
        alice.acked(serial).await;
    }
}
