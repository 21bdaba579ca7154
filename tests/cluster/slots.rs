//! The servers of a Redis Cluster (`docs/cluster.md`, A Redis Cluster).

use std::{cell::Cell, collections::BTreeSet, time::Duration};

use futures_util::future::join_all;
use letshare_server::config::Config;
use nix::sys::signal::Signal;
use serde_json::json;

use super::{
    Ground, KEY, assert_read_up, attached, beside::until_ready, fleet::Fleet, history, message, messages, one_order,
};
use crate::support::{
    AblyClient, Client, Http, Server,
    ably::{action, flag},
    eventually,
    redis_cluster::RedisCluster,
};

fn node(ground: &Ground, redis: &RedisCluster, adjust: impl FnOnce(&mut Config)) -> Server {
    ground.node(0, |config| {
        config.cluster.endpoint = Some(redis.endpoint());
        adjust(config);
    })
}

/// Names of channels, so many at each master.
async fn channels(redis: &RedisCluster, each: usize) -> Vec<Vec<String>> {
    let mut found = vec![Vec::new(); redis.masters.len()];
    for number in 0.. {
        let name = format!("room-{number}");
        let partition = crc32fast::hash(format!("abc123/{name}").as_bytes()) % 64;
        let (place, _) = redis.home_of(format!("{{p{partition}}}").as_bytes()).await;
        if found[place].len() < each {
            found[place].push(name);
        }
        if found.iter().all(|names| names.len() == each) {
            break;
        }
    }
    found
}

fn slot_key(channel: &str) -> String {
    format!("{{p{}}}", crc32fast::hash(format!("abc123/{channel}").as_bytes()) % 64)
}

/// Publishes and waits for the ACK of the last.
async fn publish_all(client: &mut AblyClient, channel: &str, data: impl Iterator<Item = String>) {
    let mut last = 0;
    for data in data {
        last = client.publish(channel, message(&data)).await;
    }
    let mut acked = 0;
    while acked <= last {
        let ack = client.expect(action::ACK).await;
        acked = ack["msgSerial"].as_u64().unwrap() + ack["count"].as_u64().unwrap();
    }
}

/// Publishes "after" until it is acknowledged.
async fn until_taken(client: &mut AblyClient, channel: &str) {
    eventually(async || {
        let serial = client.publish(channel, message("after")).await;
        let answer = client.next().await;
        assert_eq!(answer["msgSerial"], serial, "{answer}");
        (answer["action"] == action::ACK).then_some(())
    })
    .await;
}

/// Order, history, presence, resuming and what is told of all channels, wherever in the Redis Cluster a channel is.
#[tokio::test]
async fn channels_of_all_masters_are_the_same_at_all_nodes() {
    const EACH: usize = 40;
    let redis = RedisCluster::start(false).await;
    let ground = Ground::new();
    let nodes = [node(&ground, &redis, |_| {}), node(&ground, &redis, |_| {})];
    for node in &nodes {
        until_ready(node, None).await;
    }
    for channel in channels(&redis, 3).await.concat() {
        let mut readers = [attached(&nodes[0], &channel).await, attached(&nodes[1], &channel).await];
        let publish = async |place: usize| {
            let mut client = AblyClient::connect(&nodes[place], KEY).await;
            publish_all(&mut client, &channel, (0..EACH).map(|number| format!("{place}-{number:02}"))).await;
        };
        join_all((0..2).map(publish)).await;
        let expected: BTreeSet<String> =
            (0..2).flat_map(|place| (0..EACH).map(move |number| format!("{place}-{number:02}"))).collect();
        let read = one_order(&mut readers, &expected).await;
        for place in 0..2 {
            let own = read.iter().filter(|(_, data)| data.starts_with(&format!("{place}-")));
            assert!(own.map(|(_, data)| data).is_sorted(), "the order of each publisher");
        }
        let order: Vec<String> = read.iter().map(|(_, data)| data.clone()).collect();
        assert_eq!(history(&nodes[1], &channel).await, order);
        let (mut alice, _) = AblyClient::connect_with(&nodes[0], &format!("v=6&key={KEY}&clientId=alice")).await;
        let from = json!({"action": action::ATTACH, "channel": channel, "channelSerial": read[EACH].0});
        let told = alice.attach_with(from).await;
        assert!(told["flags"].as_u64().unwrap() & flag::RESUMED != 0, "{told}");
        let missed: Vec<String> = messages(&mut alice, EACH - 1).await.into_iter().map(|(_, data)| data).collect();
        assert_eq!(missed, order[EACH + 1..]);
        let serial = alice.presence(&channel, json!([{"action": 2}])).await;
        alice.acked(serial).await;
        for reader in &mut readers {
            assert_eq!(reader.expect(action::PRESENCE).await["presence"][0]["clientId"], "alice");
        }
        let target = format!("/channels/{channel}/presence?key={KEY}");
        let present = Http::connect(&nodes[1]).await.ask("GET", &target, &[]).await.json();
        assert_eq!(present[0]["clientId"], "alice");
    }
    let target = format!("/channels?key={KEY}");
    eventually(async || {
        let listed = Http::connect(&nodes[0]).await.ask("GET", &target, &[]).await;
        (listed.status == 200 && listed.json().as_array()?.len() == 9).then_some(())
    })
    .await;
}

