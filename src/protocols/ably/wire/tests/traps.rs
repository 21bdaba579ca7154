//! The traps of `docs/protocols/ably.md §15`, "Wire shape".

use super::*;

fn value(frame: &ServerFrame<'_>) -> Value {
    serde_json::from_str(json(&frame.encode(Format::Json))).unwrap()
}

#[test]
fn t1_an_error_of_the_connection_has_no_channel() {
    let error = ErrorInfo::from(&Fault::InvalidToken);
    for format in [Format::Json, Format::Msgpack] {
        let frame = ServerFrame::Error { channel: None, error: &error };
        let bytes = frame.encode(format);
        let frame = decode(format, payload(&bytes, format)).unwrap();
        assert_eq!((frame.action, frame.channel), (Action::ERROR, None));
        assert!(!bytes.windows(7).any(|bytes| bytes == b"channel"));
    }
    // An empty name is the name of a channel.
    let frame = value(&ServerFrame::Error { channel: Some(""), error: &error });
    assert_eq!(frame["channel"], "");
}

/// The type holds it: there is no CONNECTED without them.
#[test]
fn t2_connected_has_its_details() {
    let details = ConnectionDetails {
        client_id: None,
        connection_key: "key",
        max_message_size: 0,
        max_frame_size: 0,
        max_inbound_rate: 0,
        connection_state_ttl: std::time::Duration::ZERO,
        server_id: "",
        max_idle_interval: std::time::Duration::ZERO,
        objects_gc_grace_period: None,
        site_code: None,
    };
    let frame = value(&ServerFrame::Connected { connection_id: connection(), details: &details, error: None });
    assert_eq!(frame["connectionDetails"]["connectionKey"], "key");
    // Zero is "no promise", not "not said".
    assert_eq!(frame["connectionDetails"]["maxIdleInterval"], 0);
}

#[test]
fn t3_ack_of_serial_0_says_so() {
    let ack = ServerFrame::Ack { msg_serial: 0, count: 1, res: None };
    assert_eq!(json(&ack.encode(Format::Json)), r#"{"action":1,"msgSerial":0,"count":1}"#);
    let bytes = ack.encode(Format::Msgpack);
    assert_eq!(payload(&bytes, Format::Msgpack), b"\x83\xa6action\x01\xa9msgSerial\x00\xa5count\x01");
}

#[test]
fn t4_count_is_always_there() {
    let error = ErrorInfo::from(&Fault::Busy);
    let nack = ServerFrame::Nack { msg_serial: 0, count: 3, error: &error };
    assert_eq!(value(&nack)["count"], 3);
}

#[test]
fn t5_errors_have_a_code_a_status_and_a_message() {
    let error = ErrorInfo::from(&Fault::Busy);
    for frame in
        [ServerFrame::Nack { msg_serial: 0, count: 1, error: &error }, ServerFrame::Disconnected { error: &error }]
    {
        let error = &value(&frame)["error"];
        assert!(error["code"].is_u64() && error["statusCode"].is_u64() && error["message"].is_string());
    }
}

#[test]
fn t6_a_frame_without_an_action_is_a_heartbeat() {
    for (format, bytes) in both(r#"{"id":"ping","msgSerial":0}"#) {
        let frame = decode(format, &bytes).unwrap();
        assert_eq!((frame.action, frame.id.as_deref()), (Action::HEARTBEAT, Some("ping")));
    }
}

#[test]
fn t13_binary_is_base64_in_json_and_bin_in_msgpack() {
    let mut message = binary(b"plain");
    message.payload.encoding = "utf-8/cipher+aes-128-cbc".into();
    let entry = entry(frame_id(), Body::Messages(vec![message]));

    let frame: Value = serde_json::from_str(json(entry.frame(&AblyJson))).unwrap();
    assert_eq!(frame["messages"][0]["data"], "cGxhaW4=");
    assert_eq!(frame["messages"][0]["encoding"], "utf-8/cipher+aes-128-cbc/base64");

    let frame = unpack(payload(entry.frame(&AblyMsgpack), Format::Msgpack));
    assert_eq!(frame["messages"][0]["data"], Pack::Binary(b"plain".to_vec()));
    assert_eq!(frame["messages"][0]["encoding"].as_str(), Some("utf-8/cipher+aes-128-cbc"));
}

#[test]
fn t14_json_stays_a_string() {
    let message = published(Format::Json, br#"{"data":{"a":1}}"#).unwrap();
    let entry = entry(frame_id(), Body::Messages(vec![message]));
    let frame: Value = serde_json::from_str(json(entry.frame(&AblyJson))).unwrap();
    assert_eq!(frame["messages"][0]["data"], r#"{"a":1}"#);
    assert_eq!(frame["messages"][0]["encoding"], "json");
    let frame = unpack(payload(entry.frame(&AblyMsgpack), Format::Msgpack));
    assert_eq!(frame["messages"][0]["data"].as_str(), Some(r#"{"a":1}"#));
}
