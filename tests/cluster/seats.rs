//! How many use a channel, counted over all nodes (`docs/design/cluster.md §3`).

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::{Ground, KEY, attached};
use crate::support::{AblyClient, Client, Http, Server, ably::action, eventually, redis::RedisServer};

/// Subscribes; whether that was confirmed.
async fn tries(client: &mut Client, room: &str) -> bool {
    client.send(json!({"type": "subscribe", "channel": room, "event": "signal:all"})).await;
    let answer = client.next().await;
    if answer["type"] == "subscribed" {
        return true;
    }
    assert_eq!(answer["error"], json!({"code": 400, "message": "房间已满，最多支持50个用户"}));
    false
}

/// `docs/protocols/letshare.md §2.5`: sixty at three nodes at the same time, and exactly fifty come in; each place that is given
/// back is the next one's.
#[tokio::test]
async fn a_room_of_fifty_is_one_room_at_three_nodes() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let nodes = ground.nodes::<3>(&redis);
    let come = async |number: usize| {
        let mut client = Client::connect(&nodes[number % 3], &format!("user:{number}")).await;
        let is_in = tries(&mut client, "demo1").await;
        (client, is_in)
    };
    let came = join_all((0..60).map(come)).await;
    let (mut inside, outside): (Vec<_>, Vec<_>) = came.into_iter().partition(|(_, is_in)| *is_in);
    assert_eq!(inside.len(), 50);
    let mut outside: Vec<Client> = outside.into_iter().map(|(client, _)| client).collect();
    for client in &mut outside {
        assert!(!tries(client, "demo1").await);
    }
    // They are in one room.
    inside[0].0.publish("demo1", "signal:all", json!({"n": 1})).await;
    for (client, _) in &mut inside[1..] {
        assert_eq!(client.next().await["data"]["n"], 1);
    }
    for _ in 0..5 {
        let (mut leaver, _) = inside.pop().unwrap();
        leaver.send(json!({"type": "unsubscribe", "channel": "demo1", "event": "signal:all"})).await;
        assert_eq!(leaver.next().await["type"], "unsubscribed");
        let mut newcomer = outside.pop().unwrap();
        eventually(async || tries(&mut newcomer, "demo1").await.then_some(())).await;
        inside.push((newcomer, true));
        assert!(!tries(&mut leaver, "demo1").await, "it is full again");
    }
    // Who disappears without a word gives the place back as well.
    inside.pop().unwrap().0.cut();
    let mut newcomer = outside.pop().unwrap();
    eventually(async || tries(&mut newcomer, "demo1").await.then_some(())).await;
}

/// A server that was away for longer than its lease has lost its places: it gets what is left of them, and whoever came last and has
/// none is told.
#[tokio::test]
async fn whose_place_is_anothers_by_now_is_told() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let [slept, other] = ground.nodes(&redis);
    let come = async |node: &Server, name: &str| {
        let mut client = Client::connect(node, name).await;
        assert!(tries(&mut client, "demo1").await, "{name}");
        client
    };
    let mut sleepers = Vec::new();
    for number in 0..20 {
        sleepers.push(come(&slept, &format!("sleeper:{number}")).await);
    }
    let key = redis.command(&[b"KEYS", b"ls:*a:*/demo1"]).await.lines().nth(2).unwrap().to_owned();
    let fields = redis.raw(&[b"HKEYS", key.as_bytes()]).await;
    let node = &fields[fields.len() - 10..fields.len() - 2];
    // As the others do when they take it for dead, but that it does not hear of it yet.
    redis.command(&[b"HDEL", key.as_bytes(), node]).await;
    let mut newcomers = Vec::new();
    for number in 0..40 {
        newcomers.push(come(&other, &format!("newcomer:{number}")).await);
    }
    let told = [&b"c"[..], node, &[0; 32]].concat();
    redis.command(&[b"SPUBLISH", key.replacen("}a:", "}t:", 1).as_bytes(), &told]).await;
    for gone in &mut sleepers[10..] {
        let told = gone.next().await;
        assert_eq!(told["error"], json!({"code": 400, "message": "房间已满，最多支持50个用户"}), "{told}");
    }
    newcomers[0].publish("demo1", "signal:all", json!({"n": 1})).await;
    for stays in sleepers[..10].iter_mut().chain(&mut newcomers[1..]) {
        assert_eq!(stays.next().await["data"]["n"], 1);
    }
    // Who is not in the room hears nothing of it, and cannot publish to it.
    let gone = &mut sleepers[10];
    gone.publish("demo1", "signal:all", json!({"n": 2})).await;
    assert_eq!(gone.next().await["type"], "error");
    assert!(!tries(gone, "demo1").await, "it is full");
}

