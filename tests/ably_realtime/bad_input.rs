//! What is no good frame: told with a code, in the protocol's shape, and nobody else notices.

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::stage::{Stage, assert_error, attach, names};
use crate::support::{AblyClient, ably::action};

/// A stage with somebody who must not notice anything.
async fn stage() -> (Stage, AblyClient) {
    let stage = Stage::start().await;
    let mut witness = stage.client("witness").await;
    witness.attach("room").await;
    (stage, witness)
}

async fn assert_unmoved(stage: &Stage, mut witness: AblyClient) {
    let mut bob = stage.client("bob").await;
    let serial = bob.publish("room", json!([{"name": "fine"}])).await;
    bob.acked(serial).await;
    assert_eq!(names(&witness.received_so_far().await), ["fine"]);
}

/// The connection ends, with an ERROR of its own.
async fn assert_fatal(mut client: AblyClient, code: u64, status: u64) {
    let error = client.expect(action::ERROR).await;
    assert_error(&error, code, status);
    assert_eq!(error.get("channel"), None);
    client.expect_end().await;
}

#[tokio::test]
async fn frames_that_cannot_be_read() {
    let (stage, witness) = stage().await;
    let deep = "[".repeat(10_000);
    for text in [
        "",
        "{",
        "nonsense",
        "[]",
        "[{}]",
        "1",
        "null",
        "\"x\"",
        "{\"action\":}",
        "{}{}",
        &deep,
        "{\"action\":15,\"messages\":[[[",
    ] {
        let (mut client, _) = stage.open("").await;
        client.send_raw(Message::text(text)).await;
        assert_fatal(client, 40001, 400).await;
    }
    let deep = [&[0x91_u8; 10_000][..], &[0xC0]].concat();
    for bytes in [
        &b""[..],
        b"\xc1",
        b"\x81",
        b"\x81\xa6action",
        b"\x01",
        b"\xc0",
        b"\x90",
        b"{}",
        &deep,
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        // `messages` is said to have four billion items.
        b"\x81\xa8messages\xdd\xff\xff\xff\xff",
    ] {
        let (mut client, _) = stage.open("format=msgpack").await;
        client.send_raw(Message::binary(bytes.to_vec())).await;
        assert_fatal(client, 40001, 400).await;
    }
    // The other format than was agreed.
    let (mut client, _) = stage.open("format=msgpack").await;
    client.send_raw(Message::text("{\"action\":0}")).await;
    assert_fatal(client, 40001, 400).await;
    let (mut client, _) = stage.open("").await;
    client.send_raw(Message::binary(b"\x81\xa6action\x00".to_vec())).await;
    assert_fatal(client, 40001, 400).await;
    assert_unmoved(&stage, witness).await;
}

/// A value of every type in every field: refused as a frame, or as a publish, or of no meaning; never
/// taken for something else, and the server goes on.
#[tokio::test]
async fn fields_of_wrong_types() {
    let (stage, witness) = stage().await;
    let values = [
        json!("text"),
        json!(""),
        json!(-1),
        json!(1.5),
        json!(1e300),
        json!(true),
        json!([]),
        json!([1]),
        json!([[]]),
        json!(["x"]),
        json!({}),
        json!({"a": {"b": []}}),
    ];
    let fields = [
        "action",
        "id",
        "channel",
        "channelSerial",
        "msgSerial",
        "count",
        "flags",
        "params",
        "auth",
        "messages",
        "presence",
        "connectionId",
        "error",
        "timestamp",
        "unheard",
    ];
    let items = [
        "id",
        "name",
        "data",
        "encoding",
        "clientId",
        "connectionId",
        "connectionKey",
        "timestamp",
        "extras",
        "action",
        "serial",
        "version",
        "unheard",
    ];
    for format in ["json", "msgpack"] {
        for base in [action::ATTACH, action::MESSAGE, action::PRESENCE, action::AUTH] {
            for field in fields {
                for value in &values {
                    let mut frame = json!({"action": base, "channel": "bad", "msgSerial": 0});
                    frame[field] = value.clone();
                    assert_answered(&stage, format, frame).await;
                }
            }
        }
        for (base, list) in [(action::MESSAGE, "messages"), (action::PRESENCE, "presence")] {
            for field in items {
                for value in &values {
                    let mut item = json!({"action": 2 * u64::from(list == "presence")});
                    item[field] = value.clone();
                    let mut frame = json!({"action": base, "channel": "bad", "msgSerial": 0});
                    frame[list] = json!([item]);
                    assert_answered(&stage, format, frame).await;
                }
            }
        }
    }
    assert_unmoved(&stage, witness).await;
}

