//! `docs/protocols/letshare.md §3.3`, §3.5.6: how transfers end, and that nothing is said afterwards.

use std::time::Duration;

use letshare_server::{clock::Clock, ids::Timestamp};
use serde_json::json;
use tokio::join;
use tokio_tungstenite::tungstenite::Message;

use super::{
    page::{Page, file},
    raw::{Pair, RECEIVER, ROOM, SENDER, expect_fault, hear, nothing_else, request, say},
};
use crate::support::{Client, Server};

/// Everything that may still be on the way when a transfer ends is ignored.
async fn all_is_silent(pair: &mut Pair, status: &str) {
    pair.send_frames(0..pair.total).await;
    for kind in ["start", "end", "cancel", "error"] {
        pair.sender_says(kind, json!({})).await;
    }
    for (kind, more) in [
        ("accept", json!({})),
        ("ack", json!({"received_chunks": 1})),
        ("complete", json!({})),
        ("resend", json!({"chunk_indexes": [0]})),
        ("cancel", json!({})),
        ("reject", json!({})),
    ] {
        pair.receiver_says(kind, more).await;
    }
    let id = pair.id.clone();
    assert_eq!(nothing_else(&mut pair.receiver, &id).await, status);
    assert_eq!(nothing_else(&mut pair.sender, &id).await, status);
    assert_eq!(nothing_else(&mut pair.receiver, &id).await, status);
}

/// What is said to a transfer that is no more, and what nobody waits for an answer to.
async fn last_words(client: &mut Client, id: &str) {
    for (kind, more) in [
        ("ack", json!({"received_chunks": 1})),
        ("complete", json!({})),
        ("cancel", json!({"reason": "late"})),
        ("reject", json!({})),
        ("error", json!({"error": "late"})),
    ] {
        say(client, kind, id, more).await;
    }
}

/// The app shows every error (§2.2): one that nobody can do anything about is not sent, however long the
/// transfer is gone.
#[tokio::test]
async fn late_words_of_a_transfer_long_forgotten_are_ignored() {
    let server = Server::start(|_| {});
    let (mut sender, mut receiver) = Pair::joined(&server).await;
    for client in [&mut sender, &mut receiver] {
        last_words(client, "forgotten").await;
        assert!(client.received_so_far().await.is_empty());
    }
}

/// The same from a page that has another connection by now, while the transfer is remembered.
#[tokio::test]
async fn late_words_of_a_page_that_came_back_are_ignored() {
    let server = Server::start(|_| {});
    let mut pair = Pair::running(&server, 4).await;
    pair.sender_says("cancel", json!({})).await;
    pair.receiver_hears("cancel").await;
    for user in [SENDER, RECEIVER] {
        let mut page = Client::join(&server, user, ROOM).await;
        last_words(&mut page, &pair.id).await;
        assert!(page.received_so_far().await.is_empty());
        say(&mut page, "resume-query", &pair.id, json!({})).await;
        expect_fault(&mut page, &pair.id, 403, "无权").await;
    }
    all_is_silent(&mut pair, "cancelled").await;
}

#[tokio::test]
async fn what_comes_after_complete_is_ignored() {
    let server = Server::start(|_| {});
    let mut pair = Pair::running(&server, 4).await;
    pair.send_frames(0..4).await;
    pair.expect_frames(0..4).await;
    pair.end().await;
    all_is_silent(&mut pair, "completed").await;
}

/// §3.3: "`complete` may even arrive before `end`". The app forgets one that it gets before it has said `end`, and
/// waits for another three minutes.
#[tokio::test]
async fn complete_before_end() {
    let server = Server::start(|_| {});
    let mut pair = Pair::running(&server, 4).await;
    pair.send_frames(0..4).await;
    pair.expect_frames(0..4).await;
    pair.receiver_says("complete", json!({"file_name": "x", "file_size": 4_096})).await;
    assert_eq!(pair.sender_hears("ack").await["received_chunks"], 4);
    let id = pair.id.clone();
    let status = nothing_else(&mut pair.sender, &id).await;
    assert_eq!(status, "transferring");
    pair.sender_says("end", json!({})).await;
    let complete = pair.sender_hears("complete").await;
    assert_eq!(complete["file_size"], 4_096, "handed on as it was");
    all_is_silent(&mut pair, "completed").await;
}

/// §3.1 `cancel`: from either side, before and after `accept`; the reason is handed on.
#[tokio::test]
async fn either_side_may_cancel() {
    let server = Server::start(|_| {});
    let reason = json!({"reason": "用户取消"});
    for has_begun in [false, true] {
        for by_sender in [false, true] {
            let (sender, receiver) = Pair::joined(&server).await;
            let id = format!("t-{has_begun}-{by_sender}");
            let mut pair = Pair::between(sender, receiver, &id, 4).await;
            if has_begun {
                pair.begin().await;
                pair.send_frames(0..2).await;
                pair.expect_frames(0..2).await;
            }
            let heard = if by_sender {
                pair.sender_says("cancel", reason.clone()).await;
                pair.receiver_hears("cancel").await
            } else {
                pair.receiver_says("cancel", reason.clone()).await;
                pair.sender_hears("cancel").await
            };
            assert_eq!(heard["reason"], "用户取消");
            all_is_silent(&mut pair, "cancelled").await;
        }
    }
}

