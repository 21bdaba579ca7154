#![allow(clippy::unwrap_used)]

use std::{sync::mpsc, time::Duration};

use actix::{AsyncContext as _, Context};

use super::*;
use crate::{
    actors::{
        accounts::{Account, Kind},
        fanout::{Hub, HubHandle},
    },
    config::Config,
    core::command::HubId,
    ids::{NodeId, SessionId},
    limits,
    older::group::{
        membership::Member,
        message::{GroupMessage, digest, to_json},
        repository::StoredMessage,
        streams::{self, Author, Event, Receipt},
    },
    store::{
        Claims, Committed, Done, Found, Read, Row, Scheduled, Store,
        faulty::FaultyDisk,
        redis::{RedisStore, tests::Server},
    },
};

/// A disk whose lists wait until they are let go on.
struct SlowStore {
    is_slow: std::sync::atomic::AtomicBool,
    asked: mpsc::Sender<()>,
    go_on: Mutex<mpsc::Receiver<()>>,
}

impl Store for SlowStore {
    fn submit(&self, _: Batch, done: Done<Committed>) {
        done(Ok(Committed::default()));
    }

    fn get(&self, _: &str, _: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(None)
    }

    fn list(&self, _: &str, _: &[u8], _: Option<&[u8]>, _: usize) -> Result<Vec<Row>, StoreError> {
        if self.is_slow.load(Ordering::Relaxed) {
            self.asked.send(()).unwrap();
            let waited = self.go_on.lock().recv_timeout(Duration::from_secs(20));
            waited.map_err(|_| StoreError::Busy)?;
        }
        Ok(Vec::new())
    }

    fn due(&self, _: &str, _: Timestamp, _: usize) -> Result<Vec<Scheduled>, StoreError> {
        Ok(Vec::new())
    }

    fn scheduled(&self, _: &str, _: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(None)
    }

    fn cursor(&self, _: &str) -> Result<u64, StoreError> {
        Ok(0)
    }

    fn bytes(&self, _: &str) -> Result<u64, StoreError> {
        Ok(0)
    }
}

/// findings C3: while the disk is asked what a user has not read or has missed, the worker thread goes on.
#[tokio::test]
async fn reads_do_not_hold_up_their_worker() {
    let (asked, was_asked) = mpsc::channel();
    let (let_go, go_on) = mpsc::channel();
    let store = Arc::new(SlowStore { is_slow: false.into(), asked, go_on: Mutex::new(go_on) });
    let settings = Config::defaults().unwrap().group;
    let place = Place { store: Arc::clone(&store) as Arc<_>, claims: None };
    let groups = Groups::open(&settings, place, Readers::default(), Clock::system(), None).unwrap();
    groups.make("g", None, None, &[Enrolment { user: "7".into(), ..Enrolment::default() }]).await.unwrap();
    store.is_slow.store(true, Ordering::Relaxed);
    let (one, other) = (Arc::clone(&groups), Arc::clone(&groups));
    let unread = tokio::spawn(async move { one.beside(|groups| groups.unread("g", "7")).await });
    let missed = tokio::spawn(async move { other.beside(|groups| groups.missed("7", 0, 10)).await });
    // This task and those run on one thread: it comes here only while they wait.
    let mut begun = 0;
    while begun == 0 {
        tokio::task::yield_now().await;
        begun += was_asked.try_iter().count();
    }
    let_go.send(()).unwrap();
    let_go.send(()).unwrap();
    assert_eq!(unread.await.unwrap(), Ok(0));
    assert!(missed.await.unwrap().unwrap().messages.is_empty());
}

fn answer_to(id: &str) -> AnswerTo {
    // An actor that is never started: nobody takes what is sent to it.
    let hub = HubHandle::new(HubId(0), Context::<Hub>::new().address());
    AnswerTo { handle: TransportHandle { hub, session: SessionId::from_number(1) }, id: id.into(), charge: None }
}

fn said(content: &str) -> GroupMessage {
    GroupMessage {
        group_id: "g".into(),
        sender_id: "7".into(),
        msg_type: 1,
        content: content.into(),
        ..Default::default()
    }
}

