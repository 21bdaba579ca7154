//! Who is turned away is counted by reason, and told once a second with the reason (`docs/protocols/letshare.md` §4).

use serde_json::Value;

use crate::support::{
    process::ServerProcess,
    raw::{Raw, get},
};

/// RFC 6455 §4.1.
const UPGRADE: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

async fn warning(server: &ServerProcess, reason: &str) -> Value {
    loop {
        let log = server.errors_log();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        if let Some(line) = lines.into_iter().find(|line| line["fields"]["reason"] == reason) {
            return line;
        }
        tokio::task::yield_now().await;
    }
}

/// findings P9: an origin and a token that are refused are warnings with the origin or the reason, never the token, and
/// are counted by reason in both forms of `/metrics`.
#[tokio::test]
async fn origins_and_tokens_that_are_refused_are_told_and_counted() {
    let server = ServerProcess::start(&[]);
    for _ in 0..300 {
        let answer = get(server.address, "/health", "Origin: https://evil.example\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
        let answer = get(server.address, "/ws?token=CANARY&userId=a", UPGRADE).await;
        assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    }
    let answer = get(server.address, "/channels/demo1", "Authorization: Bearer CANARY\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");

    let origin = warning(&server, "origin").await;
    let text = origin["message"].as_str().expect("text");
    assert!(text.contains("https://evil.example"), "{origin}");
    assert!(origin["fields"]["address"] == "127.0.0.1" && origin["fields"]["more"].is_u64(), "{origin}");
    let token = warning(&server, "token").await;
    assert!(token["message"].as_str().expect("text").contains("LetShare"), "{token}");

    let refusals = server.metrics().await["refusals"].clone();
    assert_eq!((&refusals["origin"], &refusals["token"]), (&300.into(), &301.into()), "{refusals}");
    let text = get(server.address, "/metrics", "Accept: text/plain\r\n").await;
    for line in [
        r#"letshare_refusals_requests_total{reason="origin"} 300"#,
        r#"letshare_refusals_requests_total{reason="token"} 301"#,
        r#"letshare_dropped_log_lines_total{reason="stdout"} 0"#,
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
    let written = server.written();
    assert!(!written.contains("CANARY"), "{written}");
    let kept = server.errors_log().lines().filter(|line| line.contains(r#""reason""#)).count();
    assert!(kept < 100, "{kept} warnings");
}

/// findings P10: where an address has as many connections as it may, the log says that it may be a proxy, and what to do.
#[tokio::test]
async fn clients_behind_a_proxy_that_is_not_named_are_told_as_such() {
    let settings = [("LIMITS_EXEMPT_LOOPBACK", "false"), ("LIMITS_CONNECTIONS_PER_ADDRESS", "1")];
    for (forwarded, told) in [
        (
            "X-Forwarded-For: 203.0.113.9\r\n",
            "these look like clients behind one proxy; name it in server.trusted_proxies",
        ),
        (
            "",
            "if these are clients behind one proxy, let it send X-Forwarded-For, and name it in server.trusted_proxies",
        ),
    ] {
        let server = ServerProcess::start(&settings);
        let _first = Raw::open(&server, "first").await;
        let path = format!("/ws?token={}&userId=second", server.token);
        let answer = get(server.address, &path, &format!("{forwarded}{UPGRADE}")).await;
        assert!(answer.starts_with("HTTP/1.1 429"), "{answer}");
        let warning = warning(&server, "address_full").await;
        let text = warning["message"].as_str().expect("text");
        assert!(text.contains(told) && text.contains("(127.0.0.1)"), "{warning}");
    }
}
