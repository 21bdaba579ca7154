//! Requests that are no requests, or far too large.

use futures_util::future::join_all;
use tokio::io::AsyncWriteExt as _;

use super::{MIB, besiege};
use crate::support::{
    process::ServerProcess,
    raw::{Raw, get, in_time},
};

const PATHS: [&str; 7] = ["/", "/ws", "/health", "/ready", "/metrics", "/api/pro/activate", "/no"];

/// Sends `bytes` until the server ends the connection, and tells what it answered.
async fn provoke(server: &ServerProcess, bytes: &[u8], then: &[u8]) -> String {
    let Raw { mut reader, mut writer } = Raw::connect(server.address).await;
    let write = async {
        if writer.write_all(bytes).await.is_ok() {
            // For ever, if `then` is anything.
            while !then.is_empty() && writer.write_all(then).await.is_ok() {}
        }
    };
    in_time(async { tokio::join!(write, reader.rest()).1 }).await
}

fn status(answer: &str) -> u16 {
    let status = answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
    status.and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("no status: {answer:.200}"))
}

#[tokio::test]
async fn long_queries_and_many_headers_are_refused() {
    let server = ServerProcess::start(&[]);
    let token = &server.token;
    let long = "x".repeat(100 << 10);
    let longer = "x".repeat(10 << 20);
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let many: String = (0..1_000).map(|number| format!("X-{number}: {number}\r\n")).collect();
    let wide = format!("X-Wide: {long}\r\n");
    let attack = async {
        for (path, headers, allowed) in [
            (format!("/ws?token={long}"), upgrade, &[400, 401, 414, 431][..]),
            (format!("/ws?token={token}&userId={long}"), upgrade, &[400, 414, 431]),
            (format!("/ws?userId={}&token=x", "%F0%9F".repeat(5_000)), upgrade, &[400, 401]),
            (format!("/health?{long}"), "", &[200, 400, 414, 431]),
            (format!("/{long}"), "", &[400, 404, 414, 431]),
            ("/health".to_owned(), &many, &[400, 431]),
            ("/health".to_owned(), &wide, &[200, 431]),
        ] {
            let answer = get(server.address, &path, headers).await;
            assert!(allowed.contains(&status(&answer)), "{path:.40}: {answer:.200}");
            assert!(!answer.contains("xxxxxxxxxx") && !answer.contains(token), "{answer:.200}");
        }
        let endless = format!("GET /ws?token={longer} HTTP/1.1\r\n");
        let answer = provoke(&server, endless.as_bytes(), &[]).await;
        assert!([400, 431].contains(&status(&answer)), "{answer:.200}");
    };
    besiege(&server, 16 * MIB, attack).await;
}

/// A body where none belongs is not collected.
#[tokio::test]
async fn endless_bodies_cost_no_memory() {
    let server = ServerProcess::start(&[]);
    let chunk = [b'x'; 64 << 10];
    let mut chunked = format!("{:x}\r\n", chunk.len()).into_bytes();
    chunked.extend_from_slice(&chunk);
    chunked.extend_from_slice(b"\r\n");
    let attacker = async |(method, path): (&str, &str)| {
        let head = |length: &str| format!("{method} {path} HTTP/1.1\r\nHost: x\r\n{length}\r\n\r\n");
        let length = head("Content-Length: 1099511627776");
        let sized = provoke(&server, length.as_bytes(), &chunk).await;
        assert_ne!(status(&sized) / 100, 5, "{sized:.200}");
    };
    let requests: Vec<_> = PATHS.iter().flat_map(|path| [("GET", *path), ("POST", *path)]).collect();
    besiege(&server, 16 * MIB, join_all(requests.into_iter().map(attacker))).await;
}

/// actix-http drops a chunked body that nobody reads, for as long as it comes. It may cost the client's
/// bandwidth, but no memory, and nobody else's time.
#[tokio::test]
async fn endless_chunks_cost_no_memory() {
    let server = ServerProcess::start(&[]);
    let chunk = [b"4000\r\n", &[b'x'; 0x4000][..], b"\r\n"].concat();
    let attacker = async |path: &&str| {
        let mut raw = Raw::connect(server.address).await;
        let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
        raw.write(head.as_bytes()).await.expect("open");
        for _ in 0..1_000 {
            if raw.write(&chunk).await.is_err() {
                break;
            }
        }
    };
    besiege(&server, 16 * MIB, join_all(PATHS.iter().map(attacker))).await;
}

#[tokio::test]
async fn garbage_and_pipelined_garbage_are_refused() {
    let server = ServerProcess::start(&[]);
    let binary: Vec<u8> = (0..=255).cycle().take(200_000).collect();
    let good = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n";
    let attack = async {
        for garbage in [
            &b"\r\n\r\n\r\nnonsense\r\n\r\n"[..],
            b"GET\r\n\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
            b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
            b"GET / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
            b"GET / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n",
            b"GET /health HTTP/1.1\r\nHost : x\r\nA\0B: c\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xFC\x03\x03",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            &binary,
        ] {
            let alone = provoke(&server, garbage, &[]).await;
            assert!(alone.is_empty() || status(&alone) >= 400, "{alone:.200}");
            let pipelined = [&good.repeat(3)[..], garbage].concat();
            let answers = provoke(&server, &pipelined, &[]).await;
            assert_eq!(answers.matches("HTTP/1.1 200").count(), 3, "{answers}");
        }
        // A burst of good requests in one go gets as many answers.
        let closing = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let burst = [&good.repeat(2_000)[..], closing].concat();
        let answers = provoke(&server, &burst, &[]).await;
        assert_eq!(answers.matches("HTTP/1.1 200").count(), 2_001);
    };
    besiege(&server, 16 * MIB, attack).await;
}

/// What follows the upgrade request in one packet is the first frame, not a second request.
#[tokio::test]
async fn an_upgrade_with_a_tail_is_read_as_frames() {
    let server = ServerProcess::start(&[("WEBSOCKET_CLOSE_TIMEOUT", "300ms")]);
    let request = crate::support::raw::upgrade_request(server.address, &format!("token={}&userId=bad", server.token));
    let attack = async {
        let pipelined = format!("{request}GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
        let answer = provoke(&server, pipelined.as_bytes(), &[]).await;
        assert_eq!(status(&answer), 101);
        assert!(!answer.contains("active_connections"), "{answer}");
    };
    besiege(&server, 8 * MIB, attack).await;
}
