//! `docs/protocols/letshare.md §2.2`: what the server sends, to the letter and in the Go server's key order.
//!
//! The clock stands still, so the whole text can be compared.

use letshare_server::{clock::Clock, ids::Timestamp};
use serde_json::json;

use crate::support::{Client, Server};

fn server() -> Server {
    let clock = Clock::manual(Timestamp::from_millis(1_700_000_000_123));
    Server::start_at(clock, |_| {})
}

/// What the server answers to `request`, as it is on the wire.
async fn answer(client: &mut Client, request: &str) -> String {
    client.send_text(request).await;
    client.next_text().await
}

/// §2.2 `subscribed`, with the event that was asked for.
#[tokio::test]
async fn subscribed() {
    let server = server();
    let mut page = Client::connect(&server, "a:1").await;
    let request = r#"{"type":"subscribe","channel":"小 明_-1","event":"signal:a:1"}"#;
    assert_eq!(
        answer(&mut page, request).await,
        r#"{"type":"subscribed","channel":"小 明_-1","event":"signal:a:1","data":{"event":"signal:a:1","room":"小 明_-1","status":"subscribed"},"timestamp":1700000000123}"#
    );
}

/// §2.2: with an empty `event`, `subscribed` has none at the top and `""` in `data`.
#[tokio::test]
async fn subscribed_to_an_empty_event() {
    let server = server();
    let mut page = Client::connect(&server, "a:1").await;
    for request in [r#"{"type":"subscribe","channel":"demo1"}"#, r#"{"type":"subscribe","channel":"demo1","event":""}"#]
    {
        assert_eq!(
            answer(&mut page, request).await,
            r#"{"type":"subscribed","channel":"demo1","data":{"event":"","room":"demo1","status":"subscribed"},"timestamp":1700000000123}"#
        );
    }
}

/// §2.2 `unsubscribed`: `data` has no `event`; §2.1: confirmed also for a room never joined, an event
/// never subscribed to, a name that no room can have.
#[tokio::test]
async fn unsubscribed() {
    let server = server();
    let mut page = Client::join(&server, "a:1", "demo1").await;
    for (room, event) in [
        ("demo1", "signal:a:1"),
        ("demo1", "signal:nobody"),
        ("demo1", "signal:all"),
        ("demo1", "signal:all"),
        ("never", "signal:all"),
        ("never", "signal:a:1"),
        ("x", "signal:all"),
        ("a room:with many 😀 faults", "signal:all"),
    ] {
        let request = json!({"type": "unsubscribe", "channel": room, "event": event});
        assert_eq!(
            answer(&mut page, &request.to_string()).await,
            format!(
                r#"{{"type":"unsubscribed","channel":"{room}","event":"{event}","data":{{"room":"{room}","status":"unsubscribed"}},"timestamp":1700000000123}}"#
            )
        );
    }
}

/// §2.1, §2.2: an empty event in `unsubscribe` stays empty in the answer.
#[tokio::test]
async fn unsubscribed_from_an_empty_event() {
    let server = server();
    let mut page = Client::join(&server, "a:1", "demo1").await;
    for request in
        [r#"{"type":"unsubscribe","channel":"demo1"}"#, r#"{"type":"unsubscribe","channel":"demo1","event":""}"#]
    {
        assert_eq!(
            answer(&mut page, request).await,
            r#"{"type":"unsubscribed","channel":"demo1","data":{"room":"demo1","status":"unsubscribed"},"timestamp":1700000000123}"#
        );
    }
}

/// §2.2 `message`; §2.1: an empty event means `signal:all`.
#[tokio::test]
async fn message() {
    let server = server();
    let mut a = Client::join(&server, "a:1", "demo1").await;
    let mut b = Client::join(&server, "b:2", "demo1").await;
    for (request, event) in
        [(r#""event":"signal:b:2","#, "signal:b:2"), (r#""event":"","#, "signal:all"), ("", "signal:all")]
    {
        let data = r#"{"from":"a:1","type":"text"}"#;
        a.send_text(&format!(r#"{{"type":"publish","channel":"demo1",{request}"data":{data}}}"#)).await;
        assert_eq!(
            b.next_text().await,
            format!(
                r#"{{"type":"message","channel":"demo1","event":"{event}","data":{data},"timestamp":1700000000123}}"#
            )
        );
    }
}

/// §2.2 `error`: no channel, no event, no data; the error stands last.
#[tokio::test]
async fn error() {
    let server = server();
    let mut page = Client::connect(&server, "a:1").await;
    let request = r#"{"type":"publish","channel":"demo1","event":"signal:all"}"#;
    assert_eq!(
        answer(&mut page, request).await,
        r#"{"type":"error","timestamp":1700000000123,"error":{"code":400,"message":"缺少消息数据"},"reason":"data is missing"}"#
    );
}

/// §2.1 "no acknowledgement", §2.2 "send none that is not needed": what is fine is not commented on.
#[tokio::test]
async fn no_frame_that_is_not_needed() {
    let server = server();
    let mut page = Client::join(&server, "a:1", "demo1").await;
    page.publish("demo1", "signal:all", json!({"type": "discover"})).await;
    page.publish("demo1", "signal:gone:9", json!({"type": "offer"})).await;
    assert!(page.received_so_far().await.is_empty());
}
