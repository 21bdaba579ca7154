//! How a comet connection ends, and what becomes of it.

use std::time::Duration;

use letshare_server::{clock::Clock, ids::Timestamp};
use serde_json::json;

use super::client::{Comet, frames_of};
use crate::{
    ably_realtime::stage::{EVERYTHING, Stage, assert_error, events},
    support::{AblyClient, Http, Server, ably::action, eventually},
};

async fn is_gone(comet: &Comet) {
    for (method, what) in [("GET", "recv"), ("POST", "send"), ("GET", "close"), ("GET", "disconnect")] {
        let answer = comet.ask(method, what, "[]").await;
        assert_eq!((answer.status, answer.header("x-ably-errorcode")), (410, Some("80022")), "{what}: {answer:?}");
    }
}

/// `close` is CLOSE: the connection ends for good, its members leave at once; CLOSED comes to whoever receives.
#[tokio::test]
async fn close_ends_the_connection() {
    let stage = Stage::start().await;
    let mut other = stage.anybody().await;
    other.attach("room").await;
    let (mut comet, _) = Comet::connect(&stage.server, &format!("{}&clientId=alice", stage.query(EVERYTHING))).await;
    comet.attach("room").await;
    comet
        .send(json!([{"action": action::PRESENCE, "channel": "room", "msgSerial": 0, "presence": [{"action": 2}]}]))
        .await;
    other.expect(action::PRESENCE).await;
    assert_eq!(comet.ask("GET", "close", "").await.status, 204);
    while comet.next().await["action"] != action::CLOSED {}
    assert_eq!(events(&[other.expect(action::PRESENCE).await]), [(3, "alice")]);
    eventually(async || (comet.ask("GET", "recv", "").await.status == 410).then_some(())).await;
    is_gone(&comet).await;
    let (_, again) = stage.open(&format!("clientId=alice&resume={}", comet.key)).await;
    assert_eq!(again["error"]["code"], 80008);
}

/// `disconnect` drops the transport; the connection can be resumed.
#[tokio::test]
async fn disconnect_keeps_the_connection() {
    let stage = Stage::start().await;
    let (comet, first) = Comet::connect(&stage.server, &stage.query(EVERYTHING)).await;
    let (received, disconnected) = tokio::join!(comet.ask("GET", "recv", ""), comet.ask("GET", "disconnect", ""));
    assert_eq!(disconnected.status, 204);
    // Whoever waits gets an answer that can be read, or hears that there is nothing left to wait for.
    if received.status == 200 {
        assert!(frames_of(&received).is_empty(), "{received:?}");
    }
    eventually(async || (comet.ask("GET", "recv", "").await.status == 410).then_some(())).await;
    is_gone(&comet).await;
    let (_, again) = Comet::connect(&stage.server, &format!("{}&resume={}", stage.query(EVERYTHING), comet.key)).await;
    assert_eq!((&again["connectionId"], again.get("error")), (&first["connectionId"], None));
}

/// T22: credentials are not asked for again, but their end is that of the transport.
#[tokio::test]
async fn t22_the_transport_ends_with_its_token() {
    let stage = Stage::start().await;
    let token = stage.token(json!({"ttl": 400})).await;
    let (mut comet, _) = Comet::connect(&stage.server, &format!("v=6&access_token={token}")).await;
    assert_error(&comet.expect(action::DISCONNECTED).await, 40142, 401);
    eventually(async || (comet.ask("GET", "recv", "").await.status == 410).then_some(())).await;
}

