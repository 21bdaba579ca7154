//! The server as an operator meets it, from outside the process: signals, exit codes, what it writes.

mod canaries;
mod logs;
mod refusals;
mod reload;
mod start;

use futures_util::future::join_all;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::{
    eventually,
    process::ServerProcess,
    raw::{CLOSE, End, FIN, Raw, TEXT, frame, get},
};

const MESSAGES: u64 = 40;

/// docs/goals.md §7 "Drain": SIGTERM tells every client with 1001, after what was on its way to it, and the exit
/// code is 0.
#[tokio::test]
async fn sigterm_closes_every_client_after_its_messages() {
    let mut server = ServerProcess::start(&[]);
    // Four rooms of 49 listeners and one speaker.
    let mut speakers = Vec::new();
    let mut listeners = Vec::new();
    for room in 0..4 {
        let room = format!("room {room}");
        let join = async |user: usize| Raw::join(&server, &format!("u:{user}"), &room, "n").await;
        listeners.extend(join_all((0..49).map(join)).await);
        speakers.push((Raw::join(&server, "speaker", &room, "other").await, room));
    }
    for number in 0..MESSAGES {
        for (speaker, room) in &mut speakers {
            let data = json!({"number": number, "ballast": "x".repeat(2_000)});
            speaker.publish(room, "n", data).await;
        }
    }
    server.until_metric("published", 4 * MESSAGES).await;
    server.signal(Signal::SIGTERM);

    let listen = async |mut listener: Raw| {
        for number in 0..MESSAGES {
            assert_eq!(listener.message().await["data"]["number"], number);
        }
        say_goodbye(&mut listener).await;
    };
    let hear_out = async {
        join_all(listeners.into_iter().map(listen)).await;
        for (mut speaker, _) in speakers {
            say_goodbye(&mut speaker).await;
        }
    };
    let ((), status) = tokio::join!(hear_out, server.exit());
    assert_eq!(status.code(), Some(0));
}

/// The next frame is the close frame with 1001; answers it and waits for the end.
async fn say_goodbye(client: &mut Raw) {
    let goodbye = client.reader.frame().await.expect("a close frame comes first");
    assert_eq!(goodbye.opcode, CLOSE, "{goodbye:?}");
    assert_eq!(goodbye.payload[..2], 1001_u16.to_be_bytes());
    client.write(&frame(FIN | CLOSE, &goodbye.payload[..2])).await.expect("open");
    client.reader.eof().await;
}

/// Ctrl-C means the same.
#[tokio::test]
async fn sigint_ends_the_server_as_well() {
    let mut server = ServerProcess::start(&[]);
    server.signal(Signal::SIGINT);
    assert_eq!(server.exit().await.code(), Some(0));
}

/// Clients that do not answer, or read nothing, hold the server up no longer than the grace time.
#[tokio::test]
async fn clients_that_do_not_answer_do_not_hold_the_exit_up() {
    let mut server = ServerProcess::start(&[
        ("SHUTDOWN_GRACE", "1s"),
        ("WEBSOCKET_CLOSE_TIMEOUT", "1m"),
        ("LIMITS_PUBLISHES_PER_SECOND", "0"),
    ]);
    let mut silent = Raw::join(&server, "silent", "demo1", "n").await;
    let stuck = Raw::connect_narrow(server.address).await;
    let mut stuck = stuck.upgrade(&server, "stuck").await;
    let nonsense = frame(FIN | TEXT, &[b'x'; 100]).repeat(10_000);
    stuck.write(&nonsense).await.expect("open");
    server.signal(Signal::SIGTERM);
    assert_eq!(server.exit().await.code(), Some(0));
    assert_eq!(silent.reader.end().await, End::Closed(1001));
}

/// Both waits are longer than the test's patience: the second signal must skip them.
#[tokio::test]
async fn a_second_sigterm_skips_the_wait() {
    for (notice, grace) in [("0s", "5m"), ("1m", "5m")] {
        let mut server = ServerProcess::start(&[
            ("SHUTDOWN_NOTICE", notice),
            ("SHUTDOWN_GRACE", grace),
            ("WEBSOCKET_CLOSE_TIMEOUT", "1m"),
        ]);
        let mut client = Raw::join(&server, "silent", "demo1", "n").await;
        server.signal(Signal::SIGTERM);
        if notice == "0s" {
            assert_eq!(client.reader.end().await, End::Closed(1001));
        } else {
            while !get(server.address, "/ready", "").await.starts_with("HTTP/1.1 503") {}
        }
        server.signal(Signal::SIGTERM);
        if notice != "0s" {
            // Whoever is connected is told all the same.
            assert_eq!(client.reader.end().await, End::Closed(1001));
        }
        assert_eq!(server.exit().await.code(), Some(0), "notice {notice}");
        assert!(server.written().contains("second signal"));
    }
}

/// Warnings that clients can cause come once a second, so that they do not push the others out of
/// `logs/errors.log` (docs/goals.md §5).
#[tokio::test]
async fn a_flood_of_refusals_does_not_flood_the_log() {
    let server = ServerProcess::start(&[("LIMITS_EXEMPT_LOOPBACK", "false"), ("LIMITS_CONNECTIONS_PER_ADDRESS", "1")]);
    let _first = Raw::open(&server, "first").await;
    let path = format!("/ws?token={}&userId=second", server.token);
    let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for _ in 0..1_000 {
        let answer = get(server.address, &path, upgrade).await;
        assert!(answer.starts_with("HTTP/1.1 429"), "{answer}");
    }
    // Lines are written by a thread of their own: the newest is there when it is of the last refusal.
    server.until_metric("connections_refused", 1_000).await;
    let newest = |text: &str| text.lines().rfind(|line| line.contains("WebSocket refused")).map(str::to_owned);
    eventually(async || {
        let (kept, shown) = (newest(&server.errors_log())?, newest(&server.stdout())?);
        let time = |line: &str| serde_json::from_str::<Value>(line).expect("JSON")["timestamp"].clone();
        (time(&kept) == time(&shown)).then_some(())
    })
    .await;
    let kept: Vec<Value> = server.errors_log().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let is_refusal = |entry: &&Value| {
        let message = entry["message"].as_str().unwrap_or_default();
        message.starts_with("WebSocket refused")
    };
    let refusals: Vec<&Value> = kept.iter().filter(is_refusal).collect();
    assert!((1..100).contains(&refusals.len()), "{} entries", refusals.len());
    assert!(refusals.iter().all(|entry| entry["fields"]["more"].is_u64()));
    let times: Vec<&str> = kept.iter().filter_map(|entry| entry["timestamp"].as_str()).collect();
    assert_eq!(times.len(), kept.len());
    assert!(times.is_sorted());
    // The newest is that of the last refusal: stdout has it, too.
    assert!(server.written().matches(times[times.len() - 1]).count() >= 2);
}
