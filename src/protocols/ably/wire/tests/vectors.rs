//! What comes in is understood as an SDK would, and goes out as it came (docs/protocols/ably.md §3.5): text, JSON in a text,
//! binary as base64. Our own vectors in every run; the files that the SDKs' suites read where their folder is named.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::json;

use super::*;
use crate::config::fixtures;

/// An item as a client sends it with JSON, and what it means: `expectedType` with `expectedValue`, or `expectedHexValue`
/// where it is binary. The names are those of the published files.
fn vectors() -> Value {
    json!([
        { "data": "grüße, 世界", "expectedType": "string", "expectedValue": "grüße, 世界" },
        { "data": "", "encoding": null, "expectedType": "string", "expectedValue": "" },
        // Text that looks like JSON is text as long as no encoding says otherwise.
        { "data": "{\"at\": 7}", "encoding": null, "expectedType": "string", "expectedValue": "{\"at\": 7}" },
        {
            "data": "{\"at\":7,\"who\":[\"x\",-2.5,{\"deep\":null}]}", "encoding": "json",
            "expectedType": "jsonObject", "expectedValue": { "at": 7, "who": ["x", -2.5, { "deep": null }] },
        },
        { "data": "[true,[],\"y\"]", "encoding": "json", "expectedType": "jsonArray", "expectedValue": [true, [], "y"] },
        { "data": "AP8QgH8=", "encoding": "base64", "expectedType": "binary", "expectedHexValue": "00ff10807f" },
        // Bytes that happen to be UTF-8 stay bytes.
        { "data": "cGxhaW4=", "encoding": "base64", "expectedType": "binary", "expectedHexValue": "706c61696e" },
    ])
}

/// What an SDK makes of data and encoding; binary as hex.
fn understood(data: &Data, encoding: &str) -> (&'static str, Value) {
    match (data, encoding) {
        (Data::Text(text), "") => ("string", json!(&**text)),
        (Data::Text(text), "json") => match serde_json::from_str(text).unwrap() {
            list @ Value::Array(_) => ("jsonArray", list),
            object => ("jsonObject", object),
        },
        (Data::Binary(bytes), "") => ("binary", json!(hex::encode(bytes))),
        other => panic!("{other:?}"),
    }
}

fn expected(item: &Value) -> (&str, &Value) {
    let value = item.get("expectedValue").unwrap_or(&item["expectedHexValue"]);
    (item["expectedType"].as_str().unwrap(), value)
}

fn data_and_encoding(item: &Value) -> Value {
    let fields = item.as_object().unwrap().iter();
    let kept = fields.filter(|(key, value)| matches!(&***key, "data" | "encoding") && !value.is_null());
    Value::Object(kept.map(|(key, value)| (key.clone(), value.clone())).collect())
}

/// What goes out with JSON in the only item of a frame.
fn sent(body: Body, list: &str) -> Value {
    let frame = encode_as(&entry(frame_id(), body), Format::Json, "room", None);
    data_and_encoding(&serde_json::from_str::<Value>(json(&frame)).unwrap()[list][0])
}

fn a_message_is_understood_and_sent_on(item: &Value) {
    for (format, body) in both(&item.to_string()) {
        let message = published(format, &body).unwrap();
        let (kind, value) = understood(&message.payload.data, &message.payload.encoding);
        assert_eq!((kind, &value), expected(item));
        assert_eq!(sent(Body::Messages(vec![message]), "messages"), data_and_encoding(item));
    }
}

fn a_member_is_understood_and_sent_on(item: &Value) {
    let frame = json!({ "action": 14, "presence": [item] }).to_string();
    for (format, bytes) in both(&frame) {
        let mut received = decode(format, &bytes).unwrap().presence.remove(0);
        assert_eq!(Some(received.action), item["action"].as_u64());
        // The vectors also have the actions that only servers send.
        received.action = 2;
        let event = received.into_event("c:0:0".into(), client("bob")).unwrap();
        let (kind, value) = understood(&event.payload.data, &event.payload.encoding);
        assert_eq!((kind, &value), expected(item));
        assert_eq!(sent(Body::Presence(vec![event]), "presence"), data_and_encoding(item));
    }
}