/// Whatever it is answered, errors have a code and a status of the client's fault; and the connection either
/// is told its end or lives.
async fn assert_answered(stage: &Stage, format: &str, frame: Value) {
    let (mut client, _) = stage.open(&format!("clientId=bad&format={format}")).await;
    client.send(frame.clone()).await;
    client.send(json!({"action": action::HEARTBEAT, "id": "alive"})).await;
    loop {
        let answer = client.next().await;
        if answer.get("error").is_some() {
            let error = &answer["error"];
            let (code, status) = (error["code"].as_u64(), error["statusCode"].as_u64());
            let is_known = code.is_some_and(|code| (40_000..100_000).contains(&code));
            assert!(is_known, "{frame}: {answer}");
            assert!(status.is_some_and(|status| (400..500).contains(&status)), "{answer}");
        }
        if answer["action"] == action::ERROR && answer.get("channel").is_none() {
            return client.expect_end().await;
        }
        if answer["action"] == action::HEARTBEAT && answer["id"] == "alive" {
            return;
        }
    }
}

/// What only a server says, and what nobody knows, is passed over; objects and annotations are refused.
#[tokio::test]
async fn actions_that_mean_nothing_here() {
    let (stage, witness) = stage().await;
    for format in ["json", "msgpack"] {
        let (mut client, _) = stage.open(&format!("format={format}")).await;
        let nothing = [1, 2, 3, 4, 6, 8, 9, 11, 13, 18, 20, 22, 99, u64::from(u32::MAX)];
        for action in nothing {
            let frame = json!({"action": action, "channel": "room", "msgSerial": 0});
            client.send(frame).await;
        }
        assert!(client.answered_so_far().await.is_empty());
        // A frame of objects without any publishes nothing; annotations need a rule that allows them (§9).
        client.send(json!({"action": action::OBJECT, "channel": "room", "msgSerial": 0})).await;
        client.acked(0).await;
        client.send(json!({"action": action::ANNOTATION, "channel": "room", "msgSerial": 1})).await;
        client.nacked(1, 93002).await;
    }
    assert_unmoved(&stage, witness).await;
}

/// A publish with more items than there may be is refused, and only that.
#[tokio::test]
async fn more_items_than_there_may_be() {
    let (stage, witness) = stage().await;
    for format in ["json", "msgpack"] {
        let (mut client, _) = stage.open(&format!("clientId=x&format={format}")).await;
        client.attach("crowd").await;
        for count in [1_001, 20_000] {
            let messages: Vec<Value> = (0..count).map(|_| json!({})).collect();
            let serial = client.publish("crowd", json!(messages)).await;
            client.nacked(serial, 40034).await;
            let events: Vec<Value> = (0..count).map(|_| json!({"action": 4})).collect();
            let serial = client.presence("crowd", json!(events)).await;
            client.nacked(serial, 40034).await;
        }
        let messages: Vec<Value> = (0..1_000).map(|_| json!({})).collect();
        let serial = client.publish("crowd", json!(messages)).await;
        let before = client.acked(serial).await;
        let frame = match before.into_iter().next() {
            Some(frame) => frame,
            None => client.expect(action::MESSAGE).await,
        };
        assert_eq!(frame["messages"].as_array().map(Vec::len), Some(1_000));
    }
    assert_unmoved(&stage, witness).await;
}

/// §3.7: the sum over one frame; at the limit, and one byte above.
#[tokio::test]
async fn a_publish_that_is_too_large() {
    let (stage, witness) = stage().await;
    let mut client = stage.client("me").await;
    for (name, data, is_fine) in [("", 65_534, true), ("n", 65_533, true), ("n", 65_534, false)] {
        let messages = json!([{"name": name, "data": "x".repeat(data - 100)}, {"data": "x".repeat(98)}]);
        let serial = client.publish("large", messages).await;
        match is_fine {
            true => {
                client.acked(serial).await;
            }
            false => {
                let nack = client.nacked(serial, 40009).await;
                assert_error(&nack, 40009, 413);
            }
        }
    }
    assert_unmoved(&stage, witness).await;
}

/// Beyond `maxFrameSize` nothing is read any more.
#[tokio::test]
async fn a_frame_that_is_too_large() {
    let (stage, witness) = stage().await;
    for format in ["json", "msgpack"] {
        let (mut client, connected) = stage.open(&format!("format={format}")).await;
        let most = connected["connectionDetails"]["maxFrameSize"].as_u64().unwrap();
        let most = usize::try_from(most).unwrap();
        let written = match format {
            "json" => Message::text(" ".repeat(most + 1)),
            _ => Message::binary(vec![0; most + 1]),
        };
        client.send_raw(written).await;
        assert_fatal(client, 40009, 413).await;
    }
    assert_unmoved(&stage, witness).await;
}

/// Random bytes after good ones: whatever was good before counts, and the rest is told.
#[tokio::test]
async fn a_connection_that_goes_bad() {
    let (stage, witness) = stage().await;
    let mut watcher = stage.client("watcher").await;
    watcher.attach("side").await;
    let mut client = stage.client("bad").await;
    client.attach("side").await;
    let serial = client.presence("side", json!([{"action": 2}])).await;
    client.acked(serial).await;
    client.received_so_far().await;
    client.send_raw(Message::text("}{")).await;
    client.send(attach("after")).await;
    assert_fatal(client, 40001, 400).await;
    // Its connection is over, so its members leave.
    let seen = [watcher.expect(action::PRESENCE).await, watcher.expect(action::PRESENCE).await];
    assert_eq!(super::stage::events(&seen), [(2, "bad"), (3, "bad")]);
    assert_unmoved(&stage, witness).await;
}

