//! Objects of a channel at whichever node: one state, by the rules that every node has (`docs/design/ably-breadth.md §6`).

use std::{collections::BTreeMap, net::SocketAddr};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use futures_util::future::join_all;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Ground, KEY, processes};
use crate::support::{
    AblyClient, Http,
    ably::{action, flag},
    eventually,
    redis::RedisServer,
};

const CHANNEL: &str = "things";

/// A client that is attached for objects, and the objects that it was told.
async fn attached(address: SocketAddr) -> (AblyClient, BTreeMap<String, Value>) {
    let mut client = AblyClient::open_at(address, &format!("v=6&key={KEY}")).await;
    client.expect(action::CONNECTED).await;
    let flags = flag::OBJECT_SUBSCRIBE | flag::OBJECT_PUBLISH;
    let attached = client.attach_with(json!({"action": action::ATTACH, "channel": CHANNEL, "flags": flags})).await;
    let objects = synced(&mut client, &attached).await;
    (client, objects)
}

/// The objects by their ids, parts of a map put together, as they follow an ATTACHED.
async fn synced(client: &mut AblyClient, attached: &Value) -> BTreeMap<String, Value> {
    assert!(attached["flags"].as_u64().unwrap() & flag::HAS_OBJECTS != 0, "{attached}");
    let mut objects: BTreeMap<String, Value> = BTreeMap::new();
    loop {
        let page = client.expect(action::OBJECT_SYNC).await;
        for item in page["state"].as_array().unwrap() {
            let object = &item["object"];
            let id = object["objectId"].as_str().unwrap().to_owned();
            let known = objects.entry(id).or_insert_with(|| object.clone());
            if let (Some(known), Some(more)) =
                (known["map"]["entries"].as_object_mut(), object["map"]["entries"].as_object())
            {
                known.extend(more.clone());
            }
        }
        if page["channelSerial"].as_str().unwrap().ends_with(':') {
            return objects;
        }
    }
}

/// What a newcomer is told.
async fn objects(address: SocketAddr) -> BTreeMap<String, Value> {
    attached(address).await.1
}

async fn operate(client: &mut AblyClient, operations: Vec<Value>) -> u64 {
    let operations = operations.into_iter().map(|operation| json!({"operation": operation})).collect();
    client.push(action::OBJECT, "state", CHANNEL, operations).await
}

/// Waits until everything up to this is acknowledged.
async fn acked(client: &mut AblyClient, serial: u64) {
    loop {
        let frame = client.next().await;
        assert_ne!(frame["action"], action::NACK, "{frame}");
        let upto = frame["msgSerial"].as_u64().unwrap_or_default() + frame["count"].as_u64().unwrap_or_default();
        if frame["action"] == action::ACK && upto > serial {
            return;
        }
    }
}

fn create(kind: &str, initial: &Value, nonce: &str) -> (String, Value) {
    let initial = initial.to_string();
    let hash = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(format!("{initial}:{nonce}")));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    let id = format!("{kind}:{hash}@{now}");
    let (action, field) = if kind == "map" { (0, "mapCreateWithObjectId") } else { (3, "counterCreateWithObjectId") };
    let operation = json!({"action": action, "objectId": id, field: {"initialValue": initial, "nonce": nonce}});
    (id, operation)
}

fn set(map: &str, key: &str, value: Value) -> Value {
    json!({"action": 1, "objectId": map, "mapSet": {"key": key, "value": value}})
}

fn add(counter: &str, number: i64) -> Value {
    json!({"action": 4, "objectId": counter, "counterInc": {"number": number}})
}

fn count(objects: &BTreeMap<String, Value>, counter: &str) -> f64 {
    objects[counter]["counter"]["count"].as_f64().unwrap_or_default()
        + objects[counter]["createOp"]["counterCreate"]["count"].as_f64().unwrap_or_default()
}

/// A counter that root has under this key.
async fn counter(client: &mut AblyClient, key: &str) -> String {
    let (id, create) = create("counter", &json!({"count": 0}), &format!("{key}-0123456789abcdef"));
    let serial = operate(client, vec![create, set("root", key, json!({"objectId": id}))]).await;
    acked(client, serial).await;
    id
}

/// The serials of the operations that come, up to and with one on root that sets this key.
async fn heard(client: &mut AblyClient, last: &str) -> Vec<String> {
    let mut serials = Vec::new();
    loop {
        let frame = client.expect(action::OBJECT).await;
        for item in frame["state"].as_array().unwrap() {
            serials.push(item["serial"].as_str().unwrap().to_owned());
            if item["operation"]["mapSet"]["key"] == last {
                return serials;
            }
        }
    }
}

