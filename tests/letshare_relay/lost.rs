//! `docs/protocols/letshare.md §3.5` points 9 and 10: a side loses its connection.

use std::time::Duration;

use letshare_server::{clock::Clock, ids::Timestamp};
use serde_json::json;
use tokio::join;

use super::{
    page::{Page, file, sha256},
    raw::{Pair, RECEIVER, ROOM, SENDER, expect_fault, nothing_else, say},
};
use crate::support::{Client, Server, eventually};

const CHUNKS: u64 = 80;

fn clock() -> Clock {
    Clock::manual(Timestamp::from_millis(1_800_000_000_000))
}

/// The receiver's connection is cut when it has received `percent` of a file and comes back after `away`.
async fn survives_a_cut(percent: u64, away: Duration) {
    let clock = clock();
    let server = Server::start_at(clock.clone(), |_| {});
    let mut sender = Page::join(&server, SENDER, ROOM).await;
    let mut receiver = Page::join(&server, RECEIVER, ROOM).await;
    let file = file(CHUNKS as usize * 65_536 - 17, percent);
    let hash = sha256(&file);
    sender.offer("t1", RECEIVER, file).await;
    let until_cut = async {
        let at_cut = CHUNKS * percent / 100;
        let is_there = |page: &Page| page.chunks_received("t1") >= at_cut;
        receiver.work_until(is_there).await;
        receiver.cut();
    };
    tokio::select! {
        () = until_cut => {}
        () = sender.work_until(|_| false) => {}
    }
    sender.until_missed("t1").await;
    clock.advance(away);
    let is_noticed = away >= Duration::from_secs(3);
    if is_noticed {
        let is_told = |page: &Page| page.statuses == ["interrupted"];
        sender.work_until(is_told).await;
    }
    receiver.reconnect(&server).await;
    join!(sender.work_until(|page| page.sent("t1").is_some()), receiver.work_until(|page| page.ended("t1").is_some()),);
    assert_eq!(sender.sent("t1"), Some("complete"));
    assert_eq!(receiver.received("t1"), Some(hash));
    let expected: &[&str] = if is_noticed { &["interrupted", "transferring"] } else { &[] };
    assert_eq!(sender.statuses, expected);
}

#[tokio::test]
async fn a_receiver_cut_at_10_percent_comes_back_after_1_s() {
    survives_a_cut(10, Duration::from_secs(1)).await;
}

#[tokio::test]
async fn a_receiver_cut_at_10_percent_comes_back_after_20_s() {
    survives_a_cut(10, Duration::from_secs(20)).await;
}

#[tokio::test]
async fn a_receiver_cut_at_50_percent_comes_back_after_1_s() {
    survives_a_cut(50, Duration::from_secs(1)).await;
}

#[tokio::test]
async fn a_receiver_cut_at_50_percent_comes_back_after_20_s() {
    survives_a_cut(50, Duration::from_secs(20)).await;
}

#[tokio::test]
async fn a_receiver_cut_at_90_percent_comes_back_after_1_s() {
    survives_a_cut(90, Duration::from_secs(1)).await;
}

#[tokio::test]
async fn a_receiver_cut_at_90_percent_comes_back_after_20_s() {
    survives_a_cut(90, Duration::from_secs(20)).await;
}

/// It may lose its connection as often as it likes.
#[tokio::test]
async fn a_receiver_that_is_cut_again_and_again_gets_its_file() {
    let server = Server::start(|_| {});
    let mut sender = Page::join(&server, SENDER, ROOM).await;
    let mut receiver = Page::join(&server, RECEIVER, ROOM).await;
    let file = file(CHUNKS as usize * 65_536, 3);
    let hash = sha256(&file);
    sender.offer("t1", RECEIVER, file).await;
    let keeps_falling = async {
        for cut in 1..=6 {
            let is_there = |page: &Page| page.chunks_received("t1") >= cut * 12;
            receiver.work_until(is_there).await;
            receiver.cut();
            receiver.reconnect(&server).await;
        }
        receiver.work_until(|page| page.ended("t1").is_some()).await;
    };
    join!(keeps_falling, sender.work_until(|page| page.sent("t1").is_some()));
    assert_eq!(sender.sent("t1"), Some("complete"));
    assert_eq!(receiver.received("t1"), Some(hash));
}

