//! Files between users at different nodes (`docs/protocols/letshare.md §3`, `docs/design/cluster.md §3`).

use std::{net::SocketAddr, time::Duration};

use futures_util::future::join;
use serde_json::json;

use super::{Ground, processes, until_met};
use crate::{
    letshare_relay::{
        page::{Page, file, sha256},
        raw::{self, RECEIVER, ROOM, SENDER},
    },
    support::{Client, Http, Server, redis::RedisServer},
};

/// `docs/design/cluster.md §3`.
const LEASE: Duration = Duration::from_secs(15);

/// Waits until a node has no others any more, however long that takes.
async fn until_alone(address: SocketAddr) {
    loop {
        let figures = Http::connect_to(address).await.ask("GET", "/metrics", &[]).await.json();
        if figures["cluster"]["nodes"] == 1 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn nodes<const COUNT: usize>(ground: &Ground, redis: &RedisServer) -> [Server; COUNT] {
    let nodes = ground.nodes(redis);
    for node in &nodes {
        until_met(node.address, COUNT).await;
    }
    nodes
}

#[tokio::test]
async fn a_file_goes_from_node_to_node_byte_for_byte() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let nodes = nodes::<2>(&ground, &redis).await;
    let (mut ann, mut bob) = (Page::join(&nodes[0], SENDER, ROOM).await, Page::join(&nodes[1], RECEIVER, ROOM).await);
    // There and back, at the same time, and an empty one.
    let (there, back) = (file(6 << 20, 1), file((3 << 20) + 7, 2));
    let (sent, returned) = (sha256(&there), sha256(&back));
    ann.offer("there", RECEIVER, there).await;
    ann.offer("empty", RECEIVER, Vec::new()).await;
    bob.offer("back", SENDER, back).await;
    let is_done = |page: &Page| match page.sent("there") {
        Some(_) => page.received("back").is_some() && page.sent("empty").is_some(),
        None => page.sent("back").is_some() && page.received("there").is_some() && page.received("empty").is_some(),
    };
    join(ann.work_until(is_done), bob.work_until(is_done)).await;
    assert_eq!(
        (ann.sent("there"), ann.sent("empty"), bob.sent("back")),
        (Some("complete"), Some("complete"), Some("complete"))
    );
    assert_eq!((bob.received("there"), bob.received("empty")), (Some(sent), Some(sha256(b""))));
    assert_eq!(ann.received("back"), Some(returned));
    for (node, sender) in [(&nodes[0], 2), (&nodes[1], 1)] {
        let figures = Http::connect(node).await.ask("GET", "/metrics", &[]).await.json();
        assert_eq!(figures["relay"]["completed"], sender, "{figures}");
    }
}

#[tokio::test]
async fn what_a_side_says_reaches_the_other_node_and_strangers_are_refused() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let nodes = nodes::<2>(&ground, &redis).await;
    let mut sender = Client::join(&nodes[0], SENDER, ROOM).await;
    // Nobody there at any node.
    sender.send(raw::request("t-0", 4)).await;
    assert_eq!(raw::hear(&mut sender, "error", "t-0").await["code"], 404);
    let mut receiver = Client::join(&nodes[1], RECEIVER, ROOM).await;
    let mut stranger = Client::join(&nodes[1], "c:3", ROOM).await;
    for (id, by_sender) in [("t-1", true), ("t-2", false)] {
        sender.send(raw::request(id, 4)).await;
        let asked = raw::hear(&mut receiver, "request", id).await;
        assert_eq!(asked["from_user_id"], SENDER, "{asked}");
        raw::say(&mut stranger, "accept", id, json!({})).await;
        assert_eq!(raw::hear(&mut stranger, "error", id).await["code"], 403);
        raw::say(&mut receiver, "accept", id, json!({})).await;
        raw::hear(&mut sender, "accept", id).await;
        let (from, to) = if by_sender { (&mut sender, &mut receiver) } else { (&mut receiver, &mut sender) };
        raw::say(from, "cancel", id, json!({"reason": "取消"})).await;
        assert_eq!(raw::hear(to, "cancel", id).await["reason"], "取消");
    }
}

