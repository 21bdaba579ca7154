//! Nodes that share one store.

#![allow(clippy::unwrap_used)]

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use parking_lot::Mutex;

use super::*;
use crate::{
    core::budget::Account,
    ids::NodeId,
    store::{
        Committed, Done, Found, Scheduled, Store,
        faulty::FaultyDisk,
        mailbox::tests::{Nobody, TABLES},
    },
};

const FEW: Bounds = Bounds { messages: 3, bytes: usize::MAX };

/// Two of them.
struct Cluster {
    disk: FaultyDisk,
    clock: Clock,
    alive: Arc<Mutex<Vec<NodeId>>>,
    nodes: [Arc<Mailboxes<Nobody>>; 2],
}

const IDS: [NodeId; 2] = [NodeId::from_bytes([1; 8]), NodeId::from_bytes([2; 8])];
const LEASE: Duration = Duration::from_secs(15);
const START: u64 = 1_760_000_000_000;

fn cluster(is_exclusive: bool) -> Cluster {
    let (disk, clock) = (FaultyDisk::default(), Clock::manual(Timestamp::from_millis(START)));
    let (store, alive) = (disk.store(), Arc::new(Mutex::new(IDS.to_vec())));
    let nodes = IDS.map(|id| {
        let seen = Arc::clone(&alive);
        let claims = Claims::new(id, move || seen.lock().clone(), LEASE, clock.clone());
        let levels = (!is_exclusive).then_some("levels");
        let sharing = Sharing { claims, is_exclusive, seen: Some("seen"), levels, clock: clock.clone() };
        Mailboxes::of_nodes(Arc::clone(&store), TABLES, 1 << 20, &Account::server(usize::MAX), sharing)
    });
    Cluster { disk, clock, alive, nodes }
}

impl Cluster {
    async fn post(&self, node: usize, text: &str, once: Option<&str>) -> Posted {
        let message = Message { since: self.clock.now(), ..Message::until_read(text.to_owned()) };
        let (node, once) = (&self.nodes[node], once.map(|once| once.as_bytes().to_vec()));
        node.post(&node.of("ann"), message, FEW, once).await.unwrap()
    }

    /// What a node has in hand when it has looked.
    async fn load(&self, node: usize) -> (Vec<String>, Loaded) {
        let node = &self.nodes[node];
        let mailbox = node.of("ann");
        let loaded = node.load(&mailbox).await.unwrap();
        let contents = mailbox.lock();
        let texts = contents.queue.behind(0).map(|(_, waiting)| waiting.body.clone().unwrap());
        (texts.map(|body| String::from_utf8(body.to_vec()).unwrap()).collect(), loaded)
    }

    fn in_hand(&self, node: usize) -> Vec<u64> {
        self.nodes[node].of("ann").lock().queue.behind(0).map(|(number, _)| number).collect()
    }
}

const NOTHING: Loaded = Loaded { is_more: false, is_elsewhere: false };
const MORE: Loaded = Loaded { is_more: true, is_elsewhere: false };
const ELSEWHERE: Loaded = Loaded { is_more: false, is_elsewhere: true };

#[tokio::test]
async fn nodes_that_put_in_at_once_lose_nothing_and_the_bound_is_one() {
    let cluster = cluster(false);
    let posts = (0..20).map(async |number: usize| {
        let message = Message { level: number as i64, ..Message::until_read(number.to_string()) };
        let node = &cluster.nodes[number % 2];
        let bounds = Bounds { messages: 15, bytes: usize::MAX };
        node.post(&node.of("ann"), message, bounds, None).await.unwrap()
    });
    let posted = join_all(posts).await;
    let displaced = |posted: &Posted| match posted {
        Posted::Kept { displaced, .. } => *displaced,
        _ => 0,
    };
    let kept = posted.iter().filter(|posted| matches!(posted, Posted::Kept { .. })).count() as u64;
    assert_eq!(kept - posted.iter().map(displaced).sum::<u64>(), 15, "{posted:?}");
    let (texts, loaded) = cluster.load(0).await;
    assert_eq!((texts.len(), loaded), (15, MORE));
    assert!(cluster.in_hand(0).is_sorted());
}

