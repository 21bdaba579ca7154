//! Restarts, retention, hand-over, and what is read from the file.

use std::{collections::BTreeMap, ops::ControlFlow, path::Path, sync::mpsc, task::Poll};

use super::*;
use crate::{
    core::{
        budget::{self, Account},
        command::Rewind,
        history::{Direction, Kind, Query},
        message::{Body, Data, Entry, EntryId, Message, Payload},
        operation::Change,
        presence::{PresenceAction, PresenceEvent},
        serial::Serial,
        window::{Bounds, Gap},
    },
    ids::{AppId, ClientId, ConnectionId, Timestamp},
    limits,
    log::contract::{self, Reads as _, append, entry_at, named, serials, try_append},
    store::{
        engine::Order,
        faulty::FaultyDisk,
        folder::{DataFolder, Terms},
    },
};

mod objects;
mod restart;

const DAY: Duration = Duration::from_secs(86_400);
const START: u64 = 1_800_000_000_000;

fn clock() -> Clock {
    Clock::manual(Timestamp::from_millis(START))
}

fn memory() -> MemoryLog {
    let bounds = Bounds { age: Duration::from_secs(120), entries: 1_000, bytes: 1 << 20 };
    MemoryLog::new(bounds, Arc::new(Account::server(1 << 24)))
}

fn engine(disk: &FaultyDisk) -> Arc<Engine> {
    Arc::new(Engine::start(disk.opener(), Clock::system()).unwrap())
}

/// Channels whose name begins with `p` are persisted.
fn log_on(engine: Arc<Engine>, clock: &Clock, retention: Retention) -> DiskLog {
    let retention: RetentionOf = Box::new(move |name| name.as_str().starts_with('p').then_some(retention));
    DiskLog::open(memory(), engine, retention, 1 << 20, clock.clone()).unwrap()
}

fn log(disk: &FaultyDisk, clock: &Clock) -> DiskLog {
    let retention = Retention { age: DAY, bytes: 1 << 30 };
    log_on(engine(disk), clock, retention)
}

/// The same, whose memory an account pays for.
fn log_paid_by(account: &Account, engine: Arc<Engine>, clock: &Clock) -> DiskLog {
    let bounds = Bounds { age: Duration::from_secs(120), entries: 1_000, bytes: 1 << 20 };
    let memory = MemoryLog::new(bounds, Arc::new(account.clone()));
    let retention = Retention { age: DAY, bytes: 1 << 30 };
    DiskLog::open(memory, engine, Box::new(move |_| Some(retention)), 1 << 20, clock.clone()).unwrap()
}

/// Appends `count` entries, a second of the clock between them.
fn fill(channel: &mut dyn ChannelLog, clock: &Clock, count: usize, size: usize) -> Vec<Arc<Entry>> {
    let mut mint = channel.mint();
    let one = |_| {
        clock.advance(Duration::from_secs(1));
        let entry = entry_at(&mut mint, size, clock.now().millis());
        append(channel, clock.uptime(), Arc::clone(&entry));
        entry
    };
    (0..count).map(one).collect()
}

/// findings C4 and G15: while the past of one channel is read, the others are not locked: they open and close, and what is written
/// to them is committed.
#[test]
fn a_channel_that_is_read_locks_no_other() {
    let (disk, clock) = (FaultyDisk::default(), clock());
    let before = log(&disk, &clock);
    fill(&mut *before.open(&ChannelName::from("p cold")), &clock, 400, 4_000);
    drop(before);

    let log = Arc::new(log(&disk, &clock));
    let (hot, cold) = (ChannelName::from("p hot"), ChannelName::from("p cold"));
    assert!(!log.opens_at_once(&hot));
    let mut channel = log.open(&hot);
    assert!(log.opens_at_once(&hot) && !log.opens_at_once(&cold) && log.opens_at_once(&ChannelName::from("memory")));
    // What it writes to is in the cache from now on.
    fill(&mut *channel, &clock, 1, 10);
    disk.hold_reads(true);
    let opening = std::thread::spawn({
        let (log, cold) = (Arc::clone(&log), cold.clone());
        move || log.open(&cold).recent().len()
    });
    disk.until_a_read_waits();
    let (opened, others) = mpsc::channel();
    let other = std::thread::spawn({
        let log = Arc::clone(&log);
        move || {
            let again = log.open(&hot);
            assert_eq!(again.recent().len(), 1);
            log.close(&hot);
            assert!(!log.opens_at_once(&ChannelName::from("p cold")));
            opened.send(()).unwrap();
        }
    });
    let is_free = others.recv_timeout(Duration::from_secs(20)).is_ok();
    disk.hold_reads(false);
    assert!(is_free, "another channel waited for that read");
    other.join().unwrap();
    assert!(opening.join().unwrap() > 0);
    assert!(log.opens_at_once(&cold));
}

