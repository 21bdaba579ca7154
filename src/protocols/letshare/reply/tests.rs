use super::*;
use crate::core::message::{Data, Payload};
use crate::core::{
    message::{Body, EntryId},
    serial::{Epoch, Mint},
};

const NOW: Timestamp = Timestamp::from_millis(1_704_067_200_000);

/// The payload of a short or medium server frame.
fn payload(frame: &Bytes) -> &str {
    let header = if frame[1] < 126 { 2 } else { 4 };
    std::str::from_utf8(&frame[header..]).expect("UTF-8")
}

/// docs/protocols/letshare.md §2.2, letter by letter.
#[test]
fn confirmations() {
    assert_eq!(
        payload(&subscribed("小明的 房间", "signal:a", NOW)),
        r#"{"type":"subscribed","channel":"小明的 房间","event":"signal:a","data":{"event":"signal:a","room":"小明的 房间","status":"subscribed"},"timestamp":1704067200000}"#
    );
    assert_eq!(
        payload(&subscribed("ab", "", NOW)),
        r#"{"type":"subscribed","channel":"ab","data":{"event":"","room":"ab","status":"subscribed"},"timestamp":1704067200000}"#
    );
    assert_eq!(
        payload(&unsubscribed("ab", "signal:all", NOW)),
        r#"{"type":"unsubscribed","channel":"ab","event":"signal:all","data":{"room":"ab","status":"unsubscribed"},"timestamp":1704067200000}"#
    );
}

#[test]
fn errors() {
    assert_eq!(
        payload(&error(&Reply::new(400, "缺少频道名称", "channel is missing"), NOW)),
        r#"{"type":"error","timestamp":1704067200000,"error":{"code":400,"message":"缺少频道名称"},"reason":"channel is missing"}"#
    );
}

#[test]
fn messages_carry_the_data_byte_for_byte() {
    let message = Message {
        name: "signal:\"x\"".into(),
        payload: Payload::json(r#"{ "n":12345678901234567890,"s":"<&>" }"#.into()),
        ..Message::default()
    };
    let entry = entry(vec![message]);
    assert_eq!(
        payload(entry.frame(&LetShareJson)),
        r#"{"type":"message","channel":"ab","event":"signal:\"x\"","data":{ "n":12345678901234567890,"s":"<&>" },"timestamp":1704067200000}"#
    );
}

fn entry(messages: Vec<Message>) -> Entry {
    let serial = Mint::new(Epoch::new(1)).mint(NOW);
    let body = Body::Messages(messages);
    Entry::new("ab".into(), serial, NOW, None, EntryId::Serial, body)
}

/// What an Ably client publishes in a room, as a page gets it.
#[test]
fn messages_of_other_protocols() {
    let with = |data, encoding: &'static str| Message {
        payload: Payload { data, encoding: encoding.into(), ..Payload::default() },
        ..Message::default()
    };
    let data = |message| {
        let frame = entry(vec![message]).frame(&LetShareJson).clone();
        payload(&frame)
            .replace(r#"{"type":"message","channel":"ab","data":"#, "")
            .replace(r#","timestamp":1704067200000}"#, "")
    };
    let text = |text: &'static str| Data::Text(text.into());
    assert_eq!(data(with(text("a\"b"), "")), r#""a\"b""#);
    assert_eq!(data(with(text("[1]"), "json")), "[1]");
    assert_eq!(data(with(text("[1"), "json")), r#""[1""#);
    assert_eq!(data(with(text("[1]"), "utf-8")), r#""[1]""#);
    assert_eq!(data(with(Data::Binary(Bytes::from_static(b"\x01")), "")), r#""AQ==""#);
    assert_eq!(data(Message::default()), "null");

    let two = entry(vec![with(text("1"), "json"), with(text("2"), "json")]);
    let frames = two.frame(&LetShareJson);
    assert_eq!(frames.iter().filter(|byte| **byte == 0x81).count(), 2);
}