#[tokio::test]
async fn the_oldest_goes_and_what_came_before_is_known() {
    let cluster = cluster(false);
    for (turn, text) in ["one", "two", "three", "four"].into_iter().enumerate() {
        let posted = cluster.post(turn % 2, text, Some(text)).await;
        assert!(matches!(posted, Posted::Kept { displaced, .. } if displaced == u64::from(turn == 3)), "{posted:?}");
    }
    assert_eq!(cluster.post(1, "one", Some("one")).await, Posted::Known);
    assert_eq!(cluster.load(1).await.0, ["two", "three", "four"]);
    cluster.clock.advance(limits::IDEMPOTENCY_WINDOW + Duration::from_secs(1));
    cluster.nodes[0].sweep(Timestamp::from_millis(0)).await.unwrap();
    assert!(matches!(cluster.post(0, "one", Some("one")).await, Posted::Kept { .. }), "it was long ago");
}

/// `docs/protocols/postoffice.md §4`.
#[tokio::test]
async fn the_lowest_level_goes_first_and_of_that_the_oldest() {
    let cluster = cluster(false);
    let post = async |text: &str, level| {
        let message = Message { level, ..Message::until_read(text.to_owned()) };
        cluster.nodes[0].post(&cluster.nodes[0].of("ann"), message, FEW, None).await.unwrap()
    };
    for (place, (text, level)) in [("a", 1), ("b", -1), ("c", 0), ("d", 0), ("e", 2), ("f", 3)].into_iter().enumerate()
    {
        let posted = post(text, level).await;
        assert!(matches!(posted, Posted::Kept { displaced, .. } if displaced == u64::from(place > 2)), "{posted:?}");
    }
    assert_eq!(post("g", 0).await, Posted::Full(Full::Owner));
    assert_eq!(cluster.load(1).await.0, ["a", "e", "f"]);
    let mailbox = cluster.nodes[1].of("ann");
    cluster.nodes[1].remove(&mailbox, cluster.in_hand(1));
    let store = &cluster.nodes[0].store;
    store.commit(Batch::new()).await.unwrap();
    assert_eq!(store.list("levels", b"", None, 9).unwrap(), []);
}

#[tokio::test]
async fn one_node_has_a_message_until_it_is_read_given_back_or_the_node_is_gone() {
    let cluster = cluster(true);
    cluster.post(0, "one", None).await;
    cluster.post(1, "two", None).await;
    assert_eq!(cluster.load(1).await, (vec!["one".into(), "two".into()], MORE));
    assert_eq!(cluster.load(0).await, (vec![], ELSEWHERE));
    let mailbox = cluster.nodes[1].of("ann");
    let [one, two] = cluster.in_hand(1)[..] else { panic!("two") };
    cluster.nodes[1].remove(&mailbox, [one]);
    cluster.nodes[1].hand_back(&mailbox, vec![two]).await;
    assert!(cluster.in_hand(1).is_empty());
    assert_eq!(cluster.load(0).await, (vec!["two".into()], MORE));
    assert_eq!(cluster.load(1).await, (vec![], ELSEWHERE));
    // The node dies with it.
    cluster.alive.lock().retain(|id| *id != IDS[0]);
    assert_eq!(cluster.load(1).await, (vec![], ELSEWHERE), "it may be about to come");
    cluster.clock.advance(LEASE);
    assert_eq!(cluster.load(1).await, (vec!["two".into()], MORE));
    assert_eq!(cluster.load(1).await.1, NOTHING);
}

