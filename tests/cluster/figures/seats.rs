//! R7, of rooms with a limit: it is held by all nodes together while users come and go and nodes die.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{SinkExt as _, StreamExt as _, future::join_all};
use parking_lot::Mutex;
use rand::RngExt as _;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::{Progress, sized};
use crate::{
    cluster::{
        Ground,
        fleet::{Addresses, End, Fleet},
    },
    support::{Client, redis::RedisServer},
};

const USERS: usize = 60;
const SEATS: usize = 50;

/// How many are in the room for certain, by the node that they are at.
#[derive(Default)]
struct Room {
    /// None: it is dead, or about to be.
    inside: Mutex<BTreeMap<SocketAddr, Option<usize>>>,
    most: AtomicUsize,
    turns: Arc<AtomicUsize>,
}

impl Room {
    /// Somebody has got a place there.
    fn come(&self, node: SocketAddr) {
        let mut inside = self.inside.lock();
        if let Some(count) = inside.entry(node).or_insert(Some(0)) {
            *count += 1;
        }
        self.most.fetch_max(inside.values().flatten().sum(), Ordering::Relaxed);
        self.turns.fetch_add(1, Ordering::Relaxed);
    }

    /// Somebody is about to give it back.
    fn go(&self, node: SocketAddr) {
        if let Some(Some(count)) = self.inside.lock().get_mut(&node) {
            *count -= 1;
        }
    }
}

/// A user who is let in, if there is a place and the node lives.
async fn enter(address: SocketAddr, token: &str, user: &str) -> Option<Client> {
    let url = format!("ws://{address}/ws?token={token}&userId={user}");
    let mut client = Client::try_connect(&url, user).await.ok()?;
    let wanted = json!({"type": "subscribe", "channel": "demo1", "event": "signal:all"});
    client.socket.send(Message::text(wanted.to_string())).await.ok()?;
    loop {
        if let Message::Text(text) = client.socket.next().await?.ok()? {
            let answer: Value = serde_json::from_str(&text).ok()?;
            return (answer["type"] == "subscribed").then_some(client);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_is_never_over_its_limit_whoever_dies() {
    let deaths = sized(1, 20);
    let turns = 300;
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let mut fleet = Fleet::start(&ground, redis.port, 3, &[]);
    let token = fleet.nodes[0].token.clone();
    let room = Arc::new(Room::default());
    let is_done = Arc::new(AtomicBool::new(false));
    let live = |number: usize| {
        let (addresses, token): (Addresses, String) = (fleet.addresses.clone(), token.clone());
        let (room, is_done) = (Arc::clone(&room), Arc::clone(&is_done));
        tokio::spawn(async move {
            while !is_done.load(Ordering::Relaxed) {
                let node = addresses.any();
                if let Some(client) = enter(node, &token, &format!("user:{number}")).await {
                    room.come(node);
                    let stay = rand::rng().random_range(100..600);
                    tokio::time::sleep(Duration::from_millis(stay)).await;
                    room.go(node);
                    client.cut();
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
    };
    let _progress = Progress::of("turns", &room.turns, deaths * turns);
    let users: Vec<_> = (0..USERS).map(live).collect();
    for death in 0..deaths {
        let upto = room.turns.load(Ordering::Relaxed) + turns;
        while room.turns.load(Ordering::Relaxed) < upto {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let place = death % 3;
        // Whoever is there is not in the room any more, as far as anybody knows.
        room.inside.lock().insert(fleet.nodes[place].address, None);
        fleet.replace(place, End::Killed).await;
    }
    is_done.store(true, Ordering::Relaxed);
    for user in join_all(users).await {
        user.unwrap();
    }
    let most = room.most.load(Ordering::Relaxed);
    assert!(most <= SEATS, "{most} at the same time");
    // When the leases of the dead are over, all places are there again.
    let mut inside = Vec::new();
    let full = async {
        for number in 0..SEATS {
            loop {
                if let Some(client) = enter(fleet.addresses.any(), &token, &format!("late:{number}")).await {
                    break inside.push(client);
                }
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), full).await.expect("every place is given back");
    for address in fleet.addresses.all() {
        assert!(enter(address, &token, "one:more").await.is_none(), "it is full");
    }
    println!(
        "{} turns, {deaths} nodes killed: never more than {most} of {SEATS} at once",
        room.turns.load(Ordering::Relaxed)
    );
}
