#![allow(clippy::unwrap_used, clippy::panic)]

use serde_json::{Value, json};

use super::*;
use crate::older::chat::fields::Text;

fn parse(frame: &Value) -> Result<Command, u16> {
    parse_by(Rules::default(), frame)
}

fn parse_by(rules: Rules, frame: &Value) -> Result<Command, u16> {
    let request = Request::parse(&frame.to_string(), rules);
    request.command.map_err(|reply| reply.number().unwrap())
}

fn with(cmd: &str, data: &Value) -> Result<Command, u16> {
    parse(&json!({"cmd": cmd, "data": data}))
}

/// §10: what is no request at all.
#[test]
fn frames_that_are_no_requests() {
    for text in ["", "x", "[]", "[1]", "7", "null", "\"ping\"", "{\"cmd\":\"ping\""] {
        let request = Request::parse(text, Rules::default());
        assert_eq!(request.command.unwrap_err().number(), Some(1001), "{text}");
    }
    for frame in [
        json!({}),
        json!({"cmd": null}),
        json!({"cmd": 7}),
        json!({"cmd": ""}),
        json!({"cmd": "Ping"}),
        json!({"cmd": "SEND_MESSAGE"}),
        json!({"data": {}}),
    ] {
        assert_eq!(parse(&frame), Err(1000), "{frame}");
    }
}

#[test]
fn ids_come_back() {
    for (id, expected) in [
        (json!(7), Some("7")),
        (json!("a"), Some("\"a\"")),
        (json!({"a": 1}), Some("{\"a\":1}")),
        (json!(null), None),
        (json!("x".repeat(1_000)), None),
    ] {
        let frame = json!({"cmd": "ping", "id": id}).to_string();
        let request = Request::parse(&frame, Rules::default());
        let told = request.id.as_deref().map(RawValue::get);
        assert_eq!(told, expected, "{frame}");
    }
}

/// §4 and §10, row by row.
#[test]
fn send_message() {
    let sent = |data: Value| with("send_message", &data);
    assert_eq!(parse(&json!({"cmd": "send_message"})), Err(10002));
    for (data, code) in [
        (json!(null), 10002),
        (json!({}), 10002),
        (json!([]), 10001),
        (json!("x"), 10001),
        (json!({"to_user_id": "2", "content": "x"}), 10001),
        (json!({"to_user_id": -1, "content": "x"}), 10001),
        (json!({"to_user_id": 1.5, "content": "x"}), 10001),
        (json!({"to_user_id": u64::MAX, "content": "x"}), 10001),
        (json!({"to_user_id": 0, "content": "x"}), 10002),
        (json!({"to_user_id": null, "content": "x"}), 10002),
        (json!({"content": "x"}), 10002),
        (json!({"to_user_id": 2}), 10002),
        (json!({"to_user_id": 2, "content": ""}), 10002),
        (json!({"to_user_id": 2, "content": 7}), 10001),
        (json!({"to_user_id": 2, "content": ["x"]}), 10001),
        (json!({"to_user_id": 2, "content": "x", "message_type": "1"}), 10001),
        (json!({"to_user_id": 2, "content": "x", "message_type": 1.5}), 10001),
        (json!({"to_user_id": 2, "content": "x", "client_id": 7}), 10001),
        (json!({"to_user_id": 2, "content": "x".repeat(20_001)}), 10001),
    ] {
        assert_eq!(sent(data.clone()), Err(code), "{data}");
    }
    let message = SendMessage { to: 2, text: Text { content: " ".into(), kind: 1, client_id: None } };
    for data in [
        json!({"to_user_id": 2, "content": " "}),
        json!({"to_user_id": 2, "content": " ", "message_type": null, "client_id": ""}),
        json!({"to_user_id": 2, "content": " ", "message_type": 0, "other": 1}),
    ] {
        assert_eq!(sent(data.clone()), Ok(Command::Send(message.clone())), "{data}");
    }
    let content = "好".repeat(6_666);
    assert!(sent(json!({"to_user_id": 2, "content": content})).is_ok());
}

#[test]
fn types_of_messages() {
    let frame =
        |kind: i64| json!({"cmd": "send_message", "data": {"to_user_id": 2, "content": "x", "message_type": kind}});
    let strict = Rules { strict_types: true, ..Rules::default() };
    for kind in [1, 2, 3, 9, -1] {
        match parse(&frame(kind)).unwrap() {
            Command::Send(message) => assert_eq!(message.text.kind, kind),
            other => panic!("{other:?}"),
        }
        let is_known = (1..=3).contains(&kind);
        assert_eq!(parse_by(strict, &frame(kind)).is_ok(), is_known);
    }
    assert_eq!(parse_by(strict, &frame(9)), Err(10001));
}