#[test]
fn keeps_the_contract() {
    let always = || -> DiskLog {
        let retention = Retention { age: DAY, bytes: 1 << 30 };
        let clock = Clock::manual(Timestamp::from_millis(2_000));
        let engine = engine(&FaultyDisk::default());
        let of: RetentionOf = Box::new(move |_| Some(retention));
        DiskLog::open(memory(), engine, of, 1 << 20, clock).unwrap()
    };
    contract::holds(always);
    let never = || -> DiskLog {
        let engine = engine(&FaultyDisk::default());
        DiskLog::open(memory(), engine, Box::new(|_| None), 1 << 20, clock()).unwrap()
    };
    contract::holds(never);
    contract::forgets(never);
}

#[test]
fn an_entry_is_seen_when_its_commit_is_told_and_not_before() {
    let (disk, clock) = (FaultyDisk::default(), clock());
    let log = log(&disk, &clock);
    let mut channel = log.open(&"p".into());
    let start = channel.mint().position();
    disk.hold();
    let entry = entry_at(&mut channel.mint(), 1, START);
    let (told, outcome) = mpsc::channel();
    let appended = channel.append(clock.uptime(), Arc::clone(&entry), &mut || {
        let told = told.clone();
        Box::new(move |result| told.send(result).unwrap())
    });
    assert_eq!(appended, Poll::Pending);
    assert_eq!(channel.after(start).unwrap().len(), 0);
    assert!(!channel.expire(clock.uptime()));
    // Who comes next goes on behind it all the same.
    assert!(log.open(&"p".into()).mint().position().place() >= entry.serial.place());
    disk.release();
    outcome.recv().unwrap().unwrap();
    assert_eq!(serials(&channel.after(start).unwrap()), [entry.serial]);
}

#[test]
fn a_failed_append_is_told_and_not_in_the_log() {
    let (disk, clock) = (FaultyDisk::default(), clock());
    let log = log(&disk, &clock);
    let mut channel = log.open(&"p".into());
    let first = fill(&mut *channel, &clock, 1, 1);
    disk.limit(Some(0));
    let failed = entry_at(&mut channel.mint(), 8_000_000, clock.now().millis());
    let outcome = try_append(&mut *channel, clock.uptime(), Arc::clone(&failed));
    assert_eq!(outcome, Err(StoreError::Full));
    assert_eq!(channel.after(first[0].serial).unwrap().len(), 0);
    disk.limit(None);
    let next = fill(&mut *channel, &clock, 1, 1);
    assert!(next[0].serial.place() > failed.serial.place());
    assert_eq!(serials(&channel.after(first[0].serial).unwrap()), serials(&next));
}

