//! `docs/protocols/letshare.md` §4: pages for operators, and what nobody serves; and what the log tells of refusals.

use serde_json::Value;

use super::*;
use crate::support::{
    Server,
    process::ServerProcess,
    raw::{Raw, get},
};

#[tokio::test]
async fn pages() {
    let server = Server::start(|config| {
        config.server.metrics_from = vec!["192.0.2.0/24".parse().unwrap()];
    });
    let client = Client(server.address);
    client.refuses("GET", "/metrics", &[], "", 403, &["server.metrics_from"]).await;
    for (method, target) in [("POST", "/health"), ("DELETE", "/metrics"), ("GET", "/nothing")] {
        let words = ["404 page not found", "this path with this method"];
        client.refuses(method, target, &[], "", 404, &words).await;
    }
    client.refuses("GET", "/health", &[EVIL], "", 403, &["evil.example", "cors.allowed_origins"]).await;
}

/// A reason that the client's library may hide: the operator finds it in the log, one line a second for each kind.
#[tokio::test]
async fn the_log_names_what_was_refused() {
    let server = ServerProcess::start(&[("LIMITS_EXEMPT_LOOPBACK", "false"), ("LIMITS_CONNECTIONS_PER_ADDRESS", "1")]);
    let path = |user: &str| format!("/ws?token={}&userId={user}", server.token);
    let upgrade: String = UPGRADE.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let no_key =
        upgrade.lines().filter(|line| !line.contains("Key")).map(|line| format!("{line}\r\n")).collect::<String>();
    get(server.address, &path("a"), &no_key).await;
    get(server.address, "/ws?token=wrong", &upgrade).await;
    let _first = Raw::open(&server, "first").await;
    get(server.address, &path("b"), &upgrade).await;
    for (reason, words) in [
        ("request", &["Sec-WebSocket-Key is missing"][..]),
        ("token", &["LetShare", "token is refused"]),
        ("address_full", &["1 WebSockets from this address", "limits.connections_per_address"]),
    ] {
        let line = loop {
            let log = server.errors_log();
            let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            if let Some(line) = lines.into_iter().find(|line| line["fields"]["reason"] == reason) {
                break line;
            }
            tokio::task::yield_now().await;
        };
        says(&line.to_string(), words, reason);
    }
}
