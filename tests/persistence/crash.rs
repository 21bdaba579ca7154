//! R3, R5, R14: the end of a server under load. Writers note every acknowledgement; after the restart everything
//! that was acknowledged is there, once, in each writer's order, under the serial that was told; what was not
//! acknowledged is published again with its id, and then is there once, too.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    net::SocketAddr,
    time::Duration,
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::Value;
use tokio::task::JoinSet;

use super::{
    ground::{Ground, Rest},
    restart::End,
    writer::Writer,
};

/// How long it goes on; both must be reached. It must not be paused for longer than ids are remembered, two minutes:
/// what is then published again is rightly new (`docs/protocols/ably.md §6.4`).
struct Plan {
    writers: u64,
    cycles: usize,
    acks: usize,
}

const QUICK: Plan = Plan { writers: 6, cycles: 10, acks: 0 };
const NIGHTLY: Plan = Plan { writers: 24, cycles: 100, acks: 500_000 };
/// Moments of the end, in milliseconds after the writers begin.
const MOMENTS: std::ops::Range<u64> = 50..500;
/// Cycles after which the writers go on with new channels, so that each restart has but these to read back.
const CYCLES_OF_A_CHANNEL: usize = 5;

#[tokio::test]
async fn a_kill_loses_nothing_that_was_acknowledged() {
    let plan = match env::var_os("LETSHARE_NIGHTLY") {
        Some(_) => NIGHTLY,
        None => QUICK,
    };
    let writers = (0..plan.writers).map(|number| Writer::new(number, "persisted"));
    let writers = writers.collect();
    nothing_is_lost(plan, End::Crash, writers).await;
}

/// In order, nothing is lost of channels either that are not persisted.
#[tokio::test]
async fn a_deploy_loses_nothing_that_was_acknowledged() {
    let plan = Plan { cycles: 6, ..QUICK };
    let namespace = |number| {
        if number % 3 == 0 { "persisted" } else { "plain" }
    };
    let writers = (0..plan.writers).map(|number| Writer::new(number, namespace(number)));
    let writers = writers.collect();
    nothing_is_lost(plan, End::Ordered, writers).await;
}

async fn nothing_is_lost(plan: Plan, end: End, mut writers: Vec<Writer>) {
    let seed = env::var("LETSHARE_SEED").ok();
    let seed = seed.and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(rand::random::<u64>);
    eprintln!("LETSHARE_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);

    let ground = Ground::new();
    let (mut cycle, mut found) = (0, 0);
    while cycle < plan.cycles || acked(&writers) < plan.acks {
        let server = ground.start();
        let generation = cycle / CYCLES_OF_A_CHANNEL;
        let last = generation.saturating_sub(usize::from(cycle % CYCLES_OF_A_CHANNEL == 0));
        found += read_back(server.address, &writers, last..=generation).await;
        let mut writing = JoinSet::new();
        for mut writer in writers.drain(..) {
            let address = server.address;
            writing.spawn(async move {
                writer.go_on(address, Some(generation)).await;
                writer
            });
        }
        // Not a wait for anything: the moment itself is what is drawn.
        tokio::time::sleep(Duration::from_millis(random.random_range(MOMENTS))).await;
        end.of(server).await;
        writers = writing.join_all().await;
        writers.sort_by_key(|writer| writer.number);
        cycle += 1;
        if cycle % (10 * CYCLES_OF_A_CHANNEL) == 0 {
            eprintln!("{cycle} times {end:?}, {} acknowledged", acked(&writers));
        }
    }
    let unanswered: usize = writers.iter().map(|writer| writer.unanswered.len()).sum();
    // Now everything gets its answer.
    let server = ground.start();
    for writer in &mut writers {
        writer.go_on(server.address, None).await;
        assert!(writer.unanswered.is_empty());
    }
    let sent: u64 = writers.iter().map(|writer| writer.next).sum();
    assert_eq!(acked(&writers) as u64, sent);
    let generations = 0..=(cycle - 1) / CYCLES_OF_A_CHANNEL;
    read_back(server.address, &writers, generations).await;
    eprintln!(
        "{cycle} times {end:?}, {} acknowledged, none lost or doubled; {found} were kept without an answer; \
         {unanswered} waited at the last end",
        acked(&writers)
    );
    assert!(acked(&writers) > cycle, "there was no load");
}

fn acked(writers: &[Writer]) -> usize {
    writers.iter().map(|writer| writer.acked.len()).sum()
}

/// Compares the channels with what the writers know; says how many messages are there that were not
/// acknowledged.
async fn read_back(address: SocketAddr, writers: &[Writer], generations: impl Iterator<Item = usize>) -> usize {
    let mut rest = Rest::connect(address).await;
    let mut found = 0;
    for generation in generations {
        let channels = writers.iter().map(|writer| writer.channel(generation));
        for channel in channels.collect::<BTreeSet<_>>() {
            let history = rest.history(&channel).await;
            let serial = |message: &Value| message["serial"].as_str().map(str::to_owned);
            assert!(
                history.iter().map(serial).is_sorted_by(|one, next| one < next),
                "the serials of {channel} do not rise"
            );
            let mut kept = BTreeMap::<u64, Vec<(u64, String)>>::new();
            for message in &history {
                let data = message["data"].as_str().expect("a text");
                let (writer, number) = data.split_once('-').expect("writer and number");
                let number = (number.parse().unwrap(), serial(message).unwrap());
                let writer = writer.parse().unwrap();
                kept.entry(writer).or_default().push(number);
            }
            for writer in writers {
                if writer.channel(generation) == channel {
                    let kept = kept.remove(&writer.number).unwrap_or_default();
                    found += writer.compare(generation, &kept);
                }
            }
            assert!(kept.is_empty(), "{channel} has strangers: {kept:?}");
        }
    }
    found
}