/// While a client is there a request to receive is open. Whoever asks for nothing for longer is gone: its members leave, and
/// everything that it cost is given back.
#[tokio::test]
async fn who_asks_for_nothing_is_gone() {
    let clock = Clock::manual(Timestamp::from_millis(1_800_000_000_000));
    let stage = Stage::on(Server::sandbox_at(clock.clone(), |_| {})).await;
    // Whoever asks has a connection, too.
    let kept = async || {
        let page = Http::connect(&stage.server).await.ask("GET", "/metrics", &[]).await;
        page.json()["kept"]["connection"].as_u64().unwrap()
    };
    let before = kept().await;
    let query = format!("{}&clientId=alice&remainPresentFor=0", stage.query(EVERYTHING));
    let (mut comet, _) = Comet::connect(&stage.server, &query).await;
    comet.attach("room").await;
    comet
        .send(json!([{"action": action::PRESENCE, "channel": "room", "msgSerial": 0, "presence": [{"action": 2}]}]))
        .await;
    while comet.next().await["action"] != action::ACK {}
    let mut other = stage.anybody().await;
    other.attach("room").await;
    let left = async {
        loop {
            // Heartbeats, too: each of them comes in time.
            if events(&[other.next_of_all().await]).contains(&(3, "alice")) {
                return;
            }
        }
    };
    let patience = Duration::from_secs(120);
    tokio::time::timeout(patience, left).await.expect("the member leaves");
    eventually(async || (comet.ask("GET", "recv", "").await.status == 410).then_some(())).await;
    drop(other);
    eventually(async || {
        clock.advance(Duration::from_secs(121));
        (kept().await <= before).then_some(())
    })
    .await;
}

/// A server that stops says so, and says that the client may come back.
#[tokio::test]
async fn a_server_that_stops_says_so() {
    let mut stage = Stage::start().await;
    let (mut comet, _) = Comet::connect(&stage.server, &stage.query(EVERYTHING)).await;
    let told = {
        let next = comet.next();
        stage.server.begin_drain();
        next.await
    };
    assert_eq!(told["action"], action::DISCONNECTED, "{told}");
    assert_error(&told, 80003, 503);
}

/// §4.8: each frame of a body counts, and a flood ends the connection.
#[tokio::test]
async fn frames_of_a_body_have_the_rate_of_frames() {
    let clock = Clock::manual(Timestamp::from_millis(1_800_000_000_000));
    let stage = Stage::on(Server::sandbox_at(clock, |config| {
        config.limits.publishes_per_second = 1;
        config.limits.publish_burst = 10;
    }))
    .await;
    let (mut comet, _) = Comet::connect(&stage.server, &stage.query(EVERYTHING)).await;
    let frames = |many: u64| {
        let frame =
            |serial| json!({"action": action::MESSAGE, "channel": "room", "msgSerial": serial, "messages": [{}]});
        (0..many).map(frame).collect()
    };
    comet.send(frames(12)).await;
    let mut answers = (0, 0);
    while answers != (10, 2) {
        let answer = comet.next().await;
        match answer["action"].as_u64() {
            Some(action::ACK) => answers.0 += 1,
            _ => {
                assert_error(&answer, 42911, 429);
                answers.1 += 1;
            }
        }
    }
    comet.send(frames(300)).await;
    let error = loop {
        let answer = comet.next().await;
        if answer["action"] == action::ERROR {
            break answer;
        }
    };
    assert_error(&error, 42921, 429);
}

/// A body that waits is charged to the connection; who has used up its share is told whose it is, and goes on.
#[tokio::test]
async fn a_body_is_charged_to_its_connection() {
    let stage = Stage::on(Server::sandbox(|config| config.limits.client_memory = 100_000)).await;
    let (mut comet, _) = Comet::connect(&stage.server, &stage.query(EVERYTHING)).await;
    let large = format!("[{}]", " ".repeat(200_000));
    let refused = comet.ask("POST", "send", &large).await;
    assert_eq!((refused.status, refused.header("x-ably-errorcode")), (429, Some("42910")), "{refused:?}");
    assert!(refused.body.contains("limits.client_memory") && refused.body.contains("request_body"), "{refused:?}");
    comet.attach("room").await;
    let mut other: AblyClient = stage.anybody().await;
    other.attach("room").await;
}
