//! `docs/protocols/letshare.md §3.5` points 7 and 11, §5 (s): what transfers may cost, and what is counted.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use letshare_server::config::Config;
use serde_json::{Value, json};
use tokio::join;

use super::{
    page::{Page, file, sha256},
    raw::{CHUNK, Pair, RECEIVER, ROOM, SENDER, expect_fault, frame, hear, request, say},
};
use crate::support::{Client, Http, Server, eventually};

/// Requests to [`RECEIVER`] until one is refused; how many were not.
async fn requests_let_through(sender: &mut Client, receiver: &mut Client, name: &str) -> usize {
    for count in 0.. {
        let id = format!("{name}{count}");
        sender.send(request(&id, 4)).await;
        say(sender, "resume-query", &id, json!({})).await;
        let answer = sender.next().await;
        if answer["type"] == "file:transfer:error" {
            assert_eq!(answer["data"]["code"], 429, "{answer}");
            assert_eq!(answer["data"]["transfer_id"], id.as_str());
            expect_fault(sender, &id, 404, "不存在").await;
            return count;
        }
        hear(receiver, "request", &id).await;
    }
    unreachable!("there is a limit")
}

/// §3.5.11: 4 outgoing per connection. What has ended counts no more.
#[tokio::test]
async fn a_connection_sends_four_files_at_a_time() {
    let server = Server::start(|_| {});
    let (mut sender, mut receiver) = Pair::joined(&server).await;
    let first = requests_let_through(&mut sender, &mut receiver, "a").await;
    assert_eq!(first, 4);
    say(&mut receiver, "reject", "a0", json!({})).await;
    hear(&mut sender, "reject", "a0").await;
    say(&mut sender, "cancel", "a1", json!({})).await;
    hear(&mut receiver, "cancel", "a1").await;
    let more = requests_let_through(&mut sender, &mut receiver, "b").await;
    assert_eq!(more, 2);
    // Another connection of the same user has four of its own.
    let mut second = Client::join(&server, SENDER, ROOM).await;
    let of_second = requests_let_through(&mut second, &mut receiver, "c").await;
    assert_eq!(of_second, 4);
}

/// §3.5.11: 16 incoming per client.
#[tokio::test]
async fn a_user_receives_sixteen_files_at_a_time() {
    let server = Server::start(|_| {});
    let mut receiver = Client::join(&server, RECEIVER, ROOM).await;
    let mut senders = Vec::new();
    for number in 0..4 {
        let mut sender = Client::join(&server, &format!("s:{number}"), ROOM).await;
        let through = requests_let_through(&mut sender, &mut receiver, &format!("{number}-")).await;
        assert_eq!(through, 4);
        senders.push(sender);
    }
    let mut sender = Client::join(&server, SENDER, ROOM).await;
    assert_eq!(requests_let_through(&mut sender, &mut receiver, "a").await, 0);
    // The page is gone, and with it all it was to receive.
    drop(receiver);
    for sender in &mut senders {
        for _ in 0..4 {
            let told = sender.next().await;
            assert_eq!(told["data"]["code"], 410, "{told}");
        }
    }
    let mut receiver = Client::join(&server, RECEIVER, ROOM).await;
    assert_eq!(requests_let_through(&mut sender, &mut receiver, "b").await, 4);
}

/// §3.5.11 "global ring budget": refused by name, and free again when a transfer has ended.
#[tokio::test]
async fn rings_have_a_budget() {
    let two_rings = 2 * 40 * (CHUNK as usize + 256);
    let server = Server::start(|config| config.file_transfer.ring_bytes = two_rings);
    let (mut sender, mut receiver) = Pair::joined(&server).await;
    for id in ["t1", "t2"] {
        sender.send(request(id, 100)).await;
        hear(&mut receiver, "request", id).await;
    }
    for total in [1, 100] {
        sender.send(request("t3", total)).await;
        expect_fault(&mut sender, "t3", 503, "服务器繁忙").await;
    }
    say(&mut sender, "cancel", "t1", json!({})).await;
    hear(&mut receiver, "cancel", "t1").await;
    sender.send(request("t3", 100)).await;
    hear(&mut receiver, "request", "t3").await;
}

