//! The HTTP interface: `docs/protocols/chat.md §3, §5, §6`.

use std::time::Duration;

use letshare_server::{clock::Clock, config::ChatCompat, ids::Timestamp};
use serde_json::{Value, json};

use crate::chat::{
    client::{is_time, without_reason},
    house::{House, token},
};

const SEND: &str = "/api/ws/send-message";
const BROADCAST: &str = "/api/ws/broadcast";
/// 2026-01-05 01:30:00 UTC
const START: Timestamp = Timestamp::from_millis(1_767_576_600_000);

#[tokio::test]
async fn who_is_online() {
    for compat in [ChatCompat::Document, ChatCompat::Source] {
        let house = House::start(|config| config.chat.compat = compat);
        let is_source = compat == ChatCompat::Source;
        let code = if is_source { 200 } else { 0 };
        let mut clients = Vec::new();
        for user in [10, 9, 100] {
            let client = house.connect(user).await;
            clients.push(client);
        }
        let count = house.ask("GET", "/api/ws/online-count", &[]).await;
        let data = if is_source { json!({"online_count": 3}) } else { json!({"count": 3}) };
        assert_eq!(count.json(), json!({"code": code, "message": "success", "data": data}));
        let users = house.get("/api/ws/online-users", 10).await;
        let list = [9, 10, 100];
        let data = if is_source { json!({"online_users": list}) } else { json!({"users": list}) };
        assert_eq!(users.json(), json!({"code": code, "message": "success", "data": data}));
    }
}

#[tokio::test]
async fn health() {
    let house = House::start(|_| {});
    let answer = house.ask("GET", "/health", &[]).await;
    let body = answer.json();
    assert!(answer.status == 200 && is_time(&body["time"]), "{answer:?}");
    assert_eq!(body, json!({"status": "ok", "service": "websocket-service", "time": body["time"]}));
    let answer = house.ask("GET", "/health?deep=1", &[]).await;
    assert_eq!((answer.status, &answer.json()["store"]), (200, &json!("up")));
    // As load balancers ask.
    let answer = house.ask("HEAD", "/health", &[]).await;
    assert_eq!((answer.status, answer.body.len()), (200, 0));
}

/// §4: the zone is a setting.
#[tokio::test]
async fn times_are_local() {
    let clock = Clock::manual(START);
    let house = House::start_at(clock, |config| config.chat.timezone = "Asia/Shanghai".into());
    let answer = house.ask("GET", "/health", &[]).await;
    assert_eq!(answer.json()["time"], "2026-01-05 09:30:00");
}

