//! Golden frames: JSON byte for byte, MessagePack as what it decodes to.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::core::{
    dedupe::Published,
    operation::{Change, MessageRef, Operation, Origin, Version},
    wire::WireFormat as _,
};

/// The JSON is exactly this; the MessagePack says the same.
#[track_caller]
fn assert_frame(frame: &ServerFrame<'_>, expected: &str) {
    assert_eq!(json(&frame.encode(Format::Json)), expected);
    let packed_frame = frame.encode(Format::Msgpack);
    let expected = packed(&serde_json::from_str(expected).unwrap());
    assert_eq!(sorted(unpack(payload(&packed_frame, Format::Msgpack))), sorted(expected));
}

#[track_caller]
fn assert_entry(entry: &Entry, expected: &str) {
    assert_eq!(json(entry.frame(&AblyJson)), expected);
    let frame = AblyMsgpack.encode(entry);
    let expected = packed(&serde_json::from_str(expected).unwrap());
    assert_eq!(sorted(unpack(payload(&frame, Format::Msgpack))), sorted(expected));
}

#[test]
fn a_message() {
    let message = Message {
        payload: Payload::json(r#"{"a":1}"#.into()),
        client_id: Some(client("alice")),
        extras: Some(object(json!({"headers":{"k":"v"}}))),
        ..text("greet", "")
    };
    assert_entry(
        &entry(frame_id(), Body::Messages(vec![message])),
        r#"{"action":15,"id":"2mzN0sXLqw4f:7","channel":"room","channelSerial":"01722945600123-000@00000000000abcf9","connectionId":"2mzN0sXLqw4f","timestamp":1722945600123,"messages":[{"name":"greet","data":"{\"a\":1}","encoding":"json","clientId":"alice","serial":"01722945600123-000@00000000000abcf9:000","extras":{"headers":{"k":"v"}}}]}"#,
    );
}

#[test]
fn several_messages_by_rest() {
    let messages = vec![text("a", "1"), Message::default()];
    assert_entry(
        &entry(EntryId::Base("kV1bQ8w2".into()), Body::Messages(messages)),
        r#"{"action":15,"id":"kV1bQ8w2","channel":"room","channelSerial":"01722945600123-000@00000000000abcf9","timestamp":1722945600123,"messages":[{"name":"a","data":"1","serial":"01722945600123-000@00000000000abcf9:000"},{"serial":"01722945600123-000@00000000000abcf9:001"}]}"#,
    );
}

#[test]
fn a_message_with_an_id_of_its_own() {
    assert_entry(
        &entry(EntryId::Item("mine".into()), Body::Messages(vec![text("", "")])),
        r#"{"action":15,"channel":"room","channelSerial":"01722945600123-000@00000000000abcf9","timestamp":1722945600123,"messages":[{"id":"mine","data":"","serial":"01722945600123-000@00000000000abcf9:000"}]}"#,
    );
}

/// T49, T51: id, time, client and connection are those of the message, never of the frame; a REST publish has no connection.
#[test]
fn an_update_and_an_append() {
    let target = MessageRef::parse("01722945600100-000@00000000000abcf9:001").unwrap();
    let version = Version {
        client_id: Some(client("bob")),
        description: Some("typo".into()),
        metadata: Some(object(json!({"k":"v"}))),
    };
    let message = Message { client_id: Some(client("alice")), ..text("greet", "hi") };
    let mut operation = Operation::new(target, Change::Update, message.clone(), version);
    let timestamp = Timestamp::from_millis(1722945600100);
    operation.origin = Origin { id: "2mzN0sXLqw4f:3:1".into(), timestamp, publisher: Some(connection()) };
    assert_entry(
        &entry(frame_id(), Body::Operation(Box::new(operation))),
        r#"{"action":15,"channel":"room","channelSerial":"01722945600123-000@00000000000abcf9","timestamp":1722945600123,"messages":[{"id":"2mzN0sXLqw4f:3:1","name":"greet","data":"hi","clientId":"alice","connectionId":"2mzN0sXLqw4f","timestamp":1722945600100,"serial":"01722945600100-000@00000000000abcf9:001","action":1,"version":{"serial":"01722945600123-000@00000000000abcf9:000","timestamp":1722945600123,"clientId":"bob","description":"typo","metadata":{"k":"v"}}}]}"#,
    );
    let mut operation = Operation::new(target, Change::Append, message, Version::default());
    operation.origin = Origin { id: "x:1".into(), timestamp, publisher: None };
    assert_entry(
        &entry(EntryId::Serial, Body::Operation(Box::new(operation))),
        r#"{"action":15,"channel":"room","channelSerial":"01722945600123-000@00000000000abcf9","timestamp":1722945600123,"messages":[{"id":"x:1","name":"greet","data":"hi","clientId":"alice","timestamp":1722945600100,"serial":"01722945600100-000@00000000000abcf9:001","action":5,"version":{"serial":"01722945600123-000@00000000000abcf9:000","timestamp":1722945600123}}]}"#,
    );
}

#[test]
fn an_ephemeral_message_has_a_position_too() {
    let mut entry = entry(frame_id(), Body::Messages(vec![text("typing", "")]));
    entry.is_ephemeral = true;
    let frame: Value = serde_json::from_str(json(&AblyJson.encode(&entry))).unwrap();
    // Whoever forgets its position at a frame without one would lose its place (T33).
    assert_eq!(frame["channelSerial"], entry.serial.to_string());
    assert_eq!(frame["id"], "2mzN0sXLqw4f:7");
}

#[test]
fn a_message_by_another_name_of_its_channel() {
    let entry = entry(frame_id(), Body::Messages(vec![text("a", "b")]));
    let frame = encode_as(&entry, Format::Json, "[?rewind=1]room", None);
    let plain = json(entry.frame(&AblyJson)).to_owned();
    assert_eq!(json(&frame), plain.replace(r#""room""#, r#""[?rewind=1]room""#));
}

#[test]
fn a_long_message_is_one_frame() {
    for length in [200, 70_000] {
        let message = binary(&vec![7; length]);
        let frame = AblyMsgpack.encode(&entry(frame_id(), Body::Messages(vec![message])));
        let frame = unpack(payload(&frame, Format::Msgpack));
        assert_eq!(frame["messages"][0]["data"], Pack::Binary(vec![7; length]));
    }
}

/// The first bytes of a frame, as clients read them: named fields, str, and a 64-bit time.
#[test]
fn msgpack_byte_for_byte() {
    let message = binary(b"plain");
    let frame = AblyMsgpack.encode(&entry(EntryId::Item("i".into()), Body::Messages(vec![message])));
    let expected = [
        b"\x85\xa6action\x0f\xa7channel\xa4room\xadchannelSerial\xd9\x23".as_slice(),
        SERIAL.as_bytes(),
        b"\xa9timestamp\xcf\x00\x00\x01\x91\x27\x8f\x7a\x7b\xa8messages\x91\x83\xa2id\xa1i\xa4data\xc4\x05plain\xa6serial\xd9\x27",
        SERIAL.as_bytes(),
        b":000",
    ];
    assert_eq!(payload(&frame, Format::Msgpack), expected.concat());
}

#[test]
fn presence() {
    let event = |id: Option<&'static str>, action| PresenceEvent {
        id: id.map(Into::into),
        action,
        client_id: client("bob"),
        payload: text("", "here").payload,
        extras: None,
    };
    let events = vec![event(Some("2mzN0sXLqw4f:3:0"), PresenceAction::Enter), event(None, PresenceAction::Update)];
    assert_entry(
        &entry(frame_id(), Body::Presence(events)),
        r#"{"action":14,"id":"2mzN0sXLqw4f:7","channel":"room","channelSerial":"01722945600123-000@00000000000abcf9","connectionId":"2mzN0sXLqw4f","timestamp":1722945600123,"presence":[{"id":"2mzN0sXLqw4f:3:0","action":2,"clientId":"bob","connectionId":"2mzN0sXLqw4f","data":"here","timestamp":1722945600123},{"id":"2mzN0sXLqw4f:7:1","action":4,"clientId":"bob","connectionId":"2mzN0sXLqw4f","data":"here","timestamp":1722945600123}]}"#,
    );
}

/// docs/protocols/ably.md §7.2: clients know a leave that the server made by its id.
#[test]
fn a_synthesized_leave_has_a_foreign_id() {
    let leave = PresenceEvent {
        id: None,
        action: PresenceAction::Leave,
        client_id: client("bob"),
        payload: Payload::default(),
        extras: None,
    };
    let body = Body::Presence(vec![leave]);
    let entry = Entry::new("room".into(), serial(), NOW, Some(connection()), EntryId::Serial, body);
    let frame: Value = serde_json::from_str(json(&AblyJson.encode(&entry))).unwrap();
    let item = &frame["presence"][0];
    assert_eq!(item["id"], format!("{SERIAL}:0"));
    assert_eq!((&item["action"], &item["connectionId"]), (&json!(3), &json!("2mzN0sXLqw4f")));
}

#[test]
fn occupancy() {
    let occupancy = Occupancy { connections: 3, publishers: 2, ..Occupancy::default() };
    let mut entry = entry(EntryId::Serial, Body::Occupancy(Box::new(occupancy)));
    entry.is_ephemeral = true;
    assert_entry(
        &entry,
        r#"{"action":15,"id":"01722945600123-000@00000000000abcf9","channel":"room","channelSerial":"01722945600123-000@00000000000abcf9","timestamp":1722945600123,"messages":[{"name":"[meta]occupancy","action":3,"data":"{\"metrics\":{\"connections\":3,\"publishers\":2,\"subscribers\":0,\"presenceConnections\":0,\"presenceMembers\":0,\"presenceSubscribers\":0,\"objectPublishers\":0,\"objectSubscribers\":0}}","encoding":"json"}]}"#,
    );
    let one = encode_as(&entry, Format::Json, "room", Some("publishers"));
    let one: Value = serde_json::from_str(json(&one)).unwrap();
    assert_eq!(one["messages"][0]["data"], r#"{"metrics":{"publishers":2}}"#);
}

#[test]
fn connected() {
    let details = ConnectionDetails {
        client_id: Some("alice"),
        connection_key: "2mzN0sXLqw4f-Zt9yQ2Jr0aVb",
        max_message_size: 65_536,
        max_frame_size: 524_288,
        max_inbound_rate: 250,
        connection_state_ttl: Duration::from_secs(120),
        server_id: "node-1",
        max_idle_interval: Duration::from_secs(15),
        objects_gc_grace_period: Some(Duration::from_secs(86_400)),
        site_code: Some("abc"),
    };
    // The example of docs/protocols/ably.md §2.5.
    assert_frame(
        &ServerFrame::Connected { connection_id: connection(), details: &details, error: None },
        r#"{"action":4,"connectionId":"2mzN0sXLqw4f","connectionDetails":{"clientId":"alice","connectionKey":"2mzN0sXLqw4f-Zt9yQ2Jr0aVb","maxMessageSize":65536,"maxFrameSize":524288,"maxInboundRate":250,"connectionStateTtl":120000,"serverId":"node-1","maxIdleInterval":15000,"objectsGCGracePeriod":86400000,"siteCode":"abc"}}"#,
    );
    let anonymous = ConnectionDetails { client_id: None, objects_gc_grace_period: None, site_code: None, ..details };
    assert_frame(
        &ServerFrame::Connected {
            connection_id: connection(),
            details: &anonymous,
            error: Some(&(&Fault::InvalidConnectionKey).into()),
        },
        r#"{"action":4,"connectionId":"2mzN0sXLqw4f","connectionDetails":{"connectionKey":"2mzN0sXLqw4f-Zt9yQ2Jr0aVb","maxMessageSize":65536,"maxFrameSize":524288,"maxInboundRate":250,"connectionStateTtl":120000,"serverId":"node-1","maxIdleInterval":15000},"error":{"code":80018,"statusCode":400,"message":"invalid connection key","href":"https://help.ably.io/error/80018"}}"#,
    );
}

#[test]
fn frames_about_the_connection() {
    assert_frame(&ServerFrame::Heartbeat { id: None }, r#"{"action":0}"#);
    assert_frame(&ServerFrame::Heartbeat { id: Some("p1") }, r#"{"action":0,"id":"p1"}"#);
    assert_frame(&ServerFrame::Closed, r#"{"action":8}"#);
    assert_frame(&ServerFrame::Auth, r#"{"action":17}"#);
    assert_frame(
        &ServerFrame::Disconnected { error: &(&Fault::ShuttingDown).into() },
        r#"{"action":6,"error":{"code":80003,"statusCode":503,"message":"the server is shutting down","href":"https://help.ably.io/error/80003"}}"#,
    );
}

#[test]
fn frames_about_a_channel() {
    assert_frame(
        &ServerFrame::Attached {
            channel: "chat:42",
            channel_serial: "01722945600123-000@abcF9k2",
            flags: 327_687,
            params: &Params::from([("rewind".into(), "5".into())]),
            error: None,
        },
        r#"{"action":11,"channel":"chat:42","channelSerial":"01722945600123-000@abcF9k2","flags":327687,"params":{"rewind":"5"}}"#,
    );
    assert_frame(
        &ServerFrame::Attached {
            channel: "a",
            channel_serial: "s",
            flags: 0,
            params: &Params::new(),
            error: Some(&(&Fault::PositionExpired).into()),
        },
        r#"{"action":11,"channel":"a","channelSerial":"s","flags":0,"error":{"code":90003,"statusCode":404,"message":"some messages since the position asked for are no longer kept","href":"https://help.ably.io/error/90003"}}"#,
    );
    assert_frame(&ServerFrame::Detached { channel: "a", error: None }, r#"{"action":13,"channel":"a"}"#);
}

#[test]
fn sync() {
    let members = [member("2mzN0sXLqw4f:3:0", "a"), member("2mzN0sXLqw4f:0:1", "b")];
    assert_sync(
        "s8fK2:100",
        &members,
        r#"{"action":16,"channel":"room","channelSerial":"s8fK2:100","timestamp":1722945600123,"presence":[{"id":"2mzN0sXLqw4f:3:0","action":1,"clientId":"a","connectionId":"2mzN0sXLqw4f","timestamp":1722945600123},{"id":"2mzN0sXLqw4f:0:1","action":1,"clientId":"b","connectionId":"2mzN0sXLqw4f","timestamp":1722945600123}]}"#,
    );
    assert_sync(
        "s8fK2:",
        &[],
        r#"{"action":16,"channel":"room","channelSerial":"s8fK2:","timestamp":1722945600123,"presence":[]}"#,
    );
}

#[track_caller]
fn assert_sync(cursor: &str, members: &[Arc<Member>], expected: &str) {
    let frame = |format| {
        let members = &encode_value(format, &items::members(members, format));
        ServerFrame::Sync { channel: "room", cursor: Some(cursor), timestamp: NOW, members }.encode(format)
    };
    assert_eq!(json(&frame(Format::Json)), expected);
    let expected = packed(&serde_json::from_str(expected).unwrap());
    assert_eq!(sorted(unpack(payload(&frame(Format::Msgpack), Format::Msgpack))), sorted(expected));
}

#[test]
fn ack_and_nack() {
    let published = |len| Published { serial: serial(), len };
    assert_frame(
        &ServerFrame::Ack { msg_serial: 7, count: 2, res: Some(&[published(2), published(1)]) },
        r#"{"action":1,"msgSerial":7,"count":2,"res":[{"serials":["01722945600123-000@00000000000abcf9:000","01722945600123-000@00000000000abcf9:001"]},{"serials":["01722945600123-000@00000000000abcf9:000"]}]}"#,
    );
    let fault = Fault::NotPermitted {
        operation: "publish",
        on: crate::error::Found::text("room"),
        permitted: "subscribe there".into(),
    };
    assert_frame(
        &ServerFrame::Nack { msg_serial: 8, count: 1, error: &(&fault).into() },
        r#"{"action":2,"msgSerial":8,"count":1,"error":{"code":40160,"statusCode":401,"message":"the credentials do not permit publish on \"room\": they permit subscribe there","href":"https://help.ably.io/error/40160"}}"#,
    );
}
