//! `docs/protocols/chat.md` §2 to §5: codes and texts are the document's, `reason` (and, before the upgrade, the header
//! `refusal-reason`) is ours.

use letshare_server::{
    clock::Clock,
    config::{Config, Protocol, UnknownGroup},
    ids::Timestamp,
    limits,
};
use serde_json::json;

use super::*;
use crate::support::Server;

const PATH: &str = "/ws/chat";
/// [`Server::start_as`]
const SECRET: &str = "a secret of the tests, 32 bytes long";

fn start(adjust: impl FnOnce(&mut Config)) -> (Server, Client) {
    let server = Server::start_as("chat", Clock::manual(Timestamp::from_millis(0)), |config| {
        config.chat.port = Some(0);
        adjust(config);
    });
    let client = Client(server.address_of(Protocol::Chat));
    (server, client)
}

fn token(claims: &Value) -> String {
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), claims, &key).unwrap()
}

async fn welcome(client: Client, token: &str) -> Socket {
    let mut socket = Socket::open(client, PATH, &[("x-token", token)]).await;
    assert_eq!(socket.next_value().await["data"]["type"], "welcome");
    socket
}

#[tokio::test]
async fn requests() {
    let (_server, client) = start(|_| {});
    let (good, nameless) = (token(&json!({"ID": 7})), token(&json!({"uid": 7})));
    let good = [("x-token", &*good)];
    for (headers, status, words) in [
        (&[][..], 401, ["请登录", "header x-token"]),
        (&[("x-token", "x")], 401, ["未登陆", "chat.jwt_secret"]),
        (&[("x-token", &nameless)], 401, ["未登陆", "claim ID"]),
        (&[good[0], EVIL], 403, ["evil.example", "chat.allowed_origins"]),
    ] {
        client.shuts(PATH, headers, status, &words).await;
        client.refuses("GET", "/api/ws/online-users", headers, "", status, &words).await;
    }
    client.names_bad_headers(PATH, &good).await;
    let large = "x".repeat(limits::CHAT_FRAME_BYTES + 1);
    let send = "/api/ws/send-message";
    client.refuses("POST", send, &good, &large, 413, &["请求体过大", "65536 bytes"]).await;
    client.refuses("POST", send, &good, "x", 400, &["reason", "object"]).await;
    client.refuses("POST", send, &good, "{}", 400, &["to_user_id or content is missing"]).await;
    client.refuses("GET", send, &good, "", 405, &["请求方法不允许", "Allow"]).await;
    let foreign = "/api/ws/messages?room_id=private_1_2";
    client.refuses("GET", foreign, &good, "", 403, &["无权访问该房间", "its two users"]).await;
}

