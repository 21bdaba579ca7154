//! `docs/protocols/letshare.md §3.5` points 1 to 3 and 11: which requests are let through, and what the others are
//! told.

use letshare_server::{auth::ProKey, clock::Clock};
use serde_json::{Value, json};

use super::raw::{CHUNK, Pair, RECEIVER, ROOM, SENDER, expect_fault, hear, nothing_else, request, say};
use crate::support::{Client, Server};

const ID: &str = "transfer_1_abcdefg";

/// A request with other data.
fn with(changes: Value) -> Value {
    let mut request = request(ID, 4);
    for (key, value) in changes.as_object().expect("an object") {
        request["data"][key] = value.clone();
    }
    request
}

/// A request of so many bytes, in the app's chunks.
fn of_bytes(bytes: u64) -> Value {
    let total_chunks = bytes.div_ceil(65_536).max(1);
    with(json!({"file_size": bytes, "chunk_size": 65_536, "total_chunks": total_chunks}))
}

/// §3.5.1: the receiver gets the request as it was, but for the sender's name, which is the connection's.
#[tokio::test]
async fn a_request_arrives_with_the_true_sender() {
    let server = Server::start(|_| {});
    let (mut sender, mut receiver) = Pair::joined(&server).await;
    let forged = with(json!({"from_user_id": "c:3", "extra": {"n": [1, null]}}));
    sender.send(forged).await;
    let data = hear(&mut receiver, "request", ID).await;
    let expected = with(json!({"from_user_id": SENDER, "extra": {"n": [1, null]}}));
    assert_eq!(data, expected["data"]);
}

/// §3.1 gives the room as `channel` and as `room_name`; either will do.
#[tokio::test]
async fn the_room_may_stand_in_the_data_alone() {
    let server = Server::start(|_| {});
    let (mut sender, mut receiver) = Pair::joined(&server).await;
    let mut without_channel = request(ID, 4);
    without_channel.as_object_mut().expect("an object").remove("channel");
    sender.send(without_channel).await;
    hear(&mut receiver, "request", ID).await;
}

/// §3.5.1: from a member to a member of the same room.
#[tokio::test]
async fn both_sides_must_be_in_the_room() {
    let server = Server::start(|_| {});
    let (mut sender, mut receiver) = Pair::joined(&server).await;
    let mut elsewhere = Client::join(&server, "c:3", "demo2").await;
    let mut nowhere = Client::connect(&server, "d:4").await;

    for stranger in [&mut elsewhere, &mut nowhere] {
        stranger.send(request(ID, 4)).await;
        expect_fault(stranger, ID, 403, "无权").await;
    }
    for absent in ["c:3", "d:4", "nobody", "", SENDER] {
        sender.send(with(json!({"to_user_id": absent}))).await;
        expect_fault(&mut sender, ID, 404, "找不到接收者").await;
    }
    let leave = json!({"type": "unsubscribe", "channel": ROOM, "event": "signal:all"});
    receiver.send(leave).await;
    assert_eq!(receiver.next().await["type"], "unsubscribed");
    sender.send(request(ID, 4)).await;
    expect_fault(&mut sender, ID, 404, "找不到接收者").await;
    for bystander in [&mut receiver, &mut elsewhere, &mut nowhere] {
        assert!(bystander.received_so_far().await.is_empty());
    }
}

/// A user who is in the room with two connections is reached by the newer (§2.7); its own second
/// page is somebody else.
#[tokio::test]
async fn the_newest_connection_of_a_user_receives() {
    let server = Server::start(|_| {});
    let (mut sender, mut older) = Pair::joined(&server).await;
    let mut newer = Client::join(&server, RECEIVER, ROOM).await;
    sender.send(request(ID, 4)).await;
    hear(&mut newer, "request", ID).await;
    assert!(older.received_so_far().await.is_empty());

    let mut to_self = request("t2", 4);
    to_self["data"]["to_user_id"] = RECEIVER.into();
    newer.send(to_self).await;
    hear(&mut older, "request", "t2").await;
}