/// A slot goes to another master, and another one, while all publish: nothing is lost, doubled or swapped.
#[tokio::test]
async fn a_slot_that_moves_loses_and_doubles_nothing() {
    const AT_ONCE: usize = 20;
    let redis = RedisCluster::start(false).await;
    let ground = Ground::new();
    let nodes = [node(&ground, &redis, |_| {}), node(&ground, &redis, |_| {})];
    let mut readers = [attached(&nodes[0], "room").await, attached(&nodes[1], "room").await];
    let (home, slot) = redis.home_of(slot_key("room").as_bytes()).await;
    let (is_over, acked) = (Cell::new(false), [Cell::new(0), Cell::new(0)]);
    let publish = async |place: usize| {
        let mut client = AblyClient::connect(&nodes[place], KEY).await;
        while !is_over.get() {
            let from = acked[place].get();
            publish_all(&mut client, "room", (from..from + AT_ONCE).map(|number| format!("{place}-{number:06}"))).await;
            acked[place].set(from + AT_ONCE);
        }
    };
    // Each publisher has something on its way while the slot moves: what comes before, and behind, is acknowledged meanwhile.
    let more_is_acked = async || {
        let before = acked.each_ref().map(Cell::get);
        let is_more = |place: usize| acked[place].get() > before[place];
        eventually(async || (0..2).all(is_more).then_some(())).await;
    };
    let moving = async {
        more_is_acked().await;
        for step in 0..3 {
            redis.move_slot(slot, (home + step) % 3, (home + step + 1) % 3).await;
            more_is_acked().await;
        }
        is_over.set(true);
    };
    tokio::join!(join_all((0..2).map(publish)), moving);
    let counts = acked.map(Cell::into_inner);
    let expected: BTreeSet<String> =
        (0..2).flat_map(|place| (0..counts[place]).map(move |number| format!("{place}-{number:06}"))).collect();
    let read = one_order(&mut readers, &expected).await;
    for place in 0..2 {
        let own = read.iter().filter(|(_, data)| data.starts_with(&format!("{place}-")));
        assert!(own.map(|(_, data)| data).is_sorted(), "the order of each publisher");
    }
    let order: Vec<String> = read.iter().map(|(_, data)| data.clone()).collect();
    assert_eq!(history(&nodes[0], "room").await, order);
    // Where it is now it is also heard.
    let [one, other] = &mut readers;
    assert_read_up(one, &nodes[1], "room").await;
    assert_eq!(messages(other, 1).await[0].1, "the end");
}

/// A replica takes the place of a master that is killed: channels go on, and whoever may have missed something is told.
#[tokio::test]
async fn a_replica_takes_the_place_of_its_master() {
    let mut redis = RedisCluster::start(true).await;
    let ground = Ground::new();
    let nodes = [node(&ground, &redis, |_| {}), node(&ground, &redis, |_| {})];
    let channels: Vec<String> = channels(&redis, 1).await.concat();
    let mut readers = Vec::new();
    for channel in &channels {
        let mut publisher = AblyClient::connect(&nodes[0], KEY).await;
        let mut reader = attached(&nodes[1], channel).await;
        publish_all(&mut publisher, channel, ["before".to_owned()].into_iter()).await;
        assert_eq!(messages(&mut reader, 1).await[0].1, "before");
        readers.push((publisher, reader));
    }
    redis.masters[0].kill();
    for (channel, (publisher, reader)) in channels.iter().zip(&mut readers) {
        // Refused until the replica has noticed.
        until_taken(publisher, channel).await;
        let mut is_told = false;
        loop {
            let frame = reader.next().await;
            if frame["action"] == action::ATTACHED {
                assert_eq!(frame["error"]["code"], 90003, "{frame}");
                is_told = true;
            } else if frame["messages"][0]["data"] == "after" {
                break;
            }
        }
        let known = history(&nodes[0], channel).await;
        assert!(is_told || known.first().is_some_and(|first| first == "before"), "{known:?}");
        assert_eq!(known.last().unwrap(), "after");
    }
    for node in &nodes {
        until_ready(node, None).await;
    }
}

