//! R7: members of several rooms enter, change, leave and change nodes, while nodes die and sleep: all nodes come to the same members,
//! and whoever is gone has left.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use nix::sys::signal::Signal;
use rand::{RngExt as _, seq::IndexedRandom as _};
use serde_json::{Value, json};

use super::{Progress, sized};
use crate::{
    cluster::{
        Ground, KEY,
        fleet::{End, Fleet},
        members::{Members, until_all_tell_of},
    },
    support::{AblyClient, ably::action, redis::RedisServer},
};

const NODES: usize = 3;
/// In one room.
const PEOPLE: usize = 18;
const SLEEP: Duration = Duration::from_secs(30);

/// A client that comes and goes.
struct Person {
    name: String,
    room: usize,
    here: Option<Here>,
    said: usize,
}

struct Here {
    client: AblyClient,
    node: SocketAddr,
    key: String,
    serial: Value,
    /// As a member.
    data: Option<String>,
}

impl Person {
    fn room(&self) -> String {
        format!("room{}", self.room)
    }

    fn is_at(&self, node: SocketAddr) -> bool {
        self.here.as_ref().is_some_and(|here| here.node == node)
    }

    /// Connects; resumes what it was, if that is told.
    async fn come(&mut self, node: SocketAddr, before: Option<Here>) {
        let resume = before.as_ref().map(|before| format!("&resume={}", before.key)).unwrap_or_default();
        let query = format!("v=6&key={KEY}&clientId={}{resume}", self.name);
        let mut client = AblyClient::open_at(node, &query).await;
        let connected = client.expect(action::CONNECTED).await;
        let mut attach = json!({"action": action::ATTACH, "channel": self.room()});
        if let Some(before) = &before {
            attach["channelSerial"] = before.serial.clone();
        }
        let attached = client.attach_with(attach).await;
        self.here = Some(Here {
            client,
            node,
            key: connected["connectionDetails"]["connectionKey"].as_str().unwrap().to_owned(),
            serial: attached["channelSerial"].clone(),
            data: before.and_then(|before| before.data),
        });
    }

    async fn act(&mut self, action: u64) {
        self.said += 1;
        let data = format!("{}-{}", self.name, self.said);
        let room = self.room();
        let here = self.here.as_mut().expect("connected");
        // Its own numbers: what is sent after a resume is new.
        let (serial, events) = (self.said as u64, json!([{"action": action, "data": data}]));
        here.client.push_again(serial, action::PRESENCE, "presence", &room, events).await;
        here.client.acked(serial).await;
        here.data = (action != 3).then_some(data);
    }

    /// One thing that clients do.
    async fn live(&mut self, nodes: &[SocketAddr]) {
        let what = rand::rng().random_range(0..8);
        let node = *nodes.choose(&mut rand::rng()).expect("some are awake");
        match (what, self.here.take()) {
            (_, None) => {
                self.come(node, None).await;
                self.act(2).await;
            }
            (0, Some(mut here)) => {
                here.client.send(json!({"action": action::CLOSE})).await;
                while here.client.next().await["action"] != action::CLOSED {}
            }
            (1 | 2, Some(here)) => self.come(node, Some(here)).await,
            (3, Some(here)) => {
                self.here = Some(here);
                self.act(3).await;
            }
            (_, Some(here)) => {
                let action = if here.data.is_some() { 4 } else { 2 };
                self.here = Some(here);
                self.act(action).await;
            }
        }
    }
}

/// The clients, and where they go.
struct Crowd {
    people: Vec<Person>,
    rooms: usize,
    asleep: Option<SocketAddr>,
    rounds: Arc<AtomicUsize>,
    /// How often something was waited for, and the longest time that it took.
    longest: BTreeMap<&'static str, (usize, Duration)>,
}

impl Crowd {
    fn awake(&self, fleet: &Fleet) -> Vec<SocketAddr> {
        fleet.addresses.all().into_iter().filter(|node| Some(*node) != self.asleep).collect()
    }