#[test]
fn after_the_window_the_file_answers_and_a_crowd_reads_it_once() {
    let (disk, time) = (FaultyDisk::default(), clock());
    let all = {
        let log = log(&disk, &time);
        let mut channel = log.open(&"p".into());
        fill(&mut *channel, &time, 400, 10)
    };
    let engine = engine(&disk.image());
    let retention = Retention { age: DAY, bytes: 1 << 30 };
    let log = log_on(Arc::clone(&engine), &time, retention);
    let before = engine.reads();
    // A thousand who missed a minute: what is read at the opening serves them all.
    for place in (0..1_000).map(|client| 340 + client % 60) {
        let channel = log.open(&"p".into());
        let found = channel.after(all[place].serial).unwrap();
        assert_eq!(serials(&found), serials(&all[place + 1..]));
    }
    assert_eq!(engine.reads() - before, 1);

    // A thousand who missed more than the window has: one more.
    let mut channel = log.open(&"p".into());
    for place in (0..1_000).map(|client| client % 250) {
        let found = channel.after(all[place].serial).unwrap();
        assert_eq!(serials(&found), serials(&all[place + 1..]));
    }
    let rewind = Rewind { messages: 300, age: None };
    let found = channel.rewind(time.now(), rewind);
    assert_eq!(serials(&found), serials(&all[100..]));
    assert_eq!(engine.reads() - before, 2);

    // And what is published meanwhile is there, too.
    let more = fill(&mut *channel, &time, 3, 10);
    let found = channel.after(all[10].serial).unwrap();
    assert_eq!(found.len(), 389 + 3);
    assert_eq!(found.last().unwrap().serial, more[2].serial);
    assert_eq!(engine.reads() - before, 2);
}

#[test]
fn what_is_too_much_to_be_sent_again_is_said_to_be() {
    let (disk, time) = (FaultyDisk::default(), clock());
    let log = log(&disk, &time);
    let mut channel = log.open(&"p".into());
    // In memory some hundred kilobytes, in the backlog one megabyte.
    let all = fill(&mut *channel, &time, 300, 10_000);
    assert_eq!(channel.after(all[0].serial).err(), Some(Gap::TooLong));
    let found = channel.after(all[290].serial).unwrap();
    assert_eq!(serials(&found), serials(&all[291..]));
}

/// Appends entries, an hour older than the ones before where it is asked for, without a wait between them.
fn append_all(channel: &mut dyn ChannelLog, clock: &Clock, bodies: impl Iterator<Item = Body>) -> Vec<Arc<Entry>> {
    let (mut mint, mut all) = (channel.mint(), Vec::new());
    let (told, outcomes) = mpsc::channel();
    for body in bodies {
        clock.advance(Duration::from_millis(10));
        let (now, publisher) = (clock.now(), Some(ConnectionId::from_bytes([1; 9])));
        let entry = Entry::new("p".into(), mint.mint(now), now, publisher, EntryId::Serial, body);
        all.push(Arc::new(entry));
        let appended = channel.append(clock.uptime(), Arc::clone(&all[all.len() - 1]), &mut || {
            let told = told.clone();
            Box::new(move |result| told.send(result).unwrap())
        });
        assert_eq!(appended, Poll::Pending);
    }
    drop(told);
    outcomes.iter().for_each(|outcome| outcome.unwrap());
    all
}

fn message() -> Body {
    Body::Messages(vec![Message::default()])
}

fn enter() -> Body {
    Body::Presence(vec![PresenceEvent {
        id: None,
        action: PresenceAction::Enter,
        client_id: ClientId::new("a").unwrap(),
        payload: Payload::default(),
        extras: None,
    }])
}

fn query(kind: Kind, direction: Direction) -> Query {
    Query { kind, start: None, end: None, until: None, direction, limit: 10, after: None }
}

/// findings G1 and G2: where a page, a rewind or "is it lost" begins is found by key, so each takes one turn of the reader
/// however much is stored; and nothing of it stays in memory.
#[test]
fn what_is_asked_of_the_file_costs_what_it_is_long() {
    let (disk, time) = (FaultyDisk::default(), clock());
    let (engine, account) = (engine(&disk), Account::server(1 << 24));
    let log = log_paid_by(&account, Arc::clone(&engine), &time);
    let mut channel = log.open(&"p".into());
    let depth = 3 * limits::READ_ROWS;
    let bodies = (0..depth).map(|number| if number % (depth / 4) == 5 { enter() } else { message() });
    let all = append_all(&mut *channel, &time, bodies);
    time.advance(Duration::from_secs(300));
    channel.expire(time.uptime());
    assert_eq!(account.kept(), 0);

    let end = Some(all[20].timestamp);
    for direction in [Direction::Backwards, Direction::Forwards] {
        let before = engine.reads();
        let first = channel.read_page(&Query { end, ..query(Kind::Messages, direction) });
        assert_eq!((first.items.len(), engine.reads() - before), (10, 1), "{direction:?}");
        let presence = channel.read_page(&query(Kind::Presence, direction));
        assert_eq!((presence.items.len(), engine.reads() - before), (4, 2), "{direction:?}");
        let until = Some(all[15].serial);
        let attached = channel.read_page(&Query { until, ..query(Kind::Messages, direction) });
        assert_eq!((attached.items.len(), engine.reads() - before), (10, 3), "{direction:?}");
    }
    let before = engine.reads();
    let found = channel.rewind(time.now(), Rewind { messages: 1, age: None });
    assert_eq!(serials(&found), serials(&all[depth - 1..]));
    assert_eq!((engine.reads() - before, account.kept()), (1, 0));
}

