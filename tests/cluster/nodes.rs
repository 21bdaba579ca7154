//! Several nodes that are well.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use serde_json::json;

use super::{Ground, KEY, assert_read_up, assert_whole, attached, history, message, messages};
use crate::support::{
    AblyClient, Http,
    ably::{action, flag},
    eventually,
    redis::RedisServer,
};

/// What all nodes publish at the same time is delivered by all of them, in one order.
#[tokio::test]
async fn what_is_published_at_any_node_is_delivered_at_all_in_one_order() {
    const NODES: usize = 3;
    const EACH: usize = 700;
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let nodes = ground.nodes::<NODES>(&redis);
    let mut readers = Vec::new();
    for node in nodes.iter().chain(&nodes) {
        readers.push(attached(node, "room").await);
    }
    let publish = async |place: usize| {
        let mut client = AblyClient::connect(&nodes[place], KEY).await;
        let mut last = 0;
        for number in 0..EACH {
            last = client.publish("room", message(&format!("{place}-{number}"))).await;
        }
        // One ACK may answer several.
        let mut acked = 0;
        while acked <= last {
            let ack = client.expect(action::ACK).await;
            acked = ack["msgSerial"].as_u64().unwrap() + ack["count"].as_u64().unwrap();
        }
    };
    let reading = join_all(readers.iter_mut().map(|reader| messages(reader, NODES * EACH)));
    let (read, _) = tokio::join!(reading, join_all((0..NODES).map(publish)));
    let expected: BTreeSet<String> =
        (0..NODES).flat_map(|place| (0..EACH).map(move |number| format!("{place}-{number}"))).collect();
    for read in &read {
        assert_whole(read, &expected);
    }
    assert!(read.iter().all(|one| *one == read[0]), "one order at all nodes");
    for place in 0..NODES {
        let own = read[0].iter().filter(|(_, data)| data.starts_with(&format!("{place}-")));
        let numbers: Vec<usize> = own.map(|(_, data)| data[2..].parse().unwrap()).collect();
        assert!(numbers.is_sorted(), "the order of each publisher");
    }
    let order: Vec<String> = read[0].iter().map(|(_, data)| data.clone()).collect();
    for node in &nodes {
        assert_eq!(history(node, "room").await, order, "history is that order at every node");
    }
}

/// `docs/protocols/ably.md §4.5`: an id names one message, at whichever node it comes.
#[tokio::test]
async fn a_message_that_is_sent_again_at_another_node_is_one_message() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let [one, other] = ground.nodes(&redis);
    let mut reader = attached(&other, "room").await;
    let body = json!([{"id": "chosen", "data": "once"}]).to_string();
    let mut serials = BTreeSet::new();
    for node in [&one, &other, &one] {
        let mut http = Http::connect(node).await;
        let target = format!("/channels/room/messages?key={KEY}");
        let told = http.post(&target, &[("content-type", "application/json")], &body).await;
        assert_eq!(told.status, 201, "{}", told.body);
        serials.insert(told.json()["serials"].to_string());
    }
    assert_eq!(serials.len(), 1, "{serials:?}");
    let read = messages(&mut reader, 1).await;
    assert_eq!(read[0].1, "once");
    assert_eq!(history(&one, "room").await, ["once"]);
    assert_read_up(&mut reader, &one, "room").await;
}