/// §3.5.9 "received_count = what R acknowledged, never more"; the frames that were sent meanwhile are kept,
/// and `end` too.
#[tokio::test]
async fn what_is_sent_meanwhile_waits_for_the_receiver() {
    let clock = clock();
    let server = Server::start_at(clock.clone(), |_| {});
    let mut pair = Pair::running(&server, 20).await;
    pair.send_frames(0..12).await;
    pair.expect_frames(0..12).await;
    pair.ack(8).await;
    assert_eq!(pair.cut_receiver(&server).await, 8);
    clock.advance(Duration::from_secs(3));
    let state = pair.sender_hears("resume-state").await;
    let expected = json!({
        "transfer_id": pair.id,
        "status": "interrupted",
        "role": "sender",
        "room_name": ROOM,
        "file_name": "照片 1.jpg",
        "file_size": 20 * 1_024,
        "chunk_size": 1_024,
        "total_chunks": 20,
        "received_chunks": [],
        "missing_chunks": [],
        "received_count": 8,
        "missing_count": 12,
        "bytes_received": 8 * 1_024,
        "updated_at": state["updated_at"],
    });
    assert_eq!(state, expected);
    let total = pair.total;
    for index in 12..total {
        let frame = pair.frame(index);
        pair.sender.send_binary(frame).await;
    }
    say(&mut pair.sender, "end", &pair.id, json!({})).await;
    assert_eq!(nothing_else(&mut pair.sender, &pair.id).await, "interrupted");

    pair.receiver_returns(&server).await;
    pair.receiver_hears("start").await;
    pair.expect_frames(0..total).await;
    pair.receiver_hears("end").await;
    let state = pair.sender_hears("resume-state").await;
    assert_eq!(state["status"], "transferring");
    pair.receiver_says("complete", json!({})).await;
    pair.sender_hears("complete").await;
}

/// The new connection is there before the old one is missed: it goes on at once.
#[tokio::test]
async fn a_receiver_whose_new_connection_came_first() {
    let server = Server::start(|_| {});
    let mut pair = Pair::running(&server, 10).await;
    pair.send_frames(0..4).await;
    pair.expect_frames(0..4).await;
    let newer = Client::join(&server, RECEIVER, ROOM).await;
    let older = std::mem::replace(&mut pair.receiver, newer);
    older.cut();
    pair.receiver_hears("start").await;
    pair.expect_frames(0..4).await;
    pair.send_frames(4..10).await;
    pair.expect_frames(4..10).await;
    pair.ack(10).await;
    pair.end().await;
}

/// A network that is lost says nothing: the old socket stays open and silent. When the page is back with a new
/// connection, the old one is asked for a sign of life and closed when there is none, long before it is idle.
#[tokio::test]
async fn a_receiver_whose_old_connection_is_half_open() {
    let server = Server::start(|_| {});
    let mut pair = Pair::running(&server, 10).await;
    pair.send_frames(0..4).await;
    pair.expect_frames(0..4).await;
    let newer = Client::join(&server, RECEIVER, ROOM).await;
    // Not read from any more, so it answers no ping.
    let mut older = std::mem::replace(&mut pair.receiver, newer);
    pair.send_frames(4..6).await;
    pair.receiver_hears("start").await;
    pair.expect_frames(0..6).await;
    pair.send_frames(6..10).await;
    pair.expect_frames(6..10).await;
    pair.ack(10).await;
    pair.end().await;
    let close = older.expect_close().await.expect("a code");
    assert_eq!(u16::from(close.code), 1008);
}

#[tokio::test]
async fn a_sender_whose_old_connection_is_half_open() {
    let server = Server::start(|_| {});
    let mut pair = Pair::running(&server, 10).await;
    let newer = Client::join(&server, SENDER, ROOM).await;
    let _older = std::mem::replace(&mut pair.sender, newer);
    pair.both_are_told(410, "发送者已断开连接").await;
    let receiver = Client::connect(&server, "nobody").await;
    let receiver = std::mem::replace(&mut pair.receiver, receiver);
    let mut pair = Pair::between(pair.sender, receiver, "t2", 10).await;
    pair.begin().await;
    pair.finish().await;
}

/// Leaving the room is as good as losing the connection, and coming back too (§2.7).
#[tokio::test]
async fn a_receiver_that_leaves_the_room_and_comes_back() {
    let server = Server::start(|_| {});
    let mut pair = Pair::running(&server, 10).await;
    pair.send_frames(0..4).await;
    pair.expect_frames(0..4).await;
    let leave = json!({"type": "unsubscribe", "channel": ROOM, "event": "signal:all"});
    pair.receiver.send(leave).await;
    assert_eq!(pair.receiver.next().await["type"], "unsubscribed");
    pair.receiver_is_missed().await;
    pair.send_frames(4..6).await;
    pair.receiver.subscribe(ROOM, "signal:all").await;
    pair.receiver_hears("start").await;
    pair.expect_frames(0..4).await;
    pair.expect_frames(4..6).await;
    assert_eq!(nothing_else(&mut pair.sender, &pair.id).await, "transferring");
}

/// §3.5.9: after 30 s the sender is told; the receiver when it comes after all.
#[tokio::test]
async fn after_60_s_both_sides_are_told() {
    let clock = clock();
    let server = Server::start_at(clock.clone(), |_| {});
    let mut pair = Pair::running(&server, 20).await;
    pair.send_frames(0..4).await;
    pair.cut_receiver(&server).await;
    clock.advance(Duration::from_secs(60));
    expect_fault(&mut pair.sender, &pair.id, 410, "接收者已断开连接").await;

    pair.receiver_returns(&server).await;
    expect_fault(&mut pair.receiver, &pair.id, 410, "接收者已断开连接").await;
    for side in [&mut pair.receiver, &mut pair.sender] {
        assert_eq!(nothing_else(side, &pair.id).await, "error");
    }
}

