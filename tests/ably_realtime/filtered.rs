//! §5.7: `[filter=…]name` gives the messages that an expression chooses.

use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use serde_json::{Value, json};

use super::stage::{Stage, attach_after, names};
use crate::support::ably::action;

fn filtered(expression: &str) -> String {
    format!("[filter={}]room", BASE64_STANDARD.encode(expression))
}

fn numbered(name: &str, number: u64) -> Value {
    json!({"name": name, "extras": {"headers": {"number": number}}})
}

#[tokio::test]
async fn only_what_is_chosen_arrives_as_it_was_published() {
    let stage = Stage::start().await;
    let mut alice = stage.anybody().await;
    let mut all = stage.anybody().await;
    let chosen = filtered(r#"name == `"x"` && headers.number == `7`"#);
    alice.attach(&chosen).await;
    // The same, URL-safe and without padding, is another attachment; and one for everything beside them.
    let other = format!("[filter={}]room", BASE64_URL_SAFE_NO_PAD.encode("name == 'y'"));
    alice.attach(&other).await;
    all.attach("room").await;
    let mut bob = stage.client("bob").await;
    for messages in [
        json!([numbered("x", 7)]),
        json!([numbered("x", 8)]),
        json!([numbered("y", 7), numbered("x", 7), {"name": "x"}, numbered("x", 7)]),
        json!([{"name": "z"}]),
    ] {
        let serial = bob.publish("room", messages).await;
        bob.acked(serial).await;
    }
    let whole = all.received_so_far().await;
    let heard = alice.received_so_far().await;
    let by = |name: &str| heard.iter().filter(|frame| frame["channel"] == name).cloned().collect::<Vec<Value>>();
    assert_eq!(names(&by(&chosen)), ["x", "x", "x"]);
    assert_eq!(names(&by(&other)), ["y"]);
    assert_eq!(heard.len(), 3, "{heard:?}");
    // A part of a frame keeps the ids and the serials that its messages have for everybody else.
    let original = &whole[2];
    let part = &by(&chosen)[1];
    assert_eq!(part["channelSerial"], original["channelSerial"]);
    assert_eq!(part.get("id"), None);
    for (place, index) in [(0, 1), (1, 3)] {
        let message = &part["messages"][place];
        let frame_id = original["id"].as_str().expect("an id");
        assert_eq!(message["id"], format!("{frame_id}:{index}"));
        assert_eq!(message["serial"], original["messages"][index]["serial"]);
    }
}

/// What was missed is filtered as well.
#[tokio::test]
async fn rewind_and_resume_are_filtered() {
    let stage = Stage::start().await;
    let mut bob = stage.client("bob").await;
    for name in ["a", "b", "a"] {
        let serial = bob.publish("room", json!([{"name": name}, {"name": "b"}])).await;
        bob.acked(serial).await;
    }
    let mut alice = stage.anybody().await;
    let chosen = filtered("name == 'a'");
    let attached =
        alice.attach_with(json!({"action": action::ATTACH, "channel": chosen, "params": {"rewind": "10"}})).await;
    assert_eq!(names(&alice.received_so_far().await), ["a", "a"]);
    let mut again = stage.anybody().await;
    again.attach_with(attach_after(&chosen, &attached["channelSerial"])).await;
    assert_eq!(names(&again.received_so_far().await), ["a", "a"]);
}

/// Presence is not filtered.
#[tokio::test]
async fn presence_passes() {
    let stage = Stage::start().await;
    let mut alice = stage.anybody().await;
    alice.attach(&filtered("name == 'a'")).await;
    let mut bob = stage.client("bob").await;
    bob.attach("room").await;
    let serial = bob.presence("room", json!([{"action": 2}])).await;
    bob.acked(serial).await;
    let heard = alice.received_so_far().await;
    assert!(heard.iter().any(|frame| frame["action"] == action::PRESENCE), "{heard:?}");
}

#[tokio::test]
async fn filters_that_are_none() {
    let stage = Stage::start().await;
    let mut alice = stage.anybody().await;
    let encoded = |expression: &str| BASE64_STANDARD.encode(expression);
    for text in [
        encoded("name =="),
        encoded("[name, name]"),
        encoded("headers.*"),
        encoded("sort_by(headers.list, &x)"),
        encoded(&format!("{}name{}", "(".repeat(300), ")".repeat(300))),
        encoded(&format!("name == '{}'", "x".repeat(1_100))),
        BASE64_STANDARD.encode(b"\xff\xfe"),
        "!!!".to_owned(),
    ] {
        let channel = format!("[filter={text}]room");
        alice.send(json!({"action": action::ATTACH, "channel": channel})).await;
        let refused = alice.expect(action::ERROR).await;
        assert_eq!((&refused["channel"], &refused["error"]["code"]), (&json!(channel), &json!(40003)), "{refused}");
    }
    // The connection goes on, and the channel has room for filters that are right.
    alice.attach(&filtered("name")).await;
}

/// Each different filter costs something for every message of the channel.
#[tokio::test]
async fn a_channel_has_so_many_filters() {
    let stage = Stage::start().await;
    let mut alice = stage.anybody().await;
    for number in 0..32 {
        alice.attach(&filtered(&format!("name == '{number}'"))).await;
    }
    let channel = filtered("name == 'one more'");
    alice.send(json!({"action": action::ATTACH, "channel": channel})).await;
    let refused = alice.expect(action::ERROR).await;
    assert_eq!(refused["error"]["code"], 42910, "{refused}");
    // Whoever has a filter that is there already is welcome.
    let mut other = stage.anybody().await;
    other.attach(&filtered("name == '7'")).await;
    let first = filtered("name == '0'");
    alice.send(json!({"action": action::DETACH, "channel": first})).await;
    alice.expect(action::DETACHED).await;
    alice.attach(&channel).await;
}
