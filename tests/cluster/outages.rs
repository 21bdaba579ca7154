//! Redis, or the way to it, is away for a while.

use std::{collections::BTreeSet, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use serde_json::json;

use super::{Ground, KEY, assert_read_up, assert_whole, attached, history, message, messages, one_order, proxy::Proxy};
use crate::support::{
    AblyClient,
    ably::{action, flag},
    eventually,
    redis::RedisServer,
};

/// The link of one node is cut again and again while all publish: what it missed is caught up, what was asked is asked again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_is_cut_again_and_again_loses_and_doubles_nothing() {
    const CUTS: usize = 30;
    const EACH: usize = 20;
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let proxy = Proxy::start(redis.port).await;
    let nodes = [ground.node(proxy.port, |_| {}), ground.node(redis.port, |_| {})];
    let mut readers = [attached(&nodes[0], "room").await, attached(&nodes[1], "room").await];
    let mut publishers = [AblyClient::connect(&nodes[0], KEY).await, AblyClient::connect(&nodes[1], KEY).await];
    let mut expected = BTreeSet::new();
    for round in 0..CUTS {
        for number in 0..EACH {
            for (place, publisher) in publishers.iter_mut().enumerate() {
                let data = format!("{place}-{round}-{number}");
                publisher.publish("room", message(&data)).await;
                expected.insert(data);
            }
            if number == EACH / 2 {
                proxy.cut();
            }
        }
        // The last of them by the node whose link was cut: it is back.
        let serial = publishers[0].publish("room", message(&format!("last-{round}"))).await;
        expected.insert(format!("last-{round}"));
        let mut acked = 0;
        while acked <= serial {
            let ack = publishers[0].expect(action::ACK).await;
            acked = ack["msgSerial"].as_u64().unwrap() + ack["count"].as_u64().unwrap();
        }
    }
    let read = one_order(&mut readers, &expected).await;
    let order: Vec<String> = read.iter().map(|(_, data)| data.clone()).collect();
    assert_eq!(history(&nodes[0], "room").await, order);
}

/// `kill -9` of Redis, which has its data when it is back.
#[tokio::test]
async fn redis_that_is_killed_and_has_its_data_loses_nothing() {
    let mut redis = RedisServer::start().await;
    let ground = Ground::new();
    let nodes = ground.nodes::<2>(&redis);
    let mut readers = [attached(&nodes[0], "room").await, attached(&nodes[1], "room").await];
    let mut publisher = AblyClient::connect(&nodes[0], KEY).await;
    let mut expected = BTreeSet::new();
    for round in 0..3 {
        let mut serial = 0;
        for number in 0..100 {
            let data = format!("{round}-{number}");
            serial = publisher.publish("room", message(&data)).await;
            expected.insert(data);
            if number == 50 {
                redis.kill();
                redis.restart().await;
            }
        }
        let mut acked = 0;
        while acked <= serial {
            let ack = publisher.expect(action::ACK).await;
            acked = ack["msgSerial"].as_u64().unwrap() + ack["count"].as_u64().unwrap();
        }
    }
    for reader in &mut readers {
        assert_whole(&messages(reader, expected.len()).await, &expected);
    }
}

/// Redis that comes back without its data is another life of the log: everybody is told, and what follows is delivered.
#[tokio::test]
async fn redis_that_lost_its_data_is_told_as_a_break() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let nodes = ground.nodes::<2>(&redis);
    let proxies = [&nodes[0], &nodes[1]];
    let mut readers = [attached(proxies[0], "room").await, attached(proxies[1], "room").await];
    let mut publisher = AblyClient::connect(&nodes[0], KEY).await;
    let serial = publisher.publish("room", message("before")).await;
    publisher.acked(serial).await;
    for reader in &mut readers {
        messages(reader, 1).await;
    }
    redis.command(&[b"FLUSHALL"]).await;
    redis.command(&[b"CLIENT", b"KILL", b"TYPE", b"pubsub"]).await;
    for reader in &mut readers {
        let told = reader.expect(action::ATTACHED).await;
        assert_eq!(told["flags"].as_u64().unwrap() & flag::RESUMED, 0, "{told}");
        assert_eq!(told["error"]["code"], 90003, "{told}");
    }
    let serial = publisher.publish("room", message("after")).await;
    publisher.acked(serial).await;
    for reader in &mut readers {
        assert_eq!(messages(reader, 1).await[0].1, "after");
    }
}