/// Each app pays for what it has waiting for the disk: one that writes faster is refused alone.
#[test]
fn an_app_that_waits_for_the_disk_leaves_it_to_the_others() {
    #[derive(Debug)]
    struct Two(AppId, [Account; 2]);
    impl budget::AppAccounts for Two {
        fn of_app(&self, id: AppId) -> Account {
            self.1[usize::from(id == self.0)].clone()
        }
    }
    let (disk, clock, other) = (FaultyDisk::default(), clock(), AppId::random());
    let server = Account::server(1 << 24);
    let apps = [0, 1].map(|_| server.open(budget::Level::App, 1 << 24));
    server.bound(budget::Kind::Store, 80_000);
    apps.iter().for_each(|app| app.bound(budget::Kind::Store, 40_000));
    let bounds = Bounds { age: Duration::from_secs(120), entries: 1_000, bytes: 1 << 20 };
    let memory = MemoryLog::new(bounds, Arc::new(Two(other, apps.clone())));
    let retention = Retention { age: DAY, bytes: 1 << 30 };
    let log = DiskLog::open(memory, engine(&disk), Box::new(move |_| Some(retention)), 1 << 20, clock.clone()).unwrap();
    let mut channels = ["p".into(), ChannelName::new(other, "p")].map(|name| log.open(&name));
    disk.hold();
    let (told, outcomes) = mpsc::channel();
    let mut append = |of: usize| {
        let entry = entry_at(&mut channels[of].mint(), 4_000, clock.now().millis());
        channels[of].append(clock.uptime(), entry, &mut || {
            let told = told.clone();
            Box::new(move |result| told.send(result).unwrap())
        })
    };
    let waiting = (0..).take_while(|_| append(0).is_pending()).count();
    assert!((6..10).contains(&waiting), "{waiting}");
    assert!(append(0).is_ready() && append(1).is_pending());
    disk.release();
    for _ in 0..=waiting {
        outcomes.recv().unwrap().unwrap();
    }
    assert!(append(0).is_pending());
    outcomes.recv().unwrap().unwrap();
    assert_eq!(server.kept_of(budget::Kind::Store), 0);
}

/// findings G2: what is read for a crowd is paid for, and kept only as long as there is room and somebody may come for it.
#[test]
fn what_is_read_of_the_past_is_paid_for() {
    let (disk, time) = (FaultyDisk::default(), clock());
    let account = Account::server(1 << 24);
    let log = log_paid_by(&account, engine(&disk), &time);
    let mut channel = log.open(&"p".into());
    let all = append_all(&mut *channel, &time, (0..500).map(|_| message()));
    time.advance(Duration::from_secs(300));
    channel.expire(time.uptime());
    assert_eq!(account.kept(), 0);
    assert_eq!(channel.after(all[100].serial).unwrap().len(), 399);
    assert!(account.kept() >= 399 * all[0].cost(), "{}", account.kept());
    time.advance(limits::BACKLOG_KEPT + Duration::from_secs(1));
    channel.expire(time.uptime());
    assert_eq!(account.kept(), 0);

    // Without room it is read anew by each.
    let full = account.charge(budget::Kind::Presence, 1 << 24).unwrap();
    for _ in 0..2 {
        assert_eq!(channel.after(all[100].serial).unwrap().len(), 399);
        assert_eq!(account.kept(), 1 << 24);
    }
    drop(full);
    let portions = contract::portions(&channel.past(), all[50].serial, all[450].serial).unwrap();
    assert_eq!(serials(&portions), serials(&all[51..=450]));
    assert_eq!(account.kept(), 0);
}

