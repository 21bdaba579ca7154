//! What REST answers with, in both formats.

use serde::Serialize;

use super::*;

#[track_caller]
fn assert_body(write: impl Fn(Format) -> Bytes, expected: &str) {
    assert_eq!(std::str::from_utf8(&write(Format::Json)).unwrap(), expected);
    let expected = packed(&serde_json::from_str(expected).unwrap());
    assert_eq!(sorted(unpack(&write(Format::Msgpack))), sorted(expected));
}

#[test]
fn history_says_everything_about_each_message() {
    let of_frame = Arc::new(entry(frame_id(), Body::Messages(vec![text("a", "1"), text("b", "2")])));
    let by_rest = Arc::new(entry(EntryId::Item("mine".into()), Body::Messages(vec![Message::default()])));
    let page = [(of_frame, 1), (by_rest, 0)];
    assert_body(
        |format| encode_value(format, &items::messages(&page, format)),
        r#"[{"id":"2mzN0sXLqw4f:7:1","name":"b","data":"2","connectionId":"2mzN0sXLqw4f","timestamp":1722945600123,"serial":"01722945600123-000@00000000000abcf9:001","action":0},{"id":"mine","timestamp":1722945600123,"serial":"01722945600123-000@00000000000abcf9:000","action":0}]"#,
    );
    assert_body(|format| encode_value(format, &items::messages(&[], format)), "[]");
}

#[test]
fn one_message() {
    let entry = entry(frame_id(), Body::Messages(vec![binary(b"a")]));
    let json = encode_value(Format::Json, &items::message(&entry, 0, Format::Json).unwrap());
    let json: Value = serde_json::from_slice(&json).unwrap();
    assert_eq!((&json["data"], &json["encoding"]), (&"YQ==".into(), &"base64".into()));
    assert!(items::message(&entry, 1, Format::Json).is_none());
}

#[test]
fn presence_history_has_the_real_actions_and_the_members_are_present() {
    let leave = PresenceEvent {
        id: Some("2mzN0sXLqw4f:7:0".into()),
        action: PresenceAction::Leave,
        client_id: client("bob"),
        payload: Payload::default(),
        extras: None,
    };
    let page = [(Arc::new(entry(frame_id(), Body::Presence(vec![leave]))), 0)];
    assert_body(
        |format| encode_value(format, &items::presence(&page, format)),
        r#"[{"id":"2mzN0sXLqw4f:7:0","action":3,"clientId":"bob","connectionId":"2mzN0sXLqw4f","timestamp":1722945600123}]"#,
    );
    let members = [member("2mzN0sXLqw4f:3:0", "a")];
    assert_body(
        |format| encode_value(format, &items::members(&members, format)),
        r#"[{"id":"2mzN0sXLqw4f:3:0","action":1,"clientId":"a","connectionId":"2mzN0sXLqw4f","timestamp":1722945600123}]"#,
    );
}

#[test]
fn the_error_body() {
    let error = ErrorInfo::from(&Fault::ChannelForbidden).with("channel", "chat:42");
    assert_body(
        |format| encode_value(format, &ErrorBody { error: &error }),
        r#"{"error":{"code":40160,"statusCode":401,"message":"the credentials do not allow this channel","href":"https://help.ably.io/error/40160","detail":{"channel":"chat:42"}}}"#,
    );
}

#[test]
fn small_bodies_of_any_type() {
    #[derive(Debug, PartialEq, Serialize, serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Reply {
        message_id: String,
        serials: Vec<Option<String>>,
    }
    let reply = Reply { message_id: "kV1bQ8w2".into(), serials: vec![Some("s".into()), None] };
    for format in [Format::Json, Format::Msgpack] {
        let body = encode_value(format, &reply);
        assert_eq!(decode_value::<Reply>(format, &body).as_ref(), Ok(&reply));
        assert!(decode_value::<Reply>(format, b"\x01").is_err());
    }
}
