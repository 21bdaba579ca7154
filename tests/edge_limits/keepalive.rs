//! Keep-alive: `docs/protocols/letshare.md §1.4` "server ping", "read deadline", "inactivity sweep".

use std::time::Duration;

use tokio_tungstenite::tungstenite::Message;

use crate::support::{Client, Http, Server, eventually};

const SHORT: Duration = Duration::from_millis(100);
const LONG: Duration = Duration::from_secs(3_600);

/// §1.4 "server ping": with an empty payload, again and again; whoever answers stays.
#[tokio::test]
async fn the_server_pings() {
    let server = Server::start(|config| {
        config.websocket.ping_interval = SHORT;
        config.websocket.idle_timeout = LONG;
    });
    let mut a = Client::connect(&server, "a:1").await;
    for _ in 0..3 {
        let frame = a.next_frame().await.expect("open").expect("a frame");
        assert_eq!(frame, Message::Ping("".into()));
    }
    a.subscribe("demo1", "signal:all").await;
}

/// §1.4: a client from which nothing comes, not even a pong, is closed with 1008. This one is not polled,
/// so its library answers no ping.
#[tokio::test]
async fn a_silent_connection_is_closed() {
    let server = Server::start(|config| {
        config.websocket.ping_interval = SHORT;
        config.websocket.idle_timeout = 4 * SHORT;
        config.websocket.close_timeout = LONG;
    });
    let mut silent = Client::connect(&server, "a:1").await;
    let mut http = Http::connect(&server).await;
    eventually(async || {
        let page = http.ask("GET", "/metrics", &[]).await.json();
        (page["websocket"]["closed_idle"] == 1).then_some(())
    })
    .await;
    let first = silent.next_frame().await.expect("open").expect("a frame");
    assert_eq!(first, Message::Ping("".into()), "it was asked before");
    let close = silent.expect_close().await.expect("a code");
    assert_eq!(u16::from(close.code), 1008);
    assert!(!matches!(silent.next_frame().await, Some(Ok(_))));
}

/// `websocket.close_timeout`: a client that never answers the close frame is cut.
#[tokio::test]
async fn who_does_not_answer_the_close_is_cut() {
    let server = Server::start(|config| {
        config.websocket.ping_interval = LONG;
        config.websocket.idle_timeout = SHORT;
        config.websocket.close_timeout = SHORT;
    });
    let _silent = Client::connect(&server, "a:1").await;
    let mut http = Http::connect(&server).await;
    eventually(async || {
        let page = http.ask("GET", "/metrics", &[]).await.json();
        (page["websocket"]["connections_closed"] == 1).then_some(())
    })
    .await;
}
