//! §5.3: what an ATTACH is answered, and §5.6: which params are told back.

use serde_json::{Value, json};

use super::stage::{DEFAULT_MODES, EVERYTHING, PUBLISH_ONLY, SUBSCRIBE_ONLY, Stage, assert_error, attach, names, told};
use crate::support::{
    AblyClient,
    ably::{action, flag},
};

fn with_flags(channel: &str, flags: u64) -> Value {
    json!({"action": action::ATTACH, "channel": channel, "flags": flags})
}

fn with_params(channel: &str, params: Value) -> Value {
    json!({"action": action::ATTACH, "channel": channel, "params": params})
}

/// The channel is told that it has failed; the connection lives.
async fn assert_failed(client: &mut AblyClient, frame: Value, code: u64, status: u64) {
    let channel = frame["channel"].clone();
    client.send(frame).await;
    let error = client.expect(action::ERROR).await;
    assert_eq!(error["channel"], channel, "{error}");
    assert_error(&error, code, status);
    assert!(client.answered_so_far().await.is_empty());
}

/// T30: the modes that were granted, not those that were asked for; the default with annotations.
#[tokio::test]
async fn t30_attached_says_which_modes_are_granted() {
    let stage = Stage::start().await;
    let mut alice = stage.client("alice").await;
    assert_eq!(alice.attach("default").await["flags"], DEFAULT_MODES);
    // ATTACH_RESUME, and bits that nobody knows, are no modes.
    for other in [32, 16, 1 << 20, 1 << 23, 1 << 40] {
        let attached = alice.attach_with(with_flags("other", other)).await;
        assert_eq!(attached["flags"], DEFAULT_MODES | told(&attached));
    }
    for wanted in [flag::SUBSCRIBE, flag::PUBLISH | flag::PRESENCE, 1 << 22, 1 << 24 | 1 << 25] {
        let channel = format!("only-{wanted}");
        let attached = alice.attach_with(with_flags(&channel, wanted)).await;
        // Whoever subscribes to objects is sent them, even where there are none (docs/protocols/ably.md §10.5).
        let has_objects = if wanted & flag::OBJECT_SUBSCRIBE == 0 { 0 } else { flag::HAS_OBJECTS };
        assert_eq!(attached["flags"], wanted | has_objects);
    }

    let query = stage.query(SUBSCRIBE_ONLY);
    let (mut reader, _) = AblyClient::connect_with(&stage.server, &query).await;
    let attached = reader.attach("room").await;
    assert_eq!(attached["flags"], flag::SUBSCRIBE | flag::PRESENCE_SUBSCRIBE);
    let wanted = flag::SUBSCRIBE | flag::PUBLISH;
    let attached = reader.attach_with(with_flags("room2", wanted)).await;
    assert_eq!(attached["flags"], flag::SUBSCRIBE);
}

