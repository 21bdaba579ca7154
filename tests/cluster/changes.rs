//! Updates, deletes and appends of messages, and annotations, at whichever node (`docs/design/cluster.md §3`).

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::{Ground, KEY};
use crate::support::{
    AblyClient, Http, Server,
    ably::{action, flag},
    eventually,
    redis::RedisServer,
};

const CHANNEL: &str = "kept:room";

async fn attached(server: &Server, more: &str) -> AblyClient {
    let (mut client, _) = AblyClient::connect_with(server, &format!("v=6&key={KEY}{more}")).await;
    client.attach(CHANNEL).await;
    client
}

/// The serial that the ACK of what was sent last gives.
async fn acked(client: &mut AblyClient) -> String {
    loop {
        let frame = client.next().await;
        assert_ne!(frame["action"], action::NACK, "{frame}");
        if frame["action"] == action::ACK {
            return frame["res"][0]["serials"][0].as_str().unwrap_or_else(|| panic!("{frame}")).to_owned();
        }
    }
}

async fn publish(client: &mut AblyClient, message: Value) -> String {
    client.publish(CHANNEL, json!([message])).await;
    acked(client).await
}

async fn get(server: &Server, path: &str) -> Value {
    let separator = if path.contains('?') { '&' } else { '?' };
    let mut http = Http::connect(server).await;
    let told = http.ask("GET", &format!("/channels/{CHANNEL}/{path}{separator}key={KEY}"), &[]).await;
    assert_eq!(told.status, 200, "{path}: {}", told.body);
    told.json()
}

fn encoded(serial: &str) -> String {
    serial.replace('@', "%40").replace(':', "%3A")
}

/// A message as REST has it.
async fn message(server: &Server, serial: &str) -> Value {
    get(server, &format!("messages/{}", encoded(serial))).await
}

/// What a client makes of what it hears of one message: the data after each frame.
fn apply(data: &mut String, frame: &Value) {
    for message in frame["messages"].as_array().into_iter().flatten() {
        let said = message["data"].as_str().unwrap_or_default();
        match message["action"].as_u64().unwrap_or_default() {
            5 => data.push_str(said),
            0 | 1 => said.clone_into(data),
            2 => data.clear(),
            _ => {}
        }
    }
}

/// Two clients at two nodes append to one message at the same time: everybody sees the same text, and every word of it once.
#[tokio::test]
async fn appends_at_two_nodes_come_to_one_text() {
    const EACH: usize = 40;
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let nodes = ground.nodes::<3>(&redis);
    let mut readers = [attached(&nodes[0], "").await, attached(&nodes[1], "").await, attached(&nodes[2], "").await];
    let mut author = attached(&nodes[0], "").await;
    let serial = publish(&mut author, json!({"data": "begin"})).await;
    let append = async |place: usize| {
        let mut client = AblyClient::connect(&nodes[place], KEY).await;
        for number in 0..EACH {
            publish(&mut client, json!({"action": 5, "serial": serial, "data": format!(" {place}.{number}")})).await;
        }
    };
    join_all([append(0), append(1)]).await;
    let whole = message(&nodes[0], &serial).await["data"].as_str().unwrap().to_owned();
    let mut words: Vec<&str> = whole.split(' ').collect();
    assert_eq!(words.len(), 1 + 2 * EACH, "{whole}");
    for place in 0..2 {
        let prefix = format!("{place}.");
        let own: Vec<usize> = words.iter().filter_map(|word| word.strip_prefix(&*prefix)?.parse().ok()).collect();
        assert!(own.is_sorted() && own.len() == EACH, "{whole}");
    }
    words.sort_unstable();
    words.dedup();
    assert_eq!(words.len(), 1 + 2 * EACH, "each once");
    for reader in &mut readers {
        let mut data = String::new();
        while data != whole {
            apply(&mut data, &reader.expect(action::MESSAGE).await);
            assert!(whole.starts_with(&data), "{data}");
        }
    }
    for node in &nodes {
        assert_eq!(message(node, &serial).await["data"], whole);
        assert_eq!(get(node, "messages").await[0]["data"], whole);
    }
    // A node that has never seen the channel.
    let late = ground.node(redis.port, |_| {});
    assert_eq!(message(&late, &serial).await["data"], whole);
    assert_eq!(get(&late, "messages").await[0]["data"], whole);
    let (mut client, _) = AblyClient::connect_with(&late, &format!("v=6&key={KEY}")).await;
    let rewind = json!({"action": action::ATTACH, "channel": CHANNEL, "params": {"rewind": "1"}});
    client.attach_with(rewind).await;
    let mut data = String::new();
    apply(&mut data, &client.expect(action::MESSAGE).await);
    assert_eq!(data, whole);
    publish(&mut author, json!({"action": 5, "serial": serial, "data": " end"})).await;
    apply(&mut data, &client.expect(action::MESSAGE).await);
    assert_eq!(data, format!("{whole} end"));
}

