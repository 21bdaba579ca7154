//! `docs/protocols/letshare.md §3.5.1`: S-messages only from S, R-messages only from R; whoever else knows the id of a
//! transfer can do nothing with it.

use serde_json::{Value, json};

use super::raw::{Pair, RECEIVER, ROOM, SENDER, expect_fault, hear, nothing_else, request, say};
use crate::support::{Client, Server, eventually};

fn everything() -> Vec<(&'static str, Value)> {
    vec![
        ("accept", json!({})),
        ("reject", json!({})),
        ("start", json!({})),
        ("ack", json!({"received_chunks": 4})),
        ("end", json!({})),
        ("complete", json!({})),
        ("resend", json!({"chunk_indexes": [0]})),
        ("cancel", json!({"reason": "because"})),
        ("error", json!({"error": "because"})),
        ("resume-query", json!({})),
    ]
}

/// Every message and a frame of each client is refused by name, and neither side hears of it.
async fn can_do_nothing(server: &Server, strangers: &mut [Client]) {
    let mut pair = Pair::running(server, 4).await;
    for stranger in strangers {
        for (kind, more) in everything() {
            say(stranger, kind, &pair.id, more).await;
            expect_fault(stranger, &pair.id, 403, "无权").await;
        }
        stranger.send_binary(pair.frame(0)).await;
        expect_fault(stranger, &pair.id, 403, "无权").await;
    }
    assert_eq!(nothing_else(&mut pair.sender, &pair.id).await, "transferring");
    assert_eq!(nothing_else(&mut pair.receiver, &pair.id).await, "transferring");
    pair.finish().await;
}

#[tokio::test]
async fn a_third_user_can_do_nothing() {
    let server = Server::start(|_| {});
    let mut strangers = [
        Client::join(&server, "c:3", ROOM).await,
        Client::join(&server, "d:4", "demo2").await,
        Client::connect(&server, "e:5").await,
    ];
    can_do_nothing(&server, &mut strangers).await;
}

/// Not even with the name of a side: what counts is the connection (§5 n).
#[tokio::test]
async fn a_third_connection_with_the_name_of_a_side_can_do_nothing() {
    let server = Server::start(|_| {});
    let mut strangers = [
        Client::join(&server, SENDER, ROOM).await,
        // Older than the receiver's, so it is not the one that receives.
        Client::join(&server, RECEIVER, ROOM).await,
        Client::join(&server, RECEIVER, "demo2").await,
        Client::connect(&server, RECEIVER).await,
    ];
    can_do_nothing(&server, &mut strangers).await;
}

/// A newer page of the receiver's user gets nothing of what the older one receives.
#[tokio::test]
async fn a_newer_page_of_the_receiver_takes_nothing_over() {
    let server = Server::start(|_| {});
    let mut pair = Pair::running(&server, 4).await;
    let mut newer = Client::join(&server, RECEIVER, ROOM).await;
    say(&mut newer, "cancel", &pair.id, json!({})).await;
    expect_fault(&mut newer, &pair.id, 403, "无权").await;
    pair.send_frames(0..4).await;
    pair.expect_frames(0..4).await;
    pair.ack(4).await;
    pair.end().await;
    assert!(newer.received_so_far().await.is_empty());
}

/// Nor when many of them come: the connection that receives is asked whether it is alive, answers, and goes on
/// receiving. That it had the time for that is shown by another, which does not answer and is closed.
#[tokio::test]
async fn newer_pages_do_not_end_a_connection_that_is_alive() {
    let server = Server::start(|_| {});
    let mut pair = Pair::running(&server, 24).await;
    let mut newer = Vec::new();
    for _ in 0..3 {
        newer.push(Client::join(&server, RECEIVER, ROOM).await);
        newer.push(Client::join(&server, SENDER, ROOM).await);
    }
    // Reading answers the pings.
    for side in [&mut pair.sender, &mut pair.receiver] {
        assert!(side.received_so_far().await.is_empty());
    }

    let mut other = Client::join(&server, "c:3", ROOM).await;
    let mut request = request("t2", 4);
    request["data"]["to_user_id"] = "d:4".into();
    let mut silent = Client::join(&server, "d:4", ROOM).await;
    other.send(request).await;
    hear(&mut silent, "request", "t2").await;
    let _newer = Client::join(&server, "d:4", ROOM).await;
    expect_fault(&mut other, "t2", 410, "接收者已断开连接").await;

    pair.finish().await;
    for page in &mut newer {
        assert!(page.received_so_far().await.is_empty());
    }
}

/// Each side says only its own words.
#[tokio::test]
async fn a_side_cannot_speak_for_the_other() {
    let server = Server::start(|_| {});
    let mut pair = Pair::running(&server, 4).await;
    let id = pair.id.clone();
    for (kind, more) in everything() {
        match kind {
            "start" | "end" => {
                say(&mut pair.receiver, kind, &id, more).await;
                expect_fault(&mut pair.receiver, &id, 403, "无权").await;
            }
            "accept" | "reject" | "ack" | "complete" | "resend" => {
                say(&mut pair.sender, kind, &id, more).await;
                expect_fault(&mut pair.sender, &id, 403, "无权").await;
            }
            _ => {}
        }
    }
    let frame = pair.frame(0);
    pair.receiver.send_binary(frame).await;
    expect_fault(&mut pair.receiver, &id, 403, "无权").await;
    pair.finish().await;
}

/// More than fits into any mailbox, as fast as it goes: the transfer is unharmed, and the rate limit, which
/// frames of a transfer of one's own do not touch, holds for frames of others.
#[tokio::test]
async fn a_flood_of_a_stranger_harms_nobody() {
    let server = Server::start(|config| {
        config.limits.publish_burst = 600;
        config.limits.publishes_per_second = 1;
        config.websocket.ping_interval = std::time::Duration::from_millis(40);
    });
    let mut pair = Pair::running(&server, 24).await;
    let mut stranger = Client::join(&server, "c:3", ROOM).await;
    for _ in 0..500 {
        say(&mut stranger, "cancel", &pair.id, json!({})).await;
    }
    for _ in 0..500 {
        stranger.send_binary(pair.frame(1)).await;
    }
    pair.send_frames(0..24).await;
    pair.expect_frames(0..24).await;
    for _ in 0..550 {
        expect_fault(&mut stranger, &pair.id, 403, "无权").await;
    }
    let mut http = crate::support::Http::connect(&server).await;
    eventually(async || {
        let page = http.ask("GET", "/metrics", &[]).await.json();
        let limited = page["websocket"]["rate_limited"].as_u64();
        limited.is_some_and(|limited| limited > 300).then_some(())
    })
    .await;
    pair.ack(24).await;
    pair.end().await;
}