/// A clock that is set back leaves serials ahead of the times of their entries. A channel of an earlier version has no table
/// of presence events.
#[test]
fn a_page_is_whole_whatever_clock_and_version_its_entries_are_of() {
    let (disk, time) = (FaultyDisk::default(), clock());
    let log = log(&disk, &time);
    let mut channel = log.open(&"p".into());
    let mut all =
        append_all(&mut *channel, &time, (0..30).map(|number| if number % 3 == 0 { enter() } else { message() }));
    let earlier = Clock::manual(Timestamp::from_millis(START - 3_600_000));
    all.extend(append_all(
        &mut *channel,
        &earlier,
        (0..30).map(|number| if number % 3 == 0 { enter() } else { message() }),
    ));
    time.advance(Duration::from_secs(300));
    channel.expire(time.uptime());
    let mut whole = crate::core::window::Window::new(all[0].serial.epoch());
    for entry in &all {
        whole.append(Duration::ZERO, Arc::clone(entry), Bounds { age: DAY, entries: 10_000, bytes: 1 << 30 });
    }
    for is_new in [true, false] {
        if !is_new {
            channel = as_an_earlier_version(&log, channel);
        }
        for (kind, direction) in [Kind::Messages, Kind::Presence]
            .into_iter()
            .flat_map(|kind| [Direction::Forwards, Direction::Backwards].map(|direction| (kind, direction)))
        {
            for end in [None, Some(all[10].timestamp), Some(all[40].timestamp)] {
                let query = Query { end, ..query(kind, direction) };
                let (page, wanted) = (channel.read_page(&query), whole.page(&query));
                assert_eq!((page.places, page.next), (wanted.places, wanted.next), "{query:?}, {is_new}");
            }
        }
    }
    assert!(
        whole.page(&Query { end: Some(all[40].timestamp), ..query(Kind::Messages, Direction::Forwards) }).items.len()
            > 5
    );
}

/// The same channel, as an earlier version has left it.
fn as_an_earlier_version(log: &DiskLog, channel: Box<dyn ChannelLog>) -> Box<dyn ChannelLog> {
    drop(channel);
    log.close(&"p".into());
    let forget = |rows: &mut Writing<'_>| {
        let name = ChannelName::from("p");
        let row = rows::channel(rows, &name)?.unwrap();
        assert!(row.skew.is_some_and(|skew| skew > 3_000_000), "{row:?}");
        let mut keys = Vec::new();
        rows::raw_entries(
            rows,
            rows::PRESENCE,
            row.id,
            rows::Slice::ALL,
            crate::store::engine::Order::Rising,
            &mut |key, _| {
                keys.push(key.to_vec());
                Ok(std::ops::ControlFlow::Continue(()))
            },
        )?;
        assert_eq!(keys.len(), 20);
        for key in &keys {
            rows.remove(rows::PRESENCE, key)?;
        }
        rows::put_channel(rows, &name, &rows::ChannelRow { skew: None, ..row })
    };
    log.engine.write(0, Box::new(forget)).unwrap();
    log.open(&"p".into())
}

#[test]
fn pages_are_those_of_a_window_that_has_everything() {
    let (disk, time) = (FaultyDisk::default(), clock());
    let log = log(&disk, &time);
    let mut channel = log.open(&"p".into());
    let all = fill(&mut *channel, &time, 300, 1);
    let mut whole = crate::core::window::Window::new(all[0].serial.epoch());
    let bounds = Bounds { age: DAY, entries: 10_000, bytes: 1 << 30 };
    for entry in &all {
        whole.append(Duration::ZERO, Arc::clone(entry), bounds);
    }
    let moment = |place: usize| Some(all[place].timestamp);
    let mut seen = 0;
    for direction in [Direction::Forwards, Direction::Backwards] {
        for (start, end, until) in [
            (None, None, None),
            (moment(20), None, None),
            (moment(20), moment(150), None),
            (None, moment(150), Some(all[100].serial)),
            (moment(290), moment(10), None),
        ] {
            let mut query = Query { kind: Kind::Messages, start, end, until, direction, limit: 40, after: None };
            loop {
                let (page, wanted) = (channel.read_page(&query), whole.page(&query));
                let flat = |page: &crate::core::history::Page| {
                    let items = page.items.iter();
                    items.map(|(entry, index)| (entry.serial, *index)).collect::<Vec<_>>()
                };
                assert_eq!(flat(&page), flat(&wanted), "{query:?}");
                assert_eq!(page.next, wanted.next);
                seen += page.items.len();
                query.after = page.next;
                if page.next.is_none() {
                    break;
                }
            }
        }
    }
    assert!(seen > 1_000);
}

