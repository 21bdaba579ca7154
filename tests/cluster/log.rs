//! The scripts of the shared log, asked directly.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use letshare_server::{
    clock::Clock,
    core::{
        budget::Account,
        dedupe::Content,
        message::{Body, Entry, EntryId, Message, Payload},
        objects::{Action, ObjectId, ObjectOperation},
        occupancy::Occupancy,
        presence::{PresenceAction, PresenceEvent},
        serial::{Place, Serial},
        window::Bounds,
    },
    engines::redis::Needs,
    ids::{ChannelName, ClientId, ConnectionId, Timestamp},
    log::{
        Log as _, ObjectsRead, StoreError,
        memory::MemoryLog,
        shared::{
            Domain, Joined, Judged, Keeping, Look, Looked, Seats, SharedLog, Times, Told, Usage, nodes::greeting,
        },
    },
};
use tokio::sync::oneshot;

use crate::support::redis::RedisServer;

fn log(redis: &RedisServer, bytes: usize) -> SharedLog {
    let bounds = Bounds { age: Duration::from_secs(120), entries: 1_000, bytes };
    let memory = MemoryLog::new(bounds, Arc::new(Account::server(usize::MAX)));
    let lease = Duration::from_secs(15);
    SharedLog::start(
        vec![redis.settings()],
        greeting(None, lease),
        Needs::default(),
        Times { deadline: Duration::from_secs(10), lease },
        memory,
        Keeping { retention: Box::new(|_| None), is_own: Box::new(|_| false) },
        Clock::system(),
    )
}

/// Waits for what a log calls back with.
async fn answer<T: Send + 'static>(
    ask: impl FnOnce(Box<dyn FnOnce(Result<T, StoreError>) + Send>),
) -> Result<T, StoreError> {
    let (told, answer) = oneshot::channel();
    ask(Box::new(|outcome| drop(told.send(outcome))));
    answer.await.unwrap()
}

async fn join(log: &SharedLog, channel: &ChannelName) -> Serial {
    answer(|done| log.join(channel, None, |_| {}, done)).await.unwrap().head
}

async fn append(log: &SharedLog, id: EntryId, size: usize, seen: Serial) -> Told {
    let body = Body::Messages(vec![Message::text("x".repeat(size).into())]);
    let content = Content::of(&id, &body);
    let entry = Entry::new("c".into(), seen, Timestamp::from_millis(0), None, id, body);
    answer(|done| log.append(&entry, content, seen, None, done)).await.unwrap()
}

fn kept(told: &Told) -> (Serial, Serial) {
    match told {
        Told::Kept { previous, serial } => (*previous, *serial),
        other => panic!("it was not appended: {other:?}"),
    }
}

#[tokio::test]
async fn each_entry_links_to_the_one_before_whoever_appends_it() {
    let redis = RedisServer::start().await;
    let logs = [log(&redis, 1 << 20), log(&redis, 1 << 20)];
    let channel = ChannelName::from("c");
    let mut head = join(&logs[0], &channel).await;
    assert_eq!(join(&logs[1], &channel).await, head, "one epoch for all");
    for number in 0..200 {
        let told = append(&logs[number % 2], EntryId::Serial, 10, head).await;
        let (previous, serial) = kept(&told);
        assert_eq!(previous, head);
        assert_eq!(serial.epoch(), head.epoch());
        assert!(serial.place() > head.place());
        head = serial;
    }
    let tail = answer(|done| logs[0].tail(&channel, head.before(), done)).await.unwrap();
    assert_eq!((tail.head, tail.entries.len()), (head, 1));
}

#[tokio::test]
async fn an_id_is_known_to_every_node_with_what_it_has_brought() {
    let redis = RedisServer::start().await;
    let logs = [log(&redis, 1 << 20), log(&redis, 1 << 20)];
    let head = join(&logs[0], &"c".into()).await;
    let id = || EntryId::Base("same".into());
    let (_, serial) = kept(&append(&logs[0], id(), 5, head).await);
    let Told::Again(published) = append(&logs[1], id(), 5, head).await else { panic!("it was published before") };
    assert_eq!((published.serial, published.len), (serial, 1));
    kept(&append(&logs[1], EntryId::Base("other".into()), 5, head).await);
}