/// Where the form is right, the reason names the field and its limit.
#[tokio::test]
async fn what_is_asked_for_by_http() {
    let (_server, client) = start(|_| {});
    let good = token(&json!({"ID": 7}));
    let good = [("x-token", &*good)];
    let (send, broadcast) = ("/api/ws/send-message", "/api/ws/broadcast");
    let long = json!({"message": "x".repeat(20_001)}).to_string();
    for (method, target, body, number, reason) in [
        ("GET", "/api/ws/messages", "", 1001, "room_id is missing"),
        ("GET", "/api/ws/messages?room_id=private_9_7", "", 1001, "no room has this room_id"),
        ("GET", "/api/ws/messages?room_id=r&page=0", "", 1001, "page must be a whole number of at least 1"),
        ("GET", "/api/ws/messages?room_id=r&page_size=x", "", 1001, "page_size must be a whole number of at least 1"),
        ("POST", send, r#"{"to_user_id":8,"content":"x","room_id":"private_8_9"}"#, 1001, "private_7_8"),
        ("POST", send, r#"{"to_user_id":8,"content":"x","room_id":7}"#, 1001, "room_id must be a text"),
        ("POST", send, r#"{"content":"x","room_id":"private_8_9"}"#, 1001, "without to_user_id, room_id must be"),
        ("POST", send, r#"{"user_id":"8","message":"x"}"#, 1001, "user_id must be a whole number"),
        ("POST", send, r#"{"to_user_id":"8","content":"x"}"#, 10001, "to_user_id must be a whole number"),
        ("POST", broadcast, &long, 10001, "message is longer than 20000 bytes"),
    ] {
        let answer = client.ask(method, target, &good, body).await;
        let told = answer.json();
        assert_eq!((answer.status, &told["code"]), (400, &json!(number)), "{target} {body}: {answer:?}");
        says(told["reason"].as_str().unwrap(), &[reason], target);
    }
}

#[tokio::test]
async fn commands_of_the_right_form() {
    let (_server, client) = start(|config| {
        config.limits.publish_burst = 1_000;
        config.chat.unknown_group = UnknownGroup::Reject;
        config.chat.strict_types = true;
    });
    let mut ann = welcome(client, &token(&json!({"ID": 7}))).await;
    let (long, id) = ("x".repeat(20_001), "x".repeat(257));
    let crowd: Vec<u64> = (1..=5_001).collect();
    for (cmd, data, number, reason) in [
        ("join_room", json!({"room_id": "private_8_9"}), 2001, "begins with private_"),
        ("join_room", json!({"room_id": "group_1"}), 2001, "begins with group_"),
        ("join_room", json!({"room_id": id}), 2001, "longer than 256 bytes"),
        ("join_room", json!({"room_id": "a\nb"}), 2001, "a control character"),
        ("leave_room", json!({"room_id": 7}), 2003, "room_id must be a text"),
        (
            "create_group",
            json!({"group_name": id, "member_ids": [8]}),
            3001,
            "group_name has 257 bytes; it may have 256",
        ),
        (
            "create_group",
            json!({"group_name": "g", "member_ids": [8], "description": "x".repeat(4_097)}),
            3001,
            "description has 4097 bytes; it may have 4096",
        ),
        ("create_group", json!({"group_name": "g", "member_ids": crowd}), 3001, "5001 users; it may have 5000"),
        ("create_group", json!({"group_name": "g", "member_ids": [0]}), 3001, "member_ids has 0, which is no user"),
        ("create_group", json!({"group_name": "g", "member_ids": ["8"]}), 3001, "member_ids must be a list of whole"),
        ("send_message", json!({"to_user_id": 8, "content": long}), 10001, "content is longer than 20000 bytes"),
        (
            "send_message",
            json!({"to_user_id": 8, "content": "x", "client_id": id}),
            10001,
            "client_id is longer than 256 bytes",
        ),
        ("send_message", json!({"to_user_id": 8, "content": "x", "message_type": 9}), 10001, "must be 1, 2 or 3"),
        ("send_message", json!({"to_user_id": -8, "content": "x"}), 10001, "to_user_id must be a whole number"),
        ("broadcast", json!({"message": long}), 10001, "message is longer than 20000 bytes"),
        ("broadcast", json!({"message": "x", "client_id": id}), 10001, "client_id is longer than 256 bytes"),
        ("broadcast", json!([]), 10001, "data must be an object with the texts message and client_id"),
        ("send_group_message", json!({"group_id": "abc", "content": "x"}), 3006, "group_<number>_<number>"),
        ("send_group_message", json!({"group_id": "abc", "content": "x"}), 3006, "unknown_group: broadcast"),
        ("send_group_message", json!({"group_id": "group_1", "content": "x"}), 3006, "as a member"),
    ] {
        ann.send(&json!({"cmd": cmd, "data": data}).to_string()).await;
        let told = ann.next_value().await;
        assert_eq!(told["code"], number, "{cmd}: {told}");
        says(told["reason"].as_str().unwrap(), &[reason], cmd);
    }
    for room in 0..limits::CHAT_ROOMS {
        ann.refuses(&json!({"cmd": "join_room", "data": {"room_id": room.to_string()}}).to_string(), &["success"])
            .await;
    }
    ann.refuses(r#"{"cmd":"join_room","data":{"room_id":"x"}}"#, &["too many rooms", "has joined 100 rooms"]).await;
}

#[tokio::test]
async fn when_it_is_too_much() {
    let good = token(&json!({"ID": 7}));
    let good = [("x-token", &*good)];
    let (_server, client) = start(|config| config.chat.requests_per_second = 1);
    let _ = client.ask("POST", "/api/ws/broadcast", &good, r#"{"message":"x"}"#).await;
    let words = ["请求过于频繁", "chat.requests_per_second"];
    client.refuses("POST", "/api/ws/broadcast", &good, r#"{"message":"x"}"#, 429, &words).await;
    let (_server, client) = start(|config| config.limits.connections = 1);
    let _first = welcome(client, good[0].1).await;
    client.shuts(PATH, &good, 503, &["服务暂不可用", "1 WebSockets are open", "limits.connections"]).await;
    let (_server, client) = start(|config| {
        config.limits.connections_per_address = 1;
        config.limits.exempt_loopback = false;
    });
    let _first = welcome(client, good[0].1).await;
    client.shuts(PATH, &good, 429, &["请求过于频繁", "limits.connections_per_address"]).await;
    // findings B6: new connections of one address are rated.
    let (_server, client) = start(one_at_once);
    let _first = welcome(client, good[0].1).await;
    client.shuts(PATH, &good, 429, &["请求过于频繁", TOO_MANY]).await;
}

#[tokio::test]
async fn commands() {
    let (_server, client) = start(|config| {
        config.limits.publishes_per_second = 1;
        config.limits.publish_burst = 11;
    });
    let mut ann = welcome(client, &token(&json!({"ID": 7}))).await;
    let long = json!({"cmd": "send_message", "data": {"to_user_id": 8, "content": "x".repeat(20_001)}}).to_string();
    for (sent, words) in [
        ("x", ["请求参数错误", "not one JSON object"]),
        (r#"{"cmd":"dance"}"#, ["未知命令", "known are send_message"]),
        (r#"{"cmd":"send_message","data":5}"#, ["消息解析失败", "data must be an object"]),
        (r#"{"cmd":"send_message","data":{}}"#, ["目标用户ID和消息内容不能为空", "to_user_id or content is missing"]),
        (&long, ["消息解析失败", "20000 bytes"]),
        (r#"{"cmd":"broadcast","data":{}}"#, ["群发消息内容不能为空", "message is missing"]),
        (r#"{"cmd":"join_room","data":{}}"#, ["房间ID不能为空", "room_id is missing"]),
        (r#"{"cmd":"create_group","data":{}}"#, ["群聊名称不能为空", "group_name is missing"]),
        (r#"{"cmd":"create_group","data":{"group_name":"g"}}"#, ["群成员列表不能为空", "member_ids is missing"]),
        (r#"{"cmd":"send_group_message","data":{}}"#, ["群聊ID和消息内容不能为空", "group_id or content is missing"]),
        (r#"{"cmd":"send_group_message","data":{"group_id":"x","content":"x"}}"#, ["群聊ID格式无效", "create_group"]),
        ("{}", ["请求过于频繁", "limits.publishes_per_second"]),
    ] {
        ann.refuses(sent, &words).await;
    }
    ann.send(&"x".repeat(limits::CHAT_FRAME_BYTES + 1)).await;
    ann.closes(1009, &["65536 bytes"]).await;
}
