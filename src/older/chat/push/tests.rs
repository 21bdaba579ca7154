#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::*;
use crate::{
    core::{
        message::Body,
        serial::{Epoch, Mint},
    },
    ids::ChannelName,
};

fn payload_of(frame: &Bytes) -> String {
    let head = if frame[1] < 126 { 2 } else { 4 };
    String::from_utf8(frame[head..].to_vec()).unwrap()
}

fn entry(channel: &str, publish: Publish) -> Entry {
    Entry::new(
        ChannelName::from(channel),
        Mint::new(Epoch::new(1)).position(),
        Timestamp::from_millis(1_704_067_200_000),
        publish.publisher,
        publish.id,
        publish.body,
    )
}

fn sample() -> Push<'static> {
    Push::NewMessage {
        from_user_id: 7,
        to_user_id: 42,
        content: "ready?",
        room_id: "private_7_42",
        message_type: 1,
        message_id: "6b0160107ae27f0950b35a70",
        time: "2026-01-05 09:30:00",
    }
}

/// §4, the sample.
#[test]
fn the_push_of_the_document() {
    let entry = entry("chat:u:42", sample().publish(7, "6b0160107ae27f0950b35a70"));
    assert!(is_own(&entry) && is_from(&entry, "7") && !is_from(&entry, "42"));
    let data = r#"{"type":"new_message","from_user_id":7,"to_user_id":42,"content":"ready?","room_id":"private_7_42","message_type":1,"message_id":"6b0160107ae27f0950b35a70","time":"2026-01-05 09:30:00"}"#;
    for (frame, code) in
        [(entry.frame(&ChatJson(ChatCompat::Document)), 0), (entry.frame(&ChatJson(ChatCompat::Source)), 200)]
    {
        let expected = format!(r#"{{"code":{code},"message":"success","data":{data}}}"#);
        assert_eq!(payload_of(frame), expected);
    }
}

#[test]
fn raw_json_is_the_data_as_it_is() {
    let entry = entry("chat:u:42", publish_raw(7, "x", r#"{"a": 1.10}"#.into()));
    let expected = r#"{"code":0,"message":"success","data":{"a": 1.10}}"#;
    assert_eq!(payload_of(entry.frame(&ChatJson(ChatCompat::Document))), expected);
}

/// What others publish is told as what it is, whatever it says of itself.
#[test]
fn nobody_else_can_speak_for_a_user() {
    let forged = Publish { publisher: Some(ConnectionId::random()), ..sample().publish(7, "x") };
    let told = |channel: &str, publish: &Publish| -> Option<Value> {
        let entry = entry(channel, publish.clone());
        assert!(!is_own(&entry));
        let frame = foreign(&entry, ChatCompat::Document, &TimeZone::UTC)?;
        Some(serde_json::from_str::<Value>(&payload_of(&frame)).unwrap()["data"].clone())
    };
    let expected = json!({
        "type": "broadcast", "from_user_id": 7, "message": sample().json(), "time": "2024-01-01 00:00:00",
    });
    assert_eq!(told("chat:all", &forged), Some(expected));
    assert_eq!(told("chat:u:42", &forged), None);
    assert_eq!(told("relay:all", &forged), None);

    let mut publish = forged;
    publish.body = Body::Messages(vec![Message {
        payload: Payload { data: Data::Text("hi".into()), ..Payload::default() },
        client_id: ClientId::new("ann"),
        ..Message::default()
    }]);
    let group = told("chat:g:group_1", &publish).unwrap();
    let expected = json!({
        "type": "group_message", "group_id": "group_1", "from_user_id": 0, "content": "hi", "message_type": 1,
        "message_id": "x", "time": "2024-01-01 00:00:00",
    });
    assert_eq!(group, expected);
    let room = told("chat:r:room_1", &publish).unwrap();
    assert_eq!((&room["type"], &room["room_id"]), (&json!("new_message"), &json!("room_1")));
}

/// §4: local time without zone.
#[test]
fn times() {
    let time = Timestamp::from_millis(1_767_576_600_999);
    assert_eq!(local_time(time, &TimeZone::UTC), "2026-01-05 01:30:00");
    let shanghai = TimeZone::fixed(jiff::tz::offset(8));
    assert_eq!(local_time(time, &shanghai), "2026-01-05 09:30:00");
}
