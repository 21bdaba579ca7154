//! `docs/protocols/group.md` §2, §5, §8: codes and texts are the document's, `reason` (and, before the upgrade, the header
//! `refusal-reason`) is ours.

use std::time::Duration;

use letshare_server::{
    clock::Clock,
    config::{Config, GROUP_SAMPLE_SECRET, Protocol},
    ids::Timestamp,
    limits,
};
use serde_json::json;

use super::*;
use crate::support::Server;

const KEY: (&str, &str) = ("X-Service-Key", "a key that only services know");

fn start(adjust: impl FnOnce(&mut Config)) -> (Server, Client) {
    start_at(Clock::manual(Timestamp::from_millis(0)), adjust)
}

fn start_at(clock: Clock, adjust: impl FnOnce(&mut Config)) -> (Server, Client) {
    let server = Server::start_as("group", clock, |config| {
        config.group.port = Some(0);
        config.group.service_key = KEY.1.to_owned().into();
        adjust(config);
    });
    let client = Client(server.address_of(Protocol::Group));
    (server, client)
}

fn token(claims: &Value) -> String {
    let key = jsonwebtoken::EncodingKey::from_secret(GROUP_SAMPLE_SECRET.as_bytes());
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), claims, &key).unwrap()
}

#[tokio::test]
async fn before_the_upgrade() {
    let (_server, client) = start(|_| {});
    client.shuts("/ws", &[EVIL], 403, &["evil.example", "group.allowed_origins"]).await;
    client.refuses("POST", "/ws", &UPGRADE, "", 405, &["Method Not Allowed", "begins with GET"]).await;
    client.names_bad_headers("/ws", &[]).await;
    let (_server, client) = start(|config| config.group.blacklist = vec!["127.0.0.0/8".parse().unwrap()]);
    client.shuts("/ws", &[], 403, &["Forbidden", "group.blacklist"]).await;
    client.refuses("GET", "/api/groups/g", &[KEY], "", 403, &["禁止访问", "group.blacklist"]).await;
    let (_server, client) = start(|config| config.group.handshakes_per_second = 1);
    while client.ask("GET", "/ws", &UPGRADE, "").await.status == 101 {}
    client.shuts("/ws", &[], 429, &["Too Many Requests", "group.handshakes_per_second"]).await;
    let (_server, client) = start(|config| config.group.max_connections = 1);
    let _first = Socket::open(client, "/ws", &[]).await;
    let words = ["Too many connections", "1 connections are open", "group.max_connections"];
    client.shuts("/ws", &[], 503, &words).await;
    let (_server, client) = start(|config| config.limits.connections = 1);
    let _first = Socket::open(client, "/ws", &[]).await;
    client.shuts("/ws", &[], 503, &["Service Unavailable", "1 WebSockets are open", "limits.connections"]).await;
}

