//! Secrets, tokens, query strings and payloads appear in nothing that the server writes or answers
//! (docs/goals.md §6).

use futures_util::future::join_all;
use letshare_server::{auth::JwtKey, ids::Timestamp};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::{
    process::{JWT_SECRET, STATIC_SECRET, ServerProcess},
    raw::{BINARY, CLOSE, End, FIN, Raw, TEXT, frame, frame_head, get},
};

const UPGRADE: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
/// In everything that is secret and does not say so itself.
const CANARY: &str = "CANARY";
const PAYLOAD: &str = "CANARY-payload";
const QUERY: &str = "CANARY-query";
const HEADER: &str = "CANARY-header";

#[tokio::test]
async fn no_secret_token_query_or_payload_is_written_or_answered() {
    let mut server = ServerProcess::start_in(
        "production",
        &[
            ("LOG_LEVEL", "trace"),
            ("LIMITS_PUBLISHES_PER_SECOND", "20"),
            ("LIMITS_PUBLISH_BURST", "40"),
            ("LIMITS_CONNECTIONS_PER_ADDRESS", "3"),
            ("SHUTDOWN_NOTICE", "0s"),
            ("WEBSOCKET_CLOSE_TIMEOUT", "300ms"),
        ],
    );
    let jwt = JwtKey::new(&JWT_SECRET.into())
        .mint("jwt user", None, 1, Timestamp::from_millis(4_000_000_000_000))
        .expect("minted");

    let mut answers = bad_requests(&server, &jwt).await;
    answers.extend(requests_with_weird_queries(&server).await);
    conversations(&server).await;
    for accept in ["application/json", "text/plain", "application/openmetrics-text"] {
        answers.push(get(server.address, "/metrics", &format!("Accept: {accept}\r\n")).await);
    }
    let errors_log = server.errors_log();
    assert!(errors_log.contains("https://foreign.example"), "the refusals are warnings: {errors_log}");

    server.signal(Signal::SIGTERM);
    assert_eq!(server.exit().await.code(), Some(0));
    let written = server.written();
    assert!(written.contains("stopped"), "{written}");
    for text in answers.iter().chain([&written]) {
        for secret in [CANARY, STATIC_SECRET, JWT_SECRET, &server.token, &jwt] {
            let secret_half = &secret[..secret.len().min(20)];
            assert!(!text.contains(secret_half), "{secret} in:\n{text}");
        }
        // Percent-encoded as well.
        assert!(!text.contains("%43ANARY"), "{text}");
    }
}

async fn bad_requests(server: &ServerProcess, jwt: &str) -> Vec<String> {
    let token = &server.token;
    let forged = format!("{}x", &jwt[..jwt.len() - 1]);
    let paths = [
        format!("/ws?token={QUERY}"),
        format!("/ws?token={QUERY}%FF&userId=a"),
        format!("/ws?token={forged}&userId=jwt%20user"),
        format!("/ws?token={jwt}&userId={QUERY}"),
        format!("/ws?token={token}&userId={QUERY}%FF"),
        format!("/ws?token={token}&userId={}", QUERY.repeat(1_000)),
        format!("/?pro_token={QUERY}&token="),
        format!("/ws?{QUERY}"),
        "/ws?%43ANARY=%43ANARY&&&==&token".to_owned(),
    ];
    let mut answers = Vec::new();
    for path in &paths {
        let headers = format!("{UPGRADE}Authorization: Bearer {HEADER}\r\nCookie: {HEADER}\r\n");
        let answer = get(server.address, path, &headers).await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{path}: {answer}");
        answers.push(answer);
        // Neither with a foreign origin nor without an upgrade.
        // The origin itself is told to the operator (findings P9), what else stands in its place is not.
        for origin in ["https://foreign.example".to_owned(), format!("https://foreign.example/?{HEADER}")] {
            let foreign =
                format!("{UPGRADE}Origin: {origin}\r\nReferer: https://{HEADER}.example\r\nCookie: {HEADER}\r\n");
            answers.push(get(server.address, path, &foreign).await);
        }
        answers.push(get(server.address, path, "").await);
    }
    // One too many: a warning.
    let crowd = join_all((0..3).map(async |_| Raw::open(server, "crowd").await)).await;
    let path = format!("/ws?token={token}&userId={QUERY}");
    answers.push(get(server.address, &path, UPGRADE).await);
    drop(crowd);
    server.until_metric("active_connections", 0).await;
    answers
}

