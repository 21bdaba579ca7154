//! What every log must do. Each implementation runs [`holds`] on itself; one that keeps nothing but its
//! windows also runs [`forgets`].

use std::{
    sync::{Arc, mpsc},
    task::Poll,
    time::Duration,
};

use bytestring::ByteString;

use crate::{
    core::{
        command::Rewind,
        dedupe::Known,
        history::{Direction, Kind, Page, Query},
        message::{Body, Entry, EntryId, Message, Payload},
        replay::{Choice, Found, Past, Wanted},
        serial::{Mint, Serial},
        window::Gap,
    },
    ids::Timestamp,
    limits,
    log::{ChannelLog, Log, StoreError},
};

/// An entry with `size` bytes of data and the next serial.
pub fn entry(mint: &mut Mint, size: usize) -> Arc<Entry> {
    entry_at(mint, size, 1_000)
}

/// The same, published at a moment of the wall clock.
pub fn entry_at(mint: &mut Mint, size: usize, millis: u64) -> Arc<Entry> {
    let now = Timestamp::from_millis(millis);
    let message = Message { payload: Payload::json(ByteString::from("x".repeat(size))), ..Message::default() };
    let body = Body::Messages(vec![message]);
    let serial = mint.mint(now);
    let entry = Entry::new("c".into(), serial, now, None, EntryId::Serial, body);
    Arc::new(entry)
}

/// An entry of one message with an id of its own.
pub fn named(serial: Serial, id: &'static str) -> Arc<Entry> {
    let id = EntryId::Item(ByteString::from_static(id));
    let body = Body::Messages(vec![Message::default()]);
    let now = Timestamp::from_millis(serial.place().0);
    Arc::new(Entry::new("c".into(), serial, now, None, id, body))
}

/// Asks a log, and waits for the answer if it has to.
fn wait<T: Send + 'static>(ask: impl FnOnce(&mut dyn FnMut() -> Box<dyn FnOnce(T) + Send>) -> Poll<T>) -> T {
    let (told, answer) = mpsc::channel();
    let mut later = || -> Box<dyn FnOnce(T) + Send> {
        let told = told.clone();
        Box::new(move |answer| drop(told.send(answer)))
    };
    match ask(&mut later) {
        Poll::Ready(answer) => answer,
        Poll::Pending => answer.recv().unwrap(),
    }
}

/// Appends, and waits until it is kept.
pub fn append(log: &mut dyn ChannelLog, now: Duration, entry: Arc<Entry>) {
    try_append(log, now, entry).unwrap();
}

pub fn try_append(log: &mut dyn ChannelLog, now: Duration, entry: Arc<Entry>) -> Result<(), StoreError> {
    wait(|later| log.append(now, entry, later))
}

/// The past of a channel for who waits for it.
pub trait Reads {
    fn after(&self, position: Serial) -> Found;
    fn rewind(&self, now: Timestamp, rewind: Rewind) -> Vec<Arc<Entry>>;
    fn read_page(&self, query: &Query) -> Page;
}

impl Reads for dyn ChannelLog {
    fn after(&self, position: Serial) -> Found {
        wait(|later| self.read(Wanted::After(position), &Choice::all(), later))
    }

    fn rewind(&self, now: Timestamp, rewind: Rewind) -> Vec<Arc<Entry>> {
        wait(|later| self.read(Wanted::Last(now, rewind), &Choice::all(), later)).unwrap()
    }

    fn read_page(&self, query: &Query) -> Page {
        wait(|later| self.page(query, later)).expect("readable").expect("nothing is lost")
    }
}

/// What a transport reads of a backlog, portion by portion.
pub fn portions(past: &Arc<dyn Past>, mut after: Serial, upto: Serial) -> Found {
    let mut all = Vec::new();
    while after.place() < upto.place() {
        let portion = wait(|later| Arc::clone(past).portion(after, upto, &Choice::all(), later))?;
        assert!(portion.upto.place() > after.place() && portion.upto.place() <= upto.place());
        let (_last, but_last) = portion.entries.split_last().map_or((None, &[][..]), |(last, rest)| (Some(last), rest));
        assert!(but_last.iter().map(|entry| entry.cost()).sum::<usize>() < limits::BACKLOG_PORTION);
        after = portion.upto;
        all.extend(portion.entries);
    }
    Ok(all)
}

pub fn serials(entries: &[Arc<Entry>]) -> Vec<Serial> {
    entries.iter().map(|entry| entry.serial).collect()
}

/// Checks a log made by `make`; it must keep at least ten small entries for 100 seconds, and in memory
/// nothing for longer than 200.
pub fn holds<L: Log>(make: impl Fn() -> L) {
    reads_back_in_order(&make());
    goes_on_when_opened_again(&make());
    channels_do_not_mix(&make());
    pages_and_rewinds(&make());
}

