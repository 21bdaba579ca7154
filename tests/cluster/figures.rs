//! The figures of `docs/design/cluster.md §10`: in a small form with every run, whole with `LETSHARE_NIGHTLY=1`.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{SinkExt as _, StreamExt as _, future::join_all};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use parking_lot::Mutex;
use rand::RngExt as _;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_tungstenite::tungstenite::Message;

use super::{Ground, KEY, assert_whole, attached, message, messages, proxy::Proxy};
use crate::support::{
    AblyClient, Http, Server,
    ably::{action, flag},
    eventually,
    process::ServerProcess,
    redis::RedisServer,
};

/// One size of two: for every run, and for the night.
fn sized<T>(small: T, whole: T) -> T {
    if std::env::var_os("LETSHARE_NIGHTLY").is_some() { whole } else { small }
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
    let (subscribers, rounds) = sized((5, 2), (33, 45));
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let nodes = ground.nodes::<NODES>(&redis);
    let mut readers = Vec::new();
    for node in nodes.iter().cycle().take(NODES * subscribers) {
        readers.push(attached(node, "room").await);
    }
    let (mut read, mut deliveries) = (vec![Vec::new(); readers.len()], 0);
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
    let (publishes, cuts) = sized((800, 10), (100_000, 400));
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let mut proxies = Vec::new();
    for _ in 0..NODES {
        proxies.push(Proxy::start(redis.port).await);
    }
    let nodes: Vec<Server> = proxies.iter().map(|proxy| ground.node(proxy.port, |_| {})).collect();
    let mut reader = attached(&nodes[0], "room").await;
    let reading = tokio::spawn(async move { messages(&mut reader, publishes).await });
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

/// R6: clients that change nodes, nodes and Redis that are killed, Redis that comes back without its data: what was acknowledged
/// is delivered, or the subscriber is told that something is missing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_in_silence_whatever_is_killed() {
    const NODES: usize = 3;
    const SUBSCRIBERS: usize = 4;
    let rounds = sized(3, 100);
    let moves = sized(8, 25);
    let mut redis = RedisServer::start().await;
    let ground = Ground::new();
    let start = |redis: &RedisServer| {
        let endpoint = format!("127.0.0.1:{}", redis.port);
        let [secret, apps] = ["secret", "apps.yaml"].map(|name| ground.path(name));
        ServerProcess::start(&[
            ("CLUSTER_ENGINE", "redis"),
            ("CLUSTER_ENDPOINT", &endpoint),
            ("CLUSTER_SECRET_FILE", secret.to_str().unwrap()),
            ("CLUSTER_DEADLINE", "2s"),
            ("ABLY_APPS_FILE", apps.to_str().unwrap()),
            ("ABLY_KEYS_OVER_HTTP", "true"),
            ("LIMITS_CONNECTS_PER_SECOND", "0"),
            ("LIMITS_REQUESTS_PER_SECOND", "0"),
        ])
    };
    let mut nodes: Vec<ServerProcess> = (0..NODES).map(|_| start(&redis)).collect();
    let addresses = Arc::new(Mutex::new(nodes.iter().map(|node| node.address).collect::<Vec<_>>()));
    let any = {
        let addresses = Arc::clone(&addresses);
        move || {
            let addresses = addresses.lock();
            addresses[rand::rng().random_range(0..addresses.len())]
        }
    };
    let is_done = Arc::new(AtomicBool::new(false));
    let acked = Arc::new(Mutex::new(BTreeSet::new()));
    let writing = {
        let (any, is_done, acked) = (any.clone(), Arc::clone(&is_done), Arc::clone(&acked));
        tokio::spawn(async move {
            for number in 0.. {
                if is_done.load(Ordering::Relaxed) {
                    return;
                }
                let body = json!([{"id": format!("id-{number}"), "data": number.to_string()}]).to_string();
                if let Some(serial) = try_publish(any(), &body).await {
                    acked.lock().insert(serial);
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
    };
    let moved = Arc::new(AtomicUsize::new(0));
    let subscribers: Vec<_> = (0..SUBSCRIBERS)
        .map(|_| {
            let (any, is_done, moved) = (any.clone(), Arc::clone(&is_done), Arc::clone(&moved));
            tokio::spawn(async move {
                let mut subscriber = Subscriber::default();
                while !is_done.load(Ordering::Relaxed) {
                    let stay = Duration::from_millis(rand::rng().random_range(20..400));
                    if subscriber.stay(any(), stay).await {
                        moved.fetch_add(1, Ordering::Relaxed);
                    }
                }
                // One last time, for long enough to hear the end.
                subscriber.stay(any(), Duration::from_secs(2)).await;
                subscriber.stretches
            })
        })
        .collect();
    for round in 0..rounds {
        let until = moved.load(Ordering::Relaxed) + moves * SUBSCRIBERS;
        eventually(async || {
            tokio::time::sleep(Duration::from_millis(5)).await;
            (moved.load(Ordering::Relaxed) >= until).then_some(())
        })
        .await;
        match round % 3 {
            0 => {
                let place = rand::rng().random_range(0..NODES);
                let next = start(&redis);
                addresses.lock()[place] = next.address;
                std::mem::replace(&mut nodes[place], next).kill().await;
            }
            1 => {
                redis.kill();
                redis.restart().await;
            }
            _ => {
                redis.command(&[b"FLUSHALL"]).await;
                redis.command(&[b"CLIENT", b"KILL", b"TYPE", b"pubsub"]).await;
            }
        }
    }
    is_done.store(true, Ordering::Relaxed);
    writing.await.unwrap();
    let acked = acked.lock().clone();
    let (mut delivered, mut breaks) = (0, 0);
    for subscriber in subscribers {
        let stretches = subscriber.await.unwrap();
        breaks += stretches.len().saturating_sub(1);
        for stretch in stretches {
            delivered += stretch.len();
            assert_no_silent_loss(&stretch, &acked);
        }
    }
    let moved = moved.load(Ordering::Relaxed);
    println!(
        "{} acknowledged, {delivered} deliveries, {moved} changes of node, {rounds} deaths: {breaks} breaks told",
        acked.len()
    );
    assert!(delivered > 0 && !acked.is_empty());
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

/// A client that goes from node to node, as an SDK does it: it resumes its connection and attaches after the last serial.
#[derive(Default)]
struct Subscriber {
    key: Option<String>,
    serial: Option<String>,
    /// The serials that were heard, a list more for each break that was told.
    stretches: Vec<Vec<String>>,
}

impl Subscriber {
    /// Stays at a node for a while; whether it got so far as to be attached.
    async fn stay(&mut self, address: SocketAddr, stay: Duration) -> bool {
        let resume = self.key.as_ref().map(|key| format!("&resume={key}")).unwrap_or_default();
        let url = format!("ws://{address}/?v=6&key={KEY}{resume}");
        let opened = timeout(Duration::from_secs(5), tokio_tungstenite::connect_async(url)).await;
        let Ok(Ok((mut socket, _))) = opened else { return false };
        let mut is_attached = false;
        let listening = async {
            while let Some(Ok(frame)) = socket.next().await {
                let Message::Text(text) = frame else { continue };
                let frame: Value = serde_json::from_str(&text).unwrap();
                match frame["action"].as_u64().unwrap() {
                    action::CONNECTED => {
                        self.key = frame["connectionDetails"]["connectionKey"].as_str().map(str::to_owned);
                        let mut attach = json!({"action": action::ATTACH, "channel": "room"});
                        if let Some(serial) = &self.serial {
                            attach["channelSerial"] = json!(serial);
                            attach["flags"] = json!(1 << 5);
                        }
                        if socket.send(Message::text(attach.to_string())).await.is_err() {
                            return;
                        }
                    }
                    action::ATTACHED => {
                        is_attached = true;
                        let is_resumed = frame["flags"].as_u64().unwrap_or_default() & flag::RESUMED != 0;
                        if !is_resumed || self.stretches.is_empty() {
                            self.stretches.push(Vec::new());
                        }
                        self.serial = frame["channelSerial"].as_str().map(str::to_owned);
                    }
                    action::MESSAGE => {
                        let serial = frame["channelSerial"].as_str().unwrap().to_owned();
                        self.stretches.last_mut().expect("attached").push(serial.clone());
                        self.serial = Some(serial);
                    }
                    // It is attached again when it comes to the next node.
                    _ => {}
                }
            }
        };
        let _ = timeout(stay, listening).await;
        is_attached
    }
}

/// What Redis takes too late is refused, and never there.
#[tokio::test]
async fn nothing_is_appended_after_its_deadline() {
    let pauses = sized(vec![1], vec![5, 60]);
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let deadline = Duration::from_millis(300);
    let node = ground.node(redis.port, |config| config.cluster.deadline = deadline);
    let mut reader = attached(&node, "room").await;
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
    let read: Vec<String> = messages(&mut reader, expected.len()).await.into_iter().map(|(_, data)| data).collect();
    assert_eq!(read, expected);
}
