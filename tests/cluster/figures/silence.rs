//! R6: clients that change nodes, nodes and Redis that are killed, Redis that comes back without its data or with older data: what was
//! acknowledged is delivered, or the subscriber is told that something is missing.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use rand::{RngExt as _, seq::SliceRandom as _};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::{Progress, sized};
use crate::{
    cluster::{
        Ground, KEY,
        fleet::{Addresses, End, Fleet},
        roamer::{Plan, Roamer},
    },
    support::redis::RedisServer,
};

const NODES: usize = 3;
const SUBSCRIBERS: usize = 6;

#[derive(Clone, Copy, Debug)]
enum Death {
    Node,
    /// Redis, which has its data when it is back.
    Redis,
    /// Redis loses everything.
    Data,
    /// Redis comes back with what it had some time ago.
    Tail,
}

/// Each of these deaths so many times.
fn deaths(counts: &[(Death, usize)]) -> Vec<Death> {
    let mut all: Vec<Death> = counts.iter().flat_map(|(death, count)| vec![*death; *count]).collect();
    all.shuffle(&mut rand::rng());
    all
}

/// Redis has lost nothing: then nobody is told of a break, either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_and_nothing_breaks_whatever_is_killed() {
    let deaths = deaths(&[(Death::Node, sized(3, 100)), (Death::Redis, sized(1, 20))]);
    assert_eq!(breaks(&deaths, sized(150, 7_500)).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_redis_has_lost_is_never_lost_in_silence() {
    let deaths = deaths(&[(Death::Data, sized(1, 20)), (Death::Tail, sized(2, 20))]);
    let told = breaks(&deaths, sized(100, 2_500)).await;
    assert!(told > 0, "the loss of everything is told");
}

/// How many breaks were told while clients changed nodes so many times.
async fn breaks(deaths: &[Death], moves: usize) -> usize {
    let mut redis = RedisServer::start().await;
    let ground = Ground::new();
    let mut fleet = Fleet::start(&ground, redis.port, NODES, &[("CLUSTER_DEADLINE", "2s")]);
    let is_done = Arc::new(AtomicBool::new(false));
    let writing = tokio::spawn(write(fleet.addresses.clone(), Arc::clone(&is_done)));
    let moved = Arc::new(AtomicUsize::new(0));
    let _progress = Progress::of("changes of node", &moved, moves);
    let subscribers: Vec<_> = (0..SUBSCRIBERS)
        .map(|number| {
            let (addresses, is_done, moved) = (fleet.addresses.clone(), Arc::clone(&is_done), Arc::clone(&moved));
            let mut roamer = Roamer::new(&format!("reader{number}"), "room", Plan::listen());
            tokio::spawn(async move {
                while !is_done.load(Ordering::Relaxed) {
                    let stay = Duration::from_millis(rand::rng().random_range(20..400));
                    let is_attached = roamer.stay(addresses.any(), tokio::time::sleep(stay)).await;
                    moved.fetch_add(usize::from(is_attached), Ordering::Relaxed);
                }
                // One last time, for long enough to hear the end.
                roamer.stay(addresses.any(), tokio::time::sleep(Duration::from_secs(2))).await;
                roamer.stretches
            })
        })
        .collect();
    let mut copy: Option<TempDir> = None;
    for (round, death) in deaths.iter().enumerate() {
        let upto = |part: usize| moves * (2 * round + part) / (2 * deaths.len());
        for part in 1..=2 {
            while moved.load(Ordering::Relaxed) < upto(part) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            if part == 1 && matches!(death, Death::Tail) {
                copy = Some(redis.copy());
            }
        }
        match death {
            Death::Node => {
                let place = fleet.any();
                fleet.replace(place, End::Killed).await;
            }
            Death::Redis => {
                redis.kill();
                redis.restart().await;
            }
            Death::Data => {
                redis.command(&[b"FLUSHALL"]).await;
                redis.command(&[b"CLIENT", b"KILL", b"TYPE", b"pubsub"]).await;
            }
            Death::Tail => {
                redis.kill();
                redis.fall_back(copy.take().expect("made in the same round")).await;
            }
        }
    }
    is_done.store(true, Ordering::Relaxed);
    let acked = writing.await.unwrap();
    let (mut delivered, mut breaks) = (0, 0);
    for subscriber in subscribers {
        let stretches = subscriber.await.unwrap();
        breaks += stretches.len().saturating_sub(1);
        for stretch in stretches {
            delivered += stretch.len();
            let serials: Vec<String> = stretch.into_iter().map(|(serial, _)| serial).collect();
            assert_no_silent_loss(&serials, &acked);
        }
    }
    let (moved, count) = (moved.load(Ordering::Relaxed), acked.len());
    println!(
        "{count} acknowledged, {delivered} deliveries, {moved} changes of node, {deaths:?}: {breaks} breaks told, none silent"
    );
    assert!(delivered > 0 && count > 0);
    breaks
}

/// Publishes at any node until it is told to stop: the serials of what was acknowledged.
async fn write(addresses: Addresses, is_done: Arc<AtomicBool>) -> BTreeSet<String> {
    let mut acked = BTreeSet::new();
    for number in 0.. {
        if is_done.load(Ordering::Relaxed) {
            break;
        }
        let body = json!([{"id": format!("id-{number}"), "data": number.to_string()}]).to_string();
        if let Some(serial) = try_publish(addresses.any(), &body).await {
            acked.insert(serial);
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    acked
}

/// Between two breaks that a subscriber was told of: serials rise, and whatever was acknowledged between its first and its last
/// message is among them.
fn assert_no_silent_loss(stretch: &[String], acked: &BTreeSet<String>) {
    assert!(
        stretch.windows(2).all(|pair| pair[0] < pair[1] || epoch(&pair[0]) != epoch(&pair[1])),
        "doubled or swapped"
    );
    let heard: HashSet<&String> = stretch.iter().collect();
    let mut bounds: BTreeMap<&str, (&String, &String)> = BTreeMap::new();
    for serial in stretch {
        bounds.entry(epoch(serial)).and_modify(|bounds| bounds.1 = serial).or_insert((serial, serial));
    }
    assert!(bounds.len() <= 1, "another life of the log without a word");
    for (first, last) in bounds.values() {
        let of_stretch = acked.range::<String, _>(*first..=*last).filter(|serial| epoch(serial) == epoch(first));
        let missing: Vec<_> = of_stretch.filter(|serial| !heard.contains(serial)).collect();
        assert!(missing.is_empty(), "lost in silence: {missing:?}");
    }
}

/// What follows the position in a serial.
fn epoch(serial: &str) -> &str {
    serial.split_once('@').map_or("", |(_, epoch)| epoch)
}

/// The serial of the frame that a message came in, if it was acknowledged.
async fn try_publish(address: SocketAddr, body: &str) -> Option<String> {
    let url = format!("/channels/room/messages?key={KEY}");
    let asked = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        let head = format!(
            "POST {url} HTTP/1.1\r\nhost: {address}\r\nx-ably-version: 6\r\ncontent-type: application/json\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        if !head.starts_with("HTTP/1.1 201") {
            return None;
        }
        let start = body.find('{')?;
        let told: Value = serde_json::from_str(body[start..=body.rfind('}')?].trim()).ok()?;
        let serial = told["serials"][0].as_str()?;
        Some(serial.rsplit_once(':').map_or(serial, |(frame, _)| frame).to_owned())
    };
    timeout(Duration::from_secs(10), asked).await.ok()?
}