fn open_on(store: &Arc<dyn Store>, clock: &Clock) -> Arc<Groups> {
    let settings = Config::defaults().unwrap().group;
    let place = Place { store: Arc::clone(store), claims: None };
    Groups::open(&settings, place, Readers::default(), clock.clone(), None).unwrap()
}

fn ids(messages: &[StoredMessage]) -> Vec<String> {
    let id = |message: &StoredMessage| serde_json::from_str::<GroupMessage>(&message.json).unwrap().message_id;
    messages.iter().map(id).collect()
}

/// A data folder of an earlier version, which counted messages from 1 and noted hours and what clients had sent in tables of
/// their own: nothing of it is lost, and new messages come behind it.
#[tokio::test]
async fn a_folder_of_an_earlier_version_is_read() {
    const HOUR: u64 = 400_000;
    let store = FaultyDisk::default().store();
    let clock = Clock::manual(Timestamp::from_millis((HOUR + 2) * 3_600_000));
    let data = r#"{"group_id":"g","msg_type":1,"content":"two"}"#;
    let mut batch = Batch::new()
        .put("group groups", "g", r#"{"created_at":1}"#)
        .put("group members", "g\x007", r#"{"joined_at":1}"#)
        .put("group members", "g\x008", r#"{"joined_at":1,"joined_after":1}"#)
        .put("group markers", "g\x008", 2_u64.to_be_bytes())
        .put("group hours", HOUR.to_be_bytes(), 2_u64.to_be_bytes())
        .put("group seen", digest("7", "g", "c-1", data), "m3")
        .set_cursor("group last", 4);
    for number in 2..=4_u64 {
        let id = format!("m{number}");
        let json = to_json(&GroupMessage { message_id: id.clone(), ..said("old") });
        let created = (HOUR * 3_600 + number).to_be_bytes();
        batch = batch
            .put(
                "group messages",
                [b"g\0", &number.to_be_bytes()[..]].concat(),
                [&created[..], b"\0\x017", json.as_bytes()].concat(),
            )
            .put("group back", [b"g\0", &(u64::MAX - number).to_be_bytes()[..]].concat(), "7")
            .put("group ids", id, [&number.to_be_bytes()[..], b"g"].concat());
    }
    store.commit(batch).await.unwrap();

    let groups = open_on(&store, &clock);
    assert_eq!((groups.unread("g", "8"), groups.unread("g", "7")), (Ok(2), Ok(0)));
    assert_eq!(groups.send(said("two"), data, answer_to("c-1")), Ok(Sent::Now("m3".into())));
    assert_eq!(groups.send(said("new"), "{}", answer_to("c-2")), Ok(Sent::Later));
    store.commit(Batch::new()).await.unwrap();
    let past = groups.before("g", u64::MAX, 10).unwrap();
    let all = ids(&past);
    assert_eq!(all[1..], ["m4", "m3", "m2"]);
    assert_eq!(ids(&groups.missed_since("8", "m3").unwrap().messages), ["m4", &*all[0]]);
    assert_eq!(ids(&groups.missed_after("8", HOUR * 3_600 + 3).unwrap().messages), ["m4", &*all[0]]);
    assert_eq!(ids(&groups.missed_after("8", (HOUR + 1) * 3_600).unwrap().messages), [&*all[0]]);
    assert_eq!(groups.unread("g", "8"), Ok(3));
    // Behind it also after a restart with a clock that was set back.
    let again = open_on(&store, &Clock::manual(Timestamp::from_millis(5)));
    assert_eq!(again.send(said("last"), "{}", answer_to("c-3")), Ok(Sent::Later));
    store.commit(Batch::new()).await.unwrap();
    assert_eq!(ids(&again.before("g", u64::MAX, 10).unwrap())[1..], all);
}

/// docs/protocols/group.md §6, dedupe: the same within 24 hours is the same message, also over midnight; later it is another.
#[tokio::test]
async fn the_same_again_is_known_for_a_day() {
    let store = FaultyDisk::default().store();
    let start = Timestamp::from_millis(20_000 * 86_400_000 - 3_600_000);
    let clock = Clock::manual(start);
    let groups = open_on(&store, &clock);
    groups.make("g", None, None, &[Enrolment { user: "7".into(), ..Enrolment::default() }]).await.unwrap();
    assert_eq!(groups.send(said("x"), "{}", answer_to("c")), Ok(Sent::Later));
    // On its way to disk, it is known as well.
    groups.send(said("x"), "{}", answer_to("c")).unwrap();
    store.commit(Batch::new()).await.unwrap();
    let [first] = &ids(&groups.before("g", u64::MAX, 10).unwrap())[..] else { panic!("one message") };
    for hours in [2, 21] {
        clock.advance(Duration::from_secs(hours * 3_600));
        assert_eq!(groups.send(said("x"), "{}", answer_to("c")), Ok(Sent::Now(first.clone())));
    }
    assert_eq!(groups.send(said("y"), "{ }", answer_to("c")), Ok(Sent::Later));
    clock.advance(Duration::from_secs(2 * 3_600));
    assert_eq!(groups.send(said("x"), "{}", answer_to("c")), Ok(Sent::Later));
    store.commit(Batch::new()).await.unwrap();
    assert_eq!(groups.before("g", u64::MAX, 10).unwrap().len(), 3);
}

/// Groups of a node whose Redis is not there, and where what it hears is put.
fn open_shared(store: &Arc<dyn Store>, clock: &Clock) -> (Arc<Groups>, tokio::sync::mpsc::Sender<Received>) {
    let redis = crate::engines::redis::Settings::at("127.0.0.1:1", String::new().into(), 0);
    let shared = streams::Settings { is_shared: true, ..streams::Settings::new(redis) };
    let bus = Bus::start(shared, clock.clone(), None, tokio::sync::mpsc::channel(1).0).unwrap();
    let (events, inbox) = tokio::sync::mpsc::channel(8);
    let settings = Config::defaults().unwrap().group;
    let claims = Claims::new(NodeId::random(), Vec::new, Duration::from_secs(15), clock.clone());
    let place = Place { store: Arc::clone(store), claims: Some(claims) };
    let readers = Readers::within(Duration::from_millis(200));
    (Groups::open(&settings, place, readers, clock.clone(), Some((bus, inbox))).unwrap(), events)
}

/// What a service says is stored by the first node that hears it, also where nobody is known to be a member; the same id again is
/// the same message.
#[tokio::test]
async fn what_a_service_says_is_stored_once() {
    let store = FaultyDisk::default().store();
    let nodes = [open_shared(&store, &Clock::system()), open_shared(&store, &Clock::system())];
    let mut sequence = 0;
    for id in ["m1", "m2", "m1"] {
        sequence += 1;
        for (groups, events) in &nodes {
            let listening = tokio::spawn({
                let groups = Arc::clone(groups);
                async move { groups.listen().await }
            });
            let (receipt, done) = Receipt::new();
            let event = Event::Message(GroupMessage { message_id: id.into(), ..said("hi") });
            let at = crate::engines::redis::EntryId { millis: 1_700_000_000_000, sequence };
            let (author, is_live) = (Author::Other, true);
            events.send(Received { event, id: at, author, is_live, receipt }).await.unwrap();
            done.await.unwrap();
            listening.abort();
            assert_eq!(groups.deliveries.waiting(), sequence.min(2) as usize, "each comes once to each node");
        }
    }
    assert_eq!(ids(&nodes[0].0.before("g", u64::MAX, 10).unwrap()), ["m2", "m1"]);
}

/// Who waits for the store pays for that, and it is given back.
#[tokio::test]
async fn what_is_on_its_way_to_the_store_is_paid_for() {
    let disk = FaultyDisk::default();
    let store = disk.store();
    let groups = open_on(&store, &Clock::system());
    groups.make("g", None, None, &[Enrolment { user: "7".into(), ..Enrolment::default() }]).await.unwrap();
    let account = Account::server(1 << 20);
    disk.hold();
    for id in ["c-1", "c-2"] {
        let charge = Some(account.charge(Kind::Inbound, 1_000).unwrap());
        let answer = AnswerTo { charge, ..answer_to(id) };
        assert_eq!(groups.send(said(id), "{}", answer), Ok(Sent::Later));
    }
    assert_eq!(account.kept(), 2_000);
    disk.release();
    store.commit(Batch::new()).await.unwrap();
    assert_eq!(account.kept(), 0);
}

/// The same message again and again while it is not on disk: those who wait are counted.
#[tokio::test]
async fn those_who_wait_for_their_messages_are_bounded() {
    let store = FaultyDisk::default().store();
    let groups = open_on(&store, &Clock::system());
    groups.answering.store(limits::GROUP_OUTSTANDING, Ordering::Relaxed);
    assert_eq!(groups.send(said("one more"), "{}", answer_to("c-1")), Err(Code::NotStored));
    groups.answering.store(0, Ordering::Relaxed);
    assert_eq!(groups.send(said("one more"), "{}", answer_to("c-1")), Ok(Sent::Later));
    store.commit(Batch::new()).await.unwrap();
    assert_eq!(groups.answering.load(Ordering::Relaxed), 0);
}

/// A store in which nothing is found and everything is done, at a place that nobody ever hears of.
struct Unheard;

impl Store for Unheard {
    fn submit(&self, _: Batch, done: Done<Committed>) {
        done(Ok(Committed { place: Some(u64::MAX), ..Committed::default() }));
    }

    fn get(&self, _: &str, _: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(None)
    }

    fn list(&self, _: &str, _: &[u8], _: Option<&[u8]>, _: usize) -> Result<Vec<Row>, StoreError> {
        Ok(Vec::new())
    }

    fn due(&self, _: &str, _: Timestamp, _: usize) -> Result<Vec<Scheduled>, StoreError> {
        Ok(Vec::new())
    }

    fn scheduled(&self, _: &str, _: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(None)
    }

    fn cursor(&self, _: &str) -> Result<u64, StoreError> {
        Ok(0)
    }

    fn bytes(&self, _: &str) -> Result<u64, StoreError> {
        Ok(0)
    }
}

/// Who hears that a service has added members does not wait until it hears of that: nobody else would tell it.
#[tokio::test(start_paused = true)]
async fn hearing_of_members_waits_for_nothing_that_is_heard() {
    let (groups, events) = open_shared(&(Arc::new(Unheard) as Arc<dyn Store>), &Clock::system());
    let (listening, mut sequence) = (Arc::clone(&groups), 0);
    let listening = tokio::spawn(async move { listening.listen().await });
    let mut hear = async |event: Event| {
        let (receipt, done) = Receipt::new();
        sequence += 1;
        let id = crate::engines::redis::EntryId { millis: 1_700_000_000_000, sequence };
        events.send(Received { event, id, author: Author::Other, is_live: true, receipt }).await.unwrap();
        done.await.unwrap();
    };
    hear(Event::ReadAgain).await;
    let begun = tokio::time::Instant::now();
    for user in 0..20 {
        hear(Event::MemberAdded(streams::Member { group_id: "g".into(), user_id: user.to_string() })).await;
    }
    hear(Event::Message(GroupMessage { message_id: "m".into(), ..said("hi") })).await;
    assert_eq!(groups.membership.read().get("g").unwrap().members.len(), 20);
    assert!(begun.elapsed() < limits::NODE_ANSWER, "{:?} by the clock that stands still", begun.elapsed());
    listening.abort();
}

type Meanwhile = Box<dyn FnOnce() + Send>;

/// A store that loses an answer, or does something between a read and its answer, when it is told to.
struct Unlucky {
    store: RedisStore,
    loses: std::sync::atomic::AtomicBool,
    meanwhile: Mutex<Option<Meanwhile>>,
}

impl Store for Unlucky {
    fn submit(&self, batch: Batch, done: Done<Committed>) {
        let is_lost = self.loses.load(Ordering::Relaxed);
        self.store.submit(batch, Box::new(move |answer| done(if is_lost { Err(StoreError::Late) } else { answer })));
    }

    fn look(&self, reads: Vec<Read>, done: Done<Vec<Found>>) {
        let meanwhile = self.meanwhile.lock().take();
        let then = move |found| {
            if let Some(meanwhile) = meanwhile {
                meanwhile();
            }
            done(found);
        };
        self.store.look(reads, Box::new(then));
    }

    fn get(&self, table: &str, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.get(table, key)
    }

    fn list(&self, table: &str, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, StoreError> {
        self.store.list(table, prefix, after, limit)
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
}

/// Groups of a node that have been read, on an [`Unlucky`] store; its Redis ends with the server.
async fn open_unlucky() -> (Server, Arc<Unlucky>, Arc<Groups>) {
    let server = Server::start();
    let redis = crate::engines::redis::Settings::at(&format!("127.0.0.1:{}", server.1), String::new().into(), 0);
    let store = RedisStore::start(vec![redis], None, false, Duration::from_secs(20), Clock::system(), "group").unwrap();
    let store = Arc::new(Unlucky { store, loses: false.into(), meanwhile: Mutex::default() });
    let (groups, _) = open_shared(&(Arc::clone(&store) as Arc<dyn Store>), &Clock::system());
    groups.look_at_store(true).await.unwrap();
    (server, store, groups)
}

/// A change that Redis has made while its answer was lost is refused, and known at the next look, as it is to everybody else.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_stored_all_the_same_is_known() {
    let (_server, store, groups) = open_unlucky().await;
    groups.add_once("g", "7", true).await.unwrap();
    store.loses.store(true, Ordering::Relaxed);
    assert_eq!(groups.add("g", &[Enrolment::of("8")]).await, Err(Code::NotStored));
    assert_eq!(groups.remove("g", &["7".to_owned()]).await, Err(Code::NotStored));
    store.loses.store(false, Ordering::Relaxed);
    let members = || groups.membership.read().get("g").unwrap().members.keys().cloned().collect::<Vec<_>>().concat();
    assert_eq!(members(), "7", "as it was");
    groups.look_at_store(false).await.unwrap();
    assert_eq!(members(), "8", "as it is");
}

/// What is heard between a read and its answer is newer than the answer.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_read_does_not_undo_what_was_heard() {
    let (_server, store, groups) = open_unlucky().await;
    groups.add_once("g", "7", true).await.unwrap();
    let (hearing, member) = (Arc::clone(&groups), Member::default());
    *store.meanwhile.lock() = Some(Box::new(move || {
        // Another node has added it, and said so.
        drop(hearing.repository.commit(repository::put_member(Batch::new(), "g", "8", &member)));
        let members = vec![("8".to_owned(), Some(member))];
        let change = streams::Change { group: "g".into(), members, ..streams::Change::default() };
        let at = crate::engines::redis::EntryId { millis: 1_700_000_000_000, sequence: 0 };
        hearing.hear_change(change, at, Author::Node);
    }));
    groups.until_stored("g", &["8".to_owned()], || Ok(((), None))).await.unwrap();
    assert!(groups.membership.read().member("g", "8").is_some());
}

/// Whoever becomes a member by taking part adds to what all nodes keep.
#[tokio::test]
async fn nobody_becomes_a_member_where_there_is_no_room() {
    let store: Arc<dyn Store> = Arc::new(Unheard);
    let (mut groups, _) = open_shared(&store, &Clock::system());
    let settings = &mut Arc::get_mut(&mut groups).unwrap().settings;
    (settings.open_groups, settings.stored_bytes) = (true, 0);
    groups.look_at_store(true).await.unwrap();
    assert!(matches!(groups.admit("g", "7"), Err(Code::NoMemory(_))));
}

/// However many read what a store that hangs has.
#[tokio::test]
async fn reads_of_a_node_are_answered_within_the_deadline() {
    let (groups, _) = open_shared(&(Arc::new(Unheard) as Arc<dyn Store>), &Clock::system());
    let (let_go, go_on) = mpsc::channel::<()>();
    let go_on = Arc::new(Mutex::new(go_on));
    let reads = (0..2 * limits::READERS).map(|_| {
        let go_on = Arc::clone(&go_on);
        groups.beside(move |_| {
            let _ = go_on.lock().recv();
            Ok(())
        })
    });
    for read in futures_util::future::join_all(reads).await {
        assert_eq!(read, Err(Code::Busy));
    }
    drop(let_go);
}

/// docs/cluster.md, A Redis Cluster: what could not be asked at the start keeps clients away later.
#[tokio::test]
async fn groups_on_a_redis_cluster_are_never_ready() {
    let (groups, _) = open_shared(&(Arc::new(Unheard) as Arc<dyn Store>), &Clock::system());
    assert!(groups.why_not_ready(true).unwrap().contains("not been read"));
    groups.look_at_store(true).await.unwrap();
    assert_eq!(groups.why_not_ready(true), None);
    assert!(groups.why_not_ready(false).unwrap().contains("group.redis"));
}
