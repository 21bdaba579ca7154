//! R14: three nodes are replaced one after the other while clients publish: nothing is lost, doubled or swapped, and nobody is told of
//! anybody that he had left.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::future::join_all;

use super::{Progress, sized};
use crate::{
    cluster::{
        Ground, assert_whole,
        fleet::{End, Fleet},
        roamer::{Plan, Roamer},
    },
    support::redis::RedisServer,
};

const NODES: usize = 3;
/// In one room.
const MEMBERS: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_is_seen_by_nobody() {
    let rooms = sized(2, 100);
    let each = 40;
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let mut fleet = Fleet::start(&ground, redis.port, NODES, &[("SHUTDOWN_NOTICE", "1s")]);
    let plan = Plan {
        publishes: each,
        ahead: 1,
        pause: Duration::from_millis(sized(250, 2_000) as u64),
        hears: MEMBERS * each,
        ..Plan::listen()
    };
    let acks = Arc::clone(&plan.acks);
    // Everybody is here before anybody publishes.
    let come = async |number: usize| {
        let plan = Plan { hears: 0, ..Plan::listen() };
        let mut client = Roamer::new(&format!("client{number}"), &format!("room{}", number % rooms), plan);
        client.enter();
        client.roam(&fleet.addresses).await;
        client
    };
    let clients = join_all((0..rooms * MEMBERS).map(come)).await;
    let go = |mut client: Roamer| {
        client.plan = plan.clone();
        let addresses = fleet.addresses.clone();
        tokio::spawn(async move {
            client.roam(&addresses).await;
            client
        })
    };
    let roaming: Vec<_> = clients.into_iter().map(go).collect();
    let all = rooms * MEMBERS * each;
    let _progress = Progress::of("publishes", &acks, all);
    for place in 0..NODES {
        while acks.load(Ordering::Relaxed) < all * (place + 1) / (NODES + 1) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        fleet.replace(place, End::InOrder).await;
    }
    let mut took = Vec::new();
    let mut moves = 0;
    for (number, client) in join_all(roaming).await.into_iter().enumerate() {
        let client = client.unwrap();
        assert_eq!((client.strangers, &client.refused[..]), (0, &[][..]), "the same connection, no publish refused");
        let [heard] = &client.stretches[..] else { panic!("a break was told: {}", client.stretches.len()) };
        let members = (0..MEMBERS).map(|member| number % rooms + member * rooms);
        let expected: BTreeSet<String> =
            members.flat_map(|member| (0..each).map(move |number| format!("client{member}-{number}"))).collect();
        assert_whole(heard, &expected);
        let gone = client.events.iter().filter(|event| event["action"] != 2).count();
        let entered: BTreeSet<_> = client.events.iter().map(|event| event["clientId"].to_string()).collect();
        assert_eq!((gone, entered.len()), (0, client.events.len()), "each enters once, nobody leaves");
        moves += client.stays;
        took.extend(client.acked.into_iter().map(|(_, took)| took));
    }
    took.sort_unstable();
    assert_eq!(took.len(), all);
    println!(
        "{} clients, {all} publishes, {NODES} nodes replaced, {moves} stays: none lost, doubled or swapped, no event; \
         publish to ACK p50 {:?}, p99 {:?}, longest {:?}",
        rooms * MEMBERS,
        took[all / 2],
        took[all * 99 / 100],
        took[all - 1]
    );
}
