//! JSON on one side, MessagePack on the other (T13, T14; §3.5).

use serde_json::{Value, json};

use super::stage::Stage;
use crate::support::ably::{action, binary};

/// T13: binary is base64 in JSON and bytes in MessagePack; T14: what clients have written as JSON stays a text.
#[tokio::test]
async fn t13_t14_data_between_the_formats() {
    let stage = Stage::start().await;
    let (mut json_reader, _) = stage.open("").await;
    let (mut pack_reader, _) = stage.open("format=msgpack").await;
    json_reader.attach("room").await;
    pack_reader.attach("room").await;
    let (mut json_writer, _) = stage.open("clientId=json").await;
    let (mut pack_writer, _) = stage.open("clientId=pack&format=msgpack").await;
    json_writer.attach("room").await;
    pack_writer.attach("room").await;
    let bytes = [0_u8, 0xFF, 0x10, 0xDE];
    // What is written in which format, and what is read in either: data and encoding.
    let text = json!(["foo", null]);
    for (is_pack, written, in_json, in_pack) in [
        (false, json!({"data": "foo"}), text.clone(), text.clone()),
        (true, json!({"data": "foo"}), text.clone(), text),
        (
            false,
            json!({"data": "AP8Q3g==", "encoding": "base64"}),
            json!(["AP8Q3g==", "base64"]),
            json!([binary(&bytes), null]),
        ),
        (true, json!({"data": binary(&bytes)}), json!(["AP8Q3g==", "base64"]), json!([binary(&bytes), null])),
        (
            // As Go does it.
            true,
            json!({"data": "AP8Q3g==", "encoding": "cipher+aes-128-cbc/base64"}),
            json!(["AP8Q3g==", "cipher+aes-128-cbc/base64"]),
            json!([binary(&bytes), "cipher+aes-128-cbc"]),
        ),
        (
            false,
            json!({"data": "{\"a\":[1]}", "encoding": "json"}),
            json!(["{\"a\":[1]}", "json"]),
            json!(["{\"a\":[1]}", "json"]),
        ),
        (true, json!({"data": {"a": [1]}}), json!(["{\"a\":[1]}", "json"]), json!(["{\"a\":[1]}", "json"])),
        (false, json!({"data": ""}), json!(["", null]), json!(["", null])),
        (true, json!({"data": null}), json!([null, null]), json!([null, null])),
    ] {
        for is_presence in [false, true] {
            let writer = if is_pack { &mut pack_writer } else { &mut json_writer };
            let mut item = written.clone();
            let serial = if is_presence {
                item["action"] = json!(4);
                writer.presence("room", json!([item])).await
            } else {
                writer.publish("room", json!([item])).await
            };
            writer.acked(serial).await;
            for (reader, expected) in [(&mut json_reader, &in_json), (&mut pack_reader, &in_pack)] {
                let frame = reader.next().await;
                let (action, field) = match is_presence {
                    true => (action::PRESENCE, "presence"),
                    false => (action::MESSAGE, "messages"),
                };
                assert_eq!(frame["action"], action);
                let item = &frame[field][0];
                let read = json!([item.get("data"), item.get("encoding")]);
                assert_eq!(read, *expected, "{written} {frame}");
            }
        }
    }
}

/// The same frames but for binary.
#[tokio::test]
async fn both_formats_say_the_same() {
    let stage = Stage::start().await;
    let mut seen: Vec<Vec<Value>> = Vec::new();
    let (mut first, _) = stage.open("clientId=reader").await;
    let (mut second, _) = stage.open("clientId=reader&format=msgpack").await;
    let mut bob = stage.client("bob").await;
    bob.attach("room").await;
    for reader in [&mut first, &mut second] {
        reader.attach("room").await;
    }
    let extras = json!({"headers": {"n": 1, "f": 1.5, "s": "x", "b": true}, "other": [null, {}]});
    let messages = json!([{"name": "a", "data": "x", "extras": extras}, {"id": "bad", "name": "b"}]);
    let serial = bob.publish("room", messages).await;
    bob.nacked(serial, 40031).await;
    let messages = json!([{"name": "a", "data": "x", "extras": extras}, {"name": "b"}]);
    let serial = bob.publish("room", messages).await;
    bob.acked(serial).await;
    let serial = bob.presence("room", json!([{"action": 2, "extras": extras}])).await;
    bob.acked(serial).await;
    for reader in [&mut first, &mut second] {
        seen.push(reader.received_so_far().await);
    }
    assert_eq!(seen[0].len(), 2);
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0][0]["messages"][0]["extras"], extras);
}
