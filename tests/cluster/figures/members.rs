//! R7: members enter, change, leave and change nodes, nodes die and sleep: all nodes come to the same members, and whoever is gone has
//! left.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use nix::sys::signal::Signal;
use rand::RngExt as _;
use serde_json::{Value, json};

use super::sized;
use crate::{
    cluster::{
        Ground, KEY,
        fleet::{Addresses, End, Fleet},
        members::{Members, until_all_tell},
    },
    support::{AblyClient, ably::action, redis::RedisServer},
};

const NODES: usize = 3;
const PEOPLE: usize = 18;

/// A client that comes and goes.
struct Person {
    name: String,
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
    /// Connects; resumes what it was, if that is told.
    async fn come(&mut self, node: SocketAddr, before: Option<Here>) {
        let resume = before.as_ref().map(|before| format!("&resume={}", before.key)).unwrap_or_default();
        let query = format!("v=6&key={KEY}&clientId={}{resume}", self.name);
        let mut client = AblyClient::open_at(node, &query).await;
        let connected = client.expect(action::CONNECTED).await;
        let mut attach = json!({"action": action::ATTACH, "channel": "room"});
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
        let here = self.here.as_mut().expect("connected");
        // Its own numbers: what is sent after a resume is new.
        let (serial, events) = (self.said as u64, json!([{"action": action, "data": data}]));
        here.client.push_again(serial, action::PRESENCE, "presence", "room", events).await;
        here.client.acked(serial).await;
        here.data = (action != 3).then_some(data);
    }

    /// One thing that clients do.
    async fn live(&mut self, addresses: &Addresses) {
        let what = rand::rng().random_range(0..8);
        match (what, self.here.take()) {
            (_, None) => {
                self.come(addresses.any(), None).await;
                self.act(2).await;
            }
            (0, Some(mut here)) => {
                here.client.send(json!({"action": action::CLOSE})).await;
                while here.client.next().await["action"] != action::CLOSED {}
            }
            (1 | 2, Some(here)) => self.come(addresses.any(), Some(here)).await,
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

fn present(people: &[Person]) -> Members {
    let member = |person: &Person| Some((person.name.clone(), person.here.as_ref()?.data.clone()?));
    people.iter().filter_map(member).collect()
}

/// The longest of the times that something took.
#[derive(Default)]
struct Longest(BTreeMap<&'static str, (usize, Duration)>);

impl Longest {
    async fn until(&mut self, what: &'static str, nodes: &[SocketAddr], members: &Members) {
        let start = Instant::now();
        until_all_tell(nodes, members).await;
        let longest = self.0.entry(what).or_default();
        *longest = (longest.0 + 1, longest.1.max(start.elapsed()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_nodes_come_to_the_same_members_whoever_dies() {
    let (rounds, deaths, sleeps) = (sized(12, 1_000), sized(1, 50), sized(0, 20));
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let mut fleet = Fleet::start(&ground, redis.port, NODES, &[]);
    let mut people: Vec<Person> =
        (0..PEOPLE).map(|number| Person { name: format!("person{number}"), here: None, said: 0 }).collect();
    let mut longest = Longest::default();
    let is_due = |round: usize, times: usize| times > 0 && round.is_multiple_of((rounds / times).max(1));
    for round in 1..=rounds {
        let addresses = fleet.addresses.clone();
        join_all(people.iter_mut().map(|person| person.live(&addresses))).await;
        longest.until("equal", &fleet.addresses.all(), &present(&people)).await;
        if is_due(round, deaths) {
            // Half of those who were there go on at other nodes, the others are never seen again.
            let place = fleet.any();
            let dead = fleet.nodes[place].address;
            fleet.replace(place, End::Killed).await;
            for (number, person) in people.iter_mut().enumerate() {
                if let Some(here) = person.here.take_if(|here| here.node == dead)
                    && number % 2 == 0
                {
                    person.come(fleet.addresses.any(), Some(here)).await;
                }
            }
            longest.until("gone with a node", &fleet.addresses.all(), &present(&people)).await;
        }
        if is_due(round, sleeps) {
            // Half of those who were there go on at other nodes, the others wait.
            let place = fleet.any();
            let asleep = fleet.nodes[place].address;
            fleet.signal(place, Signal::SIGSTOP);
            let awake: Vec<SocketAddr> = fleet.addresses.all().into_iter().filter(|node| *node != asleep).collect();
            for (number, person) in people.iter_mut().enumerate().filter(|(number, _)| number % 2 == 0) {
                if let Some(here) = person.here.take_if(|here| here.node == asleep) {
                    person.come(awake[number % awake.len()], Some(here)).await;
                }
            }
            let waits = |person: &&Person| person.here.as_ref().is_some_and(|here| here.node == asleep);
            let mut others = present(&people);
            people.iter().filter(waits).for_each(|person| drop(others.remove(&person.name)));
            let slept = Instant::now();
            longest.until("gone with a sleeper", &awake, &others).await;
            tokio::time::sleep(Duration::from_secs(30).saturating_sub(slept.elapsed())).await;
            fleet.signal(place, Signal::SIGCONT);
            longest.until("back with a sleeper", &fleet.addresses.all(), &present(&people)).await;
        }
    }
    println!("{rounds} rounds, {PEOPLE} clients, no ghost; how often and the longest: {:?}", longest.0);
}
