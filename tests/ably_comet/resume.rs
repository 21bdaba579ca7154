//! A connection goes from transport to transport (§4.3, §1.6).

use serde_json::json;

use super::client::{Comet, Lines, ask, frames_in};
use crate::{
    ably_realtime::stage::{EVERYTHING, Stage, assert_error, attach, attach_after, connection_key, names, told},
    support::{
        AblyClient,
        ably::{action, flag},
        eventually,
    },
};

/// What ably-js 2 does when a WebSocket comes up: the newest transport wins, and nothing is lost or doubled.
#[tokio::test]
async fn a_websocket_takes_over_from_comet() {
    let stage = Stage::start().await;
    let mut other = stage.anybody().await;
    let (mut comet, first) = Comet::connect(&stage.server, &stage.query(EVERYTHING)).await;
    comet.attach("room").await;
    other.publish("room", json!([{"name": "one"}])).await;
    let seen = comet.expect(action::MESSAGE).await["channelSerial"].clone();
    // Nobody receives this any more.
    let serial = other.publish("room", json!([{"name": "two"}])).await;
    other.acked(serial).await;
    let (mut client, again) = stage.open(&format!("resume={}", comet.key)).await;
    assert_eq!((&again["connectionId"], again.get("error")), (&first["connectionId"], None));
    let superseded = loop {
        let frame = comet.next().await;
        if frame["action"] != action::MESSAGE {
            break frame;
        }
    };
    assert_eq!(superseded["action"], action::DISCONNECTED);
    assert_error(&superseded, 80016, 410);
    eventually(async || (comet.ask("GET", "recv", "").await.status == 410).then_some(())).await;
    let attached = client.attach_with(attach_after("room", &seen)).await;
    assert_eq!(told(&attached), flag::RESUMED | flag::HAS_BACKLOG);
    assert_eq!(names(&[client.expect(action::MESSAGE).await]), ["two"]);
}

#[tokio::test]
async fn comet_takes_over_from_a_websocket_and_from_comet() {
    let stage = Stage::start().await;
    let (mut client, first) = stage.open("").await;
    client.attach("room").await;
    let resume = |key: &str| format!("{}&resume={key}", stage.query(EVERYTHING));
    let (mut comet, second) = Comet::connect(&stage.server, &resume(connection_key(&first))).await;
    assert_eq!(second["connectionId"], first["connectionId"]);
    assert_error(&client.expect(action::DISCONNECTED).await, 80016, 410);
    client.expect_end().await;
    let (mut next, third) = Comet::connect(&stage.server, &resume(&comet.key)).await;
    assert_eq!(third["connectionId"], first["connectionId"]);
    assert_error(&comet.expect(action::DISCONNECTED).await, 80016, 410);
    next.attach("room").await;
    // By a client that knows no more than the key (§4.3).
    let (_, recovered) =
        Comet::connect(&stage.server, &format!("{}&recover={}", stage.query(EVERYTHING), next.key)).await;
    assert_eq!(recovered["connectionId"], first["connectionId"]);
}

/// findings A7: ably-js 1.2 begins with comet, opens a WebSocket beside it, and says ACTIVATE there when it changes over: until then the
/// connection goes by the first one.
#[tokio::test]
async fn an_upgrade_waits_for_its_client() {
    let stage = Stage::start().await;
    let mut other = stage.anybody().await;
    let query = stage.query(EVERYTHING).replace("v=6", "v=2");
    let (mut comet, first) = Comet::connect(&stage.server, &query).await;
    comet.attach("room").await;
    let upgrade = format!("{query}&upgrade={}", comet.key);
    let (mut client, again) = AblyClient::connect_with(&stage.server, &upgrade).await;
    assert_eq!((&again["connectionId"], again.get("error")), (&first["connectionId"], None));
    let (mut given_up, _) = AblyClient::connect_with(&stage.server, &upgrade).await;
    given_up.send(json!({"action": action::DISCONNECT})).await;
    given_up.expect_end().await;
    other.publish("room", json!([{"name": "before"}])).await;
    let before = comet.expect(action::MESSAGE).await;
    assert_eq!(names(std::slice::from_ref(&before)), ["before"]);
    client.send(json!({"action": 18})).await;
    assert_error(&comet.expect(action::DISCONNECTED).await, 80016, 410);
    other.publish("room", json!([{"name": "after"}])).await;
    let attached = client.attach_with(attach_after("room", &before["channelSerial"])).await;
    assert_eq!(told(&attached) & flag::RESUMED, flag::RESUMED);
    assert_eq!(names(&[client.expect(action::MESSAGE).await]), ["after"]);
    // An upgrade of what has ended meanwhile is none.
    let (mut late, _) = AblyClient::connect_with(&stage.server, &upgrade).await;
    client.send(json!({"action": action::CLOSE})).await;
    client.expect(action::CLOSED).await;
    late.send(attach("room")).await;
    assert_error(&late.expect(action::ERROR).await, 80008, 400);
}

/// A stream that breaks off may have lost what was on its way: its client has to resume, which tells.
#[tokio::test]
async fn a_stream_that_breaks_off_ends_its_transport() {
    let stage = Stage::start().await;
    let target = format!("/comet/connect?{}", stage.query(EVERYTHING));
    let mut lines = Lines::open(stage.server.address, &target, "").await;
    let connected = frames_in(&lines.line().await.expect("a line")).pop_front().expect("a frame");
    let key = connection_key(&connected).to_owned();
    let target = format!("/comet/{key}/send");
    let send = async |frames: &str| ask(stage.server.address, "POST", &target, frames).await.status;
    assert_eq!(send(&json!([attach("room")]).to_string()).await, 204);
    assert_eq!(frames_in(&lines.line().await.expect("a line"))[0]["action"], action::ATTACHED);
    drop(lines);
    let mut other = stage.anybody().await;
    eventually(async || {
        // The server hears of it when it writes.
        let serial = other.publish("room", json!([{"name": "x"}])).await;
        other.acked(serial).await;
        (send("[]").await == 410).then_some(())
    })
    .await;
    let (_, again) = stage.open(&format!("resume={key}")).await;
    assert_eq!(again["connectionId"], connected["connectionId"]);
}
