//! `docs/protocols/letshare.md §3.5.9`: what was lost is served from the ring, the rest by the sender.

use serde_json::json;

use super::raw::{Pair, ROOM, expect_fault, nothing_else};
use crate::support::Server;

/// §5 p: the app counts everything and lists 256 at most.
#[tokio::test]
async fn the_rest_is_asked_of_the_sender_after_an_ack() {
    let server = Server::start(|_| {});
    let mut pair = Pair::running(&server, 1_000).await;
    for window in 0..3 {
        pair.send_frames(window * 24..(window + 1) * 24).await;
        pair.expect_frames(window * 24..(window + 1) * 24).await;
        pair.ack((window + 1) * 24 - 8).await;
    }
    // 72 were sent, the last 40 of them are kept: 32 to 71.
    let lost = json!({"chunk_indexes": [3, 31, 32, 71], "missing_count": 932, "total_chunks": 1_000});
    pair.receiver_says("resend", lost).await;
    pair.expect_frames([32, 71]).await;
    let ack = pair.sender_hears("ack").await;
    let expected = json!({
        "transfer_id": pair.id,
        "chunk_index": 67,
        "received_chunks": 68,
        "total_chunks": 1_000,
        "bytes_received": 68 * 1_024,
    });
    assert_eq!(ack, expected);
    let resend = pair.sender_hears("resend").await;
    let expected = json!({
        "transfer_id": pair.id,
        "chunk_indexes": [3, 31],
        "missing_count": 932,
        "total_chunks": 1_000,
        "room_name": ROOM,
    });
    assert_eq!(resend, expected);

    pair.send_frames(3..4).await;
    pair.send_frames(31..32).await;
    pair.expect_frames([3, 31]).await;
    pair.sender_says("end", json!({})).await;
    pair.receiver_hears("end").await;
    // §3.5.5: the main loop goes on.
    pair.send_frames(72..80).await;
    pair.expect_frames(72..80).await;
    assert_eq!(nothing_else(&mut pair.sender, &pair.id).await, "transferring");
}

/// When the ring has everything the sender is not bothered; a receiver that had heard `end` hears it again.
#[tokio::test]
async fn the_ring_has_it_all() {
    let server = Server::start(|_| {});
    let mut pair = Pair::running(&server, 24).await;
    pair.send_frames(0..24).await;
    pair.expect_frames(0..24).await;
    pair.ack(24).await;
    pair.sender_says("end", json!({})).await;
    pair.receiver_hears("end").await;
    for chunk_indexes in [vec![5, 7], vec![7, 5, 5, 7], (0..24).collect()] {
        let lost = json!({"chunk_indexes": chunk_indexes, "missing_count": chunk_indexes.len()});
        pair.receiver_says("resend", lost).await;
        let mut expected = chunk_indexes;
        expected.sort_unstable();
        expected.dedup();
        pair.expect_frames(expected).await;
        pair.receiver_hears("end").await;
    }
    assert_eq!(nothing_else(&mut pair.sender, &pair.id).await, "transferring");
}

/// The acknowledgements went down with the connection: everything that the ring brings is known already, so
/// the receiver says nothing and the sender's window stays shut, until the receiver asks.
#[tokio::test]
async fn lost_acknowledgements_are_made_up_for() {
    let server = Server::start(|_| {});
    let mut pair = Pair::running(&server, 40).await;
    pair.send_frames(0..24).await;
    pair.expect_frames(0..24).await;
    assert_eq!(pair.cut_receiver(&server).await, 0);
    pair.receiver_returns(&server).await;
    pair.receiver_hears("start").await;
    pair.expect_frames(0..24).await;

    let missing: Vec<u64> = (24..40).collect();
    let lost = json!({"chunk_indexes": missing, "missing_count": 16});
    pair.receiver_says("resend", lost).await;
    assert_eq!(pair.sender_hears("ack").await["received_chunks"], 24);
    // What was never sent is not asked for again: the next that the sender hears is an ack.
    pair.send_frames(24..40).await;
    pair.expect_frames(24..40).await;
    pair.ack(40).await;
    pair.end().await;
}

/// The same at the end of a file: the receiver has everything and waits for `end`, the sender for the last ack.
#[tokio::test]
async fn lost_acknowledgements_at_the_end_are_made_up_for() {
    let server = Server::start(|_| {});
    let mut pair = Pair::running(&server, 20).await;
    pair.send_frames(0..20).await;
    pair.expect_frames(0..20).await;
    assert_eq!(pair.cut_receiver(&server).await, 0);
    pair.receiver_returns(&server).await;
    pair.receiver_hears("start").await;
    pair.expect_frames(0..20).await;
    let end = pair.receiver_hears("end").await;
    let expected = json!({
        "transfer_id": pair.id,
        "file_name": "照片 1.jpg",
        "file_size": 20 * 1_024,
    });
    assert_eq!(end, expected);
    pair.receiver_says("complete", json!({})).await;
    let ack = pair.sender_hears("ack").await;
    assert_eq!(ack["received_chunks"], 20);
    assert_eq!(ack["bytes_received"], 20 * 1_024);
    pair.sender_says("end", json!({})).await;
    pair.sender_hears("complete").await;
    for side in [&mut pair.receiver, &mut pair.sender] {
        assert_eq!(nothing_else(side, &pair.id).await, "completed");
    }
}

/// §3.1 `resume-query`: either side may ask, at any time.
#[tokio::test]
async fn both_sides_may_ask_how_far_it_is() {
    let server = Server::start(|_| {});
    let mut pair = Pair::requested(&server, 10).await;
    assert_eq!(nothing_else(&mut pair.sender, &pair.id).await, "pending");
    pair.begin().await;
    pair.send_frames(0..8).await;
    pair.expect_frames(0..8).await;
    pair.ack(8).await;
    for role in ["sender", "receiver"] {
        let state = if role == "sender" {
            pair.sender_says("resume-query", json!({})).await;
            pair.sender_hears("resume-state").await
        } else {
            pair.receiver_says("resume-query", json!({})).await;
            pair.receiver_hears("resume-state").await
        };
        assert_eq!(state["role"], role);
        assert_eq!(state["status"], "transferring");
        assert_eq!(state["received_count"], 8);
        assert_eq!(state["missing_count"], 2);
        assert_eq!(state["bytes_received"], 8 * 1_024);
        assert!(state["updated_at"].is_u64());
    }
}

/// Only the receiver may ask for chunks.
#[tokio::test]
async fn the_sender_may_not_ask_for_chunks() {
    let server = Server::start(|_| {});
    let mut pair = Pair::running(&server, 4).await;
    pair.sender_says("resend", json!({"chunk_indexes": [0]})).await;
    expect_fault(&mut pair.sender, &pair.id, 403, "无权").await;
    pair.finish().await;
}
