//! `docs/protocols/letshare.md §3.2`: frames that do not fit, and the order of all that a receiver gets.

use letshare_server::config::Config;
use serde_json::json;

use super::raw::{CHUNK, Pair, ROOM, SENDER, expect_fault, frame, hear, nothing_else, request, with_header};
use crate::support::{Client, Server};

const PAYLOAD: [u8; CHUNK as usize] = [7; CHUNK as usize];

/// A frame whose header cannot be read names no transfer: it is refused, and harms none.
#[tokio::test]
async fn frames_without_a_header() {
    let server = Server::start(|_| {});
    let mut pair = Pair::running(&server, 4).await;
    let id = pair.id.clone();
    let id = &id;
    let full = |json: &str| with_header(json, &PAYLOAD);
    let no_padding = json!({"transfer_id": id, "chunk_index": 0, "chunk_size": CHUNK, "total_chunks": 4});
    for bad in [
        "".into(),
        "{".into(),
        vec![b'{'; 255].into(),
        vec![0; 256].into(),
        full(""),
        full("[]"),
        full("{}"),
        full("not json"),
        full(&format!(r#"{{"transfer_id":"{id}"}}"#)),
        full(&format!(r#"{{"transfer_id":"{id}","chunk_index":-1,"chunk_size":1024,"total_chunks":4}}"#)),
        full(&format!(r#"{{"transfer_id":"{id}","chunk_index":"0","chunk_size":1024,"total_chunks":4}}"#)),
        full(&format!(r#"["{id}",0,1024,4]"#)),
        full(&"{".repeat(256)),
        // The header is longer than its place.
        no_padding.to_string().replace(id, &"x".repeat(300)).into_bytes().into(),
    ] {
        pair.sender.send_binary(bad).await;
        pair.sender.expect_error(400, "不支持的消息类型: ").await;
    }
    assert_eq!(nothing_else(&mut pair.receiver, id).await, "transferring");
    pair.finish().await;
}

/// A frame that names a transfer and does not fit it ends it for both sides, by name.
#[tokio::test]
async fn frames_that_do_not_fit_the_request() {
    let header = |index: u64, size: u64, total: u64| {
        json!({"transfer_id": "transfer_1_abcdefg", "chunk_index": index, "chunk_size": size, "total_chunks": total})
            .to_string()
    };
    let long = [7; CHUNK as usize + 1];
    let huge = vec![7; 65_536 + 1];
    for bad in [
        // Index out of range.
        with_header(&header(4, CHUNK, 4), &PAYLOAD),
        with_header(&header(u64::MAX, CHUNK, 4), &PAYLOAD),
        // Another number of chunks.
        with_header(&header(0, CHUNK, 5), &PAYLOAD),
        with_header(&header(0, CHUNK, u64::MAX), &PAYLOAD),
        // Another length than announced, in the header, in the payload, or in both.
        with_header(&header(0, CHUNK - 1, 4), &PAYLOAD),
        with_header(&header(0, CHUNK, 4), &PAYLOAD[1..]),
        with_header(&header(0, CHUNK, 4), &long),
        with_header(&header(0, CHUNK + 1, 4), &long),
        with_header(&header(0, CHUNK, 4), &[]),
        with_header(&header(0, 0, 4), &[]),
        // Larger than any frame of the app (64 KiB + 256).
        with_header(&header(0, CHUNK, 4), &huge),
        with_header(&header(0, huge.len() as u64, 4), &huge),
    ] {
        let server = Server::start(|_| {});
        let mut pair = Pair::running(&server, 4).await;
        pair.sender.send_binary(bad).await;
        pair.both_are_told(400, "文件分片与传输请求不符").await;
        // What was on the way is late, and no news.
        pair.send_frames(0..4).await;
        assert_eq!(nothing_else(&mut pair.sender, &pair.id).await, "error");
        assert_eq!(nothing_else(&mut pair.receiver, &pair.id).await, "error");
    }
}

/// One error is enough for a window of frames, but each transfer gets its own.
#[tokio::test]
async fn frames_of_an_unknown_transfer() {
    let server = Server::start(|_| {});
    let (mut sender, mut receiver) = Pair::joined(&server).await;
    for id in ["unknown", "another"] {
        for index in 0..24 {
            sender.send_binary(frame(id, index, 24, &PAYLOAD)).await;
        }
        expect_fault(&mut sender, id, 404, "传输会话不存在").await;
    }
    assert!(sender.received_so_far().await.is_empty());
    assert!(receiver.received_so_far().await.is_empty());
}

/// §3.5.5: frames flow from `accept` on; before it they are refused, and the receiver may still accept.
#[tokio::test]
async fn frames_before_accept() {
    let server = Server::start(|_| {});
    let mut pair = Pair::requested(&server, 4).await;
    pair.send_frames(0..1).await;
    expect_fault(&mut pair.sender, &pair.id, 400, "传输会话状态错误").await;
    for kind in ["start", "end"] {
        pair.sender_says(kind, json!({})).await;
        expect_fault(&mut pair.sender, &pair.id, 400, "传输会话状态错误").await;
    }
    assert_eq!(nothing_else(&mut pair.receiver, &pair.id).await, "pending");
    pair.begin().await;
    pair.finish().await;
}

/// §3.5.5: without `start`, and after `end`.
#[tokio::test]
async fn frames_without_start_and_after_end() {
    let server = Server::start(|_| {});
    let mut pair = Pair::requested(&server, 4).await;
    pair.receiver_says("accept", json!({})).await;
    pair.sender_hears("accept").await;
    pair.send_frames(0..2).await;
    pair.expect_frames(0..2).await;
    pair.sender_says("end", json!({})).await;
    pair.receiver_hears("end").await;
    pair.send_frames(2..4).await;
    pair.expect_frames(2..4).await;
    pair.ack(4).await;
    pair.end().await;
}

/// §3.5.7: the app keeps 24 frames on the way; 40 are carried, more are not.
#[tokio::test]
async fn beyond_the_window() {
    let server = Server::start(|_| {});
    let mut pair = Pair::running(&server, 100).await;
    pair.send_frames(0..40).await;
    pair.expect_frames(0..40).await;
    pair.ack(10).await;
    pair.send_frames(40..50).await;
    pair.expect_frames(40..50).await;
    // Acknowledging what was never sent opens nothing.
    pair.ack(90).await;
    pair.send_frames(50..90).await;
    pair.expect_frames(50..90).await;
    pair.send_frames(90..91).await;
    pair.both_are_told(400, "发送过快").await;
    pair.send_frames(91..100).await;
    assert_eq!(nothing_else(&mut pair.sender, &pair.id).await, "error");
}

/// A sender that floods without end costs nobody but itself.
#[tokio::test]
async fn a_flood_of_frames_ends_the_transfer_and_not_the_connection() {
    let server = Server::start(|_| {});
    let mut pair = Pair::running(&server, 2_000).await;
    pair.send_frames(0..2_000).await;
    expect_fault(&mut pair.sender, &pair.id, 400, "发送过快").await;
    assert_eq!(nothing_else(&mut pair.sender, &pair.id).await, "error");
    let first = pair.receiver.next_binary().await;
    assert!(first == pair.frame(0));
}

/// A frame sent again unasked is not carried again.
#[tokio::test]
async fn a_frame_twice() {
    let server = Server::start(|_| {});
    let mut pair = Pair::running(&server, 4).await;
    pair.send_frames(0..2).await;
    pair.send_frames(0..4).await;
    pair.expect_frames(0..4).await;
    pair.ack(4).await;
    pair.end().await;
}

/// §3.5.4: one queue per receiver: `end` never overtakes a frame, and texts of the room keep their place.
#[tokio::test]
async fn frames_and_texts_arrive_in_one_order() {
    let server = Server::start(|_| {});
    let mut pair = Pair::running(&server, 24).await;
    let mut other = Client::join(&server, "c:3", ROOM).await;
    for part in 0..3 {
        pair.send_frames(part * 8..(part + 1) * 8).await;
        // The answer shows that the frames are through.
        nothing_else(&mut pair.sender, &pair.id).await;
        other.publish(ROOM, "signal:b:2", json!({"n": part})).await;
        assert!(other.received_so_far().await.is_empty());
    }
    pair.sender_says("end", json!({})).await;
    for part in 0..3 {
        pair.expect_frames(part * 8..(part + 1) * 8).await;
        let text = pair.receiver.next().await;
        assert_eq!(text["data"], json!({"n": part, "from": "c:3"}));
    }
    pair.receiver_hears("end").await;
}

/// The same with everything at once.
#[tokio::test]
async fn end_never_overtakes_a_frame() {
    let server = Server::start(|config: &mut Config| config.server.workers = 4);
    let (mut sender, mut receiver) = Pair::joined(&server).await;
    for round in 0..20 {
        let id = format!("t{round}");
        let mut pair = Pair::between(sender, receiver, &id, 24).await;
        pair.begin().await;
        pair.send_frames(0..24).await;
        pair.sender_says("end", json!({})).await;
        pair.expect_frames(0..24).await;
        pair.receiver_hears("end").await;
        pair.receiver_says("complete", json!({})).await;
        pair.sender_hears("complete").await;
        (sender, receiver) = (pair.sender, pair.receiver);
    }
}

/// §3.2: the largest frame that a request may announce, 256 KiB and its header.
#[tokio::test]
async fn the_largest_chunks() {
    let server = Server::start(|_| {});
    let (mut sender, mut receiver) = Pair::joined(&server).await;
    let mut large = request("t1", 1);
    for key in ["file_size", "chunk_size"] {
        large["data"][key] = 262_144.into();
    }
    large["data"]["from_user_id"] = SENDER.into();
    sender.send(large).await;
    hear(&mut receiver, "request", "t1").await;
    super::raw::say(&mut receiver, "accept", "t1", json!({})).await;
    hear(&mut sender, "accept", "t1").await;
    let whole = frame("t1", 0, 1, &vec![9; 262_144]);
    sender.send_binary(whole.clone()).await;
    assert!(receiver.next_binary().await == whole);
}
