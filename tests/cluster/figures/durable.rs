//! R3: `kill -9` of Redis, which syncs before it answers (`appendfsync always`), and of nodes: what was acknowledged is in the history,
//! once.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use rand::RngExt as _;

use super::{Progress, is_whole, sized};
use crate::{
    cluster::{
        Ground,
        fleet::{End, Fleet},
        history_at,
        roamer::{Plan, Roamer},
    },
    support::redis::RedisServer,
};

const WRITERS: usize = 12;
/// Rounds on one Redis: it reads all that it has ever been told when it starts again.
const ROUNDS: usize = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_was_acknowledged_is_lost_whatever_is_killed() {
    let deaths = sized(3, 100);
    // The bytes of one channel are bounded, those of all are not: one for each death.
    let each = if is_whole() { 10_000_usize } else { 240 }.div_ceil(WRITERS);
    let acks = Arc::default();
    let _progress = Progress::of("publishes", &acks, deaths * each * WRITERS);
    let (mut acked, mut strangers) = (0, 0);
    for first in (0..deaths).step_by(ROUNDS) {
        let mut redis = RedisServer::start().await;
        let ground = Ground::new();
        let mut fleet = Fleet::start(&ground, redis.port, 3, &[]);
        for round in first..deaths.min(first + ROUNDS) {
            let (expected, lost) = publish_and_kill(&mut redis, &mut fleet, round, each, &acks).await;
            let kept = history_at(fleet.addresses.any(), &format!("kept:{round}")).await;
            let once: BTreeSet<&String> = kept.iter().collect();
            assert_eq!(once.len(), kept.len(), "none is doubled");
            let missing: Vec<_> = expected.iter().filter(|data| !once.contains(data)).collect();
            assert!(missing.is_empty(), "acknowledged and lost: {missing:?}");
            acked += expected.len();
            strangers += lost;
        }
    }
    assert!(acked > 0);
    println!("{acked} acknowledged, {deaths} deaths, {strangers} connections lost: nothing lost, nothing doubled");
}

/// The data of what was acknowledged while something was killed, and how often a writer came back as another connection.
async fn publish_and_kill(
    redis: &mut RedisServer,
    fleet: &mut Fleet,
    round: usize,
    each: usize,
    acks: &Arc<AtomicUsize>,
) -> (Vec<String>, usize) {
    let before = acks.load(Ordering::Relaxed);
    let plan = Plan {
        publishes: each,
        ahead: (each / 5).min(100),
        pause: Duration::from_millis(5),
        hears: 0,
        acks: Arc::clone(acks),
    };
    let writers: Vec<_> = (0..WRITERS)
        .map(|number| {
            let mut writer = Roamer::new(&format!("{round}-{number}"), &format!("kept:{round}"), plan.clone());
            let addresses = fleet.addresses.clone();
            tokio::spawn(async move {
                writer.roam(&addresses).await;
                writer
            })
        })
        .collect();
    let moment = before + rand::rng().random_range(1..each * WRITERS / 2);
    while acks.load(Ordering::Relaxed) < moment {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let (kills_redis, kills_node) = [(true, false), (false, true), (true, true)][round % 3];
    if kills_redis {
        redis.kill();
    }
    if kills_node {
        let place = fleet.any();
        fleet.replace(place, End::Killed).await;
    }
    if kills_redis {
        redis.restart().await;
    }
    let told: Vec<Roamer> = join_all(writers).await.into_iter().map(Result::unwrap).collect();
    let strangers = told.iter().map(|writer| writer.strangers).sum();
    let data = told.into_iter().flat_map(|writer| writer.acked).map(|(data, _)| data);
    (data.collect(), strangers)
}
