//! §7.6: who leaves when, without having said so (T44, T46).

use std::time::Duration;

use letshare_server::{clock::Clock, ids::Timestamp};
use serde_json::{Value, json};

use super::stage::{Stage, connection_key, events};
use crate::support::{AblyClient, ably::action};

async fn enter(stage: &Stage, more: &str) -> (AblyClient, Value) {
    let (mut client, connected) = stage.open(more).await;
    client.attach("room").await;
    let serial = client.presence("room", json!([{"action": 2, "data": "here"}])).await;
    client.acked(serial).await;
    (client, connected)
}

fn assert_synthesized(leave: &Value, connected: &Value, entered: &Value) {
    let event = &leave["presence"][0];
    assert_eq!(event["action"], 3, "{leave}");
    assert_eq!(event["connectionId"], connected["connectionId"]);
    assert_eq!(event["data"], "here");
    let id = event["id"].as_str().expect("an id");
    assert!(!id.starts_with(connected["connectionId"].as_str().unwrap()), "T44: {id}");
    let entered = entered["presence"][0]["timestamp"].as_u64();
    assert!(event["timestamp"].as_u64() >= entered);
}

/// T44: not by the client's own id; T46: as long as it asked for, or 15 s, and not longer.
#[tokio::test]
async fn t44_t46_a_lost_client_leaves_when_its_time_is_over() {
    let clock = Clock::manual(Timestamp::from_millis(1_800_000_000_000));
    let stage = Stage::at(&clock).await;
    let mut watcher = stage.client("watcher").await;
    watcher.attach("room").await;
    for (more, millis) in [("", 15_000), ("&remainPresentFor=5000", 5_000)] {
        let (lost, connected) = enter(&stage, &format!("clientId=lost{more}")).await;
        let entered = watcher.expect(action::PRESENCE).await;
        lost.cut();
        // Known to be lost once it is not counted any more.
        while stage.get("/channels/room").await["status"]["occupancy"]["metrics"]["connections"] != 1 {}
        clock.advance(Duration::from_millis(millis - 1));
        assert!(watcher.received_so_far().await.is_empty());
        let members = stage.get("/channels/room/presence").await;
        assert_eq!(members[0]["clientId"], "lost", "flapping");
        clock.advance(Duration::from_millis(1));
        let leave = watcher.expect(action::PRESENCE).await;
        assert_synthesized(&leave, &connected, &entered);
        assert_eq!(stage.get("/channels/room/presence").await, json!([]));
    }
}

#[tokio::test]
async fn a_client_that_does_not_want_to_remain() {
    let stage = Stage::start().await;
    let mut watcher = stage.client("watcher").await;
    watcher.attach("room").await;
    for hold in [0, 50] {
        let more = format!("clientId=lost&remainPresentFor={hold}");
        let (lost, connected) = enter(&stage, &more).await;
        let entered = watcher.expect(action::PRESENCE).await;
        lost.cut();
        let leave = watcher.expect(action::PRESENCE).await;
        assert_synthesized(&leave, &connected, &entered);
    }
}

/// Who is back in time was never away; who is not leaves. Both were lost at once.
#[tokio::test]
async fn a_client_that_comes_back_in_time() {
    let stage = Stage::start().await;
    let mut watcher = stage.client("watcher").await;
    watcher.attach("room").await;
    let (lost, _) = enter(&stage, "clientId=lost&remainPresentFor=600").await;
    let (back, connected) = enter(&stage, "clientId=back&remainPresentFor=300").await;
    let key = connection_key(&connected);
    lost.cut();
    back.cut();
    let more = format!("clientId=back&remainPresentFor=300&resume={key}");
    let (mut back, _) = stage.open(&more).await;
    back.attach("room").await;
    let seen = [
        watcher.expect(action::PRESENCE).await,
        watcher.expect(action::PRESENCE).await,
        watcher.expect(action::PRESENCE).await,
    ];
    assert_eq!(events(&seen), [(2, "lost"), (2, "back"), (3, "lost")]);
    assert!(watcher.received_so_far().await.is_empty());
    let members = stage.get("/channels/room/presence").await;
    assert_eq!(members[0]["clientId"], "back");
}

/// A connection that is resumed but not attached again has the same time as one that is not.
#[tokio::test]
async fn a_client_that_comes_back_but_not_to_the_channel() {
    let stage = Stage::start().await;
    let mut watcher = stage.client("watcher").await;
    watcher.attach("room").await;
    let (client, connected) = enter(&stage, "clientId=back&remainPresentFor=300").await;
    watcher.expect(action::PRESENCE).await;
    client.cut();
    let more = format!("clientId=back&resume={}", connection_key(&connected));
    let (_back, _) = stage.open(&more).await;
    assert_eq!(events(&[watcher.expect(action::PRESENCE).await]), [(3, "back")]);
}

/// All members of a connection, on all its channels, at once.
#[tokio::test]
async fn everybody_of_a_connection_leaves() {
    let stage = Stage::start().await;
    let mut watcher = stage.client("watcher").await;
    let mut anybody = stage.anybody().await;
    for channel in ["one", "two"] {
        watcher.attach(channel).await;
        anybody.attach(channel).await;
        let items = json!([{"action": 2, "clientId": "a"}, {"action": 2, "clientId": "b"}]);
        let serial = anybody.presence(channel, items).await;
        anybody.acked(serial).await;
        watcher.expect(action::PRESENCE).await;
    }
    anybody.send(json!({"action": action::CLOSE})).await;
    let mut channels = Vec::new();
    for _ in 0..2 {
        let leave = watcher.expect(action::PRESENCE).await;
        assert_eq!(events(std::slice::from_ref(&leave)), [(3, "a"), (3, "b")]);
        let ids: Vec<_> = (0..2).map(|at| &leave["presence"][at]["id"]).collect();
        assert_ne!(ids[0], ids[1]);
        channels.push(leave["channel"].as_str().unwrap().to_owned());
    }
    channels.sort();
    assert_eq!(channels, ["one", "two"]);
}