/// `docs/design/cluster.md §2`: a log that has lost what somebody has seen has another epoch from then on.
#[tokio::test]
async fn a_log_that_lost_its_end_has_another_epoch() {
    let redis = RedisServer::start().await;
    let log = log(&redis, 1 << 20);
    let channel = ChannelName::from("c");
    let head = join(&log, &channel).await;
    let (_, first) = kept(&append(&log, EntryId::Serial, 5, head).await);
    let (_, second) = kept(&append(&log, EntryId::Serial, 5, first).await);
    assert_eq!(second.epoch(), head.epoch());
    let (millis, _) = second.place();
    let seen = Serial::at(head.epoch(), (millis + 60_000, 0));
    let (_, after) = kept(&append(&log, EntryId::Serial, 5, seen).await);
    assert_ne!(after.epoch(), head.epoch());
    assert!(after.place() > second.place());
    redis.command(&[b"FLUSHALL"]).await;
    let tail = answer(|done| log.tail(&channel, after, done)).await.unwrap();
    assert_ne!(tail.head.epoch(), after.epoch());
}

#[tokio::test]
async fn a_stream_keeps_no_more_bytes_than_it_may() {
    const MOST: usize = 100_000;
    let redis = RedisServer::start().await;
    let log = log(&redis, MOST);
    let channel = ChannelName::from("c");
    let start = join(&log, &channel).await;
    let mut head = start;
    for _ in 0..1_000 {
        (_, head) = kept(&append(&log, EntryId::Serial, 1_000, head).await);
    }
    let tail = answer(|done| log.tail(&channel, start, done)).await.unwrap();
    let entries = tail.entries.len();
    assert!((60..=MOST / 1_000 + 10).contains(&entries), "{entries}");
    assert!(tail.entries[0].previous.place() > start.place(), "the gap is to be seen");
}

/// `docs/design/cluster.md §3`: what was judged by too little is not appended, nor what a node without a lease has judged.
#[tokio::test]
async fn what_others_were_faster_with_is_judged_again() {
    let redis = RedisServer::start().await;
    let logs = [log(&redis, 1 << 20), log(&redis, 1 << 20)];
    let mut head = join(&logs[0], &"c".into()).await;
    join(&logs[1], &"c".into()).await;
    let connection = ConnectionId::random();
    let enter = async |at: usize, by: Place, seen: Serial| {
        let event = PresenceEvent {
            id: None,
            action: PresenceAction::Enter,
            client_id: ClientId::new("alice").unwrap(),
            payload: Payload::default(),
            extras: None,
        };
        let (id, body) = (EntryId::Serial, Body::Presence(vec![event]));
        let content = Content::of(&id, &body);
        let entry = Entry::new("c".into(), seen, Timestamp::from_millis(0), Some(connection), id, body);
        let judged = Judged { by, is_emptied: false, is_whole: false };
        answer(|done| logs[at].append(&entry, content, seen, Some(judged), done)).await.unwrap()
    };
    assert_eq!(enter(0, (0, 0), head).await, Told::Fenced);
    for log in &logs {
        assert!(!log.holds_lease(&"c".into()));
        answer(|done| log.renew_for(&"c".into(), done)).await.unwrap();
        assert!(log.holds_lease(&"c".into()));
    }
    let (_, first) = kept(&enter(0, (0, 0), head).await);
    assert_eq!(enter(1, (0, 0), first).await, Told::Behind);
    // What is not judged does not come between.
    (_, head) = kept(&append(&logs[0], EntryId::Serial, 5, first).await);
    kept(&enter(1, first.place(), head).await);
    assert_eq!(enter(0, first.place(), head).await, Told::Behind);
    let Joined { members, .. } = answer(|done| logs[0].join(&"c".into(), None, |_| {}, done)).await.unwrap();
    let owners: Vec<_> = members.iter().map(|(member, owner)| (member.client_id.as_str(), *owner)).collect();
    assert_eq!(owners, [("alice", Some(logs[1].node()))], "owned by whoever has written of it last");
}