#[test]
fn send_group_message() {
    let sent = |data: Value| with("send_group_message", &data);
    for (data, code) in [
        (json!(null), 3005),
        (json!("x"), 3004),
        (json!({"group_id": 7, "content": "x"}), 3004),
        (json!({"group_id": "group_1", "content": 7}), 3004),
        (json!({"group_id": "group_1", "content": "x", "message_type": "1"}), 3004),
        (json!({"group_id": "group_1", "content": "x".repeat(20_001)}), 3004),
        (json!({"content": "x"}), 3005),
        (json!({"group_id": "", "content": "x"}), 3005),
        (json!({"group_id": "group_1"}), 3005),
        (json!({"group_id": "group_1", "content": ""}), 3005),
        (json!({"group_id": "abc", "content": "x"}), 3006),
        (json!({"group_id": "group_", "content": "x"}), 3006),
    ] {
        assert_eq!(sent(data.clone()), Err(code), "{data}");
    }
    let text = Text { content: "x".into(), kind: 2, client_id: Some("c".into()) };
    let message = SendGroupMessage { group: "group_17_7".into(), text };
    let data = json!({"group_id": "group_17_7", "content": "x", "message_type": 2, "client_id": "c"});
    assert_eq!(sent(data), Ok(Command::SendGroup(message)));
}

#[test]
fn broadcast() {
    for (data, code) in [
        (json!(null), 10005),
        (json!({"message": ""}), 10005),
        (json!({"message": 7}), 10001),
        (json!([]), 10001),
        (json!({"message": "x".repeat(20_001)}), 10001),
    ] {
        assert_eq!(with("broadcast", &data), Err(code), "{data}");
    }
    let source = Rules { is_source: true, ..Rules::default() };
    assert_eq!(parse_by(source, &json!({"cmd": "broadcast"})), Err(10002));
    let broadcast = Broadcast { message: "x".into(), client_id: None };
    let data = json!({"message": "x"});
    assert_eq!(with("broadcast", &data), Ok(Command::Broadcast(broadcast)));
}

#[test]
fn rooms() {
    for (cmd, unreadable, missing) in [("join_room", 2001, 2002), ("leave_room", 2003, 2004)] {
        for (data, code) in [
            (json!({"room_id": 7}), unreadable),
            (json!("room_1"), unreadable),
            (json!({"room_id": "private_1_2"}), unreadable),
            (json!({"room_id": "group_1"}), unreadable),
            (json!({"room_id": "x".repeat(257)}), unreadable),
            (json!({}), missing),
            (json!(null), missing),
            (json!({"room_id": ""}), missing),
        ] {
            assert_eq!(with(cmd, &data), Err(code), "{cmd} {data}");
        }
    }
    let data = json!({"room_id": "room_1"});
    assert_eq!(with("join_room", &data), Ok(Command::JoinRoom("room_1".into())));
    assert_eq!(with("leave_room", &data), Ok(Command::LeaveRoom("room_1".into())));
}

#[test]
fn groups() {
    for (data, code) in [
        (json!([]), 3001),
        (json!({"group_name": 7, "member_ids": [1]}), 3001),
        (json!({"group_name": "g", "member_ids": 1}), 3001),
        (json!({"group_name": "g", "member_ids": ["1"]}), 3001),
        (json!({"group_name": "g", "member_ids": [-1]}), 3001),
        (json!({"group_name": "g", "member_ids": [0]}), 3001),
        (json!({"group_name": "g", "member_ids": [1], "description": 7}), 3001),
        (json!({"group_name": "g".repeat(257), "member_ids": [1]}), 3001),
        (json!(null), 3002),
        (json!({"group_name": "", "member_ids": [1]}), 3002),
        (json!({"group_name": "g"}), 3003),
        (json!({"group_name": "g", "member_ids": []}), 3003),
    ] {
        assert_eq!(with("create_group", &data), Err(code), "{data}");
    }
    let group = CreateGroup { name: "g".into(), members: vec![3, 1], description: "d".into() };
    let data = json!({"group_name": "g", "member_ids": [3, 1, 3], "description": "d"});
    assert_eq!(with("create_group", &data), Ok(Command::CreateGroup(group)));
}

#[test]
fn the_rest() {
    assert_eq!(parse(&json!({"cmd": "ping"})), Ok(Command::Ping));
    assert_eq!(parse(&json!({"cmd": "ping", "data": [1]})), Ok(Command::Ping));
    assert_eq!(parse(&json!({"cmd": "online", "data": 7})), Ok(Command::Online));
    let source = Rules { is_source: true, ..Rules::default() };
    assert_eq!(parse_by(source, &json!({"cmd": "online"})), Err(1000));
}
