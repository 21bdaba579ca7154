//! On a `redis-server` of this machine.

#![allow(clippy::unwrap_used)]

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    thread::sleep,
};

use tempfile::TempDir;

use super::*;
use crate::store::contract;

/// Ends with its owner.
pub struct Server(Child, pub u16, #[expect(dead_code, reason = "it goes with its server")] TempDir);

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

impl Server {
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// A Redis Cluster of one server: keys of different slots are not for one script.
    pub fn start_cluster() -> Self {
        let server = Self::start_with(&["--cluster-enabled", "yes", "--cluster-port", &free_port().to_string()]);
        let port = server.1.to_string();
        let ask = |words: &[&str]| {
            let told = Command::new("redis-cli").args(["-p", &port, "CLUSTER"]).args(words).output().unwrap();
            String::from_utf8(told.stdout).unwrap()
        };
        while ask(&["ADDSLOTSRANGE", "0", "16383"]).trim() != "OK" {
            sleep(Duration::from_millis(20));
        }
        while !ask(&["INFO"]).contains("cluster_state:ok") {
            sleep(Duration::from_millis(20));
        }
        server
    }

    fn start_with(settings: &[&str]) -> Self {
        let (port, dir) = (free_port(), TempDir::new().unwrap());
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--save", "", "--port", &port.to_string()]).args(settings);
        let child = command.current_dir(dir.path()).stdout(Stdio::null()).spawn();
        Self(child.unwrap(), port, dir)
    }

    fn signal(&self, signal: &str) {
        Command::new("kill").args([signal, &self.0.id().to_string()]).status().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The store of a protocol, once it can be reached.
fn store(server: &Server, protocol: &str, deadline: Duration) -> RedisStore {
    let settings = redis::Settings::at(&format!("127.0.0.1:{}", server.1), Default::default(), 0);
    let store = RedisStore::start(vec![settings], None, false, deadline, Clock::system(), protocol).unwrap();
    while store.cursor("none").is_err() {
        sleep(Duration::from_millis(20));
    }
    store
}

const PATIENT: Duration = Duration::from_secs(30);

#[test]
fn keeps_the_contract() {
    for server in [Server::start(), Server::start_cluster()] {
        contract::holds(&store(&server, "one", PATIENT));
    }
}

/// Neither has rows of another protocol, and what one node has written the other reads.
#[test]
fn protocols_have_their_own_rows_and_nodes_the_same() {
    let server = Server::start();
    let one = store(&server, "one", PATIENT);
    let other = store(&server, "one", PATIENT);
    contract::commit(&one, Batch::new().put("t", "k", "v").add("n", 2));
    contract::holds(&one.of("two"));
    assert_eq!(other.get("t", b"k").unwrap().unwrap(), b"v");
    assert_eq!(contract::commit(&other, Batch::new().add("n", 3)).counters, [5]);
    assert_eq!(one.list("t", b"", None, 9).unwrap().len(), 1);
}

/// A cursor has an end, and a batch that reaches it is done all the same.
#[test]
fn a_cursor_that_is_full_stays() {
    let server = Server::start();
    let store = store(&server, "one", PATIENT);
    let most = i64::MAX.cast_unsigned();
    let batch = Batch::new().set_cursor("n", most - 1).add("n", 1).add("n", 1).put("t", "k", "v");
    assert_eq!(contract::commit(&store, batch).counters, [most, most]);
    assert!(store.get("t", b"k").unwrap().is_some());
}

/// Who was told that it is too late finds nothing done later.
#[test]
fn what_was_refused_as_late_is_not_done_later() {
    let server = Server::start();
    let store = store(&server, "one", Duration::from_millis(200));
    contract::commit(&store, Batch::new().put("t", "k", "before"));
    server.signal("-STOP");
    let (told, outcome) = mpsc::channel();
    store.submit(Batch::new().put("t", "k", "late"), Box::new(move |result| told.send(result).unwrap()));
    assert_eq!(outcome.recv().unwrap(), Err(StoreError::Late));
    assert_eq!(store.get("t", b"k"), Err(StoreError::Late));
    server.signal("-CONT");
    let found = loop {
        match store.get("t", b"k") {
            Ok(found) => break found,
            Err(_) => sleep(Duration::from_millis(20)),
        }
    };
    assert_eq!(found.unwrap(), b"before");
}

/// The answer was lost with the connection: the batch is sent again, and is done once.
#[test]
fn a_batch_that_was_cut_off_is_done_once() {
    let server = Server::start();
    let store = store(&server, "one", PATIENT);
    let cut =
        || Command::new("redis-cli").args(["-p", &server.1.to_string(), "CLIENT", "KILL", "TYPE", "normal"]).output();
    let (told, outcomes) = mpsc::channel();
    for turn in 0..2_000_u64 {
        let told = told.clone();
        store.submit(Batch::new().add("n", 1), Box::new(move |result| told.send(result.unwrap().counters[0]).unwrap()));
        if turn % 400 == 0 {
            cut().unwrap();
        }
    }
    drop(told);
    assert_eq!(outcomes.iter().collect::<Vec<_>>(), (1..=2_000).collect::<Vec<_>>());
}

/// What a batch appends gives its rows their place; a batch that expects something else appends nothing.
#[test]
fn rows_are_placed_by_what_is_appended_with_them() {
    let server = Server::start();
    let store = store(&server, "one", PATIENT);
    let said = |text: &str| {
        Batch::new()
            .put_placed("rising", "g\0", text, Placed::BehindKey)
            .put_placed("falling", "g\0", text, Placed::BehindKeyFalling)
            .put_placed("index", text, "g", Placed::BeforeValue)
            .append("said", vec![("text", text.into())], 100)
    };
    let places = ["a", "b", "c"].map(|text| contract::commit(&store, said(text)).place.unwrap());
    assert!(places[0] < places[1] && places[1] < places[2]);
    let expecting = said("d").expect("index", "a", None);
    let (told, outcome) = mpsc::channel();
    store.submit(expecting, Box::new(move |result| told.send(result).unwrap()));
    assert_eq!(outcome.recv().unwrap(), Err(StoreError::Changed));
    let rows = |table: &str| {
        let rows = store.list(table, b"g\0", None, 9).unwrap();
        rows.into_iter().map(|row| (row.key[2..].to_vec(), row.value)).collect::<Vec<_>>()
    };
    let row = |text: &str, place: u64| (place.to_be_bytes().to_vec(), text.as_bytes().to_vec());
    assert_eq!(rows("rising"), [row("a", places[0]), row("b", places[1]), row("c", places[2])]);
    let falling = [row("c", u64::MAX - places[2]), row("b", u64::MAX - places[1]), row("a", u64::MAX - places[0])];
    assert_eq!(rows("falling"), falling);
    assert_eq!(store.get("index", b"b").unwrap().unwrap(), [&places[1].to_be_bytes()[..], b"g"].concat());
    assert_eq!(contract::commit(&store, Batch::new().put("t", "k", "v")).place, None);
    let length = Command::new("redis-cli").args(["-p", &server.1.to_string(), "XLEN", "said"]).output().unwrap();
    assert_eq!(String::from_utf8(length.stdout).unwrap().trim(), "3");
}

/// The clock of Redis was set back, or a replica whose clock is behind was promoted: no two rows get one place, and they still rise.
#[test]
fn rows_have_places_of_their_own_whatever_the_clock_does() {
    let server = Server::start();
    let store = store(&server, "one", PATIENT);
    let redis = |words: &[&str]| {
        let told = Command::new("redis-cli").args(["-p", &server.1.to_string()]).args(words).output().unwrap();
        String::from_utf8(told.stdout).unwrap()
    };
    let ahead = 1 << 42;
    redis(&["XADD", "said", &format!("{ahead}-1022"), "text", "before"]);
    let said = |text: &str| {
        Batch::new().put_placed("rising", "g\0", text, Placed::BehindKey).append(
            "said",
            vec![("text", text.into())],
            100,
        )
    };
    let places = ["a", "b", "c"].map(|text| contract::commit(&store, said(text)).place.unwrap());
    assert_eq!(places, [ahead * 1024 + 1023, (ahead + 1) * 1024, (ahead + 1) * 1024 + 1]);
    assert_eq!(store.list("rising", b"g\0", None, 9).unwrap().len(), 3);
    let entries = redis(&["XRANGE", "said", "-", "+"]);
    let ids = entries.lines().filter(|line| line.starts_with(&ahead.to_string()[..6])).count();
    assert_eq!((ids, redis(&["XLEN", "said"]).trim()), (4, "4"), "each once: {entries}");
}