/// §3.5.7: a receiver that does not read at all while 16 senders keep their windows full is not closed, though
/// far more waits for it than an outbox may hold; others are not stalled meanwhile.
#[tokio::test]
async fn a_receiver_that_reads_slowly_is_not_closed_and_stalls_nobody() {
    const CHUNK: usize = 65_536;
    const TOTAL: u64 = 24;
    let server = Server::start(|config| {
        config.limits.outbox_bytes = config.websocket.max_message_bytes + 4_096;
        config.websocket.stall_timeout = Duration::from_secs(3_600);
    });
    let mut receiver = Client::join(&server, RECEIVER, ROOM).await;
    let mut senders = Vec::new();
    for number in 0..4 {
        let mut sender = Client::join(&server, &format!("s:{number}"), ROOM).await;
        for file in 0..4 {
            let id = format!("{number}-{file}");
            let mut request = request(&id, TOTAL);
            request["data"]["chunk_size"] = CHUNK.into();
            request["data"]["file_size"] = (TOTAL as usize * CHUNK).into();
            sender.send(request).await;
            hear(&mut receiver, "request", &id).await;
            say(&mut receiver, "accept", &id, json!({})).await;
            hear(&mut sender, "accept", &id).await;
        }
        senders.push(sender);
    }
    let payload = vec![5; CHUNK];
    for index in 0..TOTAL {
        for (number, sender) in senders.iter_mut().enumerate() {
            for file in 0..4 {
                let id = format!("{number}-{file}");
                sender.send_binary(frame(&id, index, TOTAL, &payload)).await;
            }
        }
    }
    for (number, sender) in senders.iter_mut().enumerate() {
        for file in 0..4 {
            let id = format!("{number}-{file}");
            say(sender, "end", &id, json!({})).await;
            super::raw::nothing_else(sender, &id).await;
        }
    }

    // 25 MB wait. Meanwhile two others move a file.
    let mut alice = Page::join(&server, "alice:1", ROOM).await;
    let mut bob = Page::join(&server, "bob:2", ROOM).await;
    let between = file(2 << 20, 1);
    let hash = sha256(&between);
    alice.offer("t1", "bob:2", between).await;
    join!(alice.work_until(|page| page.sent("t1").is_some()), bob.work_until(|page| page.ended("t1").is_some()),);
    assert_eq!(bob.received("t1"), Some(hash));

    let mut next = std::collections::BTreeMap::<String, u64>::new();
    let mut ends = 0;
    while ends < 16 {
        let frame = receiver.next_frame().await.expect("open").expect("a frame");
        if frame.is_binary() {
            let header = super::raw::header(&frame.into_data());
            let id = header["transfer_id"].as_str().expect("an id").to_owned();
            let next = next.entry(id).or_default();
            assert_eq!(header["chunk_index"], *next);
            *next += 1;
        } else if frame.is_text() {
            let text: Value = serde_json::from_slice(&frame.into_data()).expect("JSON");
            assert_eq!(text["type"], "file:transfer:end");
            ends += 1;
        }
    }
    assert!(next.len() == 16 && next.values().all(|frames| *frames == TOTAL));
}

/// A receiver may keep more waiting while it receives, but not more with each time it comes back.
#[tokio::test]
async fn coming_back_again_and_again_earns_no_larger_outbox() {
    const CHUNK: usize = 65_536;
    let server = Server::start(|config| {
        config.limits.outbox_bytes = config.websocket.max_message_bytes + 4_096;
        config.limits.publishes_per_second = 0;
        config.websocket.ping_interval = Duration::from_millis(40);
        // Only a full outbox may close it.
        config.websocket.stall_timeout = Duration::from_secs(3_600);
        config.websocket.idle_timeout = Duration::from_secs(3_600);
    });
    let (mut sender, mut receiver) = Pair::joined(&server).await;
    let mut large = request("t1", 40);
    large["data"]["chunk_size"] = CHUNK.into();
    large["data"]["file_size"] = (40 * CHUNK).into();
    sender.send(large).await;
    hear(&mut receiver, "request", "t1").await;
    say(&mut receiver, "accept", "t1", json!({})).await;
    hear(&mut sender, "accept", "t1").await;
    for _ in 0..30 {
        let leave = json!({"type": "unsubscribe", "channel": ROOM, "event": "signal:all"});
        receiver.send(leave).await;
        assert_eq!(receiver.next().await["type"], "unsubscribed");
        receiver.subscribe(ROOM, "signal:all").await;
    }
    // It stops reading. Its outbox, its ring and what the kernel holds are far less than 40 MB.
    let filling = "x".repeat(400_000);
    for _ in 0..100 {
        sender.publish(ROOM, "signal:all", json!({"filling": filling})).await;
    }
    assert!(sender.received_so_far().await.len() <= 1, "told that the receiver is gone");
    let mut http = Http::connect(&server).await;
    eventually(async || {
        let page = http.ask("GET", "/metrics", &[]).await.json();
        (page["websocket"]["closed_slow"] == 1).then_some(())
    })
    .await;
}