/// No more seats than there are, whoever asks for them at the same time; who has one keeps it.
/// `docs/design/cluster.md §3`, Objects: what the stream has of them and nobody has written down is read in parts, however much lies
/// in between.
#[tokio::test]
async fn operations_behind_the_objects_are_read_in_parts() {
    let redis = RedisServer::start().await;
    let log = log(&redis, 16 << 20);
    let channel = ChannelName::from("c");
    let (mut head, mut by) = (join(&log, &channel).await, (0, 0));
    answer(|done| log.renew_for(&"c".into(), done)).await.unwrap();
    for _ in 0..3 {
        let body = Body::Objects(vec![ObjectOperation::new(ObjectId::root(), Action::Clear)]);
        let content = Content::of(&EntryId::Serial, &body);
        let entry = Entry::new("c".into(), head, Timestamp::from_millis(0), None, EntryId::Serial, body);
        let judged = Judged { by, is_emptied: false, is_whole: false };
        (_, head) = kept(&answer(|done| log.append(&entry, content, head, Some(judged), done)).await.unwrap());
        by = head.place();
        for _ in 0..3 {
            (_, head) = kept(&append(&log, EntryId::Serial, 1 << 20, head).await);
        }
    }
    let (told, read) = oneshot::channel();
    let mut told = Some(told);
    let mut later = || -> Box<dyn FnOnce(ObjectsRead) + Send> {
        let told = told.take().unwrap();
        Box::new(move |read| drop(told.send(read)))
    };
    assert!(log.objects(&channel, &mut later).is_pending());
    assert_eq!(read.await.unwrap().unwrap().tail.len(), 3);
}

#[tokio::test]
async fn seats_are_given_as_long_as_there_are_any() {
    let redis = RedisServer::start().await;
    let logs = [log(&redis, 1 << 20), log(&redis, 1 << 20)];
    let seat = async |at: usize, wanted: usize, held: usize| {
        let seats = Seats { cap: 5, wanted, held };
        answer(|done| logs[at].seat(&"c".into(), seats, Occupancy::default(), done)).await.unwrap().seats
    };
    assert_eq!(seat(0, 3, 0).await, 3);
    assert_eq!(seat(1, 4, 0).await, 2);
    assert_eq!(seat(0, 4, 3).await, 3);
    assert_eq!(seat(1, 1, 2).await, 1);
    assert_eq!(seat(0, 9, 3).await, 4);
    answer(|done| logs[1].leave(&"c".into(), logs[1].node(), done)).await.unwrap();
    assert_eq!(seat(0, 9, 4).await, 5);
    let own = answer(|done| logs[1].owned(Domain::of(&"c".into()), logs[0].node(), done)).await.unwrap();
    assert_eq!(own, [ChannelName::from("c")]);
}

/// How many scripts Redis has run.
async fn scripts(redis: &RedisServer) -> usize {
    let told = redis.command(&[b"INFO", b"commandstats"]).await;
    let calls = told.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls=")?.split(',').next());
    calls.map_or(0, |calls| calls.parse().unwrap())
}

/// `docs/design/cluster.md §2`: two hundred channels that nothing happens on cost Redis one script, which tells what has changed.
#[tokio::test]
async fn many_channels_are_looked_at_by_few_scripts() {
    const CHANNELS: usize = 300;
    let redis = RedisServer::start().await;
    let (here, there) = (log(&redis, 1 << 20), log(&redis, 1 << 20));
    let channels: Vec<ChannelName> = (0..CHANNELS).map(|number| format!("c{number}").as_str().into()).collect();
    let seen = join_all(channels.iter().map(|channel| join(&here, channel))).await;
    let (logs, channels, seen) = (&here, &channels, &seen);
    let look = async |expected: &dyn Fn(usize) -> Looked| {
        let looks = channels.iter().zip(seen).enumerate().map(|(number, (channel, seen))| {
            answer(move |done| {
                logs.look(Look {
                    channel: channel.clone(),
                    seen: *seen,
                    own: Usage::default(),
                    others: Usage::default(),
                    is_urgent: number + 1 == CHANNELS,
                    done,
                });
            })
        });
        for (number, looked) in join_all(looks).await.into_iter().enumerate() {
            assert_eq!(looked.unwrap(), expected(number), "{number}");
        }
    };
    let before = scripts(&redis).await;
    look(&|_| Looked::default()).await;
    let run = scripts(&redis).await - before;
    // Each node says that it lives, each second.
    assert!(run < 20, "{run} scripts");

    let entry = Entry::new(
        channels[7].clone(),
        seen[7],
        Timestamp::from_millis(0),
        None,
        EntryId::Serial,
        Body::Messages(vec![Message::text("x".into())]),
    );
    let content = Content::of(&entry.id, &entry.body);
    kept(&answer(|done| there.append(&entry, content, seen[7], None, done)).await.unwrap());
    let seats = Seats { cap: 5, wanted: 1, held: 0 };
    answer(|done| there.seat(&channels[9], seats, Occupancy::default(), done)).await.unwrap();
    look(&|number| Looked { has_other_entries: number == 7, has_other_counts: number == 9 }).await;
    redis.command(&[b"FLUSHALL"]).await;
    look(&|_| Looked { has_other_entries: true, has_other_counts: false }).await;
}