/// `bytes` are a frame of MessagePack with one message.
fn a_packed_frame_is_understood_and_sent_on(name: &str, bytes: &[u8], wanted: (&str, Value)) {
    let mut frame = decode(Format::Msgpack, bytes).unwrap();
    assert_eq!(frame.msg_serial, Some(0), "{name}");
    let message = frame.messages.remove(0).into_message(None).unwrap();
    let got = understood(&message.payload.data, &message.payload.encoding);
    assert_eq!(got, wanted, "{name}");

    // Sent on, text stays text, and binary is binary although it came as base64 (trap T13).
    let sent = entry(frame_id(), Body::Messages(vec![message.clone()]));
    let sent = encode_as(&sent, Format::Msgpack, "room", None);
    let sent = unpack(payload(&sent, Format::Msgpack));
    let item = &sent["messages"][0];
    match &message.payload.data {
        Data::Text(text) => assert_eq!(item["data"].as_str(), Some(&**text), "{name}"),
        Data::Binary(bytes) => assert_eq!(item["data"], Pack::Binary(bytes.to_vec()), "{name}"),
        Data::None => panic!("{name} has no data"),
    }
    // And read again it is the same.
    let mut again = decode(Format::Msgpack, &pack(&sent)).unwrap();
    assert_eq!(again.messages.remove(0).into_message(None), Ok(message), "{name}");
}

#[test]
fn messages() {
    vectors().as_array().unwrap().iter().for_each(a_message_is_understood_and_sent_on);
}

#[test]
fn members() {
    for (action, item) in vectors().as_array_mut().unwrap().iter_mut().enumerate() {
        item["action"] = json!(action % 5);
        a_member_is_understood_and_sent_on(item);
    }
}

/// MessagePack writes a text in one of four ways and bytes in one of three, by their length.
#[test]
fn packed_frames_of_every_length() {
    let frame = |data: Pack, encoding: Option<&str>| {
        let mut item = vec![("data".into(), data)];
        item.extend(encoding.map(|encoding| ("encoding".into(), encoding.into())));
        let messages = Pack::Array(vec![Pack::Map(item)]);
        pack(&Pack::Map(vec![("messages".into(), messages), ("msgSerial".into(), 0.into())]))
    };
    for length in [0_usize, 1, 31, 32, 255, 256, 65_000] {
        let text = "q".repeat(length);
        let bytes: Vec<u8> = (0..=255).cycle().take(length).collect();
        let binary = || ("binary", json!(hex::encode(&bytes)));
        let name = format!("{length} bytes");
        a_packed_frame_is_understood_and_sent_on(&name, &frame(text.as_str().into(), None), ("string", json!(text)));
        a_packed_frame_is_understood_and_sent_on(&name, &frame(Pack::Binary(bytes.clone()), None), binary());
        let base64 = BASE64_STANDARD.encode(&bytes);
        a_packed_frame_is_understood_and_sent_on(&name, &frame(base64.into(), Some("base64")), binary());
    }
    for (kind, value) in [("jsonObject", json!({ "list": [1.5, { "x": "y" }] })), ("jsonArray", json!(["x", 2, null]))]
    {
        let bytes = frame(value.to_string().into(), Some("json"));
        a_packed_frame_is_understood_and_sent_on(kind, &bytes, (kind, value));
    }
}

#[test]
fn published_messages() {
    let Some(file) = fixtures::published("messages-encoding.json") else { return };
    file["messages"].as_array().unwrap().iter().for_each(a_message_is_understood_and_sent_on);
}

#[test]
fn published_members() {
    let Some(file) = fixtures::published("presence-messages-encoding.json") else { return };
    file["messages"].as_array().unwrap().iter().for_each(a_member_is_understood_and_sent_on);
}

#[test]
fn published_packed_frames() {
    let Some(cases) = fixtures::published("msgpack_test_fixtures.json") else { return };
    for case in cases.as_array().unwrap() {
        let kind = case["type"].as_str().unwrap();
        let repeat = usize::try_from(case["numRepeat"].as_u64().unwrap()).unwrap();
        let wanted = match kind {
            "string" => json!(case["data"].as_str().unwrap().repeat(repeat)),
            "binary" => json!(hex::encode(case["data"].as_str().unwrap().repeat(repeat))),
            _ => case["data"].clone(),
        };
        let bytes = BASE64_STANDARD.decode(case["msgpack"].as_str().unwrap()).unwrap();
        a_packed_frame_is_understood_and_sent_on(case["name"].as_str().unwrap(), &bytes, (kind, wanted));
    }
}
