//! Clients that read too little (docs/architecture.md §6 promise 5, docs/design/hot-path.md §3 point 8).

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tokio::time::interval;

use super::{MIB, ROOM, besiege};
use crate::support::{
    process::ServerProcess,
    raw::{End, Raw, in_time},
};

const UNLIMITED: (&str, &str) = ("LIMITS_PUBLISHES_PER_SECOND", "0");
const NO_HISTORY: (&str, &str) = ("HISTORY_WINDOW", "0s");
const MESSAGE_BYTES: usize = 64 << 10;

/// One member speaks and `listeners` hear each message, in order, before the next.
async fn speak(speaker: &mut Raw, listeners: &mut [Raw], numbers: std::ops::Range<u64>) {
    let ballast = "x".repeat(MESSAGE_BYTES);
    for number in numbers {
        speaker.publish(ROOM, "big", json!({"number": number, "ballast": ballast})).await;
        join_all(listeners.iter_mut().map(async |listener| {
            // The number stands last: the server writes keys as the client did, in sorted order.
            let heard = listener.text().await;
            let expected = format!(r#""number":{number}"#);
            assert!(heard.contains(&expected), "{expected} missing in {:.100}", heard);
        }))
        .await;
    }
}

#[tokio::test]
async fn a_reader_that_stops_costs_its_outbox_and_the_49_others_nothing() {
    let server = ServerProcess::start(&[
        UNLIMITED,
        NO_HISTORY,
        ("LIMITS_OUTBOX_BYTES", "1048576"),
        ("WEBSOCKET_STALL_TIMEOUT", "1m"),
        ("WEBSOCKET_CLOSE_TIMEOUT", "500ms"),
    ]);
    let mut stalled = Raw::connect_narrow(server.address).await.upgrade(&server, "stalled").await;
    stalled.subscribe(ROOM, "big").await;
    let mut speaker = Raw::join(&server, "speaker", ROOM, "other").await;
    let join = async |number| Raw::join(&server, &format!("good:{number}"), ROOM, "big").await;
    let mut listeners = join_all((0..48).map(join)).await;
    // Everybody's buffers are as large as they get before memory is measured.
    for number in 0..4 {
        speak(&mut speaker, &mut listeners, number..number + 1).await;
        assert!(stalled.text().await.contains("ballast"));
    }

    server.until_metric("active_connections", 50).await;
    let before = server.memory();
    server.forget_peak();
    // Kernel buffers of both sides hold up to about 5 MiB, then the outbox fills.
    speak(&mut speaker, &mut listeners, 4..200).await;
    server.until_metric("closed_slow", 1).await;
    let grown = server.peak_memory().saturating_sub(before);
    eprintln!("memory: {before} KiB, and {grown} KiB more at most");
    // Its outbox and 0.5 MiB; twice the message for its publisher and the encoded frame.
    assert!(grown <= MIB + MIB / 2 + 256, "{grown} KiB more");

    server.until_metric("active_connections", 49).await;
    // It reads again, but its connection is over.
    assert!(matches!(stalled.reader.end().await, End::Closed(1013) | End::Cut));
    stalled.reader.eof().await;
    for listener in &mut listeners {
        assert!(listener.answers_so_far().await.is_empty(), "a message too many");
    }
}

/// A reader that comes back while the server still waits for its goodbye learns why it was closed.
#[tokio::test]
async fn a_stalled_reader_that_comes_back_is_told_1013() {
    let server = ServerProcess::start(&[
        UNLIMITED,
        ("LIMITS_OUTBOX_BYTES", "1048576"),
        ("WEBSOCKET_CLOSE_TIMEOUT", "30s"),
        // So that what is measured is the outbox.
        ("HISTORY_CHANNEL_BYTES", "4194304"),
    ]);
    let attack = async {
        let raw = Raw::connect_narrow(server.address).await;
        let mut stalled = raw.upgrade(&server, "stalled").await;
        stalled.subscribe(ROOM, "big").await;
        let mut speaker = Raw::join(&server, "speaker", ROOM, "other").await;
        let mut listeners = [Raw::join(&server, "good", ROOM, "big").await];
        speak(&mut speaker, &mut listeners, 0..150).await;
        server.until_metric("closed_slow", 1).await;
        assert_eq!(stalled.reader.end().await, End::Closed(1013));
    };
    // History as well: 4 MiB.
    besiege(&server, 12 * MIB, attack).await;
}

/// Takes nothing for the stall limit while little waits: closed although the outbox never fills.
#[tokio::test]
async fn a_reader_that_takes_nothing_is_closed_after_the_stall_limit() {
    let server = ServerProcess::start(&[
        UNLIMITED,
        ("LIMITS_OUTBOX_BYTES", "67108864"),
        ("WEBSOCKET_STALL_TIMEOUT", "500ms"),
        ("WEBSOCKET_CLOSE_TIMEOUT", "300ms"),
    ]);
    let attack = async {
        let raw = Raw::connect_narrow(server.address).await;
        let mut stalled = raw.upgrade(&server, "stalled").await;
        stalled.subscribe(ROOM, "big").await;
        let mut speaker = Raw::join(&server, "speaker", ROOM, "other").await;
        let mut listeners = [Raw::join(&server, "good", ROOM, "big").await];
        speak(&mut speaker, &mut listeners, 0..150).await;
        server.until_metric("closed_slow", 1).await;
        server.until_metric("active_connections", 8).await;
    };
    besiege(&server, 24 * MIB, attack).await;
}

/// Slow is not stalled: who reads on, however little, loses nothing.
#[tokio::test]
async fn a_reader_that_reads_slowly_but_steadily_gets_everything() {
    // The kernel says that it takes more once a third of its buffer is free, 1.3 MiB: that has to be read within the limit
    // on a busy machine, too.
    let server =
        ServerProcess::start(&[UNLIMITED, ("LIMITS_OUTBOX_BYTES", "16777216"), ("WEBSOCKET_STALL_TIMEOUT", "8s")]);
    let attack = async {
        let raw = Raw::connect_narrow(server.address).await;
        let mut slow = raw.upgrade(&server, "slow").await;
        slow.subscribe(ROOM, "big").await;
        let mut speaker = Raw::join(&server, "speaker", ROOM, "other").await;
        let mut listeners = [Raw::join(&server, "good", ROOM, "big").await];
        speak(&mut speaker, &mut listeners, 0..120).await;
        // 7.5 MiB wait for it; it takes a message every 80 ms, for longer than the stall limit.
        let mut pace = interval(Duration::from_millis(80));
        in_time(async {
            for number in 0..120 {
                pace.tick().await;
                let expected = format!(r#""number":{number}"#);
                assert!(slow.text().await.contains(&expected), "{expected}");
            }
        })
        .await;
        assert!(slow.answers_so_far().await.is_empty(), "a message too many");
    };
    besiege(&server, 24 * MIB, attack).await;
    assert_eq!(server.metrics().await["websocket"]["closed_slow"], 0);
}
