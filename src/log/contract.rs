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
        growth::Grown,
        history::{Direction, Kind, Page, Query},
        message::{Body, Data, Entry, EntryId, Message, Payload},
        operation::{Annotation, Change, Latest, MessageRef, Operation, Version},
        replay::{Choice, Found, Past, Wanted},
        serial::{Epoch, Mint, Serial},
        summaries::{Annotated, Summaries},
        window::Gap,
    },
    ids::{ClientId, Timestamp},
    limits,
    log::{ChannelLog, Log, StoreError},
};

/// An entry with `size` bytes of data and the next serial.
pub fn entry(mint: &mut Mint, size: usize) -> Arc<Entry> {
    entry_at(mint, size, 1_000)
}

/// Annotates a message, and keeps its summary when that is due, as a channel does that knows it.
pub fn annotate(channel: &mut (dyn ChannelLog + 'static), target: MessageRef, client: &str, known: &mut Summaries) {
    let annotation = Annotation {
        target,
        is_delete: false,
        kind: "r:multiple.v1".into(),
        name: "x".into(),
        count: None,
        client_id: ClientId::new(client),
        payload: Payload::default(),
        extras: None,
    };
    if known.get(target).is_none() {
        known.learn(target, channel.summary(target).unwrap()).unwrap();
    }
    let now = Timestamp::from_millis(1_000);
    let (serial, body) = (channel.mint().mint(now), Body::Annotations(vec![annotation]));
    let entry = Arc::new(Entry::new("c".into(), serial, now, None, EntryId::Serial, body));
    let entry = append(channel, Duration::from_secs(1), entry);
    known.take(Duration::from_secs(1), &entry);
    if let Some(annotated) = known.to_keep(target) {
        channel.keep_summary(target, annotated);
    }
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

/// Appends, and waits until it is kept: the entry as the log has it, which may have given it another serial.
pub fn append(log: &mut dyn ChannelLog, now: Duration, entry: Arc<Entry>) -> Arc<Entry> {
    try_append(log, now, Arc::clone(&entry)).unwrap();
    log.recent().pop().unwrap_or(entry)
}

pub fn try_append(log: &mut dyn ChannelLog, now: Duration, entry: Arc<Entry>) -> Result<(), StoreError> {
    wait(|later| log.append(now, entry, later))
}

/// The past of a channel for who waits for it.
pub trait Reads {
    fn after(&self, position: Serial) -> Found;
    fn rewind(&self, now: Timestamp, rewind: Rewind) -> Vec<Arc<Entry>>;
    fn read_page(&self, query: &Query) -> Page;
    fn message(&self, target: MessageRef) -> Option<Latest>;
    fn summary(&self, target: MessageRef) -> Option<Annotated>;
}

impl Reads for dyn ChannelLog {
    fn summary(&self, target: MessageRef) -> Option<Annotated> {
        wait(|later| self.annotated(target, later)).unwrap()
    }

    fn after(&self, position: Serial) -> Found {
        wait(|later| self.read(Wanted::After(position), &Choice::all(), later))
    }

    fn rewind(&self, now: Timestamp, rewind: Rewind) -> Vec<Arc<Entry>> {
        wait(|later| self.read(Wanted::Last(now, rewind), &Choice::all(), later)).unwrap()
    }

    fn message(&self, target: MessageRef) -> Option<Latest> {
        wait(|later| self.newest(target, later)).expect("readable")
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
    messages_are_as_they_have_become(&make());
    messages_have_their_summaries(&make());
}

fn messages_have_their_summaries(log: &dyn Log) {
    let [a, b, _] = messages_in(log);
    let mut channel = log.open(&"p of messages".into());
    let mut known = Summaries::default();
    for client in ["x", "y", "x"] {
        annotate(&mut *channel, a, client, &mut known);
    }
    annotate(&mut *channel, b, "z", &mut known);
    for target in [a, b] {
        let read = channel.summary(target).expect("a message");
        assert_eq!(read.summary.digest(), known.get(target).expect("known").summary.digest());
    }
    assert!(channel.summary(MessageRef { index: 9, ..a }).is_none());
    assert_eq!(channel.annotated_lately(), [a, b]);
    let query =
        |kind, direction, limit, after| Query { kind, start: None, end: None, until: None, direction, limit, after };
    for direction in [Direction::Forwards, Direction::Backwards] {
        let first = channel.read_page(&query(Kind::Annotations(a), direction, 2, None));
        let rest = channel.read_page(&query(Kind::Annotations(a), direction, 2, first.next));
        assert_eq!((first.items.len(), rest.items.len(), rest.next), (2, 1, None), "{direction:?}");
    }
    let page = channel.read_page(&query(Kind::Messages, Direction::Forwards, 10, None));
    let summaries: Vec<_> = page.items.iter().map(|(entry, index)| entry.summary(*index).cloned()).collect();
    let expected = [a, b].map(|target| known.get(target).map(|annotated| annotated.summary.digest()));
    assert_eq!(summaries, [&expected[..], &[None]].concat());
}

/// Checks a log that is gone when its windows are empty.
pub fn forgets<L: Log>(make: impl Fn() -> L) {
    says_what_has_expired(&make());
    a_closed_log_begins_a_new_epoch_once_nothing_is_kept(&make());
}

fn fill(channel: &mut dyn ChannelLog) -> Vec<Arc<Entry>> {
    let mut fill = |size| {
        let entry = entry(&mut channel.mint(), size);
        append(channel, Duration::from_secs(size as u64), entry)
    };
    (0..10).map(&mut fill).collect()
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
    let kept = append(&mut *first, Duration::ZERO, named(serial, "id"));
    drop(first);

    let mut second = log.open(&"c".into());
    assert_eq!(second.remembered(), [Known::of(&kept).unwrap()]);
    let next = entry(&mut second.mint(), 1);
    assert_eq!(next.serial.epoch(), kept.serial.epoch());
    assert!(next.serial.place() > kept.serial.place());
    let next = append(&mut *second, Duration::ZERO, next);
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
    let first = append(&mut *a, Duration::ZERO, first);
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

/// Does something to a message, as a channel does it: judged by what the message is, taken when the log has it.
pub fn operate(channel: &mut (dyn ChannelLog + 'static), target: MessageRef, change: Change, data: &str) -> Arc<Entry> {
    let latest = channel.message(target).expect("a message");
    let message = Message { payload: payload(data), ..Message::default() };
    let mut operation = Operation::new(target, change, message, Version::default());
    operation.origin = latest.origin();
    let (serial, id) = (channel.mint().mint(latest.entry.timestamp), EntryId::Serial);
    let body = Body::Operation(Box::new(operation));
    let entry = Arc::new(Entry::new("c".into(), serial, latest.entry.timestamp, None, id, body));
    let entry = append(channel, Duration::from_secs(serial.place().0 / 1_000), entry);
    if change == Change::Append {
        let operation = entry.operation().expect("an operation");
        operation.grow(&latest, None);
        if operation.grown().is_some_and(Grown::is_whole_due) {
            channel.keep_whole(&entry);
        }
    }
    entry
}

fn payload(data: &str) -> Payload {
    Payload { data: Data::Text(data.into()), ..Payload::default() }
}

/// What a message says, and its change; 0 as it was published.
fn said(latest: &Latest) -> (Option<Change>, String) {
    let Data::Text(text) = latest.payload().data else { panic!("no text") };
    (latest.entry.operation().map(|operation| operation.change), text.to_string())
}

/// Three messages of which two have changed.
pub fn messages_in(log: &dyn Log) -> [MessageRef; 3] {
    let mut channel = log.open(&"p of messages".into());
    let messages = ["a", "b", "c"].map(|data| Message { payload: payload(data), ..Message::default() });
    let now = Timestamp::from_millis(1_000);
    let mut publish = |messages: &[Message]| {
        let (serial, body) = (channel.mint().mint(now), Body::Messages(messages.to_vec()));
        let entry = Arc::new(Entry::new("c".into(), serial, now, None, EntryId::Serial, body));
        append(&mut *channel, Duration::from_secs(1), entry).serial
    };
    let (first, second) = (publish(&messages[..2]), publish(&messages[2..]));
    let target = |serial, index| MessageRef { serial, index };
    let (a, b, c) = (target(first, 0), target(first, 1), target(second, 0));
    let unknown = [target(first, 2), target(first.before(), 0), target(Serial::at(Epoch::new(9), first.place()), 0)];

    let channel = &mut *channel;
    operate(channel, b, Change::Append, "1");
    operate(channel, b, Change::Append, "2");
    operate(channel, c, Change::Update, "C");
    operate(channel, b, Change::Update, "B");
    operate(channel, c, Change::Delete, "");
    operate(channel, b, Change::Append, "3");
    for unknown in unknown {
        assert!(channel.message(unknown).is_none());
    }
    [a, b, c]
}

fn messages_are_as_they_have_become(log: &dyn Log) {
    let targets = messages_in(log);
    holds_them(&*log.open(&"p of messages".into()), targets);
}

/// What [`messages_in`] leaves, in whatever way it is read.
pub fn holds_them(channel: &(dyn ChannelLog + 'static), targets: [MessageRef; 3]) {
    let [a, b, c] = targets;
    let are = [(None, "a"), (Some(Change::Append), "B3"), (Some(Change::Delete), "")];
    let are = are.map(|(change, text)| (change, text.to_owned()));
    assert_eq!([a, b, c].map(|target| said(&channel.message(target).expect("a message"))), are);

    let mut query = Query {
        kind: Kind::Messages,
        start: None,
        end: None,
        until: None,
        direction: Direction::Forwards,
        limit: 2,
        after: None,
    };
    let mut pages = |kind| {
        let (mut all, mut places) = (Vec::new(), 0);
        (query.kind, query.after) = (kind, None);
        loop {
            let page = channel.read_page(&query);
            places += page.places.len();
            all.extend(page.items.into_iter().map(|(entry, index)| said(&Latest { entry, index })));
            query.after = page.next;
            if page.next.is_none() {
                assert_eq!(all.len(), places);
                return all;
            }
        }
    };
    let shown = |change: Option<Change>, text: &str| (change, text.to_owned());
    let update = Some(Change::Update);
    // In the place where each was published; a message that has grown is shown whole, as an update.
    assert_eq!(pages(Kind::Messages), [shown(None, "a"), shown(update, "B3"), shown(Some(Change::Delete), "")]);
    assert_eq!(pages(Kind::Versions(a)), [shown(None, "a")]);
    assert_eq!(pages(Kind::Versions(b)), [shown(None, "b"), shown(update, "B")]);
    assert_eq!(pages(Kind::Versions(c)), [shown(None, "c"), shown(update, "C"), shown(Some(Change::Delete), "")]);

    // Each message once, as its newest version, in that one's place.
    let rewind = |messages| {
        let found = channel.rewind(Timestamp::from_millis(1_000), Rewind { messages, age: None });
        let said = |entry: Arc<Entry>| said(&Latest { entry: entry.whole().unwrap_or(entry), index: 0 }).1;
        found.into_iter().map(said).collect::<Vec<_>>()
    };
    assert_eq!(rewind(1), ["B3"]);
    assert_eq!(rewind(2), ["", "B3"]);
    assert_eq!(rewind(9), ["a", "", "B3"]);
}
