//! The orderly end: docs/goals.md §7 "Drain", `shutdown` in `configs/default.yaml`.

use std::time::Duration;

use serde_json::json;

use crate::support::{Client, Http, Server, UPGRADE, eventually};

const LONG: Duration = Duration::from_secs(3_600);

/// `shutdown.notice`: `/ready` is off and nobody new comes in, but those inside go on and HTTP is served, so
/// that a load balancer can look away.
#[tokio::test]
async fn during_the_notice_everybody_is_still_served() {
    let mut server = Server::start(|config| config.shutdown.notice = LONG);
    let mut a = Client::join(&server, "a:1", "demo1").await;
    let mut b = Client::join(&server, "b:2", "demo1").await;
    server.begin_drain();
    let not_ready = eventually(async || {
        let response = Http::connect(&server).await.ask("GET", "/ready", &[]).await;
        (response.status != 200).then_some(response)
    })
    .await;
    assert_eq!(not_ready.status, 503);
    assert_eq!(not_ready.body, r#"{"status":"draining"}"#);

    // A page that is refused once gives up for good, so newcomers are let in until load balancers have had
    // the time to look away.
    let mut http = Http::connect(&server).await;
    assert_eq!(http.ask("GET", "/health", &[]).await.status, 200);
    let _newcomer = Client::join(&server, "c:3", "demo1").await;

    a.publish("demo1", "signal:all", json!({"n": 1})).await;
    assert_eq!(b.next().await["data"]["n"], 1);
}

/// Clients get 1001 after what was on its way to them; the server waits for them and ends.
#[tokio::test]
async fn clients_are_told_1001_and_the_server_ends() {
    let mut server = Server::start(|config| {
        config.shutdown.grace = LONG;
        config.websocket.close_timeout = LONG;
    });
    let mut http = Http::connect(&server).await;
    assert_eq!(http.ask("GET", "/ready", &[]).await.status, 200);
    let mut a = Client::join(&server, "a:1", "demo1").await;
    let mut b = Client::join(&server, "b:2", "demo1").await;
    a.publish("demo1", "signal:all", json!({"n": 1})).await;
    assert!(a.received_so_far().await.is_empty());
    server.begin_drain();

    assert_eq!(b.next().await["data"]["n"], 1);
    for client in [&mut a, &mut b] {
        let close = client.expect_close().await.expect("a code");
        assert_eq!(u16::from(close.code), 1001);
    }
    // Neither has answered yet: the server waits, on connections that it has.
    let response = http.ask("GET", "/ready", &[]).await;
    assert_eq!(response.status, 503);
    let response = http.ask("GET", &server.target("c:3"), &UPGRADE).await;
    assert_eq!(response.status, 503);
    assert_eq!(response.json()["error"], "服务器正在关闭");

    for mut client in [a, b] {
        assert!(!matches!(client.next_frame().await, Some(Ok(_))));
    }
    server.join();
}

/// findings P13: after the notice, too, new connections are answered at once: `/health` well, the rest that it is over.
#[tokio::test]
async fn after_the_notice_newcomers_are_answered_at_once() {
    let mut server = Server::start(|config| {
        config.shutdown.grace = LONG;
        config.websocket.close_timeout = LONG;
    });
    let mut silent = Client::join(&server, "a:1", "demo1").await;
    server.begin_drain();
    let close = silent.expect_close().await.expect("a code");
    assert_eq!(u16::from(close.code), 1001);
    // The server waits for that client to answer, and closed it after it had stopped to let anybody in.
    for (target, headers, status) in
        [("/health", &[][..], 200), ("/ready", &[], 503), (&server.target("b:2"), &UPGRADE, 503)]
    {
        let response = Http::connect(&server).await.ask("GET", target, headers).await;
        assert_eq!(response.status, status, "{target}: {response:?}");
    }
    drop(silent);
    server.join();
}

/// `shutdown.grace`: clients that do not answer are cut in the end.
#[tokio::test]
async fn the_grace_time_ends_the_wait() {
    let mut server = Server::start(|config| {
        config.shutdown.grace = Duration::from_millis(100);
        config.websocket.close_timeout = LONG;
    });
    let mut silent = Client::join(&server, "a:1", "demo1").await;
    server.begin_drain();
    server.join();
    let close = silent.expect_close().await.expect("a code");
    assert_eq!(u16::from(close.code), 1001);
}
