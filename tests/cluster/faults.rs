//! The faults of `docs/design/cluster.md §4` that no other file is about.

use std::time::Duration;

use letshare_server::clock::Clock;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    Ground, KEY, attached, beside::until_ready, figures::is_whole, history, history_at, message, messages, processes,
    proxy::Proxy, until_met,
};
use crate::{
    chat,
    relay::Socket,
    support::{
        AblyClient, Http, Server,
        ably::{action, flag},
        eventually,
        process::ServerProcess,
        redis::RedisServer,
    },
};

/// A client at a node that is a process.
async fn attached_at(node: &ServerProcess) -> AblyClient {
    let mut client = AblyClient::open_at(node.address, &format!("v=6&key={KEY}")).await;
    client.expect(action::CONNECTED).await;
    client.attach("room").await;
    client
}

async fn publish(client: &mut AblyClient, data: &str) {
    let serial = client.publish("room", message(data)).await;
    client.acked(serial).await;
}

/// Publishes until that is taken: each attempt is the same message.
async fn publish_in_the_end(client: &mut AblyClient, data: &str) {
    eventually(async || {
        let serial = client.publish("room", json!([{"id": data, "data": data}])).await;
        loop {
            let answer = client.next().await;
            if answer["msgSerial"] == serial {
                return (answer["action"] == action::ACK).then_some(());
            }
        }
    })
    .await;
}

/// The next frame tells a break.
async fn breaks(reader: &mut AblyClient) {
    let told = reader.expect(action::ATTACHED).await;
    assert_eq!(told["flags"].as_u64().unwrap() & flag::RESUMED, 0, "{told}");
    assert_eq!(told["error"]["code"], 90003, "{told}");
}

/// A replica that has what the channel has by now.
async fn replica_of(redis: &RedisServer) -> RedisServer {
    redis.command(&[b"CONFIG", b"SET", b"repl-diskless-sync-delay", b"0"]).await;
    let replica = RedisServer::start_as(&["--replicaof", "127.0.0.1", &redis.port.to_string()]).await;
    eventually(async || replica.command(&[b"KEYS", b"ls:{p*}s:*room"]).await.contains("room").then_some(())).await;
    replica
}

/// Failover: the replica that is chosen has not got the last message that was acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_that_lost_the_last_messages_is_told_as_a_break() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let proxy = Proxy::start(redis.port).await;
    let nodes: [Server; 2] = std::array::from_fn(|_| ground.node(proxy.port, |_| {}));
    let mut readers = [attached(&nodes[0], "room").await, attached(&nodes[1], "room").await];
    let mut publisher = AblyClient::connect(&nodes[0], KEY).await;
    publish(&mut publisher, "copied").await;
    let replica = replica_of(&redis).await;
    replica.command(&[b"REPLICAOF", b"NO", b"ONE"]).await;
    publish(&mut publisher, "lost").await;
    for reader in &mut readers {
        assert_eq!(messages(reader, 2).await[1].1, "lost");
    }
    proxy.set_target(replica.port);
    for reader in &mut readers {
        breaks(reader).await;
    }
    publish_in_the_end(&mut publisher, "after").await;
    for (reader, node) in readers.iter_mut().zip(&nodes) {
        assert_eq!(messages(reader, 1).await[0].1, "after");
        assert_eq!(history(node, "room").await, ["copied", "after"]);
    }
}

/// Two masters: what a node has written to the old one is lost with it, and told to whoever was delivered it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_old_master_took_is_told_as_a_break() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let proxies = [Proxy::start(redis.port).await, Proxy::start(redis.port).await];
    let nodes: [Server; 2] = std::array::from_fn(|place| ground.node(proxies[place].port, |_| {}));
    let mut readers = [attached(&nodes[0], "room").await, attached(&nodes[1], "room").await];
    let mut publishers = [AblyClient::connect(&nodes[0], KEY).await, AblyClient::connect(&nodes[1], KEY).await];
    publish(&mut publishers[0], "both").await;
    for reader in &mut readers {
        assert_eq!(messages(reader, 1).await[0].1, "both");
    }
    let replica = replica_of(&redis).await;
    replica.command(&[b"REPLICAOF", b"NO", b"ONE"]).await;
    proxies[0].set_target(replica.port);
    publish_in_the_end(&mut publishers[0], "new").await;
    publish(&mut publishers[1], "old").await;
    assert_eq!(messages(&mut readers[0], 1).await[0].1, "new");
    assert_eq!(messages(&mut readers[1], 1).await[0].1, "old");
    proxies[1].set_target(replica.port);
    breaks(&mut readers[1]).await;
    publish_in_the_end(&mut publishers[1], "after").await;
    for (reader, node) in readers.iter_mut().zip(&nodes) {
        // The log has another epoch from now on, which is a break for all.
        let told = loop {
            let frame = reader.next().await;
            if frame["action"] == action::MESSAGE {
                break frame;
            }
            assert_eq!(frame["error"]["code"], 90003, "{frame}");
        };
        assert_eq!(told["messages"][0]["data"], "after");
        assert_eq!(history(node, "room").await, ["both", "new", "after"]);
    }
}