/// A master that nobody stands in for: its channels are refused in time, the others go on, and no client is sent here.
#[tokio::test]
async fn the_channels_of_a_master_that_is_gone_are_refused_alone() {
    let mut redis = RedisCluster::start(false).await;
    let ground = Ground::new();
    let node = node(&ground, &redis, |config| config.cluster.deadline = Duration::from_secs(1));
    until_ready(&node, None).await;
    let (beside, _) = redis.home_of(b"{ctl}").await;
    let gone = (beside + 1) % 3;
    let channels: Vec<String> = channels(&redis, 1).await.concat();
    let [mut client, mut reader] = [AblyClient::connect(&node, KEY).await, AblyClient::connect(&node, KEY).await];
    for channel in &channels {
        reader.attach(channel).await;
    }
    for channel in &channels {
        publish_all(&mut client, channel, ["before".to_owned()].into_iter()).await;
    }
    redis.masters[gone].kill();
    let serial = client.publish(&channels[gone], message("refused")).await;
    client.nacked(serial, 50_004).await;
    for (_, channel) in channels.iter().enumerate().filter(|(place, _)| *place != gone) {
        publish_all(&mut client, channel, ["after".to_owned()].into_iter()).await;
        assert_eq!(history(&node, channel).await, ["before", "after"]);
    }
    until_ready(&node, Some("is away")).await;
    redis.masters[gone].restart().await;
    until_ready(&node, None).await;
    // A master that is back takes nothing for two seconds.
    until_taken(&mut client, &channels[gone]).await;
    assert_eq!(history(&node, &channels[gone]).await, ["before", "after"], "what was refused is not there");
}

/// A slot that no server has, as while a Redis Cluster is made: no client is sent here, and when one has it all go on.
#[tokio::test]
async fn a_slot_that_no_server_has_is_looked_for() {
    let redis = RedisCluster::start(false).await;
    let ground = Ground::new();
    let node = node(&ground, &redis, |config| config.cluster.deadline = Duration::from_secs(1));
    until_ready(&node, None).await;
    let (home, slot) = redis.home_of(slot_key("room").as_bytes()).await;
    let slot = slot.to_string();
    let [mut client, mut reader] = [AblyClient::connect(&node, KEY).await, attached(&node, "room").await];
    for master in &redis.masters {
        master.command(&[b"CLUSTER", b"DELSLOTS", slot.as_bytes()]).await;
    }
    let serial = client.publish("room", message("refused")).await;
    client.nacked(serial, 50_004).await;
    until_ready(&node, Some(&format!("has the slots {slot} to {slot}"))).await;
    redis.masters[home].command(&[b"CLUSTER", b"ADDSLOTS", slot.as_bytes()]).await;
    until_taken(&mut client, "room").await;
    // It may be told of a break before.
    while reader.next().await["messages"][0]["data"] != "after" {}
    until_ready(&node, None).await;
}

/// `docs/protocols/letshare.md §2.5`: fifty at two nodes, in rooms of all masters.
#[tokio::test]
async fn the_seats_of_rooms_are_exact() {
    let redis = RedisCluster::start(false).await;
    let ground = Ground::new();
    let nodes = [node(&ground, &redis, |_| {}), node(&ground, &redis, |_| {})];
    for room in 0..3 {
        let come = async |number: usize| {
            let mut client = Client::connect(&nodes[number % 2], &format!("user:{number}")).await;
            client.send(json!({"type": "subscribe", "channel": format!("room{room}"), "event": "signal:all"})).await;
            let is_in = client.next().await["type"] == "subscribed";
            (client, is_in)
        };
        let came = join_all((0..56).map(come)).await;
        assert_eq!(came.iter().filter(|(_, is_in)| *is_in).count(), 50);
    }
}

/// A node that dies leaves nobody behind, whatever masters its channels were at.
#[tokio::test]
async fn the_members_of_a_dead_node_leave_at_all_masters() {
    let redis = RedisCluster::start(false).await;
    let ground = Ground::new();
    let endpoint = redis.endpoint();
    let fleet = Fleet::start(&ground, 0, 2, &[("CLUSTER_ENDPOINT", &endpoint)]);
    let channels: Vec<String> = channels(&redis, 4).await.concat();
    let [dies, lives] = [fleet.nodes[0].address, fleet.nodes[1].address];
    let mut alice = AblyClient::open_at(dies, &format!("v=6&key={KEY}&clientId=alice")).await;
    alice.expect(action::CONNECTED).await;
    let mut watcher = AblyClient::open_at(lives, &format!("v=6&key={KEY}")).await;
    watcher.expect(action::CONNECTED).await;
    for channel in &channels {
        watcher.attach(channel).await;
        alice.attach(channel).await;
        let serial = alice.presence(channel, json!([{"action": 2}])).await;
        alice.acked(serial).await;
        assert_eq!(watcher.expect(action::PRESENCE).await["presence"][0]["action"], 2);
    }
    fleet.signal(0, Signal::SIGKILL);
    let mut left = BTreeSet::new();
    while left.len() < channels.len() {
        let frame = watcher.expect(action::PRESENCE).await;
        assert_eq!((&frame["presence"][0]["action"], &frame["presence"][0]["clientId"]), (&json!(3), &json!("alice")));
        assert!(left.insert(frame["channel"].as_str().unwrap().to_owned()), "once");
    }
}
