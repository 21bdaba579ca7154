//! What one connection may ask for: the `limits` section of `configs/default.yaml`. Every refusal is told,
//! and what was there before it stays.

use std::time::Duration;

use letshare_server::{clock::Clock, ids::Timestamp, limits::EVENT_NAME_BYTES};
use serde_json::json;

use crate::support::{Client, Server, eventually};

async fn expect_refusal(client: &mut Client, room: &str, event: &str, code: u16, text: &str) {
    client.send(json!({"type": "subscribe", "channel": room, "event": event})).await;
    client.expect_error(code, text).await;
}

async fn unsubscribe(client: &mut Client, room: &str, event: &str) {
    client.send(json!({"type": "unsubscribe", "channel": room, "event": event})).await;
    assert_eq!(client.next().await["type"], "unsubscribed");
}

/// `limits.channels_per_connection`.
#[tokio::test]
async fn rooms_of_one_connection() {
    let server = Server::start(|config| config.limits.channels_per_connection = 2);
    let mut a = Client::join(&server, "a:1", "room 1").await;
    a.subscribe("room 2", "signal:all").await;
    expect_refusal(&mut a, "room 3", "signal:all", 400, "最多同时加入2个房间").await;
    a.subscribe("room 1", "another").await;
    let mut b = Client::join(&server, "b:2", "room 3").await;
    unsubscribe(&mut a, "room 1", "signal:all").await;
    a.subscribe("room 3", "signal:all").await;
    b.publish("room 3", "signal:all", json!({"n": 1})).await;
    assert_eq!(a.next().await["data"]["n"], 1);
}

/// `limits.channels`, of the whole server; a room that everybody left makes place.
#[tokio::test]
async fn rooms_of_the_server() {
    const BUSY: &str = "服务器繁忙，请稍后重试";
    let server = Server::start(|config| {
        config.limits.channels = 1;
        config.history.window = Duration::ZERO;
        // Until the room has retired, the test asks again and again.
        config.limits.publishes_per_second = 0;
    });
    let mut a = Client::join(&server, "a:1", "room 1").await;
    let mut b = Client::join(&server, "b:2", "room 1").await;
    expect_refusal(&mut b, "room 2", "signal:all", 503, BUSY).await;
    a.publish("room 1", "signal:all", json!({"n": 1})).await;
    assert_eq!(b.next().await["data"]["n"], 1);
    for member in [&mut a, &mut b] {
        unsubscribe(member, "room 1", "signal:all").await;
    }
    eventually(async || {
        b.send(json!({"type": "subscribe", "channel": "room 2"})).await;
        let answer = b.next().await;
        let is_in = answer["type"] == "subscribed";
        assert!(is_in || answer["error"]["message"] == BUSY, "{answer}");
        is_in.then_some(())
    })
    .await;
}

/// `limits.events_per_subscription`, in each room.
#[tokio::test]
async fn events_of_one_subscription() {
    let server = Server::start(|config| config.limits.events_per_subscription = 2);
    let mut a = Client::join(&server, "a:1", "demo1").await;
    expect_refusal(&mut a, "demo1", "third", 400, "每个房间最多订阅2个事件").await;
    a.subscribe("demo1", "signal:all").await;
    a.subscribe("demo2", "third").await;
    let mut b = Client::join(&server, "b:2", "demo1").await;
    b.publish("demo1", "third", json!({})).await;
    b.publish("demo1", "signal:a:1", json!({"n": 1})).await;
    assert_eq!(a.next().await["data"]["n"], 1);
    unsubscribe(&mut a, "demo1", "signal:a:1").await;
    a.subscribe("demo1", "third").await;
    b.publish("demo1", "third", json!({"n": 2})).await;
    assert_eq!(a.next().await["data"]["n"], 2);
}

/// `limits::EVENT_NAME_BYTES`; the app's longest is below 80.
#[tokio::test]
async fn the_length_of_an_event_name() {
    let server = Server::start(|_| {});
    let mut a = Client::connect(&server, "a:1").await;
    let mut b = Client::join(&server, "b:2", "demo1").await;
    let longest = "x".repeat(EVENT_NAME_BYTES);
    a.subscribe("demo1", &longest).await;
    let text = format!("事件名最多 {EVENT_NAME_BYTES} 字节");
    let of_three_bytes_each = "长".repeat(EVENT_NAME_BYTES / 3 + 1);
    for long in [format!("{longest}x"), of_three_bytes_each] {
        expect_refusal(&mut a, "demo1", &long, 400, &text).await;
    }
    b.publish("demo1", &longest, json!({"n": 1})).await;
    assert_eq!(a.next().await["data"]["n"], 1);
}

/// `limits.publish_burst` at once, then `limits.publishes_per_second`; what is above is dropped and told,
/// and nobody else is held up.
#[tokio::test]
async fn the_rate_of_one_connection() {
    const TOO_FAST: &str = "发送过于频繁，请稍后重试";
    let clock = Clock::manual(Timestamp::from_millis(1_700_000_000_000));
    let server = Server::start_at(clock.clone(), |config| {
        config.limits.publishes_per_second = 10;
        config.limits.publish_burst = 5;
    });
    let mut b = Client::join(&server, "b:2", "demo1").await;
    // Two of the five frames.
    let mut a = Client::join(&server, "a:1", "demo1").await;
    let mut n = 0;
    for (wait, allowed) in [(0, 3), (99, 0), (1, 1), (1_000, 5), (60_000, 5)] {
        clock.advance(Duration::from_millis(wait));
        for _ in 0..allowed {
            n += 1;
            a.publish("demo1", "signal:all", json!({"n": n})).await;
        }
        for _ in 0..2 {
            a.publish("demo1", "signal:all", json!({"dropped": true})).await;
            a.expect_error(429, TOO_FAST).await;
        }
    }
    for expected in 1..=n {
        assert_eq!(b.next().await["data"]["n"], expected);
    }
    assert!(b.received_so_far().await.is_empty());
}

/// `limits.publishes_per_second: 0` = no limit.
#[tokio::test]
async fn no_rate_at_all() {
    let clock = Clock::manual(Timestamp::from_millis(1_700_000_000_000));
    let server = Server::start_at(clock, |config| {
        config.limits.publishes_per_second = 0;
        config.limits.publish_burst = 1;
    });
    let mut a = Client::join(&server, "a:1", "demo1").await;
    let mut b = Client::join(&server, "b:2", "demo1").await;
    for n in 0..100 {
        a.publish("demo1", "signal:all", json!({"n": n})).await;
    }
    for n in 0..100 {
        assert_eq!(b.next().await["data"]["n"], n);
    }
}

/// `limits` for the burst of a full room (docs/protocols/letshare.md §2.6): the defaults let a page answer 100 `discover`
/// at once.
#[tokio::test]
async fn the_default_rate_is_generous() {
    let clock = Clock::manual(Timestamp::from_millis(1_700_000_000_000));
    let server = Server::start_at(clock, |_| {});
    let mut a = Client::join(&server, "a:1", "demo1").await;
    for _ in 0..200 {
        a.publish("demo1", "signal:b:2", json!({"isReply": true})).await;
    }
    assert!(a.received_so_far().await.is_empty());
}