    /// A round in each room; who is at a node that sleeps waits.
    async fn live(&mut self, fleet: &Fleet) {
        let (nodes, asleep) = (self.awake(fleet), self.asleep);
        let acting = self.people.iter_mut().filter(|person| asleep.is_none_or(|node| !person.is_at(node)));
        join_all(acting.map(|person| person.live(&nodes))).await;
        self.rounds.fetch_add(self.rooms, Ordering::Relaxed);
        self.until("equal", fleet).await;
    }

    /// Waits until the nodes that are awake tell of whoever is at one of them.
    async fn until(&mut self, what: &'static str, fleet: &Fleet) {
        let start = Instant::now();
        let mut rooms = vec![Members::new(); self.rooms];
        for person in self.people.iter().filter(|person| self.asleep.is_none_or(|node| !person.is_at(node))) {
            if let Some(data) = person.here.as_ref().and_then(|here| here.data.clone()) {
                rooms[person.room].insert(person.name.clone(), data);
            }
        }
        let nodes = self.awake(fleet);
        let tell = rooms.iter().enumerate().map(async |(room, members)| {
            until_all_tell_of(&format!("room{room}"), &nodes, members).await;
        });
        join_all(tell).await;
        let longest = self.longest.entry(what).or_default();
        *longest = (longest.0 + 1, longest.1.max(start.elapsed()));
    }

    /// Half of those who are there go on at other nodes; the others are lost to their clients.
    async fn flee(&mut self, fleet: &Fleet, node: SocketAddr, are_lost: bool) {
        let awake = self.awake(fleet);
        let moves = self.people.iter_mut().enumerate().map(async |(number, person)| {
            if person.is_at(node) && (are_lost || number % 2 == 0) {
                let here = person.here.take();
                if number % 2 == 0 {
                    person.come(awake[number % awake.len()], here).await;
                }
            }
        });
        join_all(moves).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_nodes_come_to_the_same_members_whoever_dies() {
    let (rounds, deaths, sleeps, rooms) = (sized(12, 1_000), sized(1, 50), sized(0, 20), sized(2, 10));
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let mut fleet = Fleet::start(&ground, redis.port, NODES, &[]);
    let person = |number| Person { name: format!("person{number}"), room: number % rooms, here: None, said: 0 };
    let mut crowd = Crowd {
        people: (0..rooms * PEOPLE).map(person).collect(),
        rooms,
        asleep: None,
        rounds: Arc::default(),
        longest: BTreeMap::new(),
    };
    let _progress = Progress::of("rounds", &crowd.rounds, rounds);
    // In each of these times a node sleeps, if any is to, and others die meanwhile.
    let times = sleeps.max(1);
    for time in 0..times {
        while crowd.rounds.load(Ordering::Relaxed) < rounds * (2 * time + 1) / (2 * times) {
            crowd.live(&fleet).await;
        }
        let place = fleet.any();
        let start = Instant::now();
        if sleeps > 0 {
            fleet.signal(place, Signal::SIGSTOP);
            let asleep = fleet.nodes[place].address;
            crowd.asleep = Some(asleep);
            crowd.flee(&fleet, asleep, false).await;
        }
        for death in deaths * time / times..deaths * (time + 1) / times {
            let dies = (place + 1 + death % (NODES - 1)) % NODES;
            let dead = fleet.nodes[dies].address;
            fleet.replace(dies, End::Killed).await;
            crowd.flee(&fleet, dead, true).await;
        }
        crowd.until("gone", &fleet).await;
        if sleeps > 0 {
            while start.elapsed() < SLEEP {
                crowd.live(&fleet).await;
            }
            fleet.signal(place, Signal::SIGCONT);
            crowd.asleep = None;
            crowd.until("back with a sleeper", &fleet).await;
        }
    }
    while crowd.rounds.load(Ordering::Relaxed) < rounds {
        crowd.live(&fleet).await;
    }
    let (rounds, longest) = (crowd.rounds.load(Ordering::Relaxed), &crowd.longest);
    println!("{rounds} rounds, {deaths} deaths, {sleeps} sleeps, {PEOPLE} clients in a room, no ghost: {longest:?}");
}
