//! The figures of `docs/design/cluster.md §10`: in a small form with every run, whole with `LETSHARE_NIGHTLY=1`, a tenth of that with
//! `LETSHARE_NIGHTLY=10`. Figures of time are printed, and decide nothing.

mod durable;
mod members;
mod rolling;
mod seats;
mod silence;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rand::RngExt as _;
use serde_json::json;
use tokio::task::JoinHandle;

use super::{Ground, KEY, assert_whole, attached, history, message, messages, proxy::Proxy};
use crate::support::{AblyClient, Http, Server, ably::action, eventually, redis::RedisServer};

/// Whether the figures are to be those of the page.
pub fn is_whole() -> bool {
    std::env::var_os("LETSHARE_NIGHTLY").is_some()
}

/// A size for every run, and the whole one for the night; with `LETSHARE_NIGHTLY=10` a tenth of that.
pub fn sized(small: usize, whole: usize) -> usize {
    let Ok(part) = std::env::var("LETSHARE_NIGHTLY") else { return small };
    (whole / part.parse::<usize>().unwrap_or(1)).max(small)
}

/// How far a long run is, said each minute for as long as this is kept.
pub struct Progress(JoinHandle<()>);

impl Progress {
    pub fn of(what: &'static str, done: &Arc<AtomicUsize>, all: usize) -> Self {
        let done = Arc::clone(done);
        Self(tokio::spawn(async move {
            for minute in 1.. {
                tokio::time::sleep(Duration::from_secs(60)).await;
                println!("{minute} min: {} of {all} {what}", done.load(Ordering::Relaxed));
            }
        }))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Publishes so many messages named after the publisher, never more than a few hundred ahead of their ACKs.
async fn publish_all(node: &Server, channel: &str, name: &str, count: usize) {
    const AHEAD: u64 = 300;
    let mut client = AblyClient::connect(node, KEY).await;
    let mut acked = 0;
    for number in 0..count {
        let last = client.publish(channel, message(&format!("{name}-{number}"))).await;
        let until = if number + 1 == count { last + 1 } else { (last + 1).saturating_sub(AHEAD) };
        while acked < until {
            let ack = client.expect(action::ACK).await;
            acked = ack["msgSerial"].as_u64().unwrap() + ack["count"].as_u64().unwrap();
        }
    }
}

/// R4: whatever all nodes publish at once, every subscriber of every node gets all of it, once, in one order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_doubled_or_swapped_on_three_nodes() {
    const NODES: usize = 3;
    const EACH: usize = 150;
    let (subscribers, rounds) = (sized(5, 33), sized(2, 45));
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let nodes = ground.nodes::<NODES>(&redis);
    let mut readers = Vec::new();
    for node in nodes.iter().cycle().take(NODES * subscribers) {
        readers.push(attached(node, "room").await);
    }
    let (mut read, mut deliveries) = (vec![Vec::new(); readers.len()], 0);
    let done = Arc::default();
    let _progress = Progress::of("rounds", &done, rounds);
    for round in 0..rounds {
        let name = |place: usize| format!("{round}-{place}");
        // Nobody is left so far behind that the server gives it up.
        let reading = readers.drain(..).map(|mut reader| {
            tokio::spawn(async move {
                let read = messages(&mut reader, NODES * EACH).await;
                (reader, read)
            })
        });
        let reading: Vec<_> = reading.collect();
        let publishing = nodes.iter().enumerate();
        join_all(publishing.map(async |(place, node)| publish_all(node, "room", &name(place), EACH).await)).await;
        for (one, all) in join_all(reading).await.into_iter().zip(&mut read) {
            let (reader, one) = one.unwrap();
            readers.push(reader);
            deliveries += one.len();
            all.extend(one);
        }
        done.fetch_add(1, Ordering::Relaxed);
    }
    let names = (0..rounds).flat_map(|round| (0..NODES).map(move |place| format!("{round}-{place}")));
    let expected = names.flat_map(|name| (0..EACH).map(move |number| format!("{name}-{number}"))).collect();
    for one in &read {
        assert_whole(one, &expected);
        assert_eq!(*one, read[0], "one order");
    }
    println!("{deliveries} deliveries: none lost, doubled or swapped");
}

/// R5: an id is one message, at whichever nodes it comes, while the links of all of them are cut.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_published_again_at_another_node_is_never_doubled() {
    const NODES: usize = 3;
    const WRITERS: usize = 8;
    let (publishes, cuts) = (sized(800, 100_000), sized(10, 400));
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let mut proxies = Vec::new();
    for _ in 0..NODES {
        proxies.push(Proxy::start(redis.port).await);
    }
    let nodes: Vec<Server> = proxies.iter().map(|proxy| ground.node(proxy.port, |_| {})).collect();
    let mut reader = attached(&nodes[0], "room").await;
    let reading = tokio::spawn(async move { messages(&mut reader, publishes).await });
    let done = Arc::default();
    let _progress = Progress::of("publishes", &done, publishes);
    let write = async |writer: usize| {
        let mut repeated = 0;
        for number in 0..publishes / WRITERS {
            let id = format!("{writer}-{number}");
            let again = rand::rng().random_bool(0.3);
            repeated += usize::from(again);
            let first: usize = rand::rng().random_range(0..NODES);
            let body = json!([{"id": id, "data": id}]).to_string();
            for node in (first..).map(|place| &nodes[place % NODES]).take(1 + usize::from(again)) {
                // A node whose link is cut may have to say no for a moment.
                eventually(async || {
                    let target = format!("/channels/room/messages?key={KEY}");
                    let told = Http::connect(node).await.post(&target, &[], &body).await;
                    (told.status == 201).then_some(())
                })
                .await;
            }
            done.fetch_add(1, Ordering::Relaxed);
        }
        repeated
    };
    let is_done = AtomicBool::new(false);
    let cut = async {
        let mut made = 0;
        while !is_done.load(Ordering::Relaxed) && made < cuts {
            tokio::time::sleep(Duration::from_millis(50)).await;
            proxies[made % NODES].cut();
            made += 1;
        }
        made
    };
    let writing = async {
        let repeated = join_all((0..WRITERS).map(write)).await;
        is_done.store(true, Ordering::Relaxed);
        repeated.into_iter().sum::<usize>()
    };
    let (repeated, made) = tokio::join!(writing, cut);
    let read = reading.await.unwrap();
    let each = publishes / WRITERS;
    let expected = (0..WRITERS).flat_map(|writer| (0..each).map(move |number| format!("{writer}-{number}"))).collect();
    assert_whole(&read, &expected);
    println!("{publishes} publishes, {repeated} of them again at another node, {made} cuts: no double");
}

