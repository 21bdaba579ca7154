//! Frames and bodies as clients send them.

use secrecy::ExposeSecret as _;
use serde_json::json;

use super::*;

#[test]
fn an_attach_is_read_in_both_formats() {
    let frame = r#"{"action":10,"channel":"chat:42","flags":327680,"params":{"rewind":"5"},"channelSerial":"01722945600123-000@abcF9k2"}"#;
    for (format, bytes) in both(frame) {
        let frame = decode(format, &bytes).unwrap();
        assert_eq!(frame.action, Action::ATTACH);
        assert_eq!(frame.channel.as_deref(), Some("chat:42"));
        assert_eq!(frame.flags, 327_680);
        assert_eq!(frame.params, Params::from([("rewind".into(), "5".into())]));
        assert_eq!(frame.channel_serial.as_deref(), Some("01722945600123-000@abcF9k2"));
        assert_eq!((frame.msg_serial, frame.count), (None, None));
    }
}

#[test]
fn the_other_fields_of_a_frame() {
    let frame = r#"{"action":17,"auth":{"accessToken":"a.b.c","clientId":"x"},"id":"p1","count":2,
        "annotations":[{}],"state":null,"unknown":{"deep":[1,{}]},"connectionDetails":{"a":1}}"#;
    for (format, bytes) in both(frame) {
        let frame = decode(format, &bytes).unwrap();
        assert_eq!(frame.action, Action::AUTH);
        assert_eq!(frame.access_token.unwrap().expose_secret(), "a.b.c");
        assert_eq!(frame.id.as_deref(), Some("p1"));
        assert_eq!(frame.count, Some(2));
        assert_eq!(frame.annotations.len(), 1);
    }
    assert!(!format!("{:?}", decode(Format::Json, br#"{"auth":{"accessToken":"a.b.c"}}"#)).contains("a.b.c"));
}

#[test]
fn numbers_come_in_every_width_and_as_floats() {
    for number in [Pack::from(15u8), Pack::F64(15.0), Pack::F32(15.0), Pack::from(15i64)] {
        let frame = Pack::Map(vec![("action".into(), number)]);
        assert_eq!(decode(Format::Msgpack, &pack(&frame)).unwrap().action, Action::MESSAGE);
    }
    for wide in [
        &b"\x81\xa6action\xcc\x0f"[..],
        b"\x81\xa6action\xcd\x00\x0f",
        b"\x81\xa6action\xce\x00\x00\x00\x0f",
        b"\x81\xa6action\xcf\x00\x00\x00\x00\x00\x00\x00\x0f",
        b"\x81\xa6action\xd0\x0f",
        b"\x81\xa6action\xd3\x00\x00\x00\x00\x00\x00\x00\x0f",
    ] {
        assert_eq!(decode(Format::Msgpack, wide).unwrap().action, Action::MESSAGE);
    }
    assert_eq!(decode(Format::Json, br#"{"msgSerial":3.0}"#).unwrap().msg_serial, Some(3));
    for bad in [r#"{"msgSerial":3.5}"#, r#"{"msgSerial":-1}"#, r#"{"msgSerial":1e300}"#, r#"{"msgSerial":"3"}"#] {
        assert!(decode(Format::Json, bad.as_bytes()).is_err(), "{bad}");
    }
}

#[test]
fn null_and_undefined_are_absent() {
    let frame = r#"{"action":null,"id":null,"channel":null,"channelSerial":null,"msgSerial":null,"count":null,
        "flags":null,"params":null,"auth":null,"messages":null,"presence":null,"annotations":null}"#;
    for (format, bytes) in both(frame) {
        let frame = decode(format, &bytes).unwrap();
        assert_eq!((frame.action, frame.channel), (Action::HEARTBEAT, None));
    }
    // ably-js writes undefined as the extension 0.
    let undefined = || Pack::Ext(0, vec![0]);
    let item = Pack::Map(vec![
        ("name".into(), undefined()),
        ("data".into(), undefined()),
        ("extras".into(), undefined()),
        ("other".into(), undefined()),
    ]);
    let frame = Pack::Map(vec![
        ("channel".into(), undefined()),
        ("msgSerial".into(), undefined()),
        ("messages".into(), Pack::Array(vec![item])),
    ]);
    let mut frame = decode(Format::Msgpack, &pack(&frame)).unwrap();
    assert_eq!((frame.channel, frame.msg_serial), (None, None));
    assert_eq!(frame.messages.remove(0).into_message(None), Ok(Message::default()));
}

#[test]
fn an_empty_channel_is_not_an_absent_one() {
    let frame = decode(Format::Json, br#"{"action":10,"channel":""}"#).unwrap();
    assert_eq!(frame.channel.as_deref(), Some(""));
}

#[test]
fn unknown_actions_keep_their_number() {
    assert_eq!(decode(Format::Json, br#"{"action":99}"#).unwrap().action, Action(99));
}

#[test]
fn numbers_and_booleans_are_parameters_too() {
    let frame = decode(Format::Json, br#"{"params":{"rewind":5,"_forceNack":true,"x":null}}"#).unwrap();
    let expected = [("rewind", "5"), ("_forceNack", "true")];
    assert_eq!(frame.params, expected.map(|(k, v)| (k.into(), v.into())).into());
}

#[test]
fn what_is_no_frame_is_refused() {
    for bad in
        ["", "x", "[]", "1", "null", "{", r#"{"channel":5}"#, r#"{"messages":{}}"#, r#"{"messages":[null]}"#, "{}{}"]
    {
        let refused = decode(Format::Json, bad.as_bytes()).unwrap_err();
        assert!(matches!(refused, Fault::BodyUnreadable { format: "JSON", .. }), "{bad}");
    }
    for bad in [
        &b""[..],
        b"\xc1",
        b"\x90",
        b"\xc0",
        b"\x81\xa6action",
        b"\x81\xa7channel\x91\xc0",
        b"\xdf\xff\xff\xff\xff",
        b"\x81\xa8messages\xdd\xff\xff\xff\xff\x80",
    ] {
        let refused = decode(Format::Msgpack, bad).unwrap_err();
        assert!(matches!(refused, Fault::BodyUnreadable { format: "MessagePack", .. }), "{bad:?}");
    }
}

#[test]
fn deep_nesting_does_not_touch_the_stack() {
    for field in ["data", "extras", "unknown"] {
        let nested = |depth: usize| {
            let json = format!(r#"{{"{field}":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
            let head = [b"\x81".as_slice(), &pack(&field.into())].concat();
            let msgpack = [head, vec![0x91; depth], vec![0xc0]].concat();
            [(Format::Json, json.into_bytes()), (Format::Msgpack, msgpack)]
        };
        for (format, body) in nested(100) {
            assert!(decode_body(format, &body).is_ok(), "{field} {format:?}");
        }
        for (format, body) in nested(100_000) {
            // What nobody reads, serde_json passes over without going down into it.
            let is_passed_over = format == Format::Json && field != "data";
            let is_read = decode_body(format, &body).is_ok();
            assert_eq!(is_read, is_passed_over, "{field} {format:?}");
        }
    }
}

#[test]
fn a_flood_of_items_is_cut_off() {
    let list = format!("[{}{{}}]", "{},".repeat(5_000));
    let frame = format!(r#"{{"action":15,"messages":{list},"presence":{list},"msgSerial":4}}"#);
    for (format, bytes) in both(&frame) {
        let frame = decode(format, &bytes).unwrap();
        assert_eq!(frame.messages.len(), crate::limits::FRAME_ITEMS + 1);
        assert_eq!(frame.presence.len(), crate::limits::FRAME_ITEMS + 1);
        assert_eq!(frame.msg_serial, Some(4));
    }
    let refused = decode_body(Format::Json, list.as_bytes()).unwrap_err();
    assert_eq!(refused, Fault::TooManyMessages { limit: 1_000 });
}

#[test]
fn a_body_is_one_message_or_a_list() {
    for (format, body) in both(r#"{"name":"a"}"#) {
        assert_eq!(published(format, &body), Ok(Message { name: "a".into(), ..Message::default() }));
    }
    for (format, body) in both(
        r#"[{"id":"x:0","clientId":"c","connectionKey":"k","timestamp":1.5,"action":5,"serial":"s","version":{"clientId":"o"}},{"name":"b"}]"#,
    ) {
        let items = decode_body(format, &body).unwrap();
        let first = &items[0];
        assert_eq!(first.id.as_deref(), Some("x:0"));
        assert_eq!(first.client_id.as_deref(), Some("c"));
        assert_eq!(first.connection_key.as_ref().unwrap().expose_secret(), "k");
        assert_eq!(first.timestamp, Some(Timestamp::from_millis(1)));
        assert_eq!((first.action, first.serial.as_deref()), (5, Some("s")));
        assert_eq!(first.version, WireExtras::Object(object(json!({"clientId":"o"}))));
        assert_eq!(items[1].name.as_deref(), Some("b"));
    }
}

#[test]
fn a_presence_frame_is_read() {
    let frame = r#"{"action":14,"channel":"room","msgSerial":4,"presence":[
        {"action":2,"clientId":"bob","data":"aGVyZQ==","encoding":"base64","extras":{"headers":{"a":1}}},{"action":1,"id":"c:0:0"}]}"#;
    for (format, bytes) in both(frame) {
        let mut frame = decode(format, &bytes).unwrap();
        assert_eq!((frame.action, frame.msg_serial), (Action::PRESENCE, Some(4)));
        let present = frame.presence.pop().unwrap();
        assert_eq!(present.id.as_deref(), Some("c:0:0"));
        assert_eq!(present.into_event("x".into(), client("bob")).unwrap_err().ably_code(), 40000);
        let enter = frame.presence.pop().unwrap();
        assert_eq!(enter.client_id.as_deref(), Some("bob"));
        let event = enter.into_event("c:4:0".into(), client("bob")).unwrap();
        let expected = PresenceEvent {
            id: Some("c:4:0".into()),
            action: PresenceAction::Enter,
            client_id: client("bob"),
            payload: binary(b"here").payload,
            extras: Some(object(json!({"headers":{"a":1}}))),
        };
        assert_eq!(event, expected);
    }
}
