//! Metachannels: who listens at one node hears what happens at all (`docs/protocols/ably.md §5.10`).

use std::{collections::BTreeSet, time::Duration};

use letshare_server::{clock::Clock, ids::Timestamp};
use serde_json::{Value, json};

use super::{Ground, KEY, WATCHER, attached, message, until_met};
use crate::support::{AblyClient, Http, Server, ably::action, eventually, redis::RedisServer};

/// Somebody who listens to a metachannel.
async fn watcher(server: &Server, metachannel: &str) -> AblyClient {
    let mut client = AblyClient::connect(server, WATCHER).await;
    client.attach(metachannel).await;
    client
}

/// The name and the data of the next event.
async fn event(client: &mut AblyClient) -> (String, Value) {
    let frame = client.expect(action::MESSAGE).await;
    let message = &frame["messages"][0];
    let data = serde_json::from_str(message["data"].as_str().unwrap()).unwrap();
    (message["name"].as_str().unwrap().to_owned(), data)
}

async fn connect(server: &Server, more: &str) -> (AblyClient, Value) {
    AblyClient::connect_with(server, &format!("v=6&key={KEY}{more}")).await
}

/// Clients of all nodes come and go: each is told once, also one that changes the node.
#[tokio::test]
async fn connections_of_all_nodes_are_told_once() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let nodes = ground.nodes::<3>(&redis);
    for node in &nodes {
        until_met(node.address, 3).await;
    }
    let mut watcher = watcher(&nodes[2], "[meta]connection.lifecycle").await;
    let (_alice, connected) = connect(&nodes[0], "&clientId=alice").await;
    let alice = connected["connectionId"].clone();
    let opened = async |watcher: &mut AblyClient, id: &Value| {
        let (name, data) = event(watcher).await;
        assert_eq!((&*name, &data["connectionId"]), ("connection.opened", id), "{data}");
    };
    opened(&mut watcher, &alice).await;
    let key = connected["connectionDetails"]["connectionKey"].as_str().unwrap();
    let (mut moved, resumed) = connect(&nodes[1], &format!("&clientId=alice&resume={key}")).await;
    assert_eq!(resumed["connectionId"], alice);
    let (_here, connected) = connect(&nodes[2], "").await;
    opened(&mut watcher, &connected["connectionId"]).await;
    moved.send(json!({"action": action::CLOSE})).await;
    let closed = ("connection.closed".to_owned(), json!({"connectionId": alice, "clientId": "alice"}));
    assert_eq!(event(&mut watcher).await, closed);
    let (_last, connected) = connect(&nodes[0], "").await;
    opened(&mut watcher, &connected["connectionId"]).await;
}

/// A channel opens when the first node opens it, and closes when the last one has closed it.
#[tokio::test]
async fn a_channel_opens_and_closes_once_for_all_nodes() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let few = || ground.node(redis.port, |config| config.limits.channels = 2);
    let (one, other, third) = (few(), few(), ground.node(redis.port, |_| {}));
    for node in [&one, &other, &third] {
        until_met(node.address, 3).await;
    }
    let mut watcher = watcher(&third, "[meta]channel.lifecycle").await;
    let mut told = async |count: usize| {
        let mut events = BTreeSet::new();
        for _ in 0..count {
            let (name, data) = event(&mut watcher).await;
            assert_eq!(data["status"]["isActive"], name == "channel.opened", "{data}");
            assert!(events.insert(format!("{name} {}", data["name"].as_str().unwrap())), "{name} {data}");
        }
        events
    };
    // There is room for two at a node: the third makes the one go that nobody is attached to.
    let mut at_one = attached(&one, "fills:one").await;
    let mut at_other = attached(&other, "fills:other").await;
    at_one.attach("room").await;
    at_other.attach("room").await;
    let opened = ["fills:one", "fills:other", "room"].map(|name| format!("channel.opened {name}"));
    assert_eq!(told(3).await, opened.into());
    let leave = async |client: &mut AblyClient, next: &str| {
        client.send(json!({"action": action::DETACH, "channel": "room"})).await;
        client.expect(action::DETACHED).await;
        client.attach(next).await;
    };
    leave(&mut at_one, "next:one").await;
    assert_eq!(told(1).await, ["channel.opened next:one".to_owned()].into());
    leave(&mut at_other, "next:other").await;
    let expected = ["channel.opened next:other", "channel.closed room"].map(str::to_owned);
    assert_eq!(told(2).await, expected.into());
}

/// Moves all clocks on, a quarter of a minute at a time; nobody is silent for too long.
async fn pass_a_minute(clock: &Clock, watcher: &mut AblyClient) {
    for _ in 0..3 {
        clock.advance(Duration::from_secs(15));
        watcher.send(json!({"action": action::HEARTBEAT, "id": "x"})).await;
        while watcher.expect(action::HEARTBEAT).await["id"] != "x" {}
    }
    clock.advance(Duration::from_secs(15));
}

/// A minute is told once, with what all nodes have counted.
#[tokio::test]
async fn a_minute_is_that_of_all_nodes() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let clock = Clock::manual(Timestamp::from_millis(1_786_017_600_000));
    let node = || {
        Server::start_at(clock.clone(), |config| {
            ground.join(redis.port, config);
            config.cluster.lease = Duration::from_secs(3);
            config.cluster.deadline = Duration::from_secs(60);
        })
    };
    let nodes = [node(), node()];
    for node in &nodes {
        until_met(node.address, 2).await;
    }
    let mut watcher = watcher(&nodes[1], "[meta]stats:minute").await;
    let mut interval = String::new();
    for round in 1..=2 {
        for node in &nodes {
            let target = format!("/channels/room/messages?key={KEY}");
            for _ in 0..round {
                let published = Http::connect(node).await.post(&target, &[], &message("x")[0].to_string()).await;
                assert_eq!(published.status, 201, "{}", published.body);
            }
        }
        let count = "messages.inbound.rest.messages.count";
        eventually(async || {
            let target = format!("/stats?unit=minute&limit=1&key={KEY}");
            let told = Http::connect(&nodes[0]).await.ask("GET", &target, &[("X-Ably-Version", "6")]).await.json();
            (told[0]["entries"][count] == 2 * round).then_some(())
        })
        .await;
        pass_a_minute(&clock, &mut watcher).await;
        let (name, told) = event(&mut watcher).await;
        assert_eq!((&*name, &told["entries"][count]), ("update", &json!(2 * round)), "{told}");
        assert_ne!(told["intervalId"], interval, "each is told once");
        interval = told["intervalId"].as_str().unwrap().to_owned();
    }
}
