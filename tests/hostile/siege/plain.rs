//! Plain HTTP that does not end.

use std::time::Duration;

use letshare_server::limits;
use tokio::time::interval;

use super::besiege;
use crate::support::raw::Raw;

/// A body that is announced and begun.
fn begun(path: &str, announced: usize, sent: usize) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {announced}\r\n\r\n"
    );
    [head.into_bytes(), vec![b'x'; sent]].concat()
}

/// Connections that are kept open for a next request that never comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_ask_no_more() {
    besiege(&[], async |siege| {
        let attack = async |number| {
            let mut raw = siege.connect(number).await?;
            raw.attack(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").await;
            Some(raw)
        };
        siege.crowd(attack).await
    })
    .await;
}

/// The same sockets from the address that the good clients come from.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_do_not_end_from_within() {
    let mut siege = super::Siege::start(&[]).await;
    siege.is_from_within = true;
    let attack = async |siege: &super::Siege| -> Vec<Raw> {
        let body = begun("/api/pro/activate", 262_000, 261_000);
        let attack = async |number| {
            let mut raw = siege.connect(number).await?;
            raw.attack(&body).await;
            Some(raw)
        };
        siege.some(100, attack).await
    };
    siege.run(attack).await;
}

/// findings B3: a body, then silence.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_do_not_end() {
    besiege(&[], async |siege| {
        let body = begun("/api/pro/activate", 262_000, 261_000);
        let attack = async |number| {
            let mut raw = siege.connect(number).await?;
            raw.attack(&body).await;
            Some(raw)
        };
        siege.crowd(attack).await
    })
    .await;
}

/// findings B3: a byte every now and then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_trickle() {
    besiege(&[], async |siege| {
        let paths = ["/api/pro/activate", "/relay/api/push", "/channels/x/messages", "/keys/x/requestToken"];
        let attack = async |number: usize| {
            let path = format!("{}?key={}", paths[number % paths.len()], siege.app.keys[super::EVERYTHING]);
            let mut raw = siege.connect(number).await?;
            raw.attack(&begun(&path, 262_000, 60_000)).await;
            Some(raw)
        };
        let mut held = siege.crowd(attack).await;
        let mut pace = interval(Duration::from_secs(1));
        for _ in 0..5 {
            pace.tick().await;
            for raw in &mut held {
                raw.attack(b"x").await;
            }
        }
        held
    })
    .await;
}

/// A head that is as long as it may be, but for its end, beside one that never ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_that_do_not_end() {
    besiege(&[], async |siege| {
        let attack = async |number: usize| {
            let bytes = if number.is_multiple_of(2) { limits::HEAD_BYTES - 100 } else { 200 * 1024 };
            let head = format!("GET /health?{} HTTP/1.1\r\nX-Long: {}", "x".repeat(1_000), "y".repeat(bytes - 1_100));
            let mut raw = siege.connect(number).await?;
            raw.attack(head.as_bytes()).await;
            Some(raw)
        };
        siege.crowd(attack).await
    })
    .await;
}
