//! What one connection may ask for: the `limits` section of `configs/default.yaml`. Every refusal is told,
//! and what was there before it stays.

use std::time::Duration;

use futures_util::SinkExt as _;
use letshare_server::{
    clock::Clock,
    ids::Timestamp,
    limits::{EVENT_NAME_BYTES, FLOOD_FACTOR, HEAD_BYTES},
};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Client, Http, Server, UPGRADE, eventually, raw::Raw};

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

/// findings B8: whoever goes on and on over the rate is closed, whether with messages, pings or pongs.
#[tokio::test]
async fn a_flood_ends_the_connection() {
    let clock = Clock::manual(Timestamp::from_millis(1_700_000_000_000));
    let server = Server::start_at(clock, |config| {
        config.limits.publishes_per_second = 1;
        config.limits.publish_burst = 5;
    });
    let flood = 5 + 5 * FLOOD_FACTOR.get() + 1;
    for message in [Message::text("{}"), Message::Ping("x".into()), Message::Pong("x".into())] {
        let mut a = Client::connect(&server, "a:1").await;
        for _ in 0..flood {
            a.socket.feed(message.clone()).await.unwrap();
        }
        a.socket.flush().await.unwrap();
        let close = loop {
            match a.next_frame().await {
                Some(Ok(Message::Close(close))) => break close,
                Some(Ok(_)) => {}
                other => panic!("{other:?}"),
            }
        };
        let close = close.expect("a reason");
        assert_eq!(u16::from(close.code), 1008, "{close:?}");
        assert!(close.reason.contains("limits.publish_burst"), "{close:?}");
    }
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

/// findings P6: what curl, Python and nginx send as it was typed is taken, as the older servers took it: on a new
/// connection and on one that is kept, for a page and for a WebSocket.
#[tokio::test]
async fn raw_utf_8_in_a_target_is_taken() {
    let server = Server::start(|config| {
        config.relay.enabled = true;
        config.relay.api_key = "a key of the test".to_owned().into();
    });
    for target in ["/relay/ws?token=用户".to_owned(), server.target("用户"), "/?v=2&key=用户".to_owned()] {
        let response = Http::connect(&server).await.ask("GET", &target, &UPGRADE).await;
        assert_eq!(response.status, 101, "{target}");
    }
    let mut kept = Http::connect(&server).await;
    let key = [("X-API-KEY", "a key of the test")];
    let push = r#"{"event_name":"é","subject":"GET /é HTTP/1.1"}"#;
    let pushed = kept.post("/relay/api/push?from=用户", &key, push).await;
    assert_eq!(pushed.status, 200, "{pushed:?}");
    assert_eq!(pushed.json()["data"]["event_name"], "é", "the body is as it was");
    let raw = kept.ask("GET", "/nothing/房间", &[]).await;
    assert_eq!((raw.status, raw.body.as_str()), (404, "404 page not found"));
    let upgraded = kept.ask("GET", &server.target("用户"), &UPGRADE).await;
    assert_eq!(upgraded.status, 101);
}

/// findings B3: plain requests of one address have a rate; who is over it is told so in the form of each protocol, and when
/// to come again. Operators are answered all the same.
#[tokio::test]
async fn the_rate_of_plain_requests() {
    let clock = Clock::manual(Timestamp::from_millis(1_700_000_000_000));
    let server = Server::start_at(clock, |config| {
        config.limits.requests_per_second = 1;
        config.limits.request_burst = 1;
        config.relay.enabled = true;
        config.relay.api_key = "a key of the test".to_owned().into();
        config.postoffice.enabled = true;
        config.group.enabled = true;
    });
    assert_eq!(Http::connect(&server).await.ask("GET", "/time", &[]).await.status, 200);
    for (method, target, form) in [
        ("GET", "/time", r#"{"error":{"code":42910"#),
        ("POST", "/api/pro/activate", r#"{"error":"请求过于频繁"#),
        ("POST", "/relay/api/push", r#"{"code":-1,"msg":"too many requests"}"#),
        ("GET", "/group/api/groups", r#""code":429"#),
        ("GET", "/postoffice/health", ""),
    ] {
        let response = Http::connect(&server).await.ask(method, target, &[]).await;
        assert_eq!((response.status, response.header("retry-after")), (429, Some("1")), "{target}: {response:?}");
        assert!(response.body.contains(form), "{target}: {response:?}");
        let told = format!("{}{}", response.body, response.header("refusal-reason").unwrap_or_default());
        assert!(told.contains("1 at once, are the most that limits.requests_per_second"), "{target}: {response:?}");
    }
    for page in ["/health", "/metrics", "/ready"] {
        assert_eq!(Http::connect(&server).await.ask("GET", page, &[]).await.status, 200, "{page}");
    }
}

/// A head may have 32 KiB. Who sends more is told so, also when it is not whole yet, and behind what was asked before.
#[tokio::test]
async fn the_head_of_a_request() {
    let server = Server::start(|_| {});
    let head = |bytes: usize| {
        let begin = "GET /health?x=";
        let end = " HTTP/1.1\r\nHost: x\r\n\r\n";
        format!("{begin}{}{end}", "y".repeat(bytes - begin.len() - end.len()))
    };
    let mut raw = Raw::connect(server.address).await;
    raw.write((head(100) + &head(HEAD_BYTES)).as_bytes()).await.expect("open");
    for _ in 0..2 {
        assert!(raw.reader.answer().await.starts_with("HTTP/1.1 200 "));
    }
    for (bytes, cut) in [(HEAD_BYTES + 1, 0), (HEAD_BYTES + 50_000, 4)] {
        let mut raw = Raw::connect(server.address).await;
        let long = head(bytes);
        raw.write((head(100) + &long[..bytes - cut]).as_bytes()).await.expect("open");
        assert!(raw.reader.answer().await.starts_with("HTTP/1.1 200 "));
        let refused = raw.reader.answer().await;
        assert!(refused.starts_with("HTTP/1.1 431 ") && refused.contains("may have 32768 bytes"), "{refused}");
        raw.reader.eof().await;
    }
}
