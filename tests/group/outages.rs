//! A disk that is full, and signals of an operator (`docs/protocols/group.md §5, §8`).

use std::{fs, process::Command};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::{survival::start_by, *};
use crate::support::redis::RedisServer;

/// Bytes of each message: a full disk shows soon.
const BALLAST: usize = 8_000;

/// §5, 503: `error` and an `ack` without success; nothing that was acknowledged is missing when there is room again.
#[tokio::test]
async fn a_full_disk() {
    let folder = TempDir::new().expect("a folder");
    // By default the signal would end the server.
    let launcher = ["env", "--ignore-signal=XFSZ"];
    let (server, address) = start_by(&launcher, &folder, &[]).await;
    make_group(address, "g", &["7"]).await;
    let mut client = Client::authenticated(address, "7").await;
    let first = client.says("first", "g", "first").await;
    let limit = |bytes: &str| {
        let (id, limit) = (server.id().to_string(), format!("--fsize={bytes}:"));
        let ended = Command::new("prlimit").args(["--pid", &id, &limit]).status();
        assert!(ended.expect("prlimit is part of util-linux").success());
    };
    let file = folder.path().join("data/letshare.redb");
    limit(&fs::metadata(&file).expect("a data file").len().to_string());

    // What room the file has left is used up first.
    let (mut kept, mut number) = (vec![first.clone()], 0);
    let refused = loop {
        let id = format!("while-{number}");
        client.say(&id, "g", &"x".repeat(BALLAST)).await;
        match answer(&mut client, &id).await {
            Ok(message) => kept.push(message),
            Err(refused) => break refused,
        }
        number += 1;
    };
    let reason = "the store does not answer; try again";
    let expected = json!({"code": 503, "message": "消息保存失败", "reason": reason});
    assert_eq!(refused, expected);
    let ack = client.expect("ack").await;
    let id = format!("while-{number}");
    assert_eq!(ack["message_id"], *id);
    assert_eq!(ack["data"], json!({"message_id": id, "success": false}));
    // Small writes fit in what is left between the large ones.
    let mut small = 0;
    loop {
        let id = format!("small-{small}");
        client.say(&id, "g", "x").await;
        match answer(&mut client, &id).await {
            Ok(message) => kept.push(message),
            Err(_) => break,
        }
        small += 1;
    }
    client.expect("ack").await;
    // Markers and what services ask for are refused alike; reading goes on.
    let marker = json!({"group_id": "g", "message_id": first});
    client.send("mark_read", "m", marker.clone()).await;
    assert_eq!(answer(&mut client, "m").await, Err(expected));
    assert_eq!(client.expect("ack").await["data"]["success"], false);
    let body = json!({"user_id": "7", "title": "t".repeat(BALLAST)});
    let told = service(address, "POST", "/api/notifications", body).await;
    assert_eq!(told.status, 503, "{told:?}");
    assert_eq!(ids(address).await, kept);

    limit("unlimited");
    // By itself; the same again is the same message.
    eventually(async || {
        client.say(&id, "g", &"x".repeat(BALLAST)).await;
        let answered = answer(&mut client, &id).await;
        if answered.is_err() {
            client.expect("ack").await;
        }
        kept.push(answered.ok()?);
        Some(())
    })
    .await;
    client.send("mark_read", "m", marker).await;
    client.acked("m").await;
    assert_eq!(ids(address).await, kept);
    server.terminate().await;
}

/// The id that an ack brings, or the data of an error; messages are passed over.
async fn answer(client: &mut Client, id: &str) -> Result<String, Value> {
    loop {
        let frame = client.next().await;
        if frame["type"] == "new_message" {
            continue;
        }
        assert_eq!(frame["message_id"], id, "{frame}");
        if frame["type"] == "error" {
            return Err(frame["data"].clone());
        }
        let message = frame["data"]["message_id"].as_str();
        return Ok(message.expect("an id").to_owned());
    }
}

/// Of all messages of the group, the oldest first.
async fn ids(address: SocketAddr) -> Vec<String> {
    let (mut ids, mut before) = (Vec::new(), String::new());
    loop {
        let target = format!("/api/messages?group_id=g&limit=100{before}");
        let page = data(&ask(address, "7", &target).await);
        for message in page["messages"].as_array().expect("messages") {
            ids.push(message["message_id"].as_str().expect("an id").to_owned());
        }
        if page["has_more"] == false {
            ids.reverse();
            return ids;
        }
        before = format!("&before_id={}", ids.last().expect("an id"));
    }
}

/// §8: the blacklist is read again on SIGHUP; one that is broken changes nothing.
#[tokio::test]
async fn the_blacklist_on_sighup() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("blacklist");
    fs::write(&file, "").expect("a file");
    let settings = [("GROUP_BLACKLIST_FILE", file.to_str().expect("a path"))];
    let (server, address) = start_by(&[], &folder, &settings).await;
    let status = async || ask(address, "7", "/api/users/status?user_id=7").await.status;
    assert_eq!(status().await, 200);
    for (text, expected, told) in [
        ("127.0.0.0/8\n", 403, "was read again"),
        ("nonsense\n", 403, "the new settings are refused"),
        ("", 200, "was read again"),
    ] {
        let before = server.written().matches(told).count();
        fs::write(&file, text).expect("a file");
        server.signal(Signal::SIGHUP);
        eventually(async || (server.written().matches(told).count() > before).then_some(())).await;
        assert_eq!(status().await, expected, "{text}");
    }
    server.terminate().await;
}

/// What ends a process by default does not end a server that has no blacklist.
#[tokio::test]
async fn sighup_without_a_blacklist() {
    let folder = TempDir::new().expect("a folder");
    let (server, address) = start_by(&[], &folder, &[]).await;
    server.signal(Signal::SIGHUP);
    eventually(async || server.written().contains("limits and lists were read again").then_some(())).await;
    Client::authenticated(address, "7").await;
    server.terminate().await;
}

/// findings O12: a stream that nobody has written to has lost nothing when Redis is restarted; one that was has.
#[tokio::test]
async fn only_what_was_there_can_be_lost() {
    const LOST: &str = "redis has lost entries";
    let mut redis = RedisServer::start().await;
    let folder = TempDir::new().expect("a folder");
    let endpoint = format!("127.0.0.1:{}", redis.port);
    let (server, address) = start_by(&[], &folder, &[("GROUP_REDIS", &endpoint)]).await;
    let mut client = Client::authenticated(address, "7").await;
    let progress = async |redis: &RedisServer, client: &mut Client| {
        let payload = json!({"user_id": "7", "verify_id": 1}).to_string();
        let words: [&[u8]; 9] = [
            b"XADD",
            b"verify:progress",
            b"*",
            b"_watermill_message_uuid",
            b"u",
            b"metadata",
            b"",
            b"payload",
            payload.as_bytes(),
        ];
        redis.command(&words).await;
        client.expect("verify_progress").await;
    };
    // Both consumers read when this is there.
    eventually(async || {
        let groups = redis.try_command(&[b"XINFO", b"GROUPS", b"notification:push"]).await?;
        groups.contains("broker").then_some(())
    })
    .await;
    redis.kill();
    eventually(async || server.written().contains("redis is away").then_some(())).await;
    redis.restart().await;
    progress(&redis, &mut client).await;
    assert!(!server.written().contains(LOST), "{}", server.written());
    redis.command(&[b"FLUSHALL"]).await;
    redis.kill();
    redis.restart().await;
    eventually(async || server.written().contains(LOST).then_some(())).await;
    server.terminate().await;
}