/// `min-replicas-to-write`: an old master takes nothing, so there is nothing to lose.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_master_that_asks_for_a_replica_takes_nothing() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let proxy = Proxy::start(redis.port).await;
    let node = ground.node(proxy.port, |_| {});
    let mut reader = attached(&node, "room").await;
    let mut publisher = AblyClient::connect(&node, KEY).await;
    publish(&mut publisher, "both").await;
    let replica = replica_of(&redis).await;
    redis.command(&[b"CONFIG", b"SET", b"min-replicas-to-write", b"1"]).await;
    publish_in_the_end(&mut publisher, "copied").await;
    // What it was sent before this answer, it has.
    assert_eq!(redis.command(&[b"WAIT", b"1", b"0"]).await.trim(), ":1");
    replica.command(&[b"REPLICAOF", b"NO", b"ONE"]).await;
    let serial = publisher.publish("room", message("refused")).await;
    publisher.nacked(serial, 50_004).await;
    until_ready(&node, Some("NOREPLICAS")).await;
    proxy.set_target(replica.port);
    publish_in_the_end(&mut publisher, "after").await;
    let read: Vec<String> = messages(&mut reader, 3).await.into_iter().map(|(_, data)| data).collect();
    assert_eq!(read, ["both", "copied", "after"]);
    assert_eq!(history(&node, "room").await, ["both", "copied", "after"]);
}

/// A Redis without memory, and one that has become a replica: publishes are refused, and do not appear later.
#[tokio::test]
async fn what_redis_takes_not_is_refused_and_never_appears() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let node = ground.node(redis.port, |_| {});
    let mut reader = attached(&node, "room").await;
    let (mut publisher, _) = AblyClient::connect_with(&node, &format!("v=6&key={KEY}&clientId=alice")).await;
    publisher.attach("room").await;
    let set: [(&str, [&[&[u8]]; 2]); 2] = [
        ("full", [&[b"CONFIG", b"SET", b"maxmemory", b"1"], &[b"CONFIG", b"SET", b"maxmemory", b"0"]]),
        ("readonly", [&[b"REPLICAOF", b"127.0.0.1", b"1"], &[b"REPLICAOF", b"NO", b"ONE"]]),
    ];
    for (name, [on, off]) in set {
        redis.command(on).await;
        let serial = publisher.publish("room", message(&format!("refused {name}"))).await;
        publisher.nacked(serial, 50_004).await;
        let serial = publisher.presence("room", json!([{"action": 2}])).await;
        publisher.nacked(serial, 50_004).await;
        let body = message(&format!("refused {name}")).to_string();
        let told = Http::connect(&node).await.post(&format!("/channels/room/messages?key={KEY}"), &[], &body).await;
        assert_eq!((told.status, &told.json()["error"]["code"]), (503, &json!(50004)), "{}", told.body);
        // A log that cannot be begun is not gone on from.
        let mut newcomer = AblyClient::connect(&node, KEY).await;
        newcomer.send(json!({"action": action::ATTACH, "channel": format!("new-{name}")})).await;
        assert_eq!(newcomer.expect(action::DETACHED).await["error"]["code"], 50004);
        redis.command(off).await;
        let serial = publisher.publish("room", message(name)).await;
        publisher.acked(serial).await;
        assert_eq!(messages(&mut reader, 1).await[0].1, name);
    }
    assert_eq!(history(&node, "room").await, ["full", "readonly"]);
    let present = Http::connect(&node).await.ask("GET", &format!("/channels/room/presence?key={KEY}"), &[]).await;
    assert_eq!(present.json(), json!([]));
}