/// A channel that cannot be read takes nothing, and does not harm the others.
#[test]
fn a_damaged_entry_is_named_and_not_served() {
    let folder = tempfile::tempdir().unwrap();
    let time = clock();
    let terms = Terms { cache_bytes: 1 << 20, verify_bytes: 0 };
    let open = |path: &Path| DataFolder::open(path, terms, Clock::system()).unwrap();
    let retention = Retention { age: DAY, bytes: 1 << 30 };
    let (bad, good) = {
        let data = open(folder.path());
        let log = log_on(Arc::clone(data.engine()), &time, retention);
        let mut bad = log.open(&"p:bad".into());
        let mut good = log.open(&"p:good".into());
        let bad = fill(&mut *bad, &time, 3, 5_000);
        let good = fill(&mut *good, &time, 3, 100);
        data.close().unwrap();
        (bad, good)
    };
    let file = folder.path().join("letshare.redb");
    let mut bytes = std::fs::read(&file).unwrap();
    let text = vec![b'x'; 4_000];
    let mut places = BTreeMap::new();
    for place in 0..bytes.len() - text.len() {
        if bytes[place..].starts_with(&text) {
            places.insert(place / 5_000, place);
        }
    }
    for place in places.into_values() {
        bytes[place + 17] ^= 1;
    }
    std::fs::write(&file, bytes).unwrap();

    let data = open(folder.path());
    let log = log_on(Arc::clone(data.engine()), &time, retention);
    let found = data.engine().read(check::read_all).unwrap();
    assert_eq!(found.damage.len(), 1, "{found:?}");
    assert!(found.damage[0].contains("channel p:bad of app shared"));
    let channel = log.open(&"p:good".into());
    assert_eq!(channel.after(good[0].serial).unwrap().len(), 2);
    let mut channel = log.open(&"p:bad".into());
    assert_eq!(channel.after(bad[0].serial).err(), Some(Gap::OtherLog));
    let entry = entry_at(&mut channel.mint(), 1, START);
    assert!(matches!(try_append(&mut *channel, Duration::ZERO, entry), Err(StoreError::Damaged(_))));
}

#[test]
fn many_appends_share_a_commit() {
    let (disk, time) = (FaultyDisk::default(), clock());
    let engine = engine(&disk);
    let retention = Retention { age: DAY, bytes: 1 << 30 };
    let log = log_on(Arc::clone(&engine), &time, retention);
    let mut channel = log.open(&"p".into());
    let mut mint = channel.mint();
    disk.hold();
    let before = engine.commits();
    let (told, outcomes) = mpsc::channel();
    let mut expected = Vec::new();
    for _ in 0..500 {
        let entry = entry_at(&mut mint, 50, START);
        let serial: Serial = entry.serial;
        expected.push(serial);
        let appended = channel.append(time.uptime(), entry, &mut || {
            let told = told.clone();
            Box::new(move |result: Result<(), StoreError>| {
                told.send((serial, result)).unwrap();
            })
        });
        assert_eq!(appended, Poll::Pending);
    }
    drop(told);
    disk.release();
    let order = outcomes.iter().map(|(serial, result)| {
        result.unwrap();
        serial
    });
    let order: Vec<_> = order.collect();
    assert_eq!(order, expected);
    assert!(engine.commits() - before <= 2);
    assert_eq!(serials(&channel.recent()), expected);
}