/// findings A9: what a frame says wrong is named with what was found and what is allowed, also where it ends nothing.
#[tokio::test]
async fn errors_name_the_field_what_was_found_and_what_is_allowed() {
    let stage = Stage::start().await;
    for (frame, said) in [
        (json!({"action": action::ATTACH, "channel": 5}), ["channel", "`5`", "a string"]),
        (json!({"action": "x"}), ["action", "\"x\"", "a whole number"]),
        (json!({"action": 17, "auth": 5}), ["auth", "`5`", "an object"]),
    ] {
        for format in ["", "format=msgpack"] {
            let (mut client, _) = stage.open(format).await;
            client.send(frame.clone()).await;
            let error = client.expect(action::ERROR).await;
            assert_error(&error, 40001, 400);
            let message = error["error"]["message"].as_str().unwrap();
            assert!(said.iter().all(|word| message.contains(word)), "{frame}: {message}");
        }
    }
    let mut client = stage.client("alice").await;
    let attach = |params| json!({"action": action::ATTACH, "channel": "room", "params": params});
    for (frame, code, status, said) in [
        (attach(json!({"rewind": "abc"})), 40003, 400, ["rewind", "\"abc\"", "a number"]),
        (attach(json!({"rewind": "s"})), 40003, 400, ["rewind", "found \"s\"", "a number"]),
        (attach(json!({"modes": "publish,fly"})), 40003, 400, ["modes", "\"fly\"", "presence_subscribe"]),
        (attach(json!({"delta": "x"})), 40003, 400, ["delta", "\"x\"", "vcdiff"]),
        (attach(json!({"occupancy": "x"})), 40003, 400, ["occupancy", "\"x\"", "metrics"]),
        (json!({"action": action::ATTACH, "channel": ":x"}), 40010, 400, ["channel name", "\":x\"", "first character"]),
    ] {
        client.send(frame.clone()).await;
        let error = client.expect(action::ERROR).await;
        assert_error(&error, code, status);
        let message = error["error"]["message"].as_str().unwrap();
        assert!(said.iter().all(|word| message.contains(word)), "{frame}: {message}");
    }
    // No position is not a position that is too old.
    let attached = client.attach_with(super::stage::attach_after("room", &json!("no serial"))).await;
    assert_error(&attached, 90003, 404);
    let message = attached["error"]["message"].as_str().unwrap();
    assert!(message.contains("channelSerial") && message.contains("\"no serial\""), "{message}");
    let mut reader = AblyClient::connect(&stage.server, &stage.app.keys[super::stage::SUBSCRIBE_ONLY]).await;
    let serial = reader.publish("room", json!([{"data": "x"}])).await;
    let message = reader.nacked(serial, 40160).await["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("publish on \"room\"") && message.contains("they permit subscribe there"), "{message}");
    let serial = client.presence("room", json!([{"action": 9}])).await;
    let message = client.nacked(serial, 40000).await["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("presence.action: found 9; allowed: 2"), "{message}");
}

/// findings A9: a field of a wrong type in a publish is that publish's fault only; the connection and what else is
/// published on it go on.
#[tokio::test]
async fn a_publish_that_cannot_be_read_is_refused_alone() {
    let (stage, witness) = stage().await;
    for format in ["json", "msgpack"] {
        let (mut client, _) = stage.open(&format!("clientId=bad&format={format}")).await;
        let (message, presence) = (action::MESSAGE, action::PRESENCE);
        let frames = [
            (json!({"action": message, "messages": [{"data": "a"}, {"name": 5}]}), "messages[1].name"),
            (json!({"action": message, "messages": [{"name": {}}]}), "messages[0].name"),
            (json!({"action": message, "messages": [{"id": 5}]}), "messages[0].id"),
            (json!({"action": message, "messages": [{"encoding": 7}]}), "messages[0].encoding"),
            (json!({"action": message, "messages": 5}), "messages"),
            (json!({"action": message, "id": 5}), "id"),
            (json!({"action": message, "channel": []}), "channel"),
            (json!({"action": presence, "presence": [{"clientId": 5}]}), "presence[0].clientId"),
            (json!({"action": presence, "presence": {"action": 2}}), "presence"),
        ];
        // The first one names no serial, and so has 0.
        for (serial, (mut frame, named)) in frames.into_iter().enumerate() {
            if serial > 0 {
                frame["msgSerial"] = json!(serial);
            }
            client.send(frame.clone()).await;
            let nack = client.nacked(serial as u64, 40001).await;
            assert_error(&nack, 40001, 400);
            let message = nack["error"]["message"].as_str().unwrap();
            assert!(message.contains(&format!("{named}: ")) && message.contains("expected"), "{frame}: {message}");
        }
        let fine = json!({"action": message, "channel": "aside", "msgSerial": 100, "messages": [{"name": "x"}]});
        client.send(fine).await;
        client.acked(100).await;
        // Who cannot be told by a serial is told by the end.
        client.send(json!({"action": message, "channel": "aside", "msgSerial": "x", "messages": 5})).await;
        assert_fatal(client, 40001, 400).await;
    }
    assert_unmoved(&stage, witness).await;
}