/// Redis is gone until it is missed; a whole minute in the night. Whoever is here stays here, and nothing breaks.
#[tokio::test]
async fn redis_that_is_gone_for_a_minute_is_no_break() {
    let mut redis = RedisServer::start().await;
    let ground = Ground::new();
    let nodes = ground.nodes::<2>(&redis);
    let mut readers = [attached(&nodes[0], "room").await, attached(&nodes[1], "room").await];
    let (mut alice, _) = AblyClient::connect_with(&nodes[0], &format!("v=6&key={KEY}&clientId=alice")).await;
    alice.attach("room").await;
    let serial = alice.presence("room", json!([{"action": 2}])).await;
    alice.acked(serial).await;
    for reader in &mut readers {
        reader.expect(action::PRESENCE).await;
    }
    redis.kill();
    for node in &nodes {
        until_ready(node, Some("is away for")).await;
    }
    if is_whole() {
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    let serial = alice.publish("room", message("refused")).await;
    let nack = loop {
        // Of her own.
        let frame = alice.next().await;
        if frame["action"] != action::PRESENCE && frame["action"] != action::SYNC {
            break frame;
        }
    };
    assert_eq!((&nack["msgSerial"], &nack["error"]["code"]), (&json!(serial), &json!(50004)), "{nack}");
    redis.restart().await;
    for node in &nodes {
        until_ready(node, None).await;
    }
    publish_in_the_end(&mut alice, "after").await;
    for (reader, node) in readers.iter_mut().zip(&nodes) {
        assert_eq!(messages(reader, 1).await[0].1, "after");
        let present = Http::connect(node).await.ask("GET", &format!("/channels/room/presence?key={KEY}"), &[]).await;
        assert_eq!(present.json()[0]["clientId"], "alice", "{}", present.body);
        assert_eq!(history(node, "room").await, ["after"]);
    }
}

/// A node that does not run, while Redis ends its connection: on waking it reads what it has missed, or tells that there is a break.
#[tokio::test]
async fn a_node_that_slept_reads_what_it_missed_or_tells_a_break() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let [sleeper, awake] = processes(&ground, &redis);
    let (mut reader, mut publisher) = (attached_at(&sleeper).await, attached_at(&awake).await);
    publish(&mut publisher, "before").await;
    assert_eq!(messages(&mut reader, 1).await[0].1, "before");
    let sleep = async |data: &[&str], is_lost: bool| {
        sleeper.signal(Signal::SIGSTOP);
        redis.command(&[b"CLIENT", b"KILL", b"TYPE", b"pubsub"]).await;
        let mut publisher = attached_at(&awake).await;
        for data in data {
            publish(&mut publisher, data).await;
        }
        if is_lost {
            let keys = redis.command(&[b"KEYS", b"ls:{p*}s:*room"]).await;
            let stream = keys.lines().nth(2).unwrap().to_owned();
            redis.command(&[b"XTRIM", stream.as_bytes(), b"MAXLEN", b"0"]).await;
        }
        if is_whole() {
            tokio::time::sleep(Duration::from_secs(30)).await;
        }
        sleeper.signal(Signal::SIGCONT);
    };
    sleep(&["one", "two", "three"], false).await;
    let read: Vec<String> = messages(&mut reader, 3).await.into_iter().map(|(_, data)| data).collect();
    assert_eq!(read, ["one", "two", "three"]);
    sleep(&["lost"], true).await;
    breaks(&mut reader).await;
    publish(&mut attached_at(&awake).await, "after").await;
    assert_eq!(messages(&mut reader, 1).await[0].1, "after");
}