#[tokio::test]
async fn the_receiver_may_reject() {
    let server = Server::start(|_| {});
    let mut pair = Pair::requested(&server, 4).await;
    pair.receiver_says("reject", json!({"reason": "no"})).await;
    assert_eq!(pair.sender_hears("reject").await["reason"], "no");
    all_is_silent(&mut pair, "cancelled").await;
}

/// §3.1 `error`, R -> S.
#[tokio::test]
async fn an_error_of_the_receiver_reaches_the_sender() {
    let server = Server::start(|_| {});
    let mut pair = Pair::running(&server, 4).await;
    pair.receiver_says("error", json!({"error": "磁盘已满"})).await;
    assert_eq!(pair.sender_hears("error").await["error"], "磁盘已满");
    all_is_silent(&mut pair, "cancelled").await;
}

/// In the middle of a file, with frames on the way.
#[tokio::test]
async fn pages_stop_at_once() {
    let server = Server::start(|_| {});
    let mut sender = Page::join(&server, SENDER, ROOM).await;
    let mut receiver = Page::join(&server, RECEIVER, ROOM).await;
    for (id, by_sender) in [("t1", true), ("t2", false)] {
        sender.offer(id, RECEIVER, file(8 << 20, 1)).await;
        let is_there = |page: &Page| page.chunks_received(id) >= 40;
        let (canceller, other) = if by_sender { (&mut sender, &mut receiver) } else { (&mut receiver, &mut sender) };
        if by_sender {
            join!(other.work_until(is_there), canceller.work_until(|page| page.chunks_acknowledged(id) >= 32));
        } else {
            join!(canceller.work_until(is_there), other.work_until(|page| page.chunks_acknowledged(id) >= 32));
        }
        canceller.cancel(id).await;
        let is_over = |page: &Page| page.sent(id).or(page.ended(id)) == Some("cancel");
        other.work_until(is_over).await;
    }
}

/// The server is told to stop: both sides of every transfer that goes on hear of it, by the transfer's name,
/// before their connections are closed.
#[tokio::test]
async fn a_server_that_stops_ends_its_transfers_first() {
    let mut server = Server::start(|config| config.server.workers = 2);
    let mut pair = Pair::running(&server, 4).await;
    pair.sender.send(request("t2", 4)).await;
    hear(&mut pair.receiver, "request", "t2").await;
    server.begin_drain();
    for client in [&mut pair.sender, &mut pair.receiver] {
        let mut told = Vec::new();
        for _ in 0..2 {
            let error = client.next().await;
            assert_eq!(error["type"], "file:transfer:error", "{error}");
            assert_eq!(error["data"]["code"], 503, "{error}");
            assert_eq!(error["data"]["error"], "服务器正在关闭", "{error}");
            told.push(error["data"]["transfer_id"].as_str().map(str::to_owned));
        }
        told.sort_unstable();
        assert_eq!(told, [Some("t2".to_owned()), Some(pair.id.clone())]);
        let close = client.next_frame().await.expect("open").expect("a frame");
        let Message::Close(Some(close)) = close else {
            panic!("expected a close frame, got {close:?}");
        };
        assert_eq!(u16::from(close.code), 1001);
    }
}

/// §3.5.11: nobody answers for 30 s.
#[tokio::test]
async fn a_request_that_nobody_answers() {
    let clock = Clock::manual(Timestamp::from_millis(1_800_000_000_000));
    // The clock stands still, so the rate limit would never let go.
    let server = Server::start_at(clock.clone(), |config| config.limits.publishes_per_second = 0);
    let mut pair = Pair::requested(&server, 4).await;
    clock.advance(Duration::from_secs(30));
    pair.both_are_told(408, "传输会话超时").await;
    all_is_silent(&mut pair, "error").await;
    // Once late messages are over, the id is unknown, and free again.
    clock.advance(Duration::from_secs(30));
    crate::support::eventually(async || {
        say(&mut pair.sender, "resume-query", &pair.id, json!({})).await;
        let answer = pair.sender.next().await;
        (answer["data"]["code"] == 404).then_some(())
    })
    .await;
    expect_unknown(&mut pair).await;
    pair.sender.send(request(&pair.id, 4)).await;
    pair.receiver_hears("request").await;
}

async fn expect_unknown(pair: &mut Pair) {
    pair.send_frames(0..4).await;
    expect_fault(&mut pair.sender, &pair.id, 404, "传输会话不存在").await;
}

/// §3.5.11: nothing happens for 120 s. Whatever happens counts.
#[tokio::test]
async fn a_transfer_in_which_nothing_happens() {
    let clock = Clock::manual(Timestamp::from_millis(1_800_000_000_000));
    let server = Server::start_at(clock.clone(), |_| {});
    let mut pair = Pair::running(&server, 4).await;
    for step in 0..4 {
        clock.advance(Duration::from_secs(119));
        pair.send_frames(step..step + 1).await;
        pair.expect_frames(step..step + 1).await;
    }
    clock.advance(Duration::from_secs(119));
    pair.ack(4).await;
    clock.advance(Duration::from_secs(120));
    pair.both_are_told(408, "传输会话超时").await;
    all_is_silent(&mut pair, "error").await;
}
