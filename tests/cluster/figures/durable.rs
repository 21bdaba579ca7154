//! R3: `kill -9` of Redis, which syncs before it answers (`appendfsync always`), and of nodes: what was acknowledged is in the history,
//! once.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::future::join_all;
use rand::RngExt as _;

use super::{is_whole, sized};
use crate::{
    cluster::{
        Ground,
        fleet::{End, Fleet},
        history_at,
        roamer::{Plan, Roamer},
    },
    support::redis::RedisServer,
};

const WRITERS: usize = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_was_acknowledged_is_lost_whatever_is_killed() {
    let (rounds, each) = (sized(3, 100), if is_whole() { 10_000 } else { 150 } / WRITERS);
    let mut redis = RedisServer::start().await;
    let ground = Ground::new();
    let mut fleet = Fleet::start(&ground, redis.port, 3, &[]);
    let (mut acked, mut strangers) = (0, 0);
    for round in 0..rounds {
        // The bytes of one channel are bounded, those of all are not.
        let channel = format!("kept:{round}");
        let plan = Plan { publishes: each, ahead: 20, pause: Duration::from_millis(5), hears: 0, ..Plan::listen() };
        let acks = Arc::clone(&plan.acks);
        let writers: Vec<_> = (0..WRITERS)
            .map(|number| {
                let mut writer = Roamer::new(&format!("{round}-{number}"), &channel, plan.clone());
                let addresses = fleet.addresses.clone();
                tokio::spawn(async move {
                    writer.roam(&addresses).await;
                    writer
                })
            })
            .collect();
        let moment = rand::rng().random_range(1..each * WRITERS / 2);
        while acks.load(Ordering::Relaxed) < moment {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        if round % 3 != 1 {
            redis.kill();
        }
        if round % 3 != 0 {
            let place = fleet.any();
            fleet.replace(place, End::Killed).await;
        }
        if round % 3 != 1 {
            redis.restart().await;
        }
        let told = join_all(writers).await.into_iter().map(Result::unwrap);
        let mut expected = BTreeSet::new();
        for writer in told {
            strangers += writer.strangers;
            expected.extend(writer.acked.into_iter().map(|(data, _)| data));
        }
        let kept = history_at(fleet.addresses.any(), &channel).await;
        let once: BTreeSet<&String> = kept.iter().collect();
        assert_eq!(once.len(), kept.len(), "none is doubled");
        let lost: Vec<_> = expected.iter().filter(|data| !once.contains(data)).collect();
        assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
        acked += expected.len();
    }
    assert!(acked > 0);
    println!("{acked} acknowledged, {rounds} deaths, {strangers} connections lost: nothing lost, nothing doubled");
}