/// §3.5.1 "refuse a `transfer_id` already in use": whoever uses it, and a while after the end.
#[tokio::test]
async fn an_id_in_use_is_refused() {
    let server = Server::start(|_| {});
    let mut pair = Pair::running(&server, 4).await;
    let mut third = Client::join(&server, "c:3", ROOM).await;
    for client in [&mut third, &mut pair.sender] {
        client.send(request(&pair.id, 4)).await;
        expect_fault(client, &pair.id, 409, "已被使用").await;
    }
    pair.send_frames(0..4).await;
    pair.expect_frames(0..4).await;
    pair.end().await;
    third.send(request(&pair.id, 4)).await;
    expect_fault(&mut third, &pair.id, 409, "已被使用").await;
    assert_eq!(nothing_else(&mut pair.sender, &pair.id).await, "completed");
}

/// §3.5.2: 50 MiB are free, one byte more is not; the app looks for `升级到 PRO`.
#[tokio::test]
async fn the_free_limit() {
    let server = Server::start(|_| {});
    let (mut sender, mut receiver) = Pair::joined(&server).await;
    sender.send(of_bytes((50 << 20) + 1)).await;
    expect_fault(&mut sender, ID, 403, "升级到 PRO").await;
    sender.send(of_bytes(50 << 20)).await;
    hear(&mut receiver, "request", ID).await;
    assert!(receiver.received_so_far().await.is_empty());
}

/// §3.5.2, §3.6: with PRO it is the hard limit; the app looks for `文件大小超过限制`.
#[tokio::test]
async fn the_hard_limit() {
    let server = Server::start(|config| config.jwt.secret = "of the relay tests".into());
    let key = ProKey::new(&"of the relay tests".into());
    let pro = key.mint(SENDER, 1, Clock::system().now()).expect("signs");
    let url = format!("{}&pro_token={}", server.url(SENDER), pro.token);
    let mut sender = Client::try_connect(&url, SENDER).await.expect("connects");
    sender.subscribe(ROOM, "signal:all").await;
    let mut receiver = Client::join(&server, RECEIVER, ROOM).await;
    for bytes in [(3 << 30) + 1, u64::from(u32::MAX) << 20, u64::MAX] {
        sender.send(of_bytes(bytes)).await;
        expect_fault(&mut sender, ID, 413, "文件大小超过限制").await;
    }
    sender.send(of_bytes(3 << 30)).await;
    hear(&mut receiver, "request", ID).await;
    // Receiving a large file takes no PRO, sending one does.
    let mut back = of_bytes((50 << 20) + 1);
    back["data"]["transfer_id"] = "t2".into();
    back["data"]["to_user_id"] = SENDER.into();
    receiver.send(back).await;
    expect_fault(&mut receiver, "t2", 403, "升级到 PRO").await;
}

/// §3.6 "a configured `free_limit`".
#[tokio::test]
async fn the_free_limit_is_a_setting() {
    let server = Server::start(|config| config.file_transfer.free_limit = 1_000);
    let (mut sender, mut receiver) = Pair::joined(&server).await;
    sender.send(of_bytes(1_001)).await;
    expect_fault(&mut sender, ID, 403, "升级到 PRO").await;
    sender.send(of_bytes(1_000)).await;
    hear(&mut receiver, "request", ID).await;
}

/// §3.5.11: the shape of the file.
#[tokio::test]
async fn a_shape_that_does_not_fit_is_refused() {
    let server = Server::start(|_| {});
    let (mut sender, mut receiver) = Pair::joined(&server).await;
    for changes in [
        json!({"total_chunks": 3}),
        json!({"total_chunks": 5}),
        json!({"total_chunks": 0, "file_size": 0}),
        json!({"chunk_size": 0}),
        json!({"chunk_size": 1_023, "total_chunks": 5}),
        json!({"chunk_size": 262_145, "total_chunks": 1}),
        json!({"file_size": -1}),
        json!({"file_size": "4096"}),
        json!({"file_size": null}),
        json!({"file_size": 1.5}),
        json!({"chunk_size": {}}),
        json!({"total_chunks": "4"}),
        json!({"to_user_id": 7}),
        json!({"room_name": 7}),
    ] {
        sender.send(with(changes)).await;
        expect_fault(&mut sender, ID, 400, "格式错误").await;
    }
    for missing in ["file_size", "chunk_size", "total_chunks", "to_user_id"] {
        let mut incomplete = request(ID, 4);
        let data = incomplete["data"].as_object_mut().expect("an object");
        data.remove(missing);
        sender.send(incomplete).await;
        expect_fault(&mut sender, ID, 400, "格式错误").await;
    }
    assert!(receiver.received_so_far().await.is_empty());
    sender.send(with(json!({"chunk_size": CHUNK, "total_chunks": 4}))).await;
    hear(&mut receiver, "request", ID).await;
}

