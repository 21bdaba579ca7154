//! Who comes back with an id gets what it missed, once, or is told that something is missing.

use std::time::Duration;

use letshare_server::{clock::Clock, ids::Timestamp};
use serde_json::{Value, json};

use super::server_sent::Events;
use crate::{
    ably_realtime::stage::{PUBLISH_ONLY, Stage},
    support::{AblyClient, Http, Server, TestApp, eventually},
};

async fn publish(client: &mut AblyClient, channel: &str, name: &str) {
    let serial = client.publish(channel, json!([{"name": name}])).await;
    client.acked(serial).await;
}

async fn name(events: &mut Events) -> String {
    let event = events.next().await;
    let data: Value = serde_json::from_str(&event.data).unwrap();
    data["name"].as_str().unwrap_or_default().to_owned()
}

/// By the header that browsers send, or the parameter; the header is the newer one. Also before the first event: then the
/// position that the stream began with counts.
#[tokio::test]
async fn what_was_missed_comes_once() {
    let stage = Stage::start().await;
    let mut alice = stage.anybody().await;
    let first = Events::open(&stage, "channels=a,b").await.begun().await;
    let begun = first.last.clone();
    drop(first);
    for (channel, name) in [("a", "a1"), ("b", "b1"), ("a", "a2")] {
        publish(&mut alice, channel, name).await;
    }
    let target = Events::target(&stage, "/sse", "channels=a,b");
    let mut again = Events::at(&stage, &target, &format!("Last-Event-ID: {begun}\r\n")).await;
    let mut names = Vec::new();
    for _ in 0..3 {
        names.push(name(&mut again).await);
    }
    names.sort_unstable();
    assert_eq!(names, ["a1", "a2", "b1"]);
    let mut again = again.begun().await;
    publish(&mut alice, "b", "b2").await;
    assert_eq!(name(&mut again).await, "b2");
    let last = again.last.clone();
    drop(again);
    publish(&mut alice, "a", "a3").await;
    let target = format!("{target}&lastEvent={begun}&rewind=10");
    let mut third = Events::at(&stage, &target, &format!("Last-Event-ID: {last}\r\n")).await;
    assert_eq!(name(&mut third).await, "a3", "rewind counts for a new stream only");
    let by_parameter = Events::target(&stage, "/sse", &format!("channels=a,b&lastEvent={last}"));
    assert_eq!(name(&mut Events::at(&stage, &by_parameter, "").await).await, "a3");
}

/// What is no longer kept is told, with the id from which the stream can go on: who comes back by that is not told again.
#[tokio::test]
async fn a_position_that_is_too_old_is_told() {
    let clock = Clock::manual(Timestamp::from_millis(1_800_000_000_000));
    let stage = Stage::at(&clock).await;
    let mut alice = stage.anybody().await;
    publish(&mut alice, "room", "old").await;
    let first = Events::open(&stage, "channels=room&rewind=1").await.begun().await;
    let old = first.last.clone();
    drop(first);
    publish(&mut alice, "room", "missed").await;
    let target = |id: &str| Events::target(&stage, "/sse", &format!("channels=room&lastEvent={id}"));
    eventually(async || {
        clock.advance(Duration::from_secs(1));
        stage.get("/channels/room/messages").await.as_array().unwrap().is_empty().then_some(())
    })
    .await;
    let mut events = Events::at(&stage, &target(&old), "").await;
    let error = events.next().await;
    assert_eq!(error.kind, "error");
    let info: Value = serde_json::from_str(&error.data).unwrap();
    assert_eq!((&info["code"], &info["statusCode"]), (&json!(90003), &json!(404)), "{info}");
    assert_eq!(events.block().await, None, "the stream ends behind it");
    let id = error.id.expect("where to go on");
    assert_ne!(id, old);
    let mut again = Events::at(&stage, &target(&id), "").await.begun().await;
    publish(&mut alice, "room", "new").await;
    assert_eq!(name(&mut again).await, "new");
}

/// The end of the credentials is that of the stream, said by an event.
#[tokio::test]
async fn a_stream_ends_with_its_token() {
    let stage = Stage::start().await;
    let token = stage.token(json!({"ttl": 400})).await;
    let mut events = Events::at(&stage, &format!("/sse?v=1.2&channels=room&accessToken={token}"), "").await;
    let error = events.next().await;
    let info: Value = serde_json::from_str(&error.data).unwrap();
    assert_eq!((&*error.kind, &info["code"], &info["statusCode"]), ("error", &json!(40142), &json!(401)), "{info}");
    assert_eq!(events.block().await, None);
}

/// So does a stream whose token was revoked; others go on.
#[tokio::test]
async fn a_stream_ends_with_the_revocation_of_its_token() {
    let stage = Stage::start().await;
    let app = TestApp::create(&stage.server, json!({"keys": [{"revocableTokens": true}]})).await;
    let key = &app.keys[0];
    let (name, _) = key.split_once(':').unwrap();
    let mut http = Http::connect(&stage.server).await;
    let mut streams = Vec::new();
    for client in ["alice", "bob"] {
        let asked = json!({"keyName": name, "clientId": client}).to_string();
        let token = http.post(&format!("/keys/{name}/requestToken?key={key}"), &[], &asked).await.json();
        let target = format!("/sse?v=1.2&channels=room&accessToken={}", token["token"].as_str().unwrap());
        streams.push(Events::at(&stage, &target, "").await.begun().await);
    }
    let [alice, bob] = &mut streams[..] else { unreachable!() };
    let targets = json!({"targets": ["clientId:alice"]}).to_string();
    let revoked = http.post(&format!("/keys/{name}/revokeTokens?key={key}"), &[], &targets).await;
    assert_eq!(revoked.status, 201, "{revoked:?}");
    let error = alice.next().await;
    assert_eq!((&*error.kind, error.data.contains("40141")), ("error", true), "{error:?}");
    assert_eq!(alice.block().await, None);
    let sent = http.post(&format!("/channels/room/messages?key={key}"), &[], r#"{"name": "still here"}"#).await;
    assert_eq!(sent.status, 201, "{sent:?}");
    assert_eq!(self::name(bob).await, "still here");
}

/// Everything that a stream cost is given back when its client has gone.
#[tokio::test]
async fn a_stream_whose_client_has_gone_ends() {
    let stage = Stage::start().await;
    let mut other = Http::connect(&stage.server).await;
    // Whoever asks has a connection, too.
    let kept = async || {
        let page = Http::connect(&stage.server).await.ask("GET", "/metrics", &[]).await;
        page.json()["kept"]["connection"].as_u64().unwrap()
    };
    let before = kept().await;
    let events = Events::open(&stage, "channels=room").await.begun().await;
    assert!(kept().await > before);
    drop(events);
    eventually(async || {
        // The server hears of it when it writes.
        let target = format!("/channels/room/messages?v=6&key={}", stage.app.keys[PUBLISH_ONLY]);
        assert_eq!(other.post(&target, &[], "{}").await.status, 201);
        (kept().await <= before).then_some(())
    })
    .await;
}

/// A server that stops says so.
#[tokio::test]
async fn a_server_that_stops_says_so() {
    let mut stage = Stage::on(Server::sandbox(|_| {})).await;
    let mut events = Events::open(&stage, "channels=room").await.begun().await;
    stage.server.begin_drain();
    let error = events.next().await;
    assert_eq!(error.kind, "error");
    assert!(error.data.contains("80003"), "{error:?}");
    assert_eq!(events.block().await, None);
}
