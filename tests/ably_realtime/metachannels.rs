//! §5.10: what happens in an app, told on channels that only the server publishes to.

use std::time::Duration;

use letshare_server::{clock::Clock, ids::Timestamp};
use serde_json::{Value, json};

use super::stage::{META, Stage, names};
use crate::support::{AblyClient, ably::action, eventually};

/// The next event of a metachannel: its name and its data.
async fn event(client: &mut AblyClient) -> (String, Value) {
    let frame = client.expect(action::MESSAGE).await;
    let message = &frame["messages"][0];
    assert_eq!(message["encoding"], "json", "{frame}");
    let data = message["data"].as_str().and_then(|data| serde_json::from_str(data).ok());
    (message["name"].as_str().expect("a name").to_owned(), data.expect("JSON"))
}

/// Somebody who may listen to metachannels.
async fn anybody(stage: &Stage) -> AblyClient {
    AblyClient::connect(&stage.server, &stage.app.keys[META]).await
}

#[tokio::test]
async fn channels_open_and_close() {
    let stage = Stage::with(|config| config.limits.channels = 2).await;
    let mut watcher = anybody(&stage).await;
    watcher.attach("[meta]channel.lifecycle").await;
    let mut bob = stage.anybody().await;
    let zeros = json!({
        "connections": 0, "publishers": 0, "subscribers": 0, "presenceConnections": 0,
        "presenceMembers": 0, "presenceSubscribers": 0, "objectPublishers": 0, "objectSubscribers": 0,
    });
    let details = |name: &str, is_active| {
        let status = json!({"isActive": is_active, "occupancy": {"metrics": zeros}});
        json!({"channelId": name, "name": name, "status": status})
    };
    // There is room for one channel beside the metachannel: the second closes the first.
    for name in ["one", "two"] {
        let serial = bob.publish(name, json!([{}])).await;
        bob.acked(serial).await;
    }
    let mut told = vec![event(&mut watcher).await, event(&mut watcher).await, event(&mut watcher).await];
    told.sort_by_key(|(name, data)| (data["channelId"].to_string(), std::cmp::Reverse(name.clone())));
    let expected = [("opened", "one", true), ("closed", "one", false), ("opened", "two", true)];
    let expected = expected.map(|(what, name, is_active)| (format!("channel.{what}"), details(name, is_active)));
    assert_eq!(told, expected);

    // They are ordinary messages, with a history.
    let mut late = anybody(&stage).await;
    let attach = json!({"action": action::ATTACH, "channel": "[meta]channel.lifecycle", "params": {"rewind": "10"}});
    late.attach_with(attach).await;
    assert_eq!(names(&late.received_so_far().await).len(), 3);
    // Metachannels are not told of themselves, and not listed.
    assert_eq!(stage.get("/channels").await, json!(["two"]));
}

#[tokio::test]
async fn connections_open_and_close() {
    let clock = Clock::manual(Timestamp::from_millis(1_786_017_600_000));
    let stage = Stage::at(&clock).await;
    let mut watcher = anybody(&stage).await;
    watcher.attach("[meta]connection.lifecycle").await;
    let (alice, connected) = stage.open("clientId=alice").await;
    let data = json!({"connectionId": connected["connectionId"], "clientId": "alice"});
    assert_eq!(event(&mut watcher).await, ("connection.opened".to_owned(), data.clone()));

    // Whoever comes back goes on.
    alice.cut();
    let key = connected["connectionDetails"]["connectionKey"].as_str().expect("a key");
    let (mut again, resumed) = stage.open(&format!("clientId=alice&resume={key}")).await;
    assert_eq!(resumed["connectionId"], connected["connectionId"]);
    again.send(json!({"action": action::CLOSE})).await;
    assert_eq!(event(&mut watcher).await, ("connection.closed".to_owned(), data));

    let (mut bob, connected) = stage.open("").await;
    let data = json!({"connectionId": connected["connectionId"]});
    assert_eq!(event(&mut watcher).await, ("connection.opened".to_owned(), data.clone()));
    bob.attach("room").await;
    bob.cut();
    // He is gone for so long that he cannot come back.
    let closed = async {
        loop {
            clock.advance(Duration::from_secs(121));
            tokio::select! {
                closed = event(&mut watcher) => break closed,
                () = tokio::time::sleep(Duration::from_millis(20)) => {}
            }
        }
    };
    assert_eq!(closed.await, ("connection.closed".to_owned(), data));
}

#[tokio::test]
async fn minutes_are_told() {
    let clock = Clock::manual(Timestamp::from_millis(1_786_017_600_000));
    let stage = Stage::at(&clock).await;
    let mut watcher = anybody(&stage).await;
    watcher.attach("[meta]stats:minute").await;
    // What was counted is reported from time to time.
    eventually(async || {
        let told = stage.get("/stats?unit=minute").await;
        (told[0]["entries"]["connections.all.peak"] == 1).then_some(())
    })
    .await;
    for _ in 0..3 {
        clock.advance(Duration::from_secs(15));
        // So nobody is silent for too long.
        watcher.send(json!({"action": action::HEARTBEAT, "id": "x"})).await;
        while watcher.expect(action::HEARTBEAT).await["id"] != "x" {}
    }
    clock.advance(Duration::from_secs(15));
    let (name, data) = event(&mut watcher).await;
    assert_eq!((&*name, &data["unit"], &data["schema"]), ("update", &json!("minute"), &json!("app-stats")));
    assert!(data["intervalId"].as_str().expect("an id").starts_with("2026-08-06:"), "{data}");
    assert_eq!(data["entries"]["connections.all.peak"], 1, "{data}");
}
