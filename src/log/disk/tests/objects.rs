//! What is kept of the objects of channels, and what the log has behind that.

use super::*;
use crate::core::{
    objects::{Action, Changes, Kept, ObjectId, ObjectOperation, Objects, Value},
    serial::{Epoch, Mint},
};

fn set(key: &str, value: f64) -> ObjectOperation {
    ObjectOperation::new(ObjectId::root(), Action::Set(key.to_owned().into(), Value::Number(value)))
}

fn entry(mint: &mut Mint, clock: &Clock, operations: Vec<ObjectOperation>) -> Arc<Entry> {
    clock.advance(Duration::from_secs(1));
    let serial = mint.mint(clock.now());
    Arc::new(Entry::new("x".into(), serial, clock.now(), None, EntryId::Serial, Body::Objects(operations)))
}

fn read(log: &DiskLog, channel: &ChannelName) -> Result<Kept, StoreError> {
    let (told, read) = mpsc::channel();
    let mut later = || -> Box<dyn FnOnce(ObjectsRead) + Send> {
        let told = told.clone();
        Box::new(move |read| told.send(read).unwrap())
    };
    match log.objects(channel, &mut later) {
        Poll::Ready(read) => read,
        Poll::Pending => read.recv().unwrap(),
    }
}

/// The numbers that root has.
fn numbers(log: &DiskLog, channel: &ChannelName) -> BTreeMap<String, f64> {
    let objects = Objects::restored(read(log, channel).unwrap(), None).snapshot();
    let values = objects.get(&ObjectId::root()).unwrap().values();
    values
        .map(|(key, value)| match value {
            Value::Number(number) => (key.to_string(), *number),
            other => panic!("{other:?}"),
        })
        .collect()
}

fn keep(log: &DiskLog, channel: &ChannelName, changes: &Changes) -> Result<(), StoreError> {
    let (told, outcome) = mpsc::channel();
    log.keep_objects(channel, changes, Box::new(move |kept| told.send(kept).unwrap()));
    outcome.recv().unwrap()
}

/// Also those of many more objects than are read in one turn, and of a channel whose name begins with that of another.
#[test]
fn objects_are_read_as_they_were_kept() {
    let (disk, clock) = (FaultyDisk::default(), clock());
    let log = log(&disk, &clock);
    let (one, two) = (ChannelName::from("a"), ChannelName::from("ab"));
    let mut mint = Mint::new(Epoch::new(1));
    let mut objects = Objects::restored(Kept::default(), None);
    let mut expected = BTreeMap::new();
    for round in 0..3 {
        let keys = (0..900).map(|n| format!("k{}", n + round * 800));
        let keys: Vec<String> = keys.collect();
        expected.extend(keys.iter().map(|key| (key.clone(), f64::from(round))));
        let operations = keys.iter().map(|key| set(key, f64::from(round)));
        objects.take(&entry(&mut mint, &clock, operations.collect()));
        assert_eq!(keep(&log, &one, &objects.changes(false).unwrap()), Ok(()));
    }
    assert_eq!(numbers(&log, &two), BTreeMap::new());
    let mut other = Objects::restored(Kept::default(), None);
    other.take(&entry(&mut mint, &clock, vec![set("other", 1.0)]));
    keep(&log, &two, &other.changes(false).unwrap()).unwrap();
    assert_eq!(numbers(&log, &one), expected);

    objects.take(&entry(
        &mut mint,
        &clock,
        vec![ObjectOperation::new(ObjectId::root(), Action::Clear), set("last", 7.0)],
    ));
    keep(&log, &one, &objects.changes(false).unwrap()).unwrap();
    assert_eq!(numbers(&log, &one), BTreeMap::from([("last".to_owned(), 7.0)]));
    assert_eq!(numbers(&log, &two), BTreeMap::from([("other".to_owned(), 1.0)]));
}

/// What could not be written is not passed over by what comes behind it, until everything is written anew.
#[test]
fn changes_that_were_not_kept_are_not_passed_over() {
    let (disk, clock) = (FaultyDisk::default(), clock());
    let log = log(&disk, &clock);
    let channel = ChannelName::from("a");
    let mut mint = Mint::new(Epoch::new(1));
    let mut objects = Objects::restored(Kept::default(), None);
    let mut next = |objects: &mut Objects, key| {
        objects.take(&entry(&mut mint, &clock, vec![set(key, 1.0)]));
        objects.changes(false).unwrap()
    };
    assert_eq!(keep(&log, &channel, &next(&mut objects, "a")), Ok(()));
    let _lost = next(&mut objects, "b");
    assert_eq!(keep(&log, &channel, &next(&mut objects, "c")), Err(StoreError::Busy));
    assert_eq!(numbers(&log, &channel).into_keys().collect::<Vec<_>>(), ["a"]);
    assert_eq!(keep(&log, &channel, &objects.changes(true).unwrap()), Ok(()));
    assert_eq!(keep(&log, &channel, &next(&mut objects, "d")), Ok(()));
    assert_eq!(numbers(&log, &channel).into_keys().collect::<Vec<_>>(), ["a", "b", "c", "d"]);
}

/// Of a persisted channel nothing is lost that the log has, whatever was written behind it.
#[test]
fn the_log_has_what_was_not_kept() {
    let (disk, clock) = (FaultyDisk::default(), clock());
    let channel = ChannelName::from("p");
    let before = log(&disk, &clock);
    let mut open = before.open(&channel);
    fill(&mut *open, &clock, 5, 10);
    let (mut mint, mut objects) = (open.mint(), Objects::restored(Kept::default(), None));
    for (number, key) in ["a", "b", "c"].into_iter().enumerate() {
        let entry = entry(&mut mint, &clock, vec![set(key, 1.0)]);
        append(&mut *open, clock.uptime(), Arc::clone(&entry));
        objects.take(&entry);
        if number == 1 {
            keep(&before, &channel, &objects.changes(false).unwrap()).unwrap();
        }
    }
    drop((open, before));
    let after = log(&disk, &clock);
    let kept = read(&after, &channel).unwrap();
    assert_eq!((kept.tail.len(), kept.upto.is_some()), (1, true), "only what is behind the rows");
    assert_eq!(numbers(&after, &channel).into_keys().collect::<Vec<_>>(), ["a", "b", "c"]);
}

/// Objects outlive the entries; when nobody has changed them for long and nobody uses the channel, they go.
#[test]
fn unused_objects_go() {
    let (disk, clock) = (FaultyDisk::default(), clock());
    let log = log(&disk, &clock);
    let (used, unused) = (ChannelName::from("used"), ChannelName::from("unused"));
    let mut mint = Mint::new(Epoch::new(1));
    for channel in [&used, &unused] {
        let mut objects = Objects::restored(Kept::default(), None);
        objects.take(&entry(&mut mint, &clock, vec![set("a", 1.0)]));
        keep(&log, channel, &objects.changes(false).unwrap()).unwrap();
    }
    let _open = log.open(&used);
    clock.advance(limits::OBJECTS_UNUSED - DAY);
    log.forget_unused_objects(clock.now()).unwrap();
    assert_eq!(numbers(&log, &unused).len(), 1);
    clock.advance(2 * DAY);
    log.forget_unused_objects(clock.now()).unwrap();
    assert_eq!((numbers(&log, &unused).len(), numbers(&log, &used).len()), (0, 1));
}
