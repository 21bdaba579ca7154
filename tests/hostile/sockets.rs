//! Connections that do not do what connections do: silent, trickling, half-open, reset, dropped.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::{io::AsyncWriteExt as _, time::interval};

use super::{MIB, ROOM, besiege};
use crate::support::{
    process::ServerProcess,
    raw::{BINARY, CLOSE, End, FIN, PING, Raw, TEXT, frame, frame_head, upgrade_request},
};

/// docs/dependencies.md §2: a request's head has 5 seconds, however busily it trickles.
#[tokio::test]
async fn a_head_that_trickles_in_is_refused() {
    let server = ServerProcess::start(&[]);
    let request = upgrade_request(server.address, &format!("token={}&userId=slow", server.token));
    let attacker = async |_| {
        let Raw { mut reader, mut writer } = Raw::connect(server.address).await;
        let trickle = async {
            let mut pace = interval(Duration::from_millis(50));
            for byte in request.bytes() {
                pace.tick().await;
                if writer.write_all(&[byte]).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            answer = reader.rest() => answer,
            () = trickle => panic!("the server waited for the whole head"),
        }
    };
    let answers = besiege(&server, 8 * MIB, join_all((0..100).map(attacker))).await;
    for answer in answers {
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    }
}

#[tokio::test]
async fn connections_that_never_say_a_word_are_ended() {
    let server = ServerProcess::start(&[]);
    let attacker = async |_| Raw::connect(server.address).await.reader.eof().await;
    besiege(&server, 24 * MIB, join_all((0..500).map(attacker))).await;
}

/// The client that went away without a word: told that it is idle, then cut.
#[tokio::test]
async fn silence_after_the_upgrade_ends_the_connection() {
    let server = ServerProcess::start(&[
        ("WEBSOCKET_PING_INTERVAL", "1s"),
        ("WEBSOCKET_IDLE_TIMEOUT", "2s"),
        ("WEBSOCKET_CLOSE_TIMEOUT", "300ms"),
    ]);
    let attacker = async |number: usize| {
        let mut raw = Raw::open(&server, &format!("bad:{number}")).await;
        // Half of them in the middle of a frame.
        if number.is_multiple_of(2) {
            raw.write(&frame_head(FIN | TEXT, 1_000)[..6]).await.expect("open");
        }
        let mut was_asked = false;
        let code = loop {
            let frame = raw.reader.frame().await.expect("a close frame comes first");
            match frame.opcode {
                PING => was_asked = true,
                CLOSE => break frame.payload,
                _ => panic!("{frame:?}"),
            }
        };
        assert!(was_asked, "pinged before it was given up");
        assert_eq!(code[..2], 1008_u16.to_be_bytes());
        // It never answers the close frame: cut after close_timeout.
        raw.reader.eof().await;
    };
    let attack = async {
        join_all((0..200).map(attacker)).await;
        server.until_metric("active_connections", 6).await;
    };
    besiege(&server, 24 * MIB, attack).await;
    let closed = server.metrics().await["websocket"]["closed_idle"].clone();
    assert_eq!(closed, 200);
}

/// FIN from the client, then nothing: it can send no more, and nobody knows whether it reads.
#[tokio::test]
async fn half_open_connections_are_closed() {
    let server = ServerProcess::start(&[("WEBSOCKET_CLOSE_TIMEOUT", "300ms")]);
    let beginnings = [
        frame(FIN | TEXT, b"{}"),
        frame(TEXT, b"begun"),
        frame_head(FIN | BINARY, 1_000),
        frame_head(FIN | BINARY, 1_000)[..3].to_vec(),
        Vec::new(),
    ];
    let attacker = async |number: usize| {
        let mut raw = Raw::join(&server, &format!("bad:{number}"), ROOM, "x").await;
        raw.write(&beginnings[number % beginnings.len()]).await.expect("open");
        raw.writer.shutdown().await.expect("open");
        raw.reader.eof().await;
    };
    let attack = async {
        join_all((0..40).map(attacker)).await;
        server.until_metric("active_connections", 6).await;
    };
    besiege(&server, 8 * MIB, attack).await;
}

#[tokio::test]
async fn resets_in_the_middle_of_a_frame_leave_nothing_behind() {
    let server = ServerProcess::start(&[]);
    let attacker = async |number: usize| {
        let mut raw = Raw::join(&server, &format!("bad:{number}"), ROOM, "x").await;
        let frame = frame(FIN | TEXT, &[b'x'; 100_000]);
        raw.write(&frame[..number * 1_000 % frame.len()]).await.expect("open");
        raw.reset();
    };
    let attack = async {
        for round in 0..10 {
            join_all((0..40).map(|number| attacker(40 * round + number))).await;
            // The room has 50 places; all of them are free again.
            server.until_metric("active_connections", 6).await;
        }
    };
    besiege(&server, 16 * MIB, attack).await;
}

#[tokio::test]
async fn a_thousand_connections_dropped_without_a_word_leave_nothing_behind() {
    let server = ServerProcess::start(&[]);
    let attacker = async |number: usize| {
        let raw = Raw::open(&server, &format!("bad:{number}")).await;
        if number.is_multiple_of(2) {
            raw.reset();
        }
    };
    let attack = async {
        join_all((0..1_000).map(attacker)).await;
        server.until_metric("active_connections", 6).await;
    };
    // 20 KiB each while they are there (docs/goals.md R12).
    besiege(&server, 24 * MIB, attack).await;
    let opened = server.metrics().await["websocket"]["connections_opened"].clone();
    assert_eq!(opened, 1_006);
}

/// RFC 6455 §7.1.2: whoever sends a close frame waits for the other's, but we do not wait for ever.
#[tokio::test]
async fn a_client_that_says_goodbye_and_stays_is_cut() {
    let server = ServerProcess::start(&[("WEBSOCKET_CLOSE_TIMEOUT", "300ms")]);
    let attacker = async |number: usize| {
        let mut raw = Raw::join(&server, &format!("bad:{number}"), ROOM, "x").await;
        let goodbye = frame(FIN | CLOSE, &1000_u16.to_be_bytes());
        // What follows a close frame is not for anybody.
        let forbidden = format!(r#"{{"type":"publish","channel":"{ROOM}","event":"beat","data":{{}}}}"#);
        let bytes = [goodbye, frame(FIN | TEXT, forbidden.as_bytes()).repeat(10)].concat();
        assert_eq!(raw.provoke(&bytes).await, End::Closed(1000));
    };
    let attack = async {
        join_all((0..40).map(attacker)).await;
        server.until_metric("active_connections", 6).await;
    };
    besiege(&server, 8 * MIB, attack).await;
}
