//! §5.3: where an attachment starts, and what it is told about what it missed (T29, T33, T34).

use letshare_server::config::Config;
use serde_json::{Value, json};

use super::stage::{Stage, assert_error, attach_after, events, names, told};
use crate::support::{
    AblyClient,
    ably::{action, flag},
};

async fn publish(client: &mut AblyClient, names: &[&str]) {
    for name in names {
        let serial = client.publish("room", json!([{"name": name}])).await;
        client.acked(serial).await;
    }
}

/// Attaches with this position on a connection of its own; what comes before anything new.
async fn after(stage: &Stage, serial: &Value) -> (Value, Vec<Value>) {
    let mut client = stage.anybody().await;
    let attached = client.attach_with(attach_after("room", serial)).await;
    (attached, client.received_so_far().await)
}

/// T29: nothing is missed and it is said so; on any connection (it is the channel that goes on).
#[tokio::test]
async fn t29_a_position_that_is_retained() {
    let stage = Stage::start().await;
    let mut bob = stage.client("bob").await;
    let mut positions = vec![bob.attach("room").await["channelSerial"].clone()];
    let all = ["a", "b", "c", "d"];
    for name in all {
        let serial = bob.publish("room", json!([{"name": name}, {"name": "+"}])).await;
        let before = bob.acked(serial).await;
        let message = match before.into_iter().next() {
            Some(message) => message,
            None => bob.expect(action::MESSAGE).await,
        };
        positions.push(message["channelSerial"].clone());
    }
    assert!(positions.is_sorted_by_key(|serial| serial.to_string()), "§3.8");
    for (place, position) in positions.iter().enumerate() {
        let (attached, backlog) = after(&stage, position).await;
        let has_backlog = if place < 4 { flag::HAS_BACKLOG } else { 0 };
        assert_eq!(told(&attached), flag::RESUMED | has_backlog);
        assert_eq!(attached["channelSerial"], *position);
        assert_eq!(attached.get("error"), None);
        let expected = all[place..].iter().flat_map(|name| [*name, "+"]);
        assert_eq!(names(&backlog), expected.collect::<Vec<_>>());
        let serials: Vec<_> = backlog.iter().map(|frame| &frame["channelSerial"]).collect();
        assert_eq!(serials, positions[place + 1..].iter().collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn without_a_position_it_starts_at_the_head() {
    let stage = Stage::start().await;
    let mut bob = stage.client("bob").await;
    publish(&mut bob, &["a"]).await;
    for none in [json!(null), json!("")] {
        let (attached, backlog) = after(&stage, &none).await;
        assert_eq!(told(&attached), 0);
        assert!(backlog.is_empty());
        let (attached, _) = after(&stage, &attached["channelSerial"]).await;
        assert_eq!(told(&attached), flag::RESUMED, "its position is the head");
    }
}

/// T33: presence moves the cursor, so it is replayed too; ephemeral messages are not.
#[tokio::test]
async fn t33_all_that_has_a_position_is_replayed() {
    let stage = Stage::start().await;
    let mut bob = stage.client("bob").await;
    let start = bob.attach("room").await["channelSerial"].clone();
    let serial = bob.presence("room", json!([{"action": 2}])).await;
    bob.acked(serial).await;
    publish(&mut bob, &["a"]).await;
    let ephemeral = json!([{"name": "now", "extras": {"ephemeral": true}}]);
    let serial = bob.publish("room", ephemeral).await;
    bob.acked(serial).await;
    let serial = bob.presence("room", json!([{"action": 3}])).await;
    bob.acked(serial).await;
    let heard = bob.received_so_far().await;
    let (_, replayed) = after(&stage, &start).await;
    assert_eq!(events(&replayed), [(2, "bob"), (3, "bob")]);
    assert_eq!(names(&replayed), ["a"]);
    drop(heard);

    // Live: every frame of the log has a position, and they only go forwards.
    let mut alice = stage.anybody().await;
    let mut last = alice.attach("room").await["channelSerial"].clone();
    let serial = bob.presence("room", json!([{"action": 2}])).await;
    bob.acked(serial).await;
    let ephemeral = json!([{"name": "now", "extras": {"ephemeral": true}}]);
    let serial = bob.publish("room", ephemeral).await;
    bob.acked(serial).await;
    publish(&mut bob, &["b"]).await;
    for frame in alice.received_so_far().await {
        let serial = &frame["channelSerial"];
        assert!(serial.as_str() > last.as_str(), "{frame}");
        // Whatever stands there can be come back by, without a gap.
        let (attached, _) = after(&stage, serial).await;
        assert_ne!(told(&attached) & flag::RESUMED, 0, "{frame}");
        last = serial.clone();
    }
}

/// What is left, and the verdict that something may be missing.
#[tokio::test]
async fn a_position_that_is_too_old() {
    let stage = Stage::with(|config| config.history.channel_entries = 2).await;
    let mut bob = stage.client("bob").await;
    let start = bob.attach("room").await["channelSerial"].clone();
    publish(&mut bob, &["a", "b", "c", "d"]).await;
    let (attached, backlog) = after(&stage, &start).await;
    assert_error(&attached, 90003, 404);
    assert_eq!(told(&attached), flag::HAS_BACKLOG);
    assert_eq!(names(&backlog), ["c", "d"]);
    let first = &backlog[0]["channelSerial"];
    assert!(attached["channelSerial"].as_str() < first.as_str());
}

/// What a client missed does not count as read too slowly: it comes whole, be it more than may wait for it.
#[tokio::test]
async fn a_backlog_that_is_longer_than_an_outbox() {
    let small = |config: &mut Config| {
        config.websocket.max_message_bytes = 4096;
        config.limits.outbox_bytes = 8192;
    };
    let stage = Stage::with(small).await;
    let mut bob = stage.client("bob").await;
    let start = bob.attach("room").await["channelSerial"].clone();
    let all: Vec<String> = (0..40).map(|number| number.to_string()).collect();
    for name in &all {
        let message = json!([{"name": name, "data": "x".repeat(1000)}]);
        let serial = bob.publish("room", message).await;
        bob.acked(serial).await;
        bob.received_so_far().await;
    }
    let (attached, backlog) = after(&stage, &start).await;
    assert_eq!(told(&attached), flag::RESUMED | flag::HAS_BACKLOG);
    assert_eq!(names(&backlog), all);
}

/// T34: a position of a log that is gone, or none at all, is told as such, whatever it compares to.
#[tokio::test]
async fn t34_a_position_of_another_log() {
    let stage = Stage::start().await;
    let mut bob = stage.client("bob").await;
    publish(&mut bob, &["a"]).await;
    let other = bob.attach("elsewhere").await["channelSerial"].clone();
    let own = bob.attach("room").await["channelSerial"].clone();
    let own = own.as_str().unwrap();
    let (time, _) = own.split_once('@').expect("a series");
    for foreign in [
        other,
        json!(format!("{time}@abcdefgh")),
        json!("01722945600123-000@abcF9k2"),
        json!("nonsense"),
        json!("😀"),
        json!(format!("{own}:000")),
        json!("x".repeat(100_000)),
    ] {
        let (attached, backlog) = after(&stage, &foreign).await;
        assert_error(&attached, 90003, 404);
        assert_eq!(told(&attached), 0, "{foreign}");
        assert!(backlog.is_empty());
        let (attached, _) = after(&stage, &attached["channelSerial"]).await;
        assert_eq!(told(&attached), flag::RESUMED);
    }
}

/// An older position than what was delivered: the client has dropped what came since.
#[tokio::test]
async fn an_attached_client_may_go_back() {
    let stage = Stage::start().await;
    let mut bob = stage.client("bob").await;
    let mut alice = stage.anybody().await;
    alice.attach("room").await;
    publish(&mut bob, &["a", "b", "c"]).await;
    let heard = alice.received_so_far().await;
    let attached = alice.attach_with(attach_after("room", &heard[0]["channelSerial"])).await;
    assert_eq!(told(&attached), flag::RESUMED | flag::HAS_BACKLOG);
    assert_eq!(names(&alice.received_so_far().await), ["b", "c"]);
}

/// The slice that is missing under traffic: nothing lost, doubled or out of order.
#[tokio::test]
async fn coming_back_in_the_middle_of_traffic() {
    let stage = Stage::start().await;
    let mut bob = stage.client("bob").await;
    let mut position = stage.anybody().await.attach("room").await["channelSerial"].clone();
    let mut heard = Vec::new();
    let mut sent = 0_u64;
    for round in 0..20 {
        for _ in 0..10 {
            bob.publish("room", json!([{"name": sent.to_string()}])).await;
            sent += 1;
        }
        let mut alice = stage.anybody().await;
        let attached = alice.attach_with(attach_after("room", &position)).await;
        assert_ne!(told(&attached) & flag::RESUMED, 0);
        for _ in 0..round % 7 {
            let message = alice.expect(action::MESSAGE).await;
            position = message["channelSerial"].clone();
            heard.push(message);
        }
        alice.cut();
    }
    bob.acked(sent - 1).await;
    let (_, rest) = after(&stage, &position).await;
    heard.extend(rest);
    let expected: Vec<String> = (0..sent).map(|number| number.to_string()).collect();
    assert_eq!(names(&heard), expected);
}
