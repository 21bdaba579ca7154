//! §4.5: frames that come again, because their answers were lost.

use serde_json::{Value, json};

use super::stage::{SUBSCRIBE_ONLY, Stage, connection_key, events, names};
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

/// findings A5: presence that was acknowledged is acknowledged again after a resume, before its channel is attached and
/// whether it had an effect or not; what is new has to wait until then.
#[tokio::test]
async fn presence_that_was_acknowledged_is_acknowledged_again_before_it_is_attached() {
    let stage = Stage::start().await;
    let mut watcher = stage.client("watcher").await;
    watcher.attach("room").await;
    let (mut alice, first) = stage.open("clientId=alice").await;
    alice.attach("room").await;
    let said = [json!([{"action": 3}]), json!([{"action": 2, "data": "x"}]), json!([{"action": 4, "data": "y"}])];
    for (serial, events) in said.iter().enumerate() {
        alice.push_again(serial as u64, action::PRESENCE, "presence", "room", events.clone()).await;
        alice.acked(serial as u64).await;
    }
    alice.cut();
    let query = format!("clientId=alice&resume={}", connection_key(&first));
    let (mut alice, _) = stage.open(&query).await;
    for (serial, events) in said.iter().enumerate() {
        alice.push_again(serial as u64, action::PRESENCE, "presence", "room", events.clone()).await;
        ack_of(&mut alice, serial as u64).await;
    }
    let serial = alice.presence("room", json!([{"action": 3}])).await;
    alice.nacked(serial, 90001).await;
    assert_eq!(events(&watcher.received_so_far().await), [(2, "alice"), (4, "alice")]);
}

/// findings A5: nor does it matter what the client may do by now; what it says for the first time is refused.
#[tokio::test]
async fn what_was_acknowledged_is_acknowledged_again_with_weaker_credentials() {
    let stage = Stage::start().await;
    let mut watcher = stage.client("watcher").await;
    watcher.attach("room").await;
    let (mut alice, first) = stage.open("clientId=alice").await;
    alice.attach("room").await;
    let (enter, message) = (json!([{"action": 2}]), json!([{"name": "a"}]));
    alice.push_again(0, action::PRESENCE, "presence", "room", enter.clone()).await;
    alice.acked(0).await;
    alice.push_again(1, action::MESSAGE, "messages", "room", message.clone()).await;
    alice.acked(1).await;
    alice.cut();
    let query = format!("{}&clientId=alice&resume={}", stage.query(SUBSCRIBE_ONLY), connection_key(&first));
    let (mut alice, _) = AblyClient::connect_with(&stage.server, &query).await;
    alice.push_again(0, action::PRESENCE, "presence", "room", enter).await;
    ack_of(&mut alice, 0).await;
    alice.push_again(1, action::MESSAGE, "messages", "room", message).await;
    ack_of(&mut alice, 1).await;
    let serial = alice.publish("room", json!([{"name": "b"}])).await;
    alice.nacked(serial, 40160).await;
    // Nobody remembers anything of a channel that there is not, and none is made to find that out.
    let serial = alice.publish("elsewhere", json!([{"name": "b"}])).await;
    alice.nacked(serial, 40160).await;
    let serial = alice.presence("room", json!([{"action": 4}])).await;
    alice.nacked(serial, 40160).await;
    let seen = watcher.received_so_far().await;
    assert_eq!((names(&seen), events(&seen)), (vec!["a"], vec![(2, "alice")]));
}

/// findings A6: a client that goes on by an old recovery key counts from where it was then. What it says with a number that
/// was used before is published, once.
#[tokio::test]
async fn other_content_with_a_serial_that_was_used_is_published_as_new() {
    let stage = Stage::start().await;
    let mut watcher = stage.client("watcher").await;
    watcher.attach("room").await;
    let (mut alice, first) = stage.open("clientId=alice").await;
    let said = |text: &str| json!([{"name": "n", "data": text}]);
    alice.push_again(0, action::MESSAGE, "messages", "room", said("before")).await;
    let before = ack_of(&mut alice, 0).await;
    alice.cut();
    let query = format!("clientId=alice&recover={}", connection_key(&first));
    let mut acks = vec![before];
    let mut alice = stage.open(&query).await.0;
    // Whatever differs: the data, their encoding, whose it is.
    let others = [
        said("other"),
        json!([{"name": "n", "data": "e30=", "encoding": "base64"}]),
        json!([{"name": "n", "data": "e30="}]),
        json!([{"name": "m", "data": "before"}]),
        json!([{"name": "n", "data": "before", "extras": {"headers": {"a": 1}}}]),
        json!([{"name": "n", "data": "before"}, {}]),
    ];
    for other in &others {
        alice.push_again(0, action::MESSAGE, "messages", "room", other.clone()).await;
        let ack = ack_of(&mut alice, 0).await;
        assert!(!acks.contains(&ack), "{other}: an ACK for what is not kept");
        acks.push(ack);
    }
    // Each of them is known when it comes again, the first as well.
    alice.cut();
    let mut alice = stage.open(&query).await.0;
    for (content, ack) in [&said("before")].into_iter().chain(&others).zip(&acks) {
        alice.push_again(0, action::MESSAGE, "messages", "room", content.clone()).await;
        assert_eq!(ack_of(&mut alice, 0).await, *ack);
    }
    let seen = watcher.received_so_far().await;
    assert_eq!(seen.len(), acks.len());
    let ids: std::collections::BTreeSet<_> = seen.iter().map(|frame| frame["id"].as_str()).collect();
    assert_eq!(ids.len(), acks.len(), "each has an id of its own");
}

/// findings A6: members are judged by the number, so events cannot be told under another: they are refused.
#[tokio::test]
async fn other_presence_with_a_serial_that_was_used_is_refused() {
    let stage = Stage::start().await;
    let (mut alice, first) = stage.open("clientId=alice").await;
    alice.attach("room").await;
    let enter = |data: &str| json!([{"action": 2, "data": data}]);
    alice.push_again(0, action::PRESENCE, "presence", "room", enter("a")).await;
    alice.acked(0).await;
    alice.cut();
    let query = format!("clientId=alice&recover={}", connection_key(&first));
    let (mut alice, _) = stage.open(&query).await;
    alice.attach("room").await;
    alice.expect(action::SYNC).await;
    alice.push_again(0, action::PRESENCE, "presence", "room", enter("b")).await;
    alice.nacked(0, 40030).await;
    alice.push_again(1, action::PRESENCE, "presence", "room", enter("b")).await;
    alice.acked(1).await;
    assert_eq!(stage.get("/channels/room/presence").await[0]["data"], "b");
}
