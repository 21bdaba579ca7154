//! What clients send and get (`docs/protocols/relay.md §3, §5, §7`).

use futures_util::future::join_all;
use letshare_server::{clock::Clock, ids::Timestamp};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use super::*;

/// §3: the frame, letter by letter; `ts` is the time of sending.
#[tokio::test]
async fn a_push_reaches_its_user_as_documented() {
    let clock = Clock::manual(Timestamp::from_millis(1_760_000_000_123));
    let mut rig = Rig::start_at(clock, |_| {}).await;
    let mut user = rig.user("u-208").await;
    let body = r#"{"event_name":"order.ready","subject":{ "no":4711, "big":12345678901234567890123 },"delay_seconds":0,"token":"u-208"}"#;
    assert_eq!(rig.post(body).await.status, 200);
    assert_eq!(
        user.next_text().await,
        r#"{"event":"order.ready","data":{"subject":{ "no":4711, "big":12345678901234567890123 },"ts":1760000000123,"token":"u-208"}}"#
    );
}

/// §3: identify moves the connection; the last one wins; no reply.
#[tokio::test]
async fn identify_moves_a_connection_into_a_group() {
    let mut rig = Rig::start(|_| {}).await;
    let mut user = rig.socket("?token=a").await;
    rig.until(1, 1).await;
    user.identify(json!("b")).await;
    let moved = async |rig: &mut Rig, user: &str| {
        let push = json!({"event_name": "probe", "subject": 1, "token": user});
        eventually(async || (rig.push(push.clone()).await["connections"] == 1).then_some(())).await;
    };
    moved(&mut rig, "b").await;
    assert_eq!(user.expect("probe").await["token"], "b");
    let former = rig.push(json!({"event_name": "x", "subject": 1, "token": "a"})).await;
    assert_eq!(former["connections"], 0);
    // §7: the same again changes nothing.
    user.identify(json!("b")).await;
    user.send(r#"{"type":"ping","ts":1}"#).await;
    let mut pong = user.next().await;
    // Where nodes count, one that was counted for nobody may have come as well.
    while nodes::are_asked() && pong["event"] == "probe" {
        pong = user.next().await;
    }
    assert_eq!(pong["type"], "pong");
    let again = rig.push(json!({"event_name": "x", "subject": 1, "token": "b"})).await;
    assert_eq!(again["connections"], 1);
    user.expect("x").await;
    // And back.
    user.identify(json!("a")).await;
    moved(&mut rig, "a").await;
    assert_eq!(user.expect("probe").await["token"], "a");
}

/// §3 [P]: a number is its decimal text.
#[tokio::test]
async fn a_number_identifies() {
    let mut rig = Rig::start(|_| {}).await;
    let mut user = rig.socket("").await;
    user.identify(json!(208)).await;
    rig.until(1, 1).await;
    rig.push(json!({"event_name": "e", "subject": 1, "token": "208"})).await;
    user.expect("e").await;
}

/// §3: what identifies nobody is ignored.
#[tokio::test]
async fn bad_tokens_are_ignored() {
    let mut rig = Rig::start(|_| {}).await;
    let mut anonymous = rig.socket("").await;
    for token in [json!(""), json!(null), json!(true), json!(["a"])] {
        anonymous.identify(token).await;
    }
    anonymous.send(r#"{"event":"identify"}"#).await;
    anonymous.send(r#"{"type":"ping","ts":7}"#).await;
    assert_eq!(anonymous.next_text().await, r#"{"type":"pong","ts":7}"#);
    rig.until(1, 0).await;
}

/// §3, §7: without a token, or with an empty one, broadcasts only.
#[tokio::test]
async fn anonymous_connections_get_broadcasts_only() {
    let mut rig = Rig::start(|_| {}).await;
    let mut anonymous = rig.socket("").await;
    let mut empty = rig.socket("?token=").await;
    let mut user = rig.socket("?token=u-208").await;
    rig.until(3, 1).await;
    let private = rig.push(json!({"event_name": "private", "subject": 1, "token": "u-208"})).await;
    assert_eq!(private["connections"], 1);
    let all = rig.push(json!({"event_name": "all", "subject": 1})).await;
    assert_eq!(all["connections"], 3);
    user.expect("private").await;
    for socket in [&mut anonymous, &mut empty, &mut user] {
        assert_eq!(socket.expect("all").await["token"], json!(null));
    }
}

/// §7: 100 connections of one token, all receive.
#[tokio::test]
async fn every_connection_of_a_token_receives() {
    let mut rig = Rig::start(|_| {}).await;
    let sockets = (0..100).map(|_| rig.socket("?token=many"));
    let mut sockets = join_all(sockets).await;
    rig.until(100, 100).await;
    let pushed = rig.push(json!({"event_name": "e", "subject": 1, "token": "many"})).await;
    assert_eq!(pushed["connections"], 100);
    for socket in &mut sockets {
        socket.expect("e").await;
    }
    drop(sockets);
    rig.until(0, 0).await;
}

/// §5: nobody there, and the push succeeds; who comes later does not get it.
#[tokio::test]
async fn nothing_is_kept_for_who_is_not_there() {
    let mut rig = Rig::start(|_| {}).await;
    let pushed = rig.push(json!({"event_name": "e", "subject": 1, "token": "u-208"})).await;
    assert_eq!(pushed["connections"], 0);
    let mut user = rig.user("u-208").await;
    rig.fence().await;
    user.expect("fence").await;
}

/// §5: in the order in which they were accepted, whoever they are for.
#[tokio::test]
async fn pushes_come_in_order() {
    let mut rig = Rig::start(|config| config.server.workers = 4).await;
    let mut user = rig.user("u-208").await;
    for number in 0..100 {
        let token = if number % 3 == 0 { "" } else { "u-208" };
        rig.push(json!({"event_name": "e", "subject": number, "token": token})).await;
    }
    for number in 0..100 {
        assert_eq!(user.expect("e").await["subject"], number);
    }
}

/// §3: other events are ignored; §7: a pushed event may be called `identify`.
#[tokio::test]
async fn event_names_mean_nothing_to_the_relay() {
    let mut rig = Rig::start(|_| {}).await;
    let mut user = rig.user("u-208").await;
    user.send(r#"{"event":"order.ready","data":{"token":"x"}}"#).await;
    rig.push(json!({"event_name": "identify", "subject": {"token": "y"}, "token": "u-208"})).await;
    assert_eq!(user.expect("identify").await["subject"], json!({"token": "y"}));
    rig.until(1, 1).await;
}

/// §3 [P]: bad JSON is ignored, 20 in a row end the connection with 1008. Binary frames are read as well.
#[tokio::test]
async fn nonsense_ends_a_connection_in_the_end() {
    let rig = Rig::start(|_| {}).await;
    let mut client = rig.socket("").await;
    for _ in 0..19 {
        client.send("nonsense").await;
    }
    let ping = Message::binary(r#"{"type":"ping","ts":1}"#);
    client.0.send(ping).await.expect("still open");
    assert_eq!(client.next().await["type"], "pong");
    for _ in 0..20 {
        client.send("[]").await;
    }
    client.expect_close(1008).await;
}
