//! How Redis has to be set up (`docs/cluster.md`, Setting up).

use std::time::Duration;

use letshare_server::config::Durability;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{
    Ground, KEY,
    beside::{refusal, until_ready},
    message,
};
use crate::support::{AblyClient, ably::action, eventually, redis::RedisServer};

/// A Redis that spreads its keys over slots is no use, and the start says so.
#[tokio::test]
async fn a_redis_in_cluster_mode_is_refused() {
    let redis = RedisServer::start_as(&["--cluster-enabled", "yes"]).await;
    let told = refusal(&Ground::new(), &redis, |_| {});
    assert!(told.contains("cannot be used: it runs in cluster mode"), "{told}");
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
    assert_eq!(super::history(&node, "room").await, ["alone", "copied", "stopped"], "it may be there all the same");
}