/// A room has no word for a break: what is published first after Redis has lost its data reaches everybody.
#[tokio::test]
async fn the_first_message_to_a_room_after_redis_lost_its_data_reaches_all() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let [one, other] = ground.nodes(&redis);
    let mut writer = Client::join(&one, "a:1", "demo1").await;
    let mut readers = [Client::join(&one, "b:1", "demo1").await, Client::join(&other, "c:1", "demo1").await];
    writer.publish("demo1", "signal:all", json!({"n": 0})).await;
    for reader in &mut readers {
        assert_eq!(reader.next().await["data"]["n"], 0);
    }
    redis.command(&[b"FLUSHALL"]).await;
    for number in 1..=3 {
        writer.publish("demo1", "signal:all", json!({"n": number})).await;
    }
    for reader in &mut readers {
        for number in 1..=3 {
            assert_eq!(reader.next().await["data"]["n"], number);
        }
    }
}

/// What comes behind a subscription that waits for its place waits with it.
#[tokio::test]
async fn a_message_right_behind_its_subscription_is_published() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let [one, other] = ground.nodes(&redis);
    let mut reader = Client::join(&other, "b:1", "demo1").await;
    let mut writer = Client::connect(&one, "a:1").await;
    writer.send(json!({"type": "subscribe", "channel": "demo1", "event": "signal:a:1"})).await;
    writer.publish("demo1", "signal:all", json!({"n": 7})).await;
    assert_eq!(writer.next().await["type"], "subscribed");
    assert_eq!(reader.next().await["data"]["n"], 7);
}

/// The last occupancy of a channel as REST tells it.
async fn status(server: &Server) -> Value {
    let mut http = Http::connect(server).await;
    let told = http.ask("GET", &format!("/channels/room?key={KEY}"), &[]).await;
    assert_eq!(told.status, 200, "{}", told.body);
    told.json()["status"]["occupancy"]["metrics"].clone()
}

/// `docs/protocols/ably.md §5.9`: the attachments and members of all nodes, at each of them.
#[tokio::test]
async fn occupancy_counts_all_nodes() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let nodes = ground.nodes::<3>(&redis);
    let mut observer = AblyClient::connect(&nodes[0], KEY).await;
    observer
        .attach_with(json!({"action": action::ATTACH, "channel": "room", "params": {"occupancy": "metrics"}}))
        .await;
    let mut clients = Vec::new();
    for number in 0..6 {
        clients.push(attached(&nodes[number % 3], "room").await);
    }
    let serial = clients[1].presence("room", json!([{"action": 2, "clientId": "alice"}])).await;
    clients[1].acked(serial).await;
    loop {
        let frame = observer.next().await;
        if frame["action"] == action::MESSAGE {
            let told: Value = serde_json::from_str(frame["messages"][0]["data"].as_str().unwrap()).unwrap();
            let told = &told["metrics"];
            if told["connections"] == 7 && told["presenceMembers"] == 1 && told["subscribers"] == 7 {
                break;
            }
        }
    }
    for node in &nodes {
        eventually(async || {
            let told = status(node).await;
            (told["connections"] == 7 && told["presenceMembers"] == 1).then_some(())
        })
        .await;
    }
    drop(clients);
    for node in &nodes {
        eventually(async || (status(node).await["connections"] == 1).then_some(())).await;
    }
}
