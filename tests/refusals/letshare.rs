//! `docs/protocols/letshare.md` §1.2, §2.2: the Chinese texts are the document's, `reason` is ours.

use letshare_server::{
    clock::Clock,
    ids::Timestamp,
    limits::{EVENT_NAME_BYTES, USER_ID_BYTES},
};
use serde_json::json;

use super::*;
use crate::support::{Client, Server};

#[tokio::test]
async fn before_the_upgrade() {
    let server = Server::start(|_| {});
    let client = Client(server.address);
    let long = server.target(&"x".repeat(USER_ID_BYTES + 1));
    for (target, headers, status, words) in [
        (server.target("a:1"), &[EVIL][..], 403, ["evil.example", "cors.allowed_origins"]),
        ("/ws?userId=a".into(), &[], 401, ["缺少认证token", "parameter token is missing"]),
        ("/ws?token=wrong".into(), &[], 401, ["token验证失败", "SHA-256 of auth.secret"]),
        (server.target("%FF"), &[], 400, ["userId 不是有效的 UTF-8", "userId must be UTF-8, percent-encoded"]),
        (long, &[], 400, ["userId 过长", "userId is too long: it may have 256 bytes"]),
        ("/nothing".into(), &[], 404, ["404 page not found", "no protocol that is enabled on this port"]),
    ] {
        client.shuts(&target, headers, status, &words).await;
    }
    client.names_bad_headers(&server.target("a:1"), &[]).await;
    client.refuses("POST", "/api/pro/activate", &[], "x", 400, &["user_id and invite_code"]).await;
    client.refuses("POST", "/api/pro/activate", &[], "{}", 400, &["user_id is missing"]).await;
    let body = r#"{"user_id":"a","invite_code":"x"}"#;
    client.refuses("POST", "/api/pro/activate", &[], body, 403, &["invite_code is not the one"]).await;
}

/// The caps, by the setting and its number.
#[tokio::test]
async fn when_it_is_full() {
    let one_in_all = Server::start(|config| config.limits.connections = 1);
    let _first = Client::connect(&one_in_all, "a:1").await;
    let words = ["服务器连接数已达上限", "1 WebSockets are open", "limits.connections"];
    Client(one_in_all.address).shuts(&one_in_all.target("b:2"), &[], 503, &words).await;
    let one_each = Server::start(|config| {
        config.limits.connections_per_address = 1;
        config.limits.exempt_loopback = false;
    });
    let _first = Client::connect(&one_each, "a:1").await;
    let words = ["该地址的连接数已达上限", "1 WebSockets from this address", "limits.connections_per_address"];
    Client(one_each.address).shuts(&one_each.target("b:2"), &[], 429, &words).await;
}

/// A server that ends takes nobody in; on a connection that it has, since it accepts no more.
#[tokio::test]
async fn while_it_drains() {
    const LONG: std::time::Duration = std::time::Duration::from_secs(3_600);
    let mut server = Server::start(|config| {
        config.shutdown.grace = LONG;
        config.websocket.close_timeout = LONG;
    });
    let mut http = Http::connect(&server).await;
    assert_eq!(http.ask("GET", "/ready", &[]).await.status, 200);
    let mut inside = Client::connect(&server, "a:1").await;
    server.begin_drain();
    assert_eq!(inside.expect_close().await.unwrap().reason.as_str(), "server is shutting down");
    let refused = http.ask("GET", &server.target("b:2"), &UPGRADE).await;
    assert_eq!(refused.status, 503);
    says(&refused.body, &["服务器正在关闭", "shutting down; connect again in a moment"], "a server that drains");
}

