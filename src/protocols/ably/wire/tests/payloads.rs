//! What becomes of `data`, `encoding` and `extras` (`docs/protocols/ably.md §3.5, §3.6`).

use serde_json::json;

use super::*;

#[test]
fn base64_is_decoded_however_it_is_written() {
    let bytes: &[u8] = &[0xfb, 0xef, 0xff, 0x01];
    for written in ["++//AQ==", "--__AQ", "++//AQ", "--__AQ==", "++/\\r\\n/AQ==\\n"] {
        for (format, body) in both(&format!(r#"{{"data":"{written}","encoding":"utf-8/base64"}}"#)) {
            let message = published(format, &body).unwrap();
            assert_eq!(message.payload.data, Data::Binary(Bytes::copy_from_slice(bytes)), "{written}");
            assert_eq!(message.payload.encoding, "utf-8");
        }
    }
    for (format, body) in both(r#"{"data":"§","encoding":"base64"}"#) {
        assert_eq!(published(format, &body).unwrap_err().ably_code(), 40013);
    }
    // Twice is twice: what the core keeps never ends in base64.
    let twice = published(Format::Json, br#"{"data":"WVE9PQ==","encoding":"base64/base64"}"#).unwrap();
    assert_eq!(twice, binary(b"a"));
    // Not the last step, or no step at all: the application's own affair.
    for encoding in ["base64/x", "xbase64"] {
        let body = format!(r#"{{"data":"YQ==","encoding":"{encoding}"}}"#);
        let message = published(Format::Json, body.as_bytes()).unwrap();
        assert_eq!(message.payload.data, Data::Text("YQ==".into()));
        assert_eq!(message.payload.encoding, encoding);
    }
}

#[test]
fn objects_and_lists_become_their_json() {
    for (data, encoding, expected) in
        [(r#"{"b": [1, -2, 1.5, "x\n", null, true], "a": {}}"#, "", "json"), ("[ ]", "utf-8", "utf-8/json")]
    {
        let body = format!(r#"{{"data":{data},"encoding":"{encoding}"}}"#);
        let message = published(Format::Json, body.as_bytes()).unwrap();
        let compact = data.replace(": ", ":").replace(", ", ",").replace("[ ]", "[]");
        assert_eq!(message.payload.data, Data::Text(compact.into()));
        assert_eq!(message.payload.encoding, expected);
    }
    let map = Pack::Map(vec![
        (1.into(), Pack::Binary(vec![0xff])),
        ("nan".into(), Pack::F64(f64::NAN)),
        ("ext".into(), Pack::Ext(5, vec![1, 2])),
    ]);
    let body = Pack::Map(vec![("data".into(), map)]);
    let message = published(Format::Msgpack, &pack(&body)).unwrap();
    assert_eq!(message.payload, Payload::json(r#"{"1":"/w==","nan":null,"ext":null}"#.into()));
}

#[test]
fn numbers_and_booleans_are_no_data() {
    for data in ["1", "-1", "1.5", "true"] {
        for (format, body) in both(&format!(r#"{{"data":{data}}}"#)) {
            assert_eq!(published(format, &body).unwrap_err().ably_code(), 40013);
        }
    }
}

#[test]
fn msgpack_text_that_is_not_utf_8_is_binary() {
    assert_eq!(published(Format::Msgpack, b"\x81\xa4data\xa2\xff\xfe"), Ok(binary(b"\xff\xfe")));
}

/// What JavaScript makes of `"😀".slice(0, 1)`. A frame that is refused for it would be sent again for ever.
#[test]
fn half_characters_are_replaced() {
    let frame = br#"{"messages":[{"name":"\ud83d","data":"a\ud83d"}]}"#;
    let message = decode(Format::Json, frame).unwrap().messages.remove(0);
    assert_eq!(message.into_message(None), Ok(text("\u{fffd}", "a\u{fffd}")));
    let frame = b"\x91\x81\xa4name\xa4a\xed\xa0\xbd";
    let name = decode_body(Format::Msgpack, frame).unwrap().remove(0).name.unwrap();
    assert!(name.starts_with("a\u{fffd}"));
}

#[test]
fn extras_are_copied_or_refused() {
    let good =
        json!({"headers":{"a":"x","b":1,"c":1.5,"d":true,"e":null},"ref":{"type":"t","timeserial":"s"},"own":[1]});
    for (format, body) in both(&json!({ "extras": good }).to_string()) {
        assert_eq!(published(format, &body).unwrap().extras, Some(object(good.clone())));
    }
    for bad in [
        json!("text"),
        json!([1]),
        json!(5),
        json!(true),
        json!({"headers":{"a":{}}}),
        json!({"headers":{"a":[]}}),
        json!({"headers":"x"}),
        json!({"userClaim":"x"}),
        json!({"delta":{"from":"x"}}),
    ] {
        for (format, body) in both(&json!({ "extras": bad }).to_string()) {
            assert_eq!(published(format, &body).unwrap_err().ably_code(), 40032, "{bad}");
        }
    }
}

#[test]
fn ephemeral_is_told_by_the_extras() {
    for (extras, expected) in [
        (r#"{"extras":{"ephemeral":true}}"#, true),
        (r#"{"extras":{"ephemeral":false}}"#, false),
        (r#"{"extras":{}}"#, false),
        (r#"{}"#, false),
    ] {
        let message = published(Format::Json, extras.as_bytes()).unwrap();
        assert_eq!(is_ephemeral(&message), expected, "{extras}");
    }
}