#[tokio::test]
async fn a_message_by_http() {
    let house = House::start(|_| {});
    let mut bob = house.connect(42).await;
    let bodies = [
        json!({"room_id": "private_7_42", "to_user_id": 42, "message_type": 1, "content": "hi"}),
        json!({"to_user_id": 42, "content": "hi"}),
        json!({"room_id": "private_7_42", "content": "hi"}),
    ];
    for body in bodies {
        let answer = house.post(SEND, 7, &body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let answer = answer.json();
        assert_eq!((&answer["code"], &answer["message"]), (&json!(0), &json!("success")));
        assert_eq!(answer["data"]["type"], "message_sent");
        let push = bob.data().await;
        assert_eq!((&push["from_user_id"], &push["content"]), (&json!(7), &json!("hi")));
        assert_eq!(push["message_id"], answer["data"]["message_id"]);
    }
    // Stored, not online: 200 with 10003.
    let answer = house.post(SEND, 7, &json!({"to_user_id": 43, "content": "hi"})).await;
    let body = answer.json();
    assert_eq!((answer.status, &body["code"], &body["data"]["stored"]), (200, &json!(10003), &json!(true)));
}

/// findings O2: the document's own body, whose room is not of the form that its source makes, reaches its user, and nobody
/// else.
#[tokio::test]
async fn the_body_of_the_document() {
    let house = House::start(|_| {});
    let mut bob = house.connect(2).await;
    let mut eve = house.connect(9).await;
    for room in ["room_123", "group_1", "anything", "group_"] {
        eve.send("join_room", json!({"room_id": room})).await;
        let joined = eve.next().await;
        let body = json!({"room_id": room, "to_user_id": 2, "message_type": 1, "content": "你好"});
        let answer = house.post(SEND, 1, &body).await;
        assert_eq!((answer.status, &answer.json()["code"]), (200, &json!(0)), "{answer:?}");
        let push = bob.data().await;
        assert_eq!((&push["type"], &push["from_user_id"]), (&json!("new_message"), &json!(1)));
        assert_eq!(push["room_id"], "private_1_2");
        assert!(eve.received_so_far().await.is_empty(), "{joined}");
    }
    let page = house.get("/api/ws/messages?room_id=private_1_2", 2).await.json();
    assert_eq!(page["data"]["total"], 4);
    let refused = house.post(SEND, 1, &json!({"room_id": "private_1_3", "to_user_id": 2, "content": "x"})).await;
    assert_eq!((refused.status, &refused.json()["code"]), (400, &json!(1001)));
    assert!(refused.json()["message"].as_str().is_some_and(|text| text.contains("private_1_2")), "{refused:?}");
}

#[tokio::test]
async fn bad_messages_by_http() {
    let house = House::start(|_| {});
    let mut bob = house.connect(42).await;
    for (body, code) in [
        ("", 1001),
        ("x", 1001),
        ("[]", 1001),
        ("{}", 10002),
        (r#"{"to_user_id":42}"#, 10002),
        (r#"{"to_user_id":0,"content":"x"}"#, 10002),
        (r#"{"content":"x"}"#, 10002),
        (r#"{"to_user_id":"42","content":"x"}"#, 10001),
        (r#"{"to_user_id":42,"content":7}"#, 10001),
        (r#"{"to_user_id":42,"content":"x","message_type":"1"}"#, 10001),
        (r#"{"to_user_id":42,"content":"x","room_id":7}"#, 1001),
        // A private room that is not theirs (§6).
        (r#"{"to_user_id":42,"content":"x","room_id":"private_7_43"}"#, 1001),
        (r#"{"to_user_id":42,"content":"x","room_id":"private_42_7"}"#, 1001),
        (r#"{"content":"x","room_id":"private_8_42"}"#, 1001),
        (r#"{"content":"x","room_id":"group_1"}"#, 1001),
        (r#"{"content":"x","room_id":"group_"}"#, 1001),
        (r#"{"room_id":"room_1"}"#, 10002),
        (r#"{"message":"x"}"#, 1001),
        (r#"{"user_id":"42","message":"x"}"#, 1001),
    ] {
        let answer = house.post_text(SEND, 7, body).await;
        assert_eq!((answer.status, &answer.json()["code"]), (400, &json!(code)), "{body}");
    }
    let long = json!({"to_user_id": 42, "content": "x".repeat(20_001)});
    assert_eq!(house.post(SEND, 7, &long).await.json()["code"], 10001);
    let longer = json!({"to_user_id": 42, "content": "x".repeat(70_000)});
    assert_eq!(house.post(SEND, 7, &longer).await.status, 413);
    for (method, target, allowed) in [
        ("GET", SEND, "POST"),
        ("PUT", BROADCAST, "POST"),
        ("POST", "/api/ws/online-users", "GET, HEAD"),
        ("POST", "/ws/chat", "GET"),
    ] {
        let answer = house.ask(method, target, &[("x-token", &token(7))]).await;
        assert_eq!((answer.status, answer.header("allow")), (405, Some(allowed)), "{method} {target}");
    }
    assert_eq!(house.get("/api/ws/nothing", 7).await.status, 404);
    assert!(bob.received_so_far().await.is_empty());
}

#[tokio::test]
async fn a_broadcast_by_http() {
    let house = House::start(|_| {});
    let (mut ann, mut bob) = (house.connect(7).await, house.connect(8).await);
    let answer = house.post(BROADCAST, 7, &json!({"message": "hello"})).await;
    let expected = json!({"code": 0, "message": "success", "data": null});
    assert_eq!((answer.status, answer.json()), (200, expected));
    for client in [&mut ann, &mut bob] {
        let data = client.data().await;
        let expected = json!({"type": "broadcast", "from_user_id": 7, "message": "hello", "time": data["time"]});
        assert_eq!(data, expected);
    }
    for (body, code) in [("{}", 10005), (r#"{"message":""}"#, 10005), ("x", 1001), ("[]", 1001)] {
        let answer = house.post_text(BROADCAST, 7, body).await;
        assert_eq!((answer.status, &answer.json()["code"]), (400, &json!(code)), "{body}");
    }
}

/// §6: the source's bodies push what they are given, which is neither stored nor judged.
#[tokio::test]
async fn the_bodies_of_the_source() {
    for compat in [ChatCompat::Document, ChatCompat::Source] {
        let house = House::start(|config| config.chat.compat = compat);
        let code = if compat == ChatCompat::Source { 200 } else { 0 };
        let mut bob = house.connect(8).await;
        let raw = json!({"type": "order", "n": [1, 2.50]});
        let answer = house.post(SEND, 7, &json!({"user_id": 8, "message": raw})).await;
        assert_eq!((answer.status, answer.json()), (200, json!({"code": code, "message": "发送成功"})));
        let push = json!({"code": code, "message": "success", "data": raw});
        assert_eq!(bob.next().await, push);
        let answer = house.post(BROADCAST, 7, &json!({"message": raw})).await;
        assert_eq!((answer.status, answer.json()), (200, json!({"code": code, "message": "广播成功"})));
        assert_eq!(bob.next().await, push);
        let answer = house.post(SEND, 7, &json!({"user_id": 9, "message": raw})).await;
        let refusal = without_reason(answer.json());
        assert_eq!((answer.status, refusal), (500, json!({"code": 500, "message": "发送失败"})));
        let page = house.get("/api/ws/messages?room_id=private_7_8", 7).await.json();
        assert_eq!(page["data"]["total"], 0);
    }
    // A text is a broadcast of the document's, unless the source's are wanted.
    let house = House::start(|config| config.chat.compat = ChatCompat::Source);
    let mut bob = house.connect(8).await;
    house.post(BROADCAST, 7, &json!({"message": "x"})).await;
    assert_eq!(bob.next().await["data"], Value::from("x"));
}

#[tokio::test]
async fn too_many_requests() {
    let clock = Clock::manual(START);
    let house = House::start_at(clock.clone(), |config| config.chat.requests_per_second = 1);
    let body = json!({"to_user_id": 42, "content": "x"});
    for wait in [Duration::ZERO, Duration::from_secs(1)] {
        clock.advance(wait);
        assert_eq!(house.post(SEND, 7, &body).await.status, 200);
        let answer = house.post(SEND, 7, &body).await;
        assert_eq!((answer.status, &answer.json()["code"]), (429, &json!(429)));
    }
}

/// docs/architecture.md §8: on the shared port, beside the others.
#[tokio::test]
async fn on_the_shared_port() {
    let house = House::start(|config| {
        config.chat.port = None;
        config.chat.health_path = "/chat/health".to_owned();
        config.ably.enabled = true;
        config.letshare.enabled = true;
    });
    assert_eq!(house.address, house.shared);
    let mut ann = house.connect(7).await;
    let answer = house.post(BROADCAST, 8, &json!({"message": "hello"})).await;
    assert_eq!(answer.status, 200);
    assert_eq!(ann.data().await["message"], "hello");
    let health = house.ask("GET", "/chat/health", &[]).await.json();
    assert_eq!(health["service"], "websocket-service");
    let health = house.ask("GET", "/health", &[]).await.json();
    assert_eq!(health.get("service"), None);
}