/// §3.5.3: "a server without relay should still answer `request` that way".
#[tokio::test]
async fn a_server_without_the_relay_says_so() {
    let server = Server::start(|config| config.file_transfer.enabled = false);
    let (mut sender, mut receiver) = Pair::joined(&server).await;
    sender.send(request(ID, 4)).await;
    expect_fault(&mut sender, ID, 501, "未启用").await;
    say(&mut sender, "cancel", ID, json!({})).await;
    assert!(sender.received_so_far().await.is_empty());
    say(&mut sender, "start", ID, json!({})).await;
    expect_fault(&mut sender, ID, 404, "不存在").await;
    assert!(receiver.received_so_far().await.is_empty());
}

/// §2.2, §3.5.3: what names no transfer gets a plain error; what names one, an error with its name. The
/// connection stays.
#[tokio::test]
async fn malformed_control_messages() {
    let server = Server::start(|_| {});
    let mut pair = Pair::running(&server, 4).await;
    let id = pair.id.clone();
    let id = &id;
    for kind in
        ["request", "accept", "reject", "start", "ack", "end", "complete", "resend", "cancel", "error", "resume-query"]
    {
        let kind = format!("file:transfer:{kind}");
        let sender = &mut pair.sender;
        for data in [
            json!(null),
            json!([]),
            json!("t"),
            json!(7),
            json!({}),
            json!({"transfer_id": null}),
            json!({"transfer_id": 7}),
            json!({"transfer_id": ""}),
            json!({"transfer_id": "x".repeat(129)}),
            json!({"transferId": id}),
        ] {
            sender.send(json!({"type": kind, "data": data})).await;
            sender.expect_error(400, "消息数据格式错误").await;
        }
        sender.send(json!({"type": kind})).await;
        sender.expect_error(400, "消息数据格式错误").await;
        let twice = format!(r#"{{"type":"{kind}","data":{{"transfer_id":"u","transfer_id":"{id}"}}}}"#);
        sender.send_text(&twice).await;
        sender.expect_error(400, "消息数据格式错误").await;
    }
    for (kind, more) in [
        ("ack", json!({})),
        ("ack", json!({"received_chunks": -1})),
        ("ack", json!({"received_chunks": "8"})),
        ("resend", json!({})),
        ("resend", json!({"chunk_indexes": []})),
        ("resend", json!({"chunk_indexes": vec![0; 257]})),
        ("resend", json!({"chunk_indexes": [-1]})),
        ("resend", json!({"chunk_indexes": [4]})),
        ("resend", json!({"chunk_indexes": "all"})),
        ("resend", json!({"chunk_indexes": [1], "missing_count": "all"})),
    ] {
        pair.receiver_says(kind, more).await;
        expect_fault(&mut pair.receiver, id, 400, "格式错误").await;
    }
    for kind in ["progress", "resume-state", "", "Accept"] {
        pair.sender_says(kind, json!({})).await;
        let text = format!("不支持的消息类型: file:transfer:{kind}");
        pair.sender.expect_error(400, &text).await;
    }
    assert_eq!(nothing_else(&mut pair.receiver, id).await, "transferring");
    pair.finish().await;
}

/// §3.5.3 `传输会话不存在`: whoever waits for something is told at once.
#[tokio::test]
async fn an_unknown_id_is_named() {
    let server = Server::start(|_| {});
    let (mut sender, _receiver) = Pair::joined(&server).await;
    for (kind, more) in [
        ("accept", json!({})),
        ("start", json!({})),
        ("end", json!({})),
        ("resend", json!({"chunk_indexes": [0]})),
        ("resume-query", json!({})),
    ] {
        say(&mut sender, kind, "unknown", more).await;
        expect_fault(&mut sender, "unknown", 404, "传输会话不存在").await;
    }
}