/// Checks a log that is gone when its windows are empty.
pub fn forgets<L: Log>(make: impl Fn() -> L) {
    says_what_has_expired(&make());
    a_closed_log_begins_a_new_epoch_once_nothing_is_kept(&make());
}

fn fill(channel: &mut dyn ChannelLog) -> Vec<Arc<Entry>> {
    let mut mint = channel.mint();
    let all: Vec<_> = (0..10).map(|size| entry(&mut mint, size)).collect();
    for (second, entry) in all.iter().enumerate() {
        append(channel, Duration::from_secs(second as u64), Arc::clone(entry));
    }
    all
}

fn reads_back_in_order(log: &dyn Log) {
    let mut channel = log.open(&"c".into());
    let all = fill(&mut *channel);
    for (place, entry) in all.iter().enumerate() {
        let found = channel.after(entry.serial).expect("kept");
        assert_eq!(serials(&found), serials(&all[place + 1..]));
        let found = portions(&channel.past(), entry.serial, all[9].serial).expect("kept");
        assert_eq!(serials(&found), serials(&all[place + 1..]));
    }
    assert!(!channel.expire(Duration::from_secs(100)));
    assert_eq!(serials(&channel.recent()), serials(&all));
    assert!(channel.expire(Duration::from_secs(300)));
    assert_eq!(channel.after(all[9].serial).expect("nothing missed").len(), 0);
}

fn says_what_has_expired(log: &dyn Log) {
    let mut channel = log.open(&"c".into());
    let all = fill(&mut *channel);
    assert!(channel.expire(Duration::from_secs(300)));
    assert_eq!(channel.after(all[0].serial).err(), Some(Gap::Expired));
    assert_eq!(portions(&channel.past(), all[0].serial, all[9].serial).err(), Some(Gap::Expired));
}

fn goes_on_when_opened_again(log: &dyn Log) {
    let mut first = log.open(&"c".into());
    let serial = first.mint().mint(Timestamp::from_millis(1_000));
    let kept = named(serial, "id");
    append(&mut *first, Duration::ZERO, Arc::clone(&kept));
    drop(first);

    let mut second = log.open(&"c".into());
    assert_eq!(second.remembered(), [Known::of(&kept).unwrap()]);
    let next = entry(&mut second.mint(), 1);
    assert_eq!(next.serial.epoch(), kept.serial.epoch());
    assert!(next.serial.place() > kept.serial.place());
    append(&mut *second, Duration::ZERO, Arc::clone(&next));
    let found = second.after(kept.serial).expect("kept");
    assert_eq!(serials(&found), [next.serial]);
}

fn a_closed_log_begins_a_new_epoch_once_nothing_is_kept(log: &dyn Log) {
    let mut channel = log.open(&"c".into());
    let kept = entry(&mut channel.mint(), 1);
    append(&mut *channel, Duration::ZERO, Arc::clone(&kept));
    log.close(&"c".into());
    assert_eq!(log.open(&"c".into()).after(kept.serial).expect("still kept").len(), 0);

    assert!(channel.expire(Duration::from_secs(300)));
    log.close(&"c".into());
    let anew = log.open(&"c".into());
    assert_eq!(anew.after(kept.serial).err(), Some(Gap::OtherLog));
}

fn channels_do_not_mix(log: &dyn Log) {
    let (mut a, b) = (log.open(&"a".into()), log.open(&"b".into()));
    let first = entry(&mut a.mint(), 1);
    append(&mut *a, Duration::ZERO, Arc::clone(&first));
    assert_eq!(b.after(first.serial).err(), Some(Gap::OtherLog));
}

fn pages_and_rewinds(log: &dyn Log) {
    let mut channel = log.open(&"c".into());
    let all = fill(&mut *channel);
    let mut query = Query {
        kind: Kind::Messages,
        start: None,
        end: None,
        until: Some(all[7].serial),
        direction: Direction::Backwards,
        limit: 3,
        after: None,
    };
    for direction in [Direction::Backwards, Direction::Forwards] {
        query.direction = direction;
        query.after = None;
        let mut found = Vec::new();
        loop {
            let page = channel.read_page(&query);
            assert!(page.items.len() <= 3);
            found.extend(page.items.into_iter().map(|(entry, _)| entry.serial));
            query.after = page.next;
            if page.next.is_none() {
                break;
            }
        }
        let mut wanted = serials(&all[..8]);
        if direction == Direction::Backwards {
            wanted.reverse();
        }
        assert_eq!(found, wanted);
    }
    query.kind = Kind::Presence;
    assert_eq!(channel.read_page(&query).items.len(), 0);

    let now = Timestamp::from_millis(1_000);
    let rewind = |messages| channel.rewind(now, Rewind { messages, age: None });
    assert_eq!(serials(&rewind(4)), serials(&all[6..]));
    assert_eq!(serials(&rewind(99)), serials(&all));
}
