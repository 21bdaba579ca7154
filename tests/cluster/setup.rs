//! How Redis has to be set up (`docs/cluster.md`, Setting up).

use std::time::Duration;

use letshare_server::config::Durability;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{
    Ground, KEY,
    beside::{ready, refusal, until_ready},
    history, message,
    proxy::Proxy,
};
use crate::support::{AblyClient, Http, ably::action, eventually, process::ServerProcess, redis::RedisServer};

/// Several addresses are those of a Redis Cluster: servers that know nothing of each other would each have a part of what is kept.
#[tokio::test]
async fn servers_that_are_no_cluster_are_refused() {
    let [one, other] = [RedisServer::start().await, RedisServer::start().await];
    let endpoint = format!("127.0.0.1:{},127.0.0.1:{}", one.port, other.port);
    let told = refusal(&Ground::new(), &one, |config| config.cluster.endpoint = Some(endpoint));
    assert!(told.contains("cannot be used: it is one server without slots"), "{told}");
}

/// A load balancer sends nobody to a node whose Redis may lose what was acknowledged.
#[tokio::test]
async fn a_node_whose_redis_is_not_set_up_as_it_has_to_be_is_not_ready() {
    let redis = RedisServer::start_as(&["--maxmemory-policy", "allkeys-lru"]).await;
    let ground = Ground::new();
    let node = ground.node(redis.port, |_| {});
    until_ready(&node, Some("its maxmemory_policy is allkeys-lru")).await;
    redis.command(&[b"CONFIG", b"SET", b"maxmemory-policy", b"noeviction"]).await;
    until_ready(&node, None).await;

    redis.command(&[b"CONFIG", b"SET", b"appendfsync", b"everysec"]).await;
    let strict = ground.node(redis.port, |config| config.cluster.durability = Durability::Fsync);
    until_ready(&strict, Some("its appendfsync is everysec")).await;
    until_ready(&node, None).await;
    redis.command(&[b"CONFIG", b"SET", b"appendfsync", b"always"]).await;
    until_ready(&strict, None).await;
}

/// `cluster.durability: replicas`: what no replica has is not acknowledged; sent again, it is once there, and acknowledged when one
/// has it.
#[tokio::test]
async fn what_no_replica_has_is_not_acknowledged() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let node = ground.node(redis.port, |config| {
        config.cluster.durability = Durability::Replicas;
        config.cluster.deadline = Duration::from_secs(20);
    });
    until_ready(&node, Some("no replica is connected")).await;
    let mut client = AblyClient::connect(&node, KEY).await;
    let serial = client.publish("room", message("alone")).await;
    client.nacked(serial, 50_004).await;
    let port = redis.port.to_string();
    let replica = RedisServer::start_as(&["--replicaof", "127.0.0.1", &port]).await;
    let body = serde_json::json!([{"id": "chosen", "data": "copied"}]);
    eventually(async || {
        let serial = client.publish("room", body.clone()).await;
        let answer = client.next().await;
        assert_eq!(answer["msgSerial"], serial, "{answer}");
        (answer["action"] == action::ACK).then_some(())
    })
    .await;
    until_ready(&node, None).await;
    kill(Pid::from_raw(replica.id() as i32), Signal::SIGSTOP).unwrap();
    let serial = client.publish("room", message("stopped")).await;
    client.nacked(serial, 50_004).await;
    kill(Pid::from_raw(replica.id() as i32), Signal::SIGCONT).unwrap();
    assert_eq!(history(&node, "room").await, ["alone", "copied", "stopped"], "it may be there all the same");
}

/// `cluster.lease`: for how long a server may be silent before the others take it for dead; all of a cluster have the same.
#[tokio::test]
async fn who_was_at_a_dead_server_is_gone_with_its_lease() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let mut settings = ground.settings(redis.port);
    settings.push(("CLUSTER_LEASE", "5s".to_owned()));
    let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let [dying, witness] = std::array::from_fn(|_| ServerProcess::start(&settings));
    let mut alice = AblyClient::open_at(dying.address, &format!("v=6&key={KEY}&clientId=alice")).await;
    alice.expect(action::CONNECTED).await;
    alice.attach("room").await;
    let serial = alice.presence("room", serde_json::json!([{"action": 2}])).await;
    alice.acked(serial).await;
    let members = async || {
        let target = format!("/channels/room/presence?key={KEY}");
        Http::connect_to(witness.address).await.ask("GET", &target, &[]).await.json().as_array().unwrap().len()
    };
    eventually(async || (members().await == 1).then_some(())).await;
    let longest = "local t = redis.call('TIME') \
        return redis.call('ZREVRANGE', 'ls:{ctl}leases', 0, 0, 'WITHSCORES')[2] - t[1] * 1000 - t[2] / 1000";
    let left = redis.command(&[b"EVAL", longest.as_bytes(), b"0"]).await;
    let left: i64 = left.trim_start_matches(':').trim_end().parse().unwrap();
    assert!((1..=5_000).contains(&left), "{left}");
    let told = refusal(&ground, &redis, |_| {});
    assert!(told.contains("their cluster.lease is 5000 ms, that of this server 15000 ms"), "{told}");

    let killed = std::time::Instant::now();
    dying.kill().await;
    eventually(async || (members().await == 0).then_some(())).await;
    println!("a lease of 5 s: gone after {:.1} s", killed.elapsed().as_secs_f64());
}

/// `cluster.persisted_bytes`: so much of a persisted channel stays in the memory of Redis, the newest of it.
#[tokio::test]
async fn a_persisted_channel_keeps_no_more_than_it_may() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let node = ground.node(redis.port, |config| config.cluster.persisted_bytes = 64 << 10);
    let mut client = AblyClient::connect(&node, KEY).await;
    let mut last = String::new();
    for number in 0..30 {
        last = format!("{number:02}{}", "x".repeat(8_000));
        let serial = client.publish("kept:room", message(&last)).await;
        client.acked(serial).await;
    }
    let kept = history(&node, "kept:room").await;
    assert_eq!(kept.last(), Some(&last));
    assert!((4..=9).contains(&kept.len()), "{} of 8 KB", kept.len());
}

/// `cluster.ready_without_engine`: a Redis that was there and is away makes no difference to load balancers, and is told all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_may_be_ready_without_its_redis() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let proxy = Proxy::start(redis.port).await;
    proxy.set_away(true);
    let node = ground.node(proxy.port, |config| config.cluster.ready_without_engine = true);
    until_ready(&node, Some("was not reached yet")).await;
    proxy.set_away(false);
    until_ready(&node, None).await;
    proxy.set_away(true);
    eventually(async || {
        let told = ready(&node).await;
        assert_eq!(told.status, 200, "{}", told.body);
        let told = told.json();
        let reason = told["reason"].as_str()?;
        assert!(told["status"] == "ready" && reason.contains("is away"), "{told}");
        Some(())
    })
    .await;
}