/// §3.3 `cancel`, while the receiver is away: it learns of it when it comes back, once.
#[tokio::test]
async fn what_ended_meanwhile_is_told_on_return() {
    let server = Server::start(|_| {});
    let mut pair = Pair::running(&server, 20).await;
    pair.send_frames(0..4).await;
    pair.cut_receiver(&server).await;
    pair.sender_says("cancel", json!({"reason": "no more"})).await;
    let id = pair.id.clone();
    assert_eq!(nothing_else(&mut pair.sender, &id).await, "cancelled");
    for is_first in [true, false] {
        pair.receiver_returns(&server).await;
        if is_first {
            assert_eq!(pair.receiver_hears("cancel").await["reason"], "no more");
        }
        assert_eq!(nothing_else(&mut pair.receiver, &id).await, "cancelled");
        let nobody = Client::connect(&server, "nobody").await;
        std::mem::replace(&mut pair.receiver, nobody).cut();
    }
}

/// A receiver that has not accepted yet has nothing to come back to.
#[tokio::test]
async fn a_receiver_lost_before_it_accepts() {
    let server = Server::start(|_| {});
    let mut pair = Pair::requested(&server, 20).await;
    pair.receiver.cut();
    expect_fault(&mut pair.sender, &pair.id, 410, "接收者已断开连接").await;
}

/// §3.5.10: at once. Whether it is cut, closes, or leaves the room.
#[tokio::test]
async fn when_the_sender_is_lost_the_receiver_is_told_at_once() {
    let server = Server::start(|_| {});
    let mut pair = Pair::running(&server, 20).await;
    pair.send_frames(0..4).await;
    pair.expect_frames(0..4).await;
    let nobody = Client::connect(&server, "nobody").await;
    std::mem::replace(&mut pair.sender, nobody).cut();
    expect_fault(&mut pair.receiver, &pair.id, 410, "发送者已断开连接").await;
    sender_is_told_once(&server, &mut pair).await;

    let mut pair = Pair::between(pair.sender, pair.receiver, "t2", 20).await;
    pair.sender.socket.close(None).await.expect("open");
    expect_fault(&mut pair.receiver, &pair.id, 410, "发送者已断开连接").await;
    sender_is_told_once(&server, &mut pair).await;

    let mut pair = Pair::between(pair.sender, pair.receiver, "t3", 20).await;
    pair.begin().await;
    let leave = json!({"type": "unsubscribe", "channel": ROOM, "event": "signal:all"});
    pair.sender.send(leave).await;
    assert_eq!(pair.sender.next().await["type"], "unsubscribed");
    pair.both_are_told(410, "发送者已断开连接").await;
    pair.sender.subscribe(ROOM, "signal:all").await;
    assert!(pair.sender.received_so_far().await.is_empty(), "told twice");
}

/// The app shows a transfer as going on until it is told otherwise: a sender hears of the end when it is back.
async fn sender_is_told_once(server: &Server, pair: &mut Pair) {
    pair.sender_returns(server).await;
    expect_fault(&mut pair.sender, &pair.id, 410, "发送者已断开连接").await;
    pair.sender_returns(server).await;
    assert!(pair.sender.received_so_far().await.is_empty());
}

/// The new connection is there before the old one is missed.
#[tokio::test]
async fn a_sender_whose_new_connection_came_first_is_told_at_once() {
    let server = Server::start(|_| {});
    let mut pair = Pair::running(&server, 20).await;
    let mut newer = Client::join(&server, SENDER, ROOM).await;
    pair.sender.cut();
    expect_fault(&mut newer, &pair.id, 410, "发送者已断开连接").await;
    expect_fault(&mut pair.receiver, &pair.id, 410, "发送者已断开连接").await;
    assert!(newer.received_so_far().await.is_empty());
}

/// The receiver had everything, so that is what the sender is told.
#[tokio::test]
async fn a_sender_lost_before_its_end_is_told_that_the_file_arrived() {
    let server = Server::start(|_| {});
    let mut pair = Pair::running(&server, 4).await;
    pair.send_frames(0..4).await;
    pair.expect_frames(0..4).await;
    pair.receiver_says("complete", json!({})).await;
    pair.sender_hears("ack").await;
    let nobody = Client::connect(&server, "nobody").await;
    std::mem::replace(&mut pair.sender, nobody).cut();
    let id = pair.id.clone();
    eventually(async || {
        let status = nothing_else(&mut pair.receiver, &id).await;
        (status == "completed").then_some(())
    })
    .await;
    pair.sender_returns(&server).await;
    pair.sender_hears("complete").await;
}