/// findings N5: the words that the app knows, and beside them what is wrong and where.
#[tokio::test]
async fn in_a_room() {
    let server = Server::start(|config| {
        config.websocket.max_room_users = 1;
        config.limits.channels_per_connection = 1;
        config.limits.events_per_subscription = 2;
    });
    let _full = Client::join(&server, "b:2", "full").await;
    let mut outside = Client::connect(&server, "c:3").await;
    outside.send(json!({"type": "subscribe", "channel": "full"})).await;
    let told = outside.next_text().await;
    says(&told, &["房间已满，最多支持1个用户", "limit of 1 members"], "a full room");
    let mut page = Client::join(&server, "a:1", "demo1").await;
    let limit = EVENT_NAME_BYTES.to_string();
    let long = "x".repeat(EVENT_NAME_BYTES + 1);
    for (sent, words) in [
        (json!({"type": 7}), ["消息格式错误", "expected a string at line 1 column 9"]),
        (json!({"type": "nonsense"}), ["不支持的消息类型: nonsense", "known are subscribe, unsubscribe, publish"]),
        (json!({"type": "subscribe"}), ["缺少频道名称", "channel is missing"]),
        (json!({"type": "publish", "channel": "demo1"}), ["缺少消息数据", "data is missing"]),
        (json!({"type": "publish", "channel": "demo1", "data": 1}), ["消息数据格式错误", "data must be a JSON object"]),
        (json!({"type": "publish", "channel": "x", "data": {}}), ["客户端未订阅房间: x", "subscribe to it first"]),
        (json!(""), ["消息格式错误", "must be a JSON object whose type, channel and event are texts\""]),
        (json!([]), ["消息格式错误", "must be a JSON object whose type, channel and event are texts\""]),
        (json!({"type": "file:transfer:accept", "data": {}}), ["消息数据格式错误", "data.transfer_id must be a text"]),
        (json!({"type": "subscribe", "channel": "a"}), ["至少两个字符", "shorter than 2 characters"]),
        (json!({"type": "subscribe", "channel": "1234567890123"}), ["最多 12 个字符", "longer than 12 characters"]),
        (json!({"type": "subscribe", "channel": "a/b"}), ["房间名只能包含", "a character that is not allowed"]),
        (json!({"type": "subscribe", "channel": "other"}), ["最多同时加入1个房间", "subscribe to at most 1 channels"]),
        (json!({"type": "subscribe", "channel": "demo1", "event": "e"}), ["最多订阅2个事件", "at most 2 events"]),
        (json!({"type": "subscribe", "channel": "demo1", "event": long}), ["事件名最多", &limit]),
        (json!({"type": "subscribe", "channel": "demo1", "event": "signal:b:2"}), ["signal:b:2", "foreign_signals"]),
    ] {
        page.send_text(&sent.to_string()).await;
        says(&page.next_text().await, &words, &sent.to_string());
    }
    // `json!` keeps the last of two.
    page.send_text(r#"{"type":"publish","channel":"demo1","data":{"from":"a:1","from":"x"}}"#).await;
    says(
        &page.next_text().await,
        &["消息数据格式错误", "data cannot be read: `from` stands twice"],
        "a doubled sender",
    );
    page.publish("demo1", "signal:all", json!({"from": "b:2"})).await;
    says(&page.next_text().await, &["from 与当前用户不一致", "another sender than the user"], "a forged sender");
}

#[tokio::test]
async fn too_fast_and_too_large() {
    let clock = letshare_server::clock::Clock::manual(letshare_server::ids::Timestamp::from_millis(0));
    let server = Server::start_at(clock, |config| {
        config.limits.publishes_per_second = 1;
        config.limits.publish_burst = 1;
        config.websocket.max_message_bytes = 1_024;
        config.websocket.max_fragments = 2;
    });
    let target = server.target("a:1");
    let mut page = Socket::open(Client(server.address), &target, &[]).await;
    page.refuses("{}", &["不支持的消息类型"]).await;
    page.refuses("{}", &["发送过于频繁", "limits.publishes_per_second", "limits.publish_burst"]).await;
    page.send(&"x".repeat(1_025)).await;
    page.closes(1009, &["too big", "1024 bytes"]).await;
}

/// findings B6: new connections of one address are rated.
#[tokio::test]
async fn who_comes_too_often() {
    let server = Server::start_at(Clock::manual(Timestamp::from_millis(0)), one_at_once);
    let _first = Client::connect(&server, "a:1").await;
    Client(server.address).shuts(&server.target("b:2"), &[], 429, &["请求过于频繁", TOO_MANY]).await;
}