async fn requests_with_weird_queries(server: &ServerProcess) -> Vec<String> {
    let queries = [QUERY, "a=CANARY", "%43ANARY", "token=CANARY&token=CANARY", "?CANARY", "CANARY%00%0d%0a"];
    let paths = ["/health", "/ready", "/metrics", "/no", "/ws", "/api/pro/activate"];
    let mut answers = Vec::new();
    for path in paths {
        for query in queries {
            answers.push(get(server.address, &format!("{path}?{query}"), "").await);
        }
    }
    for garbage in [
        format!("GET /{QUERY} HTTP/9.9\r\n\r\n"),
        format!("{QUERY} / HTTP/1.1\r\n\r\n"),
        format!("GET /health?{QUERY} HTTP/1.1\r\n{HEADER}\r\n\r\n"),
        format!("POST /metrics?{QUERY} HTTP/1.1\r\nContent-Length: 14\r\n\r\n{PAYLOAD}"),
        format!("GET /ws?{} HTTP/1.1\r\n\r\n", QUERY.repeat(20_000)),
    ] {
        let mut raw = Raw::connect(server.address).await;
        raw.write(garbage.as_bytes()).await.expect("open");
        tokio::io::AsyncWriteExt::shutdown(&mut raw.writer).await.ok();
        answers.push(raw.reader.rest().await);
    }
    answers
}

/// Everything that can go right and wrong in a WebSocket.
async fn conversations(server: &ServerProcess) {
    let mut a = Raw::join(server, "a:1", "demo1", "n").await;
    let mut b = Raw::join(server, "b:2", "demo1", "n").await;
    a.publish("demo1", "n", json!({"secret": PAYLOAD})).await;
    assert_eq!(b.message().await["data"]["secret"], PAYLOAD);
    let bad_messages = [
        PAYLOAD.to_owned(),
        format!("{{{PAYLOAD}"),
        json!({"type": "publish", "channel": "demo1", "data": PAYLOAD}).to_string(),
        json!({"type": "publish", "channel": "demo1", "data": {"from": PAYLOAD}}).to_string(),
        json!({"type": "publish", "channel": "other", "data": {"x": PAYLOAD}}).to_string(),
        json!({"type": "publish", "channel": 7, "data": PAYLOAD}).to_string(),
        json!({"type": "subscribe", "channel": "demo1", "event": PAYLOAD.repeat(100)}).to_string(),
    ];
    for message in &bad_messages {
        a.send_text(message).await;
        expect_clean_error(&a.message().await);
    }
    // Beyond the rate limit.
    for _ in 0..100 {
        a.publish("demo1", "x", json!({"secret": PAYLOAD})).await;
    }
    a.write(&frame(FIN | BINARY, PAYLOAD.as_bytes())).await.expect("open");
    expect_clean_error(&a.message().await);

    let endings = [
        (frame(FIN | TEXT, b"CANARY\xFF"), 1007),
        (frame(FIN | 0x3, PAYLOAD.as_bytes()), 1002),
        (frame_head(FIN | TEXT, 1 << 40), 1009),
        (frame(FIN | CLOSE, b"\x03\xE8CANARY"), 1000),
    ];
    for (bytes, code) in endings {
        let mut raw = Raw::open(server, "c:3").await;
        assert_eq!(raw.provoke(&bytes).await, End::Closed(code));
        server.until_metric("active_connections", 2).await;
    }
    a.reset();
    drop(b);
}

fn expect_clean_error(message: &Value) {
    assert_eq!(message["type"], "error", "{message}");
    assert!(!message.to_string().contains(CANARY), "{message}");
}
