//! §8.5: attachments that start with the last messages.

use serde_json::{Value, json};

use super::stage::{Stage, attach_after, names, told};
use crate::support::ably::{action, flag};

fn rewind(value: &str) -> Value {
    json!({"action": action::ATTACH, "channel": "room", "params": {"rewind": value}})
}

async fn with_past(past: &[&str]) -> Stage {
    let stage = Stage::start().await;
    let mut bob = stage.client("bob").await;
    for name in past {
        let serial = bob.publish("room", json!([{"name": name}])).await;
        bob.acked(serial).await;
    }
    stage
}

#[tokio::test]
async fn the_last_messages_in_their_order_then_what_is_new() {
    let stage = with_past(&["a", "b", "c"]).await;
    for (value, expected) in [
        ("1", &["c"][..]),
        ("2", &["b", "c"]),
        ("100", &["a", "b", "c"]),
        ("2m", &["a", "b", "c"]),
        ("60s", &["a", "b", "c"]),
        ("0", &[]),
    ] {
        let mut alice = stage.anybody().await;
        let attached = alice.attach_with(rewind(value)).await;
        let has_backlog = if expected.is_empty() { 0 } else { flag::HAS_BACKLOG };
        assert_eq!(told(&attached), has_backlog, "{value}");
        let rewound = alice.received_so_far().await;
        assert_eq!(names(&rewound), expected);
        if let Some(first) = rewound.first() {
            // Who comes back by the position of ATTACHED gets the same.
            assert!(attached["channelSerial"].as_str() < first["channelSerial"].as_str());
            let mut again = stage.anybody().await;
            let position = &attached["channelSerial"];
            again.attach_with(attach_after("room", position)).await;
            assert_eq!(again.received_so_far().await, rewound);
        }
    }
    let mut alice = stage.anybody().await;
    let mut limited = rewind("2m");
    limited["params"]["rewindLimit"] = json!("2");
    alice.attach_with(limited).await;
    assert_eq!(names(&alice.received_so_far().await), ["b", "c"]);
}

/// Neither lost nor doubled where the past meets the present.
#[tokio::test]
async fn a_rewind_under_traffic() {
    let stage = with_past(&[]).await;
    let mut bob = stage.client("bob").await;
    let mut readers = Vec::new();
    let mut last = 0;
    for number in 0..100 {
        last = bob.publish("room", json!([{"name": number.to_string()}])).await;
        if number % 10 == 5 {
            let mut reader = stage.anybody().await;
            reader.attach_with(rewind("3")).await;
            readers.push(reader);
        }
    }
    bob.acked(last).await;
    for mut reader in readers {
        let heard = reader.received_so_far().await;
        let heard: Vec<u64> = names(&heard).iter().map(|name| name.parse().unwrap()).collect();
        let expected: Vec<u64> = (heard[0]..100).collect();
        assert_eq!(heard, expected);
    }
}

/// T26b: who is attached already has had everything; nor is anything rewound for who names a position, or was
/// attached before.
#[tokio::test]
async fn t26b_only_a_first_attach_is_rewound() {
    let stage = with_past(&["a"]).await;
    let mut alice = stage.anybody().await;
    alice.attach("room").await;
    let attached = alice.attach_with(rewind("1")).await;
    assert_eq!(told(&attached), flag::RESUMED);
    assert!(alice.received_so_far().await.is_empty());

    let mut after = attach_after("room", &attached["channelSerial"]);
    after["params"] = json!({"rewind": "1"});
    let mut alice = stage.anybody().await;
    assert_eq!(told(&alice.attach_with(after).await), flag::RESUMED);
    assert!(alice.received_so_far().await.is_empty());

    let mut again = rewind("1");
    again["flags"] = json!(32);
    let mut alice = stage.anybody().await;
    assert_eq!(told(&alice.attach_with(again).await), 0);
    assert!(alice.received_so_far().await.is_empty());

    // By name, as Go and Python do it; and again after a detach.
    let mut alice = stage.anybody().await;
    for _ in 0..2 {
        let attached = alice.attach("[?rewind=1]room").await;
        assert_eq!(told(&attached), flag::HAS_BACKLOG);
        assert_eq!(names(&alice.received_so_far().await), ["a"]);
        let detach = json!({"action": action::DETACH, "channel": "[?rewind=1]room"});
        alice.send(detach).await;
        alice.expect(action::DETACHED).await;
    }
}

/// Presence is not rewound, nor what was ephemeral; nor is anything for who does not subscribe.
#[tokio::test]
async fn what_is_not_rewound() {
    let stage = with_past(&["a"]).await;
    let mut bob = stage.client("bob").await;
    bob.attach("room").await;
    let serial = bob.presence("room", json!([{"action": 2}, {"action": 3}])).await;
    bob.acked(serial).await;
    let ephemeral = json!([{"name": "now", "extras": {"ephemeral": true}}]);
    let serial = bob.publish("room", ephemeral).await;
    bob.acked(serial).await;
    let mut alice = stage.anybody().await;
    alice.attach_with(rewind("9")).await;
    let rewound = alice.received_so_far().await;
    assert_eq!(names(&rewound), ["a"]);
    assert_eq!(rewound.len(), 1, "{rewound:?}");
    let mut alice = stage.anybody().await;
    let mut mute = rewind("9");
    mute["flags"] = json!(flag::PUBLISH);
    assert_eq!(told(&alice.attach_with(mute).await), 0);
    assert!(alice.received_so_far().await.is_empty());
}