/// Metrics count transfers, bytes and failures by reason.
#[tokio::test]
async fn metrics_move() {
    fn report_often(config: &mut Config) {
        config.websocket.ping_interval = Duration::from_millis(40);
    }
    let server = Server::start(report_often);
    let mut http = Http::connect(&server).await;
    let mut expect = async |expected: Value| {
        eventually(async || {
            let page = http.ask("GET", "/metrics", &[]).await.json();
            let (known, expected) = (page["relay"].as_object()?, expected.as_object()?);
            let mut expected = expected.iter();
            expected.all(|(key, value)| known.get(key) == Some(value)).then_some(())
        })
        .await;
    };
    let (mut sender, mut receiver) = Pair::joined(&server).await;
    let begun = async |sender: Client, receiver: Client, id: &str| {
        let mut pair = Pair::between(sender, receiver, id, 4).await;
        pair.begin().await;
        pair
    };
    let mut pair = begun(sender, receiver, "t1").await;
    pair.send_frames(0..4).await;
    pair.expect_frames(0..4).await;
    pair.end().await;
    (sender, receiver) = (pair.sender, pair.receiver);
    let bytes = 4 * (CHUNK + 256);
    expect(json!({"started": 1, "completed": 1, "bytes": bytes, "refused": 0})).await;

    let mut pair = begun(sender, receiver, "t2").await;
    pair.receiver_says("cancel", json!({})).await;
    pair.sender_hears("cancel").await;
    (sender, receiver) = (pair.sender, pair.receiver);
    sender.send(request("t1", 4)).await;
    expect_fault(&mut sender, "t1", 409, "").await;
    expect(json!({"started": 2, "completed": 1, "cancelled": 1, "refused": 1})).await;

    let mut pair = begun(sender, receiver, "t3").await;
    pair.sender.send_binary(frame("t3", 4, 4, &[])).await;
    pair.both_are_told(400, "").await;
    expect(json!({"broken": 1})).await;
    let pair = begun(pair.sender, pair.receiver, "t4").await;
    pair.sender.cut();
    expect(json!({"lost_sender": 1, "lost_receiver": 0, "started": 4})).await;
    let mut sender = Client::connect(&server, SENDER).await;
    sender.subscribe(ROOM, "signal:all").await;
    expect_fault(&mut sender, "t4", 410, "").await;
    let mut receiver = pair.receiver;
    expect_fault(&mut receiver, "t4", 410, "").await;
    let pair = Pair::between(sender, receiver, "t5", 4).await;
    pair.receiver.cut();
    expect(json!({"lost_receiver": 1, "timed_out": 0, "started": 5})).await;
}

/// §5 (s): files pass through memory only.
#[tokio::test]
async fn nothing_is_written_to_disk() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(|config| {
        config.data.dir = folder.path().join("data");
        config.log.dir = folder.path().join("logs");
        // Its secret is kept, and nothing else is of interest here.
        config.ably.enabled = false;
    });
    let mut sender = Page::join(&server, SENDER, ROOM).await;
    let mut receiver = Page::join(&server, RECEIVER, ROOM).await;
    sender.offer("t1", RECEIVER, file(4 << 20, 1)).await;
    join!(
        sender.work_until(|page| page.chunks_acknowledged("t1") >= 32),
        receiver.work_until(|page| page.chunks_received("t1") >= 40),
    );
    assert_eq!(open_files_of(&std::env::temp_dir()), 0);
    join!(sender.work_until(|page| page.sent("t1").is_some()), receiver.work_until(|page| page.ended("t1").is_some()),);
    let left = std::fs::read_dir(folder.path()).expect("the folder");
    assert_eq!(left.count(), 0, "the server made a file");
}

/// How many files of more than half a mebibyte below `folder` this process, which the server runs in, holds
/// open, deleted ones included.
fn open_files_of(folder: &Path) -> usize {
    let descriptors = std::fs::read_dir("/proc/self/fd").expect("a list");
    let is_spool = |descriptor: PathBuf| {
        let is_there = std::fs::read_link(&descriptor).is_ok_and(|path| path.starts_with(folder));
        let metadata = std::fs::metadata(&descriptor);
        is_there && metadata.is_ok_and(|file| file.is_file() && file.len() > 1 << 19)
    };
    let descriptors = descriptors.filter_map(|descriptor| Some(descriptor.ok()?.path()));
    descriptors.filter(|path| is_spool(path.clone())).count()
}
