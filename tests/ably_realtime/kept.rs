//! What the server keeps of an Ably client is bounded, charged and given back: `docs/architecture.md §6a`.

use std::time::Duration;

use letshare_server::{clock::Clock, ids::Timestamp};
use serde_json::json;

use super::stage::{EVERYTHING, Stage, assert_error};
use crate::support::{AblyClient, Http, Server, ably::action, eventually};

/// `letshare_kept_bytes` of a kind.
async fn kept(server: &Server, kind: &str) -> u64 {
    let page = Http::connect(server).await.ask("GET", "/metrics", &[]).await;
    page.json()["kept"][kind].as_u64().expect("a figure")
}

/// findings B6: ids have a length.
#[tokio::test]
async fn a_client_id_has_at_most_256_bytes() {
    let stage = Stage::start().await;
    let query = |length: usize| format!("{}&clientId={}", stage.query(EVERYTHING), "x".repeat(length));
    let mut client = AblyClient::open(&stage.server, &query(257)).await;
    let error = client.expect(action::ERROR).await;
    assert_error(&error, 40012, 400);
    assert!(error["error"]["message"].to_string().contains("at most 256 bytes"), "{error}");
    client.expect_end().await;
    let (mut longest, _) = AblyClient::connect_with(&stage.server, &query(256)).await;
    drop(longest.attach("room").await);
    let mut anybody = stage.anybody().await;
    anybody.attach("room").await;
    let message = json!({"name": "x", "clientId": "x".repeat(257)});
    anybody.send(json!({"action": action::MESSAGE, "channel": "room", "msgSerial": 0, "messages": [message]})).await;
    assert_error(&anybody.expect(action::NACK).await, 40012, 400);
}

/// findings B6: a connection that may be resumed is charged, and forgotten when it may not any more.
#[tokio::test]
async fn connections_that_are_gone_are_charged_for_two_minutes() {
    let clock = Clock::manual(Timestamp::from_millis(1_800_000_000_000));
    let stage = Stage::on(Server::sandbox_at(clock.clone(), |_| {})).await;
    for number in 0..20 {
        drop(stage.client(&format!("c{number}-{}", "x".repeat(200))).await);
    }
    let states = 20 * 450..20 * 600;
    eventually(async || states.contains(&kept(&stage.server, "connection").await).then_some(())).await;
    clock.advance(Duration::from_secs(121));
    eventually(async || (kept(&stage.server, "connection").await == 0).then_some(())).await;
}

/// findings B6: who has used up its share is refused, says whose it is, and nobody else notices.
#[tokio::test]
async fn an_app_that_keeps_all_that_it_may_is_refused_alone() {
    let server = Server::sandbox(|config| {
        config.limits.memory = 1_200_000;
        config.limits.app_share = 10;
    });
    let stage = Stage::on(server).await;
    let mut open = Vec::new();
    for _ in 0..4 {
        open.push(stage.anybody().await);
    }
    let target = format!("/?{}", stage.query(EVERYTHING));
    let refused = Http::connect(&stage.server).await.ask("GET", &target, &crate::support::UPGRADE).await;
    assert_eq!(refused.status, 503, "{refused:?}");
    let other = Stage::on(stage.server).await;
    let _client = other.anybody().await;
}