/// A publish that Redis does not take in time is refused, and does not appear when Redis goes on.
#[tokio::test]
async fn what_was_refused_because_redis_was_too_slow_never_appears() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let node = ground.node(redis.port, |config| config.cluster.deadline = Duration::from_millis(300));
    let mut reader = attached(&node, "room").await;
    let mut publisher = AblyClient::connect(&node, KEY).await;
    let serial = publisher.publish("room", message("taken")).await;
    publisher.acked(serial).await;
    let redis_id = Pid::from_raw(redis.id() as i32);
    kill(redis_id, Signal::SIGSTOP).unwrap();
    let serial = publisher.publish("room", message("too late")).await;
    publisher.nacked(serial, 50_004).await;
    kill(redis_id, Signal::SIGCONT).unwrap();
    // The line works again when it has given up the connection that did not answer.
    eventually(async || {
        let serial = publisher.publish("room", message("again")).await;
        let answer = publisher.next().await;
        assert_eq!(answer["msgSerial"], serial, "{answer}");
        (answer["action"] == action::ACK).then_some(())
    })
    .await;
    let read = messages(&mut reader, 2).await;
    assert_eq!((&*read[0].1, &*read[1].1), ("taken", "again"));
    assert_eq!(history(&node, "room").await, ["taken", "again"]);
    assert_read_up(&mut reader, &node, "room").await;
}

/// While Redis is away whoever is attached stays attached, and a publish is refused; when it is back everything goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_publishes_are_refused_and_attachments_stay() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let proxy = Proxy::start(redis.port).await;
    let deadline = Duration::from_millis(300);
    let node = ground.node(proxy.port, |config| config.cluster.deadline = deadline);
    let other = ground.node(redis.port, |_| {});
    let mut reader = attached(&node, "room").await;
    let mut publisher = AblyClient::connect(&node, KEY).await;
    proxy.set_away(true);
    let serial = publisher.publish("room", message("refused")).await;
    publisher.nacked(serial, 50_004).await;
    let mut elsewhere = AblyClient::connect(&other, KEY).await;
    let serial = elsewhere.publish("room", message("missed")).await;
    elsewhere.acked(serial).await;
    proxy.set_away(false);
    assert_eq!(messages(&mut reader, 1).await[0].1, "missed");
}

/// A client that has been at a node that is ahead: its attachment waits until this node has caught up, and nothing comes twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_knows_more_than_its_new_node_gets_nothing_twice() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let proxy = Proxy::start(redis.port).await;
    let (ahead, behind) = (ground.node(redis.port, |_| {}), ground.node(proxy.port, |_| {}));
    let mut client = attached(&ahead, "room").await;
    let mut stays = attached(&behind, "room").await;
    proxy.set_mute(true);
    let mut publisher = AblyClient::connect(&ahead, KEY).await;
    for number in 0..3 {
        publisher.publish("room", message(&format!("{number}"))).await;
    }
    let read = messages(&mut client, 3).await;
    let mut client = AblyClient::connect(&behind, KEY).await;
    let frame = json!({"action": action::ATTACH, "channel": "room", "channelSerial": read[1].0});
    let told = client.attach_with(frame).await;
    assert!(told["flags"].as_u64().unwrap() & flag::RESUMED != 0, "{told}");
    assert_eq!(messages(&mut client, 1).await[0], read[2]);
    assert_eq!(messages(&mut stays, 3).await, read, "what was lost on the way is read from the log");
    assert_read_up(&mut client, &behind, "room").await;
    // A position that is in no log, although its epoch is.
    let (_, epoch) = read[2].0.split_once('@').unwrap();
    let frame =
        json!({"action": action::ATTACH, "channel": "room", "channelSerial": format!("99999999999999-000@{epoch}")});
    let told = AblyClient::connect(&behind, KEY).await.attach_with(frame).await;
    assert_eq!(told["error"]["code"], 90003, "{told}");
}