#[tokio::test]
async fn what_was_read_does_not_come_back_also_when_it_could_not_be_removed() {
    let cluster = cluster(false);
    cluster.post(0, "one", None).await;
    cluster.post(0, "two", None).await;
    for node in 0..2 {
        assert_eq!(cluster.load(node).await.0, ["one", "two"], "all have it");
    }
    let mailbox = cluster.nodes[0].of("ann");
    let first = cluster.in_hand(0)[0];
    cluster.disk.limit(Some(0));
    cluster.nodes[0].remove(&mailbox, [first]);
    assert_eq!(cluster.load(0).await.0, ["two"]);
    cluster.disk.limit(None);
    cluster.nodes[0].sweep(Timestamp::from_millis(0)).await.unwrap();
    // Behind the removal.
    cluster.post(1, "three", None).await;
    cluster.nodes[1].let_go(&cluster.nodes[1].of("ann"));
    for node in 0..2 {
        assert_eq!(cluster.load(node).await.0, ["two", "three"]);
    }
}

#[tokio::test]
async fn a_sweep_removes_what_is_old_counts_and_tells_what_waits() {
    let cluster = cluster(true);
    cluster.post(0, "old", None).await;
    cluster.clock.advance(Duration::from_secs(60));
    let before = cluster.clock.now();
    let message = Message::until_read("bob's");
    cluster.nodes[0].post(&cluster.nodes[0].of("bob"), message, FEW, None).await.unwrap();
    let owners = cluster.nodes[0].sweep(before).await.unwrap();
    assert_eq!(owners, [("bob".to_owned(), false)]);
    assert_eq!(cluster.nodes[0].stored().await, Ok(1));
    assert_eq!(cluster.load(0).await.0, [""; 0]);
    cluster.nodes[1].load(&cluster.nodes[1].of("bob")).await.unwrap();
    assert_eq!(cluster.nodes[1].sweep(before).await.unwrap(), [("bob".to_owned(), true)]);
    assert!(cluster.nodes[0].sweep(before).await.unwrap().is_empty());
    // The last number of a mailbox that is empty goes when the next one is greater anyhow.
    let rows = || cluster.nodes[0].store.list("facts", b"ann", None, 9).unwrap().len();
    assert_eq!(rows(), 1);
    cluster.clock.advance(Duration::from_millis(limits::MAILBOX_NUMBER_LIFE));
    cluster.nodes[0].sweep(before).await.unwrap();
    cluster.post(1, "new", None).await;
    assert_eq!(rows(), 2);
    assert_eq!(cluster.load(0).await.0, ["new"]);
}

/// Counts the rows that are listed.
struct Listed {
    store: Arc<dyn Store>,
    rows: std::sync::atomic::AtomicUsize,
}

impl Store for Listed {
    fn submit(&self, batch: Batch, done: Done<Committed>) {
        self.store.submit(batch, done);
    }

    fn get(&self, table: &str, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.get(table, key)
    }