/// The rows of §5.3 that fail, and T32: by an ERROR, as none of them will ever succeed.
#[tokio::test]
async fn t32_an_attach_that_never_succeeds_fails_the_channel() {
    let stage = Stage::start().await;
    let query = stage.query(PUBLISH_ONLY);
    let (mut writer, _) = AblyClient::connect_with(&stage.server, &query).await;
    let unmet = with_flags("room", flag::SUBSCRIBE);
    assert_failed(&mut writer, unmet, 40160, 401).await;
    writer.attach("room").await;

    let token = json!({"capability": r#"{"mine":["*"]}"#});
    let (mut nobody, _) = stage.with_token(&stage.token(token).await).await;
    assert_failed(&mut nobody, attach("yours"), 40160, 401).await;
    let (mut nobody, _) = stage.with_token(&stage.token(json!({})).await).await;
    assert_failed(&mut nobody, attach("known:room"), 40161, 401).await;
    let mut alice = stage.client("alice").await;
    alice.attach("known:room").await;

    for params in [
        json!({"rewind": "abc"}),
        json!({"rewind": "-1"}),
        json!({"rewind": true}),
        json!({"rewind": "1", "rewindLimit": "many"}),
        json!({"delta": "xdelta"}),
        json!({"modes": "fly"}),
        json!({"occupancy": "some"}),
    ] {
        assert_failed(&mut alice, with_params("room", params), 40003, 400).await;
    }
}

#[tokio::test]
async fn a_connection_may_attach_to_so_many_channels() {
    let stage = Stage::with(|config| config.limits.channels_per_connection = 2).await;
    let mut alice = stage.client("alice").await;
    alice.attach("one").await;
    alice.attach("[?rewind=1]one").await;
    assert_failed(&mut alice, attach("two"), 90010, 400).await;
    // Once more to the same is no more.
    alice.attach("one").await;
    alice.send(json!({"action": action::DETACH, "channel": "one"})).await;
    alice.expect(action::DETACHED).await;
    alice.attach("two").await;
}

/// T31: those that are known, as they were given; of the others nothing.
#[tokio::test]
async fn t31_params_are_told_back() {
    let stage = Stage::start().await;
    for format in ["json", "msgpack"] {
        let (mut alice, _) = stage.open(&format!("format={format}")).await;
        for (place, (params, echo)) in [
            (json!({"modes": "subscribe", "delta": "vcdiff"}), None),
            (json!({"rewind": "2m", "rewindLimit": "5"}), None),
            (json!({"occupancy": "metrics.subscribers"}), None),
            (json!({"appendMode": "full"}), None),
            (json!({"rewind": 3}), Some(json!({"rewind": "3"}))),
            (json!({"nonexistent": "foo", "agent": "x/1"}), Some(json!({}))),
            (json!({}), Some(json!({}))),
        ]
        .into_iter()
        .enumerate()
        {
            let channel = format!("room{place}");
            let frame = with_params(&channel, params.clone());
            let attached = alice.attach_with(frame).await;
            let told = attached.get("params").cloned().unwrap_or(json!({}));
            assert_eq!(told, echo.unwrap_or(params), "{attached}");
        }
    }
}

/// §2.4: the param means the same as the bits, and counts if there are both.
#[tokio::test]
async fn modes_by_param() {
    let stage = Stage::start().await;
    let mut alice = stage.client("alice").await;
    let mut frame = with_params("room", json!({"modes": "presence,subscribe"}));
    frame["flags"] = json!(flag::PUBLISH | flag::PRESENCE_SUBSCRIBE);
    let attached = alice.attach_with(frame).await;
    assert_eq!(attached["flags"], flag::PRESENCE | flag::SUBSCRIBE);
    assert_eq!(attached["params"], json!({"modes": "presence,subscribe"}));
    let serial = alice.publish("room", json!([{}])).await;
    alice.nacked(serial, 40165).await;
}

/// Changed in place, and nothing was missed: no message twice, none lost.
#[tokio::test]
async fn attaching_again_changes_the_attachment() {
    let stage = Stage::start().await;
    let mut alice = stage.client("alice").await;
    let publishing = with_flags("room", flag::PUBLISH);
    assert_eq!(alice.attach_with(publishing.clone()).await["flags"], flag::PUBLISH);
    let serial = alice.publish("room", json!([{"name": "unheard"}])).await;
    assert!(alice.acked(serial).await.is_empty());
    let both = with_flags("room", flag::PUBLISH | flag::SUBSCRIBE);
    let attached = alice.attach_with(both).await;
    assert_eq!(attached["flags"], flag::PUBLISH | flag::SUBSCRIBE | flag::RESUMED);
    let mut bob = stage.client("bob").await;
    for name in ["a", "b"] {
        let serial = bob.publish("room", json!([{"name": name}])).await;
        bob.acked(serial).await;
    }
    assert_eq!(names(&alice.received_so_far().await), ["a", "b"]);
    let attached = alice.attach_with(publishing).await;
    assert_eq!(attached["flags"], flag::PUBLISH | flag::RESUMED);
    let serial = bob.publish("room", json!([{"name": "unheard"}])).await;
    bob.acked(serial).await;
    assert!(alice.received_so_far().await.is_empty());
}

/// ATTACHED, then who is present, then what was missed, then what is new (T47).
#[tokio::test]
async fn the_order_of_frames_after_an_attach() {
    let stage = Stage::start().await;
    let mut bob = stage.client("bob").await;
    let start = bob.attach("room").await["channelSerial"].clone();
    let serial = bob.presence("room", json!([{"action": 2}])).await;
    bob.acked(serial).await;
    let serial = bob.publish("room", json!([{"name": "missed"}])).await;
    bob.acked(serial).await;

    let query = stage.query(EVERYTHING);
    let (mut alice, _) = AblyClient::connect_with(&stage.server, &query).await;
    let frame = super::stage::attach_after("room", &start);
    let attached = alice.attach_with(frame).await;
    assert_eq!(told(&attached), flag::HAS_PRESENCE | flag::HAS_BACKLOG | flag::RESUMED);
    let serial = bob.publish("room", json!([{"name": "live"}])).await;
    bob.acked(serial).await;
    let mut actions = Vec::new();
    for _ in 0..4 {
        actions.push(alice.next().await["action"].clone());
    }
    let expected = [action::SYNC, action::PRESENCE, action::MESSAGE, action::MESSAGE];
    assert_eq!(actions, expected);
}
