//! §5.1: names of channels.

use serde_json::{Value, json};

use super::stage::{Stage, assert_error, attach};
use crate::support::{AblyClient, TestApp, ably::action};

/// ATTACH, publish and presence; the channel is named as it was, be it by nothing at all.
#[tokio::test]
async fn bad_names_fail_the_channel_and_nothing_else() {
    let stage = Stage::start().await;
    let long = "x".repeat(2_049);
    for format in ["json", "msgpack"] {
        let (mut alice, _) = stage.open(&format!("clientId=alice&format={format}")).await;
        alice.attach("room").await;
        for name in [
            "",
            ":hell",
            "::",
            ",x",
            " x",
            "\tx",
            "\u{a0}x",
            "a\nb",
            "a\rb",
            "[",
            "[meta",
            "[meta]",
            "[nonsense]x",
            "[?rewind=1]",
            "[?rewind=1]:x",
            "[filter=]x",
            "[meta][?rewind=1]x",
            &long,
        ] {
            alice.send(attach(name)).await;
            let error = alice.expect(action::ERROR).await;
            assert_eq!(error["channel"], name);
            assert_error(&error, 40010, 400);
            let serial = alice.publish(name, json!([{}])).await;
            alice.nacked(serial, 40010).await;
            let serial = alice.presence(name, json!([{"action": 2}])).await;
            alice.nacked(serial, 40010).await;
            // There is nothing to detach from.
            alice.send(json!({"action": action::DETACH, "channel": name})).await;
            assert_eq!(alice.expect(action::DETACHED).await["channel"], name);
        }
        let serial = alice.publish("room", json!([{}])).await;
        alice.acked(serial).await;
    }
}

/// No name at all is an empty one.
#[tokio::test]
async fn frames_without_a_channel() {
    let stage = Stage::start().await;
    let mut alice = stage.client("alice").await;
    for channel in [json!({"action": 10}), json!({"action": 10, "channel": null})] {
        alice.send(channel).await;
        let error = alice.expect(action::ERROR).await;
        assert_eq!(error["channel"], "", "T1: else the connection would fail");
        assert_error(&error, 40010, 400);
    }
    alice.send(json!({"action": action::MESSAGE, "msgSerial": 0, "messages": [{}]})).await;
    alice.nacked(0, 40010).await;
    alice.send(json!({"action": action::SYNC})).await;
    assert!(alice.received_so_far().await.is_empty());
}

/// T28: to the letter, in every frame.
#[tokio::test]
async fn t28_names_are_told_as_they_were_given() {
    let stage = Stage::start().await;
    let mut bob = stage.client("bob").await;
    for name in ["Room", "room", "a/b?c&d=e", "Zürich ☃", "😀", "[?rewind=1]Qualified", "x]y", "[]z"] {
        let mut alice = stage.client("alice").await;
        if name.starts_with("[]") {
            // An empty qualifier is one that nobody knows.
            alice.send(attach(name)).await;
            assert_eq!(alice.expect(action::ERROR).await["channel"], name);
            continue;
        }
        assert_eq!(alice.attach(name).await["channel"], name);
        let base = name.rsplit_once("1]").map_or(name, |(_, base)| base);
        let serial = bob.publish(base, json!([{"name": name}])).await;
        bob.acked(serial).await;
        let message = alice.expect(action::MESSAGE).await;
        assert_eq!(message["channel"], name);
        assert_eq!(message["messages"][0]["name"], name);
        let serial = alice.presence(name, json!([{"action": 2}])).await;
        alice.acked(serial).await;
        let sync = json!({"action": action::SYNC, "channel": name});
        alice.send(sync).await;
        let mut frame = alice.next().await;
        if frame["action"] == action::PRESENCE {
            assert_eq!(frame["channel"], name);
            frame = alice.next().await;
        }
        assert_eq!(frame["action"], action::SYNC);
        assert_eq!(frame["channel"], name);
        alice.send(json!({"action": action::DETACH, "channel": name})).await;
        let mut frame = alice.next().await;
        while frame["action"] == action::PRESENCE {
            frame = alice.next().await;
        }
        assert_eq!(frame["action"], action::DETACHED);
        assert_eq!(frame["channel"], name);
    }
}

/// Two names of one channel are two attachments, each with its own modes and params.
#[tokio::test]
async fn two_names_of_one_channel() {
    let stage = Stage::start().await;
    let mut alice = stage.client("alice").await;
    alice.attach("room").await;
    let attached = alice.attach("[?rewind=5&modes=subscribe]room").await;
    assert_eq!(attached["flags"], 1 << 18);
    assert_eq!(attached["params"], json!({"rewind": "5", "modes": "subscribe"}));
    // Publishing by either is publishing to the channel; but each has its own modes.
    let serial = alice.publish("[?modes=publish]room", json!([{"name": "x"}])).await;
    let mut frames = alice.acked(serial).await;
    while frames.len() < 2 {
        frames.push(alice.expect(action::MESSAGE).await);
    }
    let mut channels: Vec<&Value> = frames.iter().map(|frame| &frame["channel"]).collect();
    channels.sort_by_key(|channel| channel.to_string());
    assert_eq!(channels, ["[?rewind=5&modes=subscribe]room", "room"]);
    let [first, second] = [&frames[0], &frames[1]];
    assert_eq!(first["messages"], second["messages"]);
    assert_eq!(first["channelSerial"], second["channelSerial"]);
    let serial = alice.publish("[?rewind=5&modes=subscribe]room", json!([{}])).await;
    alice.nacked(serial, 40165).await;

    // One ends, the other goes on.
    alice.send(json!({"action": action::DETACH, "channel": "room"})).await;
    alice.expect(action::DETACHED).await;
    let mut bob = stage.client("bob").await;
    let serial = bob.publish("room", json!([{"name": "y"}])).await;
    bob.acked(serial).await;
    let message = alice.expect(action::MESSAGE).await;
    assert_eq!(message["channel"], "[?rewind=5&modes=subscribe]room");
    assert!(alice.answered_so_far().await.is_empty());
}

/// Capabilities are asked about the base; metachannels are resources of their own, to listen only.
#[tokio::test]
async fn capabilities_and_qualified_names() {
    let stage = Stage::start().await;
    let capability = r#"{"room":["*"],"[meta]log":["subscribe"]}"#;
    let setup = json!({"keys": [{"capability": capability}, {"capability": r#"{"[*]*":["*"]}"#}]});
    let app = TestApp::create(&stage.server, setup).await;
    let mut alice = AblyClient::connect(&stage.server, &app.keys[0]).await;
    alice.attach("[?rewind=1]room").await;
    let serial = alice.publish("[?rewind=1]room", json!([{}])).await;
    alice.acked(serial).await;
    alice.attach("[meta]log").await;
    for channel in ["[?rewind=1]other", "[meta]room", "log"] {
        alice.send(attach(channel)).await;
        let error = loop {
            let frame = alice.next().await;
            if frame["action"] != action::MESSAGE {
                break frame;
            }
        };
        assert_eq!(error["channel"], channel);
        assert_error(&error, 40160, 401);
    }
    let mut anybody = AblyClient::connect(&stage.server, &app.keys[1]).await;
    let serial = anybody.publish("[meta]log", json!([{}])).await;
    anybody.nacked(serial, 40160).await;
}