    fn list(&self, table: &str, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, StoreError> {
        let rows = self.store.list(table, prefix, after, limit)?;
        self.rows.fetch_add(rows.len(), Ordering::Relaxed);
        Ok(rows)
    }

    fn due(&self, table: &str, until: Timestamp, limit: usize) -> Result<Vec<Scheduled>, StoreError> {
        self.store.due(table, until, limit)
    }

    fn scheduled(&self, table: &str, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.scheduled(table, key)
    }

    fn cursor(&self, name: &str) -> Result<u64, StoreError> {
        self.store.cursor(name)
    }

    fn bytes(&self, table: &str) -> Result<u64, StoreError> {
        self.store.bytes(table)
    }

    fn look(&self, reads: Vec<Read>, done: Done<Vec<Found>>) {
        let found = reads.iter().map(|read| match read {
            Read::Count { .. } => read.now(&*self.store),
            read => read.now(self),
        });
        done(found.collect());
    }
}

#[tokio::test]
async fn what_waits_is_read_when_something_has_to_go_for_it_and_once_by_its_readers() {
    const COUNT: usize = limits::MAILBOX_UNCONFIRMED + 40;
    let (disk, clock) = (FaultyDisk::default(), Clock::manual(Timestamp::from_millis(START)));
    let listed = Arc::new(Listed { store: disk.store(), rows: 0.into() });
    let claims = Claims::new(IDS[0], || IDS.to_vec(), LEASE, clock.clone());
    let sharing = Sharing { claims, is_exclusive: false, seen: None, levels: Some("levels"), clock };
    let (store, account) = (Arc::clone(&listed) as Arc<dyn Store>, Account::server(usize::MAX));
    let node: Arc<Mailboxes<Nobody>> = Mailboxes::of_nodes(store, TABLES, 1 << 30, &account, sharing);
    let (ann, bounds) = (node.of("ann"), Bounds { messages: COUNT, bytes: usize::MAX });
    let rows = || listed.rows.swap(0, Ordering::Relaxed);
    let post = async || node.post(&ann, Message::until_read("text"), bounds, None).await.unwrap();
    for _ in 0..COUNT {
        assert!(matches!(post().await, Posted::Kept { displaced: 0, .. }));
    }
    assert_eq!(rows(), 0);
    let in_hand = || ann.lock().queue.behind(0).map(|(number, _)| number).collect::<Vec<_>>();
    assert_eq!(node.load(&ann).await.unwrap(), MORE);
    assert_eq!((in_hand().len(), rows()), (limits::MAILBOX_UNCONFIRMED, limits::MAILBOX_UNCONFIRMED + 1));
    assert!(ann.lock().queue.is_left());
    assert_eq!(node.load(&ann).await.unwrap(), MORE);
    assert_eq!((in_hand().len(), rows()), (COUNT, 40));
    assert_eq!(node.load(&ann).await.unwrap(), NOTHING);
    assert_eq!(rows(), 0);
    // It is full.
    assert!(matches!(post().await, Posted::Kept { displaced: 1, .. }));
    assert_eq!(rows(), 1);
    // What was read counts no more.
    let read = in_hand();
    node.remove(&ann, read);
    // Behind the removal.
    node.store.commit(Batch::new()).await.unwrap();
    for turn in 0..COUNT / 2 {
        assert!(matches!(post().await, Posted::Kept { displaced: 0, .. }), "{turn}");
    }
    assert_eq!(rows(), 0);
}

#[tokio::test]
async fn facts_and_names_of_what_has_come_count_and_memory_is_asked() {
    const BYTES: usize = 8_192;
    let node = |memory| {
        let clock = Clock::manual(Timestamp::from_millis(START));
        let claims = Claims::new(IDS[0], || IDS.to_vec(), LEASE, clock.clone());
        let sharing = Sharing { claims, is_exclusive: false, seen: Some("seen"), levels: None, clock };
        let node: Arc<Mailboxes<Nobody>> =
            Mailboxes::of_nodes(FaultyDisk::default().store(), TABLES, BYTES, &Account::server(memory), sharing);
        node
    };
    let post = async |node: &Arc<Mailboxes<Nobody>>, number: u64| {
        let once = format!("a name that is no text {number}").into_bytes();
        node.post(&node.of("ann"), Message::until_read(""), Bounds::NONE, Some(once)).await.unwrap()
    };
    let full = node(usize::MAX);
    let mut count = 0;
    while matches!(post(&full, count).await, Posted::Kept { .. }) {
        count += 1;
    }
    assert_eq!(post(&full, count).await, Posted::Full(Full::All));
    let stored: u64 = ["facts", "bodies", "seen"].map(|table| full.store.bytes(table).unwrap()).iter().sum();
    assert!(count > 10 && stored <= BYTES as u64, "{count} {stored}");
    assert!(matches!(post(&node(100), 0).await, Posted::Full(Full::Memory(_))));
    // What is not in hand is not read from another machine by who has others to serve.
    let number = full.load(&full.of("ann")).await.map(|_| full.of("ann").lock().queue.last_in_hand()).unwrap();
    assert_eq!(full.body("ann", number), Ok(None));
}
