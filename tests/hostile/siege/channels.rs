//! Channels without end: everybody else needs some, too.

use serde_json::json;

use super::{EVERYTHING, besiege, texts};
use crate::support::ably::action;

/// Small enough to be filled in a moment.
const CHANNELS: (&str, &str) = ("LIMITS_CHANNELS", "4000");

/// findings B4: by one key over HTTP.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fresh_names_by_publishing() {
    besiege(&[CHANNELS], async |siege| {
        let key = &siege.app.keys[EVERYTHING];
        let attack = async |number: usize| {
            let requests: String = (0..300)
                .map(|channel| {
                    let target = format!("/channels/fresh-{number}-{channel}/messages?key={key}");
                    format!("POST {target} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n{{\"data\":\"x\"}}")
                })
                .collect();
            let mut raw = siege.plain(number, requests.as_bytes()).await?;
            raw.linger().await;
            Some(raw)
        };
        siege.some(20, attack).await
    })
    .await;
}

/// findings B4: by attaching.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fresh_names_by_attaching() {
    besiege(&[CHANNELS], async |siege| {
        let attack = async |number: usize| {
            let mut raw = siege.ably(number, "").await?;
            let attach = |name| json!({"action": action::ATTACH, "channel": format!("fresh-{number}-{name}")});
            raw.flood(&texts((0..20).map(attach))).await;
            Some(raw)
        };
        siege.crowd(attack).await
    })
    .await;
}

/// findings B4: by the relay's `identify`, without credentials.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fresh_names_by_identifying() {
    besiege(&[CHANNELS], async |siege| {
        let attack = async |number: usize| {
            let mut raw = siege.upgrade(siege.connect(number).await?, "/relay/ws", "").await?;
            let identify = |name| json!({"event": "identify", "data": {"token": format!("{number}-{name}")}});
            raw.flood(&texts((0..500).map(identify))).await;
            raw.linger().await;
            Some(raw)
        };
        siege.some(60, attack).await
    })
    .await;
}

/// findings B4: by coming into rooms and leaving them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fresh_names_by_subscribing() {
    besiege(&[CHANNELS], async |siege| {
        let attack = async |number: usize| {
            let mut raw = siege.letshare(number).await?;
            let loops = (0..500).flat_map(|name| {
                ["subscribe", "unsubscribe"]
                    .map(|kind| json!({"type": kind, "channel": format!("r{number}-{name}"), "event": "signal:all"}))
            });
            raw.flood(&texts(loops)).await;
            raw.linger().await;
            Some(raw)
        };
        siege.some(60, attack).await
    })
    .await;
}

/// What one connection subscribes to is charged to it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_long_names() {
    besiege(&[], async |siege| {
        let long = "x".repeat(500);
        let attack = async |number: usize| {
            let mut raw = siege.letshare(number).await?;
            let subscribe = |event| {
                let room = format!("r{number}-{}", event / 60);
                json!({"type": "subscribe", "channel": room, "event": format!("{event}{long}")})
            };
            raw.flood(&texts((0..1_000).map(subscribe))).await;
            raw.linger().await;
            Some(raw)
        };
        siege.some(100, attack).await
    })
    .await;
}