/// Rewind, resume and recover at a node that the client has not been at (`docs/protocols/ably.md §5.5, §1.5`).
#[tokio::test]
async fn a_client_goes_on_at_another_node() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let [one, other] = ground.nodes(&redis);
    let (mut client, connected) = AblyClient::connect_with(&one, &format!("v=6&key={KEY}")).await;
    client.attach("room").await;
    let mut publisher = attached(&one, "room").await;
    for number in 0..10 {
        let serial = publisher.publish("room", message(&format!("{number}"))).await;
        publisher.acked(serial).await;
    }
    let read = messages(&mut client, 4).await;
    let key = connected["connectionDetails"]["connectionKey"].as_str().unwrap();
    client.cut();
    let (mut client, resumed) = AblyClient::connect_with(&other, &format!("v=6&key={KEY}&resume={key}")).await;
    assert_eq!(resumed["connectionId"], connected["connectionId"]);
    let frame = json!({"action": action::ATTACH, "channel": "room", "channelSerial": read[3].0, "flags": 1 << 5});
    let attached = client.attach_with(frame).await;
    assert!(attached["flags"].as_u64().unwrap() & flag::RESUMED != 0, "{attached}");
    let missed: Vec<String> = messages(&mut client, 6).await.into_iter().map(|(_, data)| data).collect();
    assert_eq!(missed, ["4", "5", "6", "7", "8", "9"]);

    let mut newcomer = AblyClient::connect(&other, KEY).await;
    newcomer.attach_with(json!({"action": action::ATTACH, "channel": "room", "params": {"rewind": "3"}})).await;
    let rewound: Vec<String> = messages(&mut newcomer, 3).await.into_iter().map(|(_, data)| data).collect();
    assert_eq!(rewound, ["7", "8", "9"]);
}

/// What is not kept is delivered everywhere, in its order, and is in no history. It may come behind what is kept, where a node
/// had to read that from the log.
#[tokio::test]
async fn ephemeral_messages_reach_all_nodes_in_their_order() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let [one, other] = ground.nodes(&redis);
    let (mut here, mut there) = (attached(&one, "room").await, attached(&other, "room").await);
    let mut publisher = AblyClient::connect(&one, KEY).await;
    for number in 0..20 {
        let extras = json!({"ephemeral": number % 2 == 1});
        publisher.publish("room", json!([{"data": format!("{number}"), "extras": extras}])).await;
    }
    for reader in [&mut here, &mut there] {
        let read = messages(reader, 20).await.into_iter();
        let read: Vec<usize> = read.map(|(_, data)| data.parse().expect("a number")).collect();
        for parity in 0..2 {
            let one_kind: Vec<usize> = read.iter().copied().filter(|number| number % 2 == parity).collect();
            assert_eq!(one_kind, Vec::from_iter((parity..20).step_by(2)), "{read:?}");
        }
    }
    let kept: Vec<String> = (0..20).step_by(2).map(|number| number.to_string()).collect();
    assert_eq!(history(&other, "room").await, kept);
}

/// What operators see of the servers of a cluster: those that hold a lease, each by its own words, and one that is silent as that.
#[tokio::test]
async fn operators_see_all_nodes() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let opened = |config: &mut letshare_server::config::Config| {
        config.console.enabled = true;
        config.console.password = "a password of the tests".into();
    };
    let [one, other] = std::array::from_fn(|_| ground.node(redis.port, opened));
    let _client = attached(&other, "room").await;
    let ask = async || {
        let headers = [("Authorization", "Bearer a password of the tests")];
        let answer = Http::connect(&one).await.ask("GET", "/admin/api/nodes", &headers).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["items"].as_array().unwrap().clone()
    };
    let items =
        eventually(async || Some(ask().await).filter(|items| items.len() == 2 && items[1]["connections"] == 1)).await;
    assert_eq!((&items[0]["isThis"], &items[1]["isThis"]), (&json!(true), &json!(false)));
    assert_ne!(items[0]["id"], items[1]["id"]);
    for item in &items {
        assert_eq!((&item["ready"], &item["version"]), (&json!(true), &json!(env!("CARGO_PKG_VERSION"))));
    }
    drop(other);
    eventually(async || Some(ask().await).filter(|items| items.len() == 1 || items[1]["version"].is_null())).await;
}

/// What is read of Redis at a time is bounded in bytes: behind the first few messages there are more, also when all of them would
/// have come at once.
#[tokio::test]
async fn a_history_of_long_messages_is_whole() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let nodes = ground.nodes::<2>(&redis);
    let (mut reader, mut client) = (attached(&nodes[1], "long").await, AblyClient::connect(&nodes[0], KEY).await);
    let texts: Vec<String> = (0..6).map(|number| number.to_string().repeat(40_000)).collect();
    for text in &texts {
        client.publish("long", message(text)).await;
    }
    messages(&mut reader, texts.len()).await;
    assert!(history(&nodes[1], "long").await == texts);
}