/// Machines whose clocks are two hours apart: one order, one time, and a token of one is good at the others.
#[tokio::test]
async fn nodes_whose_clocks_are_hours_apart_have_one_time() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let settings = ground.settings(redis.port);
    let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let folders: [TempDir; 3] = std::array::from_fn(|_| TempDir::new().unwrap());
    let nodes: [ServerProcess; 3] = std::array::from_fn(|place| {
        let offset = format!("FAKETIME={}", ["+1h", "-1h", "+0"][place]);
        // The program `faketime` would stay between the server and whoever ends it.
        let library = "LD_PRELOAD=/usr/$LIB/faketime/libfaketimeMT.so.1";
        let launcher = ["env", library, "FAKETIME_DONT_FAKE_MONOTONIC=1", &offset];
        ServerProcess::try_start(folders[place].path(), &launcher, "local", &settings).unwrap()
    });
    let stamps = nodes.each_ref().map(|node| {
        let first: Value = serde_json::from_str(node.stdout().lines().next().unwrap()).unwrap();
        first["timestamp"].as_str().unwrap().to_owned()
    });
    assert!(stamps[1] < stamps[2] && stamps[2] < stamps[0], "their clocks differ: {stamps:?}");
    let ask = async |node: &ServerProcess, target: &str| {
        Http::connect_to(node.address).await.ask("GET", &format!("{target}?key={KEY}"), &[]).await.json()
    };
    let is_now = |time: &Value| time.as_u64().unwrap().abs_diff(Clock::system().now().millis()) < 600_000;
    for node in &nodes {
        eventually(async || is_now(&ask(node, "/time").await[0]).then_some(())).await;
    }
    let mut clients = Vec::new();
    for node in &nodes {
        clients.push(attached_at(node).await);
    }
    let mut expected = Vec::new();
    for number in 0..9 {
        let data = number.to_string();
        let serial = clients[number % 3].publish("room", message(&data)).await;
        expected.push(data);
        let mut orders = Vec::new();
        for (place, client) in clients.iter_mut().enumerate() {
            // The publisher is told both, in either order.
            let mut frames = vec![client.next().await];
            if place == number % 3 {
                frames.push(client.next().await);
                assert!(frames.iter().any(|frame| frame["msgSerial"] == serial && frame["action"] == action::ACK));
            }
            let told = frames.into_iter().find(|frame| frame["action"] == action::MESSAGE).unwrap();
            assert!(is_now(&told["timestamp"]), "{told}");
            orders.push(told["channelSerial"].clone());
        }
        assert!(orders.iter().all(|serial| *serial == orders[0]), "{orders:?}");
    }
    for node in &nodes {
        assert_eq!(history_at(node.address, "room").await, expected);
    }
    let mut http = Http::connect_to(nodes[0].address).await;
    let granted = http.post(&format!("/keys/abc123.first1/requestToken?key={KEY}"), &[], "{\"ttl\": 600000}").await;
    assert_eq!(granted.status, 201, "{}", granted.body);
    let token = granted.json()["token"].as_str().unwrap().to_owned();
    for node in &nodes {
        let mut client = AblyClient::open_at(node.address, &format!("v=6&accessToken={token}")).await;
        client.expect(action::CONNECTED).await;
    }
}

/// A server that hangs, until its lease is over: lists would not be whole without it, whoever is there cannot be reached.
#[tokio::test]
async fn a_server_that_hangs_is_waited_for_no_longer_than_it_takes_to_say_so() {
    const SERVICE_KEY: &str = "a key that only back ends know";
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let mut settings = ground.settings(redis.port);
    let older = [
        ("RELAY_ENABLED", "true"),
        ("RELAY_API_KEY", SERVICE_KEY),
        ("CHAT_ENABLED", "true"),
        ("CHAT_JWT_SECRET", chat::house::SECRET),
    ];
    settings.extend(older.map(|(name, value)| (name, value.to_owned())));
    let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let [sleeper, awake]: [ServerProcess; 2] = std::array::from_fn(|_| ServerProcess::start(&settings));
    for node in [&sleeper, &awake] {
        until_met(node.address, 2).await;
    }
    let mut ann = chat::client::Client::connect(awake.address, 7).await;
    let _bob = chat::client::Client::connect(sleeper.address, 8).await;
    let mut users = Vec::new();
    for node in [&sleeper, &awake] {
        users.push(Socket::connect(&format!("ws://{}/relay/ws", node.address)).await);
    }
    sleeper.signal(Signal::SIGSTOP);
    for target in ["/channels", "/stats"] {
        let told = Http::connect_to(awake.address).await.ask("GET", &format!("{target}?key={KEY}"), &[]).await;
        assert_eq!((told.status, &told.json()["error"]["code"]), (503, &json!(50004)), "{target}: {}", told.body);
    }
    let body = json!({"event_name": "here", "subject": 1}).to_string();
    let told =
        Http::connect_to(awake.address).await.post("/relay/api/push", &[("X-API-KEY", SERVICE_KEY)], &body).await;
    assert_eq!((told.status, &told.json()["data"]["connections"]), (200, &json!(1)), "{}", told.body);
    users[1].expect("here").await;
    let told = ann.asks("send_message", json!({"to_user_id": 8, "content": "are you there"})).await;
    assert_eq!((&told["code"], &told["data"]["stored"]), (&json!(10003), &json!(true)), "{told}");
    sleeper.signal(Signal::SIGCONT);
}