/// What Redis takes too late is refused, and never there.
#[tokio::test]
async fn nothing_is_appended_after_its_deadline() {
    let pauses = if is_whole() { vec![5, 60] } else { vec![1] };
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let deadline = Duration::from_millis(300);
    let node = ground.node(redis.port, |config| config.cluster.deadline = deadline);
    let mut expected = Vec::new();
    for pause in pauses {
        let redis_id = Pid::from_raw(redis.id() as i32);
        kill(redis_id, Signal::SIGSTOP).unwrap();
        let refused = join_all((0..20).map(|number| {
            let (node, body) = (&node, message(&format!("late-{pause}-{number}")).to_string());
            async move {
                let target = format!("/channels/room/messages?key={KEY}");
                Http::connect(node).await.post(&target, &[], &body).await.status
            }
        }));
        assert!(refused.await.iter().all(|status| *status == 503), "refused in time");
        tokio::time::sleep(Duration::from_secs(pause)).await;
        kill(redis_id, Signal::SIGCONT).unwrap();
        let data = format!("after-{pause}");
        eventually(async || {
            let body = json!([{"id": data, "data": data}]).to_string();
            let target = format!("/channels/room/messages?key={KEY}");
            (Http::connect(&node).await.post(&target, &[], &body).await.status == 201).then_some(())
        })
        .await;
        expected.push(data);
    }
    assert_eq!(history(&node, "room").await, expected);
    println!("{} publishes that came too late: none was appended", 20 * expected.len());
}