#[tokio::test]
async fn the_api() {
    let (_server, client) = start(|_| {});
    let user = format!("Bearer {}", token(&json!({"userId": "7"})));
    let (user, wrong) = ([("Authorization", &*user)], [("Authorization", "Bearer x")]);
    let large = "x".repeat(limits::GROUP_BODY_BYTES + 1);
    let limit = format!("{} bytes", limits::GROUP_BODY_BYTES);
    for (method, target, headers, body, status, words) in [
        ("GET", "/api/notifications", &[][..], "", 401, ["未授权", "X-Service-Key"]),
        ("GET", "/api/notifications", &wrong, "", 401, ["Token 无效或已过期", "get another one"]),
        ("POST", "/api/groups", &user, "{}", 403, ["需要服务密钥", "X-Service-Key"]),
        ("GET", "/api/notifications?user_id=8", &user, "", 403, ["只能访问自己的数据", "its own data"]),
        ("GET", "/api/notifications?page=0", &user, "", 400, ["page 参数无效", "at least 1"]),
        ("GET", "/api/notifications", &[KEY], "", 400, ["缺少", "user_id"]),
        ("POST", "/api/groups", &[KEY], "x", 400, ["请求格式错误", "must be a JSON object"]),
        ("POST", "/api/groups", &[KEY], r#"{"nom":1}"#, 400, ["unknown field", "known: "]),
        ("POST", "/api/groups", &[KEY], &large, 413, ["消息过大", &limit]),
        ("DELETE", "/api/groups", &[KEY], "", 405, ["请求方法不允许", "it has POST"]),
        ("GET", "/api/groups/nobody", &[KEY], "", 404, ["群聊不存在", "no group with this group_id"]),
        ("GET", "/api/nothing", &[KEY], "", 404, ["接口不存在", "no such path"]),
    ] {
        client.refuses(method, target, headers, body, status, &words).await;
    }
}

#[tokio::test]
async fn on_the_socket() {
    let (_server, client) = start(|config| {
        config.group.messages_per_second = 1;
        config.group.message_burst = 1;
    });
    let made = client.ask("POST", "/api/groups", &[KEY], r#"{"group_id":"g","name":"n","members":["7"]}"#).await;
    assert_eq!(made.status, 200, "{made:?}");
    let made = client.ask("POST", "/api/groups", &[KEY], r#"{"group_id":"h","name":"n","members":["8"]}"#).await;
    assert_eq!(made.status, 200, "{made:?}");
    let mut client = Socket::open(client, "/ws", &[]).await;
    let frame = |kind: &str, data: Value| json!({"type": kind, "message_id": "c", "data": data}).to_string();
    let nameless = token(&json!({"uid": "7"}));
    for (sent, words) in [
        ("x".to_owned(), ["消息格式错误", "not one JSON object"]),
        (frame("join_group", json!({"group_id": "g"})), ["未授权，请先认证", "send auth with a token first"]),
        (frame("auth", json!({})), ["token 不能为空", "token is missing"]),
        (frame("auth", json!({"token": nameless})), ["Token 无效或已过期", "claim userId"]),
    ] {
        client.refuses(&sent, &words).await;
    }
    client.send(&frame("auth", json!({"token": token(&json!({"userId": "7"}))}))).await;
    assert_eq!(client.next_value().await["type"], "auth_success");
    let large = "x".repeat(limits::GROUP_MESSAGE_BYTES + 1);
    let limit = format!("{} bytes", limits::GROUP_MESSAGE_BYTES);
    let message = |content: &str| frame("send_message", json!({"group_id": "g", "msg_type": 1, "content": content}));
    for (sent, words) in [
        (frame("dance", json!({})), ["未知的消息类型", "known are ping, auth"]),
        (frame("join_group", json!({})), ["group_id 不能为空", "group_id is missing"]),
        (frame("join_group", json!({"group_id": "h"})), ["不是群成员", "a service adds members"]),
        (frame("join_group", json!({"group_id": "x"})), ["群聊不存在", "group.open_groups"]),
        (frame("mark_read", json!({"group_id": "g", "message_id": "x"})), ["消息不存在", "this message_id"]),
        (frame("auth", json!({"token": token(&json!({"userId": "8"}))})), ["连接已属于其他用户", "open another one"]),
        (message(&large), ["消息过大", &limit]),
    ] {
        client.refuses(&sent, &words).await;
    }
    client.send(&message("x")).await;
    client.send(&message("y")).await;
    let told = loop {
        let frame = client.next_value().await;
        if frame["type"] == "error" {
            break frame.to_string();
        }
    };
    says(&told, &["发送过于频繁", "group.messages_per_second", "group.message_burst"], "too many messages");
}

#[tokio::test]
async fn five_attempts() {
    let (_server, client) = start(|_| {});
    let mut client = Socket::open(client, "/ws", &[]).await;
    for _ in 0..5 {
        client.refuses(r#"{"type":"auth","data":{"token":"x"}}"#, &["Token 无效或已过期"]).await;
    }
    client.closes(4401, &["five attempts"]).await;
}

/// Each cause of 4401 has its own text.
#[tokio::test]
async fn too_late() {
    let (_server, client) = start(|config| config.group.auth_timeout = Duration::from_millis(100));
    let mut silent = Socket::open(client, "/ws", &[]).await;
    silent.closes(4401, &["within group.auth_timeout"]).await;
    let clock = Clock::manual(Timestamp::from_millis(0));
    let (_server, client) = start_at(clock.clone(), |_| {});
    let mut late = Socket::open(client, "/ws", &[]).await;
    let auth = json!({"type": "auth", "data": {"token": token(&json!({"userId": "7", "exp": 1}))}});
    late.send(&auth.to_string()).await;
    assert_eq!(late.next_value().await["type"], "auth_success");
    clock.advance(Duration::from_secs(2));
    late.closes(4401, &["the token has expired"]).await;
}

/// A client that comes back after a message of a group that its user has left, which is as if there were none.
#[tokio::test]
async fn a_last_message_of_others() {
    let (_server, client) = start(|_| {});
    let group = r#"{"group_id":"g","members":["7"]}"#;
    assert_eq!(client.ask("POST", "/api/groups", &[KEY], group).await.status, 200);
    let auth = |data: Value| json!({"type": "auth", "message_id": "c", "data": data}).to_string();
    let token = token(&json!({"userId": "7"}));
    let mut first = Socket::open(client, "/ws", &[]).await;
    first.send(&auth(json!({"token": token}))).await;
    assert_eq!(first.next_value().await["type"], "auth_success");
    let message = json!({"type": "send_message", "data": {"group_id": "g", "msg_type": 1, "content": "x"}});
    first.send(&message.to_string()).await;
    let last = loop {
        let frame = first.next_value().await;
        if frame["type"] == "ack" {
            break frame["data"]["message_id"].clone();
        }
    };
    let left = client.ask("DELETE", "/api/groups/g/members?user_id=7", &[KEY], "").await;
    assert_eq!(left.status, 200, "{left:?}");
    let mut again = Socket::open(client, "/ws", &[]).await;
    again.send(&auth(json!({"token": token, "last_message_id": last}))).await;
    assert_eq!(again.next_value().await["type"], "auth_success");
    let refused = again.next_value().await;
    assert_eq!(refused["data"]["code"], 404);
    says(&refused.to_string(), &["消息不存在", "this last_message_id"], "auth");
}

/// Bodies: what names nobody is refused with the field, what was found, and what would be taken.
#[tokio::test]
async fn ids() {
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("blacklist");
    std::fs::write(&file, "").unwrap();
    let (_server, client) = start(|config| config.group.blacklist_file = Some(file.clone()));
    let long = format!(r#"{{"group_id":"g","members":[{}]}}"#, "1".repeat(limits::GROUP_NAME_BYTES + 1));
    for (target, body, words) in [
        ("groups", r#"{"group_id":"g","members":["7",1.5]}"#, ["members 参数无效", "members: 1.5 is no whole number"]),
        ("groups", r#"{"group_id":"g","members":[-7]}"#, ["members 参数无效", "members: -7 is negative"]),
        ("groups", r#"{"group_id":"g","members":[1e3]}"#, ["members 参数无效", "members: 1e3 is no whole number"]),
        ("groups", r#"{"members":[{"user_id":7.0}]}"#, ["user_id 参数无效", "user_id: 7.0 is no whole number"]),
        ("groups", r#"{"members":[true]}"#, ["neither a text nor a number", "members: an id must be a text"]),
        ("groups", r#"{"members":[""]}"#, ["members 不能为空", "members is missing or empty"]),
        ("groups", r#"{"members":7}"#, ["请求格式错误", "members must be a list"]),
        ("groups", r#"{"owner_id":-1}"#, ["owner_id 参数无效", "owner_id: -1 is negative"]),
        ("groups", r#"{"group_id":1.5}"#, ["group_id 参数无效", "group_id: 1.5 is no whole number"]),
        ("groups", &long, ["members 参数无效", "1 to 256 bytes"]),
        ("groups/g/members", r#"{"user_ids":[8,-8]}"#, ["user_ids 参数无效", "user_ids: -8 is negative"]),
        ("groups/g/members", r#"{"user_id":8.5}"#, ["user_id 参数无效", "user_id: 8.5 is no whole number"]),
        ("notifications", r#"{"user_id":1.5,"title":"t"}"#, ["user_id 参数无效", "user_id: 1.5 is no whole number"]),
        ("notifications", r#"{"user_ids":[-1],"title":"t"}"#, ["user_ids 参数无效", "user_ids: -1 is negative"]),
        (
            "notifications/read",
            r#"{"user_id":7,"notification_ids":[1.5]}"#,
            ["notification_ids 参数无效", "notification_ids: 1.5 is no whole number"],
        ),
        ("notifications/read", r#"{"user_id":-7,"notification_ids":[]}"#, ["user_id 参数无效", "-7 is negative"]),
        ("notifications/read", r#"{"user_id":7}"#, ["notification_ids 不能为空", "notification_ids is missing"]),
    ] {
        let answer = client.ask("POST", &format!("/api/{target}"), &[KEY], body).await;
        assert_eq!(answer.status, 400, "{target} {body}: {answer:?}");
        let told = answer.json();
        says(told["message"].as_str().unwrap(), &words[..1], body);
        says(told["reason"].as_str().unwrap(), &words[1..], body);
    }
    std::fs::write(&file, "nonsense\n").unwrap();
    let answer = client.ask("POST", "/api/blacklist/reload", &[KEY], "").await;
    assert_eq!(answer.status, 400, "{answer:?}");
    says(answer.json()["reason"].as_str().unwrap(), &["group.blacklist_file", "not an IP address"], "blacklist/reload");
}

/// findings B6: new connections of one address are rated.
#[tokio::test]
async fn who_comes_too_often() {
    let (_server, client) = start(one_at_once);
    let _first = Socket::open(client, "/ws", &[]).await;
    client.shuts("/ws", &[], 429, &["Too Many Requests", TOO_MANY]).await;
}