/// Operations of all kinds at two nodes at the same time: both, and one that begins later, have the same objects, and every reader
/// was told every operation once, in one order.
#[tokio::test]
async fn nodes_agree_on_what_is_done_at_the_same_time() {
    const ROUNDS: i64 = 25;
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let nodes = ground.nodes::<2>(&redis);
    let mut readers = [attached(nodes[0].address).await.0, attached(nodes[1].address).await.0];
    let (mut first, _) = attached(nodes[0].address).await;
    let shared = counter(&mut first, "shared").await;
    let (map, create_map) = create("map", &json!({"semantics": 0, "entries": {}}), "map-0123456789abcdef");
    let serial = operate(&mut first, vec![create_map, set("root", "map", json!({"objectId": map}))]).await;
    acked(&mut first, serial).await;
    let work = async |place: usize| {
        let (mut client, _) = attached(nodes[place].address).await;
        for round in 0..ROUNDS {
            let (own, create) =
                create("counter", &json!({"count": round}), &format!("{place}-{round}-0123456789abcdef"));
            let key = format!("k{}", round % 4);
            let mut operations = vec![
                add(&shared, 1),
                create,
                set(&map, &key, json!({"objectId": own})),
                set(&map, "who", json!({"string": format!("{place}.{round}")})),
                set("root", &format!("{place}.{}", round % 3), json!({"number": round})),
            ];
            match round % 5 {
                3 => operations.push(json!({"action": 2, "objectId": map, "mapRemove": {"key": key}})),
                4 => operations.push(json!({"action": 6, "objectId": map, "mapClear": {}})),
                _ => {}
            }
            let serial = operate(&mut client, operations).await;
            acked(&mut client, serial).await;
        }
    };
    join_all([work(0), work(1)]).await;
    let serial = operate(&mut first, vec![set("root", "end", json!({"boolean": true}))]).await;
    acked(&mut first, serial).await;
    let [one, two] = &mut readers;
    let (one, two) = tokio::join!(heard(one, "end"), heard(two, "end"));
    assert!(one.is_sorted() && one == two, "{one:?}\n{two:?}");
    let told = objects(nodes[0].address).await;
    assert_eq!(count(&told, &shared), 2.0 * ROUNDS as f64);
    assert_eq!(told.len(), 3 + 2 * ROUNDS as usize, "root, shared, map, and those of each round");
    let late = ground.node(redis.port, |_| {});
    for node in [&nodes[1], &late] {
        assert_eq!(objects(node.address).await, told);
    }
    let seen = async |address| {
        let mut http = Http::connect_to(address).await;
        let told = http.ask("GET", &format!("/channels/{CHANNEL}/object?compact=false&key={KEY}"), &[]).await;
        assert_eq!(told.status, 200, "{}", told.body);
        told.json()
    };
    let told = seen(nodes[0].address).await;
    assert_eq!((seen(nodes[1].address).await, seen(late.address).await), (told.clone(), told));
}

/// `docs/protocols/ably.md §10.8`: what was done by HTTP at one node is known at the next in the next request, and what is asked for
/// with one id is done once, whichever nodes are asked at the same time: all are told the same objects, which there are.
#[tokio::test]
async fn requests_at_any_node_follow_each_other_and_are_done_once() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let nodes = ground.nodes::<2>(&redis);
    let mut https = [Http::connect(&nodes[0]).await, Http::connect(&nodes[1]).await];
    let target = format!("/channels/{CHANNEL}/object?key={KEY}");
    let json = [("content-type", "application/json")];
    for round in 0..10 {
        let body =
            json!([{"id": format!("create-{round}"), "path": "counter", "counterCreate": {"count": 1}}]).to_string();
        let [one, two] = &mut https;
        let (one, two) = tokio::join!(one.post(&target, &json, &body), two.post(&target, &json, &body));
        assert_eq!((one.status, two.status), (201, 201), "{}{}", one.body, two.body);
        assert_eq!(one.json()["objectIds"], two.json()["objectIds"], "round {round}");
        let id = one.json()["objectIds"][0].as_str().unwrap().to_owned();
        for http in &mut https {
            let body = json!([{"path": "counter", "counterInc": {"number": 1}}]).to_string();
            let told = http.post(&target, &json, &body).await;
            assert_eq!(told.json()["objectIds"], json!([id]), "{}", told.body);
        }
        let told = https[round % 2].ask("GET", &format!("{target}&path=counter"), &[]).await;
        assert_eq!(told.json(), 3, "{}", told.body);
    }
}