/// Whoever updates or deletes first, each node goes on from that.
#[tokio::test]
async fn updates_and_deletes_at_any_node_are_one_line_of_versions() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let nodes = ground.nodes::<2>(&redis);
    let mut reader = attached(&nodes[1], "").await;
    let mut alice = attached(&nodes[0], "&clientId=alice").await;
    let serial = publish(&mut alice, json!({"name": "greet", "data": "hi", "extras": {"headers": {"a": 1}}})).await;
    reader.expect(action::MESSAGE).await;
    let change = async |place: usize, number: usize| {
        let mut client = AblyClient::connect(&nodes[place], KEY).await;
        publish(&mut client, json!({"action": 1, "serial": serial, "data": format!("{place}.{number}")})).await
    };
    let mut versions = join_all((0..20).map(|number| change(number % 2, number))).await;
    versions.sort_unstable();
    versions.dedup();
    assert_eq!(versions.len(), 20);
    let mut told = Vec::new();
    while told.len() < 20 {
        let frame = reader.expect(action::MESSAGE).await;
        for message in frame["messages"].as_array().unwrap() {
            assert_eq!((&message["name"], &message["serial"]), (&json!("greet"), &json!(serial)));
            assert_eq!(message["extras"]["headers"]["a"], 1, "what is not said stays");
            told.push(message["version"]["serial"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(told, versions, "in the order of their serials");
    for node in &nodes {
        assert_eq!(message(node, &serial).await["version"]["serial"], json!(versions[19]));
        let all = get(node, &format!("messages/{}/versions?direction=forwards&limit=100", encoded(&serial))).await;
        let all: Vec<&Value> = all.as_array().unwrap().iter().map(|message| &message["version"]["serial"]).collect();
        assert_eq!(all[1..].iter().map(|serial| serial.as_str().unwrap()).collect::<Vec<_>>(), versions);
    }
    let mut bob = AblyClient::connect(&nodes[1], KEY).await;
    publish(&mut bob, json!({"action": 2, "serial": serial})).await;
    for node in &nodes {
        assert_eq!(message(node, &serial).await["action"], 2);
    }
    let unknown = json!([{"action": 1, "serial": serial.replace(":000", ":007"), "data": "x"}]);
    let refused = bob.publish(CHANNEL, unknown).await;
    bob.nacked(refused, 40_400).await;
}

/// What is annotated at any node is counted once, and told at all.
#[tokio::test]
async fn annotations_of_all_nodes_are_one_summary() {
    const EACH: usize = 12;
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let nodes = ground.nodes::<3>(&redis);
    let mut author = attached(&nodes[0], "").await;
    let serial = publish(&mut author, json!({"data": "?"})).await;
    let mut reader = attached(&nodes[2], "").await;
    let annotate = async |place: usize| {
        for number in 0..EACH {
            let query = format!("v=6&key={KEY}&clientId=c{place}-{number}");
            let (mut client, _) = AblyClient::connect_with(&nodes[place], &query).await;
            let flags = flag::SUBSCRIBE | flag::ANNOTATION_PUBLISH;
            client.attach_with(json!({"action": action::ATTACH, "channel": CHANNEL, "flags": flags})).await;
            let said = json!([{"messageSerial": serial, "type": "r:distinct.v1", "name": "up"}]);
            client.push(action::ANNOTATION, "annotations", CHANNEL, said).await;
            acked(&mut client).await;
        }
    };
    join_all([annotate(0), annotate(1)]).await;
    loop {
        let frame = reader.expect(action::MESSAGE).await;
        if frame["messages"][0]["annotations"]["summary"]["r:distinct.v1"]["up"]["total"] == 2 * EACH {
            break;
        }
    }
    let late = ground.node(redis.port, |_| {});
    for node in nodes.iter().chain([&late]) {
        eventually(async || {
            let told = get(node, "messages").await;
            let total = &told[0]["annotations"]["summary"]["r:distinct.v1"]["up"]["total"];
            (*total == 2 * EACH).then_some(())
        })
        .await;
        let all = get(node, &format!("messages/{}/annotations?limit=100", encoded(&serial))).await;
        assert_eq!(all.as_array().unwrap().len(), 2 * EACH);
    }
}
