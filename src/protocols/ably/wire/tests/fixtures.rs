//! The files that the SDKs' own suites read (`fixtures/README.md`).

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::json;

use super::*;

fn fixture(name: &str) -> Value {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/fixtures/ably");
    let path = std::path::Path::new(folder).join(name);
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap()
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

fn without_null(item: &Value, keys: &[&str]) -> Value {
    let fields = item.as_object().unwrap().iter();
    let kept = fields.filter(|(key, value)| keys.contains(&key.as_str()) && !value.is_null());
    Value::Object(kept.map(|(key, value)| (key.clone(), value.clone())).collect())
}

#[test]
fn messages_encoding() {
    for item in fixture("messages-encoding.json")["messages"].as_array().unwrap() {
        let wanted = item.get("expectedValue").unwrap_or(&item["expectedHexValue"]);
        for (format, body) in both(&item.to_string()) {
            let message = published(format, &body).unwrap();
            let (kind, value) = understood(&message.payload.data, &message.payload.encoding);
            assert_eq!((kind, &value), (item["expectedType"].as_str().unwrap(), wanted));

            let frame =
                encode_as(&entry(frame_id(), Body::Messages(vec![message.clone()])), Format::Json, "room", None);
            let frame: Value = serde_json::from_str(json(&frame)).unwrap();
            let sent = without_null(&frame["messages"][0], &["data", "encoding"]);
            assert_eq!(sent, without_null(item, &["data", "encoding"]));
        }
    }
}

#[test]
fn presence_messages_encoding() {
    for item in fixture("presence-messages-encoding.json")["messages"].as_array().unwrap() {
        let wanted = item.get("expectedValue").unwrap_or(&item["expectedHexValue"]);
        let frame = json!({ "action": 14, "presence": [item] }).to_string();
        for (format, bytes) in both(&frame) {
            let mut received = decode(format, &bytes).unwrap().presence.remove(0);
            assert_eq!(Some(received.action), item["action"].as_u64());
            // The file also has the actions that only servers send.
            received.action = 2;
            let event = received.into_event("c:0:0".into(), client("bob")).unwrap();
            let (kind, value) = understood(&event.payload.data, &event.payload.encoding);
            assert_eq!((kind, &value), (item["expectedType"].as_str().unwrap(), wanted));

            let frame = encode_as(&entry(frame_id(), Body::Presence(vec![event])), Format::Json, "room", None);
            let frame: Value = serde_json::from_str(json(&frame)).unwrap();
            let sent = without_null(&frame["presence"][0], &["data", "encoding"]);
            assert_eq!(sent, without_null(item, &["data", "encoding"]));
        }
    }
}

#[test]
fn msgpack_test_fixtures() {
    let cases = fixture("msgpack_test_fixtures.json");
    for case in cases.as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let bytes = BASE64_STANDARD.decode(case["msgpack"].as_str().unwrap()).unwrap();
        let mut frame = decode(Format::Msgpack, &bytes).unwrap();
        assert_eq!(frame.msg_serial, Some(0), "{name}");
        let message = frame.messages.remove(0).into_message(None).unwrap();

        let kind = case["type"].as_str().unwrap();
        let repeat = usize::try_from(case["numRepeat"].as_u64().unwrap()).unwrap();
        let wanted = match kind {
            "string" => json!(case["data"].as_str().unwrap().repeat(repeat)),
            "binary" => json!(hex::encode(case["data"].as_str().unwrap().repeat(repeat))),
            _ => case["data"].clone(),
        };
        let got = understood(&message.payload.data, &message.payload.encoding);
        assert_eq!(got, (kind, wanted), "{name}");

        // Sent on, text stays text, and binary is binary although the file has it as base64 (trap T13).
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
}