/// `kill -9` of the node that publishes: what it has acknowledged is known at the others, and is kept beside the log although it
/// could not do that any more; nobody has it twice.
#[tokio::test]
async fn a_node_that_is_killed_takes_no_operation_with_it() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let [dying, other] = processes::<2>(&ground, &redis);
    let (mut reader, _) = attached(other.address).await;
    let (mut writer, _) = attached(dying.address).await;
    let shared = counter(&mut writer, "shared").await;
    let mut last = 0;
    for _ in 0..200 {
        last = operate(&mut writer, vec![add(&shared, 1)]).await;
    }
    acked(&mut writer, last - 50).await;
    dying.kill().await;
    let (mut second, told) = attached(other.address).await;
    let counted = count(&told, &shared);
    assert!((150.0..=200.0).contains(&counted), "{counted}");
    let serial = operate(&mut second, vec![add(&shared, 1000), set("root", "end", json!({"boolean": true}))]).await;
    acked(&mut second, serial).await;
    heard(&mut reader, "end").await;
    let told = objects(other.address).await;
    assert_eq!(count(&told, &shared), counted + 1000.0);
    // Whoever begins when the stream is gone finds the same.
    let key = redis.command(&[b"KEYS", b"ls:*o:*things"]).await;
    let key = key.split("\r\n").find(|part| part.starts_with("ls:")).unwrap().to_owned();
    eventually(async || {
        let is_kept =
            b"local is = redis.call('HMGET', KEYS[1], 'u', 'n') return is[1] and is[1]:sub(9) == is[2] and 1 or 0";
        (redis.command(&[b"EVAL", is_kept, b"1", key.as_bytes()]).await == ":1\r\n").then_some(())
    })
    .await;
    redis.command(&[b"DEL", key.replacen("o:", "s:", 1).as_bytes()]).await;
    let late = ground.node(redis.port, |_| {});
    assert_eq!(objects(late.address).await, told);
}

/// Redis that comes back with its data has the objects; one that has lost them gets them again of the nodes, and everybody is told
/// a break with the objects as they are then.
#[tokio::test]
async fn objects_outlive_a_redis_that_lost_them() {
    let mut redis = RedisServer::start().await;
    let ground = Ground::new();
    let nodes = ground.nodes::<2>(&redis);
    let (mut one, _) = attached(nodes[0].address).await;
    let (mut two, _) = attached(nodes[1].address).await;
    let shared = counter(&mut one, "shared").await;
    for client in [&mut one, &mut two] {
        let serial = operate(client, vec![add(&shared, 1), set("root", "a", json!({"number": 1}))]).await;
        acked(client, serial).await;
    }
    redis.kill();
    redis.restart().await;
    let serial = operate(&mut one, vec![add(&shared, 1), set("root", "end", json!({"boolean": true}))]).await;
    acked(&mut one, serial).await;
    heard(&mut two, "end").await;
    let before = objects(nodes[1].address).await;
    assert_eq!(count(&before, &shared), 3.0);

    redis.command(&[b"FLUSHALL"]).await;
    redis.command(&[b"CLIENT", b"KILL", b"TYPE", b"pubsub"]).await;
    for client in [&mut one, &mut two] {
        // There may be two breaks: of what was lost, and of objects that another node had and this one had begun without.
        loop {
            let told = client.expect(action::ATTACHED).await;
            assert_eq!((told["flags"].as_u64().unwrap() & flag::RESUMED, &told["error"]["code"]), (0, &json!(90003)));
            if synced(client, &told).await == before {
                break;
            }
        }
    }
    let work = async |client: &mut AblyClient| {
        for _ in 0..20 {
            let serial = operate(client, vec![add(&shared, 1)]).await;
            acked(client, serial).await;
        }
    };
    tokio::join!(work(&mut one), work(&mut two));
    let told = objects(nodes[0].address).await;
    assert_eq!(count(&told, &shared), 43.0);
    let late = ground.node(redis.port, |_| {});
    for address in [nodes[1].address, late.address] {
        assert_eq!(objects(address).await, told);
    }
}

/// `docs/protocols/ably.md §10.7`: what all nodes have made the channel keep is one sum.
#[tokio::test]
async fn the_limit_of_a_channel_is_that_of_all_nodes_together() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let nodes = ground.nodes::<2>(&redis);
    let mut clients = [attached(nodes[0].address).await.0, attached(nodes[1].address).await.0];
    let large = |number: usize| set("root", &format!("k{number}"), json!({"string": "x".repeat(60_000)}));
    for number in 0..113 {
        let client = &mut clients[number % 2];
        let serial = operate(client, vec![large(number)]).await;
        acked(client, serial).await;
    }
    for client in &mut clients {
        let serial = operate(client, vec![large(113)]).await;
        loop {
            let frame = client.next().await;
            if frame["action"] == action::NACK && frame["msgSerial"] == serial {
                assert_eq!(frame["error"]["code"], 92_001, "{frame}");
                break;
            }
            assert_eq!(frame["action"], action::OBJECT, "{frame}");
        }
        let serial = operate(client, vec![set("root", "k0", json!({"number": 1}))]).await;
        acked(client, serial).await;
        let serial = operate(client, vec![large(0)]).await;
        acked(client, serial).await;
    }
}