/// `docs/protocols/letshare.md §3.5`: the receiver's socket drops, and it comes back, to its node, to that of the sender, and to a third one.
#[tokio::test]
async fn a_receiver_goes_on_at_whichever_node_it_comes_back_to() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let nodes = nodes::<3>(&ground, &redis).await;
    let (mut ann, mut bob) = (Page::join(&nodes[0], SENDER, ROOM).await, Page::join(&nodes[1], RECEIVER, ROOM).await);
    let bytes = file(20 << 20, 3);
    let sent = sha256(&bytes);
    ann.offer("t", RECEIVER, bytes).await;
    for (round, node) in [&nodes[1], &nodes[2], &nodes[0], &nodes[1]].into_iter().enumerate() {
        let enough = 40 * (round as u64 + 1);
        let is_far = |page: &Page| page.chunks_received("t") >= enough;
        tokio::select! {
            () = bob.work_until(is_far) => {}
            () = ann.work_until(|_| false) => {}
        }
        bob.cut();
        bob.reconnect(node).await;
    }
    join(ann.work_until(|page| page.sent("t").is_some()), bob.work_until(|page| page.ended("t").is_some())).await;
    assert_eq!((ann.sent("t"), bob.received("t")), (Some("complete"), Some(sent)));
}

/// `docs/protocols/letshare.md §3.5`: nothing is left to resume where the sender was.
#[tokio::test]
async fn a_sender_that_is_gone_is_told_to_the_receiver_at_the_other_node() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let nodes = nodes::<2>(&ground, &redis).await;
    let mut sender = Client::join(&nodes[0], SENDER, ROOM).await;
    let mut receiver = Client::join(&nodes[1], RECEIVER, ROOM).await;
    sender.send(raw::request("t", 4)).await;
    raw::hear(&mut receiver, "request", "t").await;
    raw::say(&mut receiver, "accept", "t", json!({})).await;
    raw::hear(&mut sender, "accept", "t").await;
    sender.cut();
    assert_eq!(raw::hear(&mut receiver, "error", "t").await["code"], 410);
}

/// A node is killed: whoever is left is told, and at once where something was on its way to it.
#[tokio::test]
async fn a_transfer_whose_other_node_is_killed_ends_with_an_error() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let [one, other, third] = processes::<3>(&ground, &redis);
    for node in [&one, &other, &third] {
        until_met(node.address, 3).await;
    }
    let join = async |node: &crate::support::process::ServerProcess, user: &str| {
        let url = format!("ws://{}/ws?token={}&userId={user}", node.address, node.token);
        let mut client = Client::try_connect(&url, user).await.expect("it is served");
        client.subscribe(ROOM, "signal:all").await;
        client
    };
    let mut left = join(&third, SENDER).await;
    // Its receiver, who has not answered.
    let _receiver = join(&other, RECEIVER).await;
    left.send(raw::request("pending", 4)).await;
    // Its sender, of a transfer that runs.
    let mut sender = join(&one, "c:3").await;
    let mut request = raw::request("running", 4);
    request["data"]["to_user_id"] = SENDER.into();
    sender.send(request).await;
    raw::hear(&mut left, "request", "running").await;
    raw::say(&mut left, "accept", "running", json!({})).await;
    raw::hear(&mut sender, "accept", "running").await;
    one.kill().await;
    other.kill().await;
    // Their leases end first.
    let alone = tokio::time::timeout(2 * LEASE, until_alone(third.address)).await;
    alone.expect("the leases of the dead end");
    let mut ends = [left.next().await, left.next().await];
    ends.sort_by_key(|end| end["data"]["transfer_id"].as_str().map(str::to_owned));
    for (end, id) in ends.iter().zip(["pending", "running"]) {
        assert_eq!(end["type"], "file:transfer:error", "{end}");
        assert_eq!((&end["data"]["transfer_id"], &end["data"]["code"]), (&json!(id), &json!(410)), "{end}");
    }
}

/// `cluster.relay_bytes`: one more transfer is refused as busy, to its sender alone.
#[tokio::test]
async fn transfers_to_other_nodes_are_bounded() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let node = || ground.node(redis.port, |config| config.cluster.relay_bytes = 12 << 10);
    let nodes = [node(), node()];
    for node in &nodes {
        until_met(node.address, 2).await;
    }
    let mut sender = Client::join(&nodes[0], SENDER, ROOM).await;
    let mut receiver = Client::join(&nodes[1], RECEIVER, ROOM).await;
    // Each chunk has a header of 256 bytes.
    for (id, chunks) in [("t-1", 8), ("t-2", 4)] {
        sender.send(raw::request(id, chunks)).await;
        if id == "t-1" {
            raw::hear(&mut receiver, "request", id).await;
        } else {
            assert_eq!(raw::hear(&mut sender, "error", id).await["code"], 503);
        }
    }
    raw::say(&mut sender, "cancel", "t-1", json!({})).await;
    raw::hear(&mut receiver, "cancel", "t-1").await;
    sender.send(raw::request("t-3", 8)).await;
    raw::hear(&mut receiver, "request", "t-3").await;
}
