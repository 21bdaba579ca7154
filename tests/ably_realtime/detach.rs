//! §5.4: the end of an attachment.

use serde_json::{Value, json};

use super::stage::{Stage, events};
use crate::support::{AblyClient, ably::action};

fn detach(channel: &str) -> Value {
    json!({"action": action::DETACH, "channel": channel})
}

async fn assert_detached(client: &mut AblyClient, channel: &str) {
    client.send(detach(channel)).await;
    let detached = client.expect(action::DETACHED).await;
    assert_eq!(detached, json!({"action": 13, "channel": channel}));
}

#[tokio::test]
async fn detach_is_always_answered() {
    let stage = Stage::start().await;
    for format in ["json", "msgpack"] {
        let (mut alice, _) = stage.open(&format!("format={format}")).await;
        assert_detached(&mut alice, "never").await;
        alice.attach("room").await;
        assert_detached(&mut alice, "room").await;
        assert_detached(&mut alice, "room").await;
    }
}

#[tokio::test]
async fn nothing_follows_detached_and_members_leave() {
    let stage = Stage::start().await;
    let mut bob = stage.client("bob").await;
    bob.attach("room").await;
    let mut alice = stage.client("alice").await;
    alice.attach("room").await;
    let serial = alice.presence("room", json!([{"action": 2}])).await;
    alice.acked(serial).await;
    // Messages fly while it detaches.
    for _ in 0..50 {
        bob.publish("room", json!([{}])).await;
    }
    alice.send(detach("room")).await;
    let serial = bob.publish("room", json!([{}])).await;
    let mut seen = bob.acked(serial).await;
    seen.extend(bob.received_so_far().await);
    assert_eq!(events(&seen), [(2, "alice"), (3, "alice")]);
    let mut last = alice.next().await;
    while last["action"] != action::DETACHED {
        last = alice.next().await;
    }
    assert!(alice.answered_so_far().await.is_empty());
    // It needs an attachment to be present.
    let serial = alice.presence("room", json!([{"action": 2}])).await;
    alice.nacked(serial, 90001).await;
}

/// findings C14: requests that cross are answered in their order, each.
#[tokio::test]
async fn attach_and_detach_in_quick_succession() {
    let stage = Stage::start().await;
    let mut alice = stage.client("alice").await;
    for _ in 0..20 {
        alice.send(super::stage::attach("room")).await;
        alice.send(detach("room")).await;
    }
    alice.send(super::stage::attach("room")).await;
    // None is skipped (§5.4), and the last word is the last wish.
    let mut last = Value::Null;
    for _ in 0..41 {
        last = alice.next().await;
        assert_eq!(last["channel"], "room", "{last}");
    }
    assert_eq!(last["action"], action::ATTACHED);
    let serial = alice.publish("room", json!([{"name": "x"}])).await;
    let before = alice.acked(serial).await;
    if before.is_empty() {
        alice.expect(action::MESSAGE).await;
    }
}
