#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use proptest::prelude::*;

use super::*;
use crate::{
    core::{
        budget::Account,
        command::Now,
        message::{Body, Entry, EntryId},
        serial::{Epoch, Mint, Serial},
    },
    ids::{AppId, ChannelName, Timestamp},
};

const NONCE: &str = "0123456789abcdef";

fn id(kind: Type, name: &str) -> ObjectId {
    ObjectId::of(kind, name, NONCE, Timestamp::from_millis(1))
}

fn root(action: Action) -> ObjectOperation {
    ObjectOperation::new(ObjectId::root(), action)
}

fn set(key: &'static str, value: Value) -> ObjectOperation {
    root(Action::Set(key.into(), value))
}

/// A log of one channel, that grows.
struct Log {
    mint: Mint,
    now: u64,
}

impl Log {
    const fn new() -> Self {
        Self { mint: Mint::new(Epoch::new(7)), now: 1_000 }
    }

    fn entry(&mut self, operations: Vec<ObjectOperation>) -> Arc<Entry> {
        self.now += 1;
        let at = Timestamp::from_millis(self.now);
        let (channel, serial) = (ChannelName::new(AppId::DEFAULT, "c"), self.mint.mint(at));
        Arc::new(Entry::new(channel, serial, at, None, EntryId::Serial, Body::Objects(operations)))
    }
}

fn after(entries: &[Arc<Entry>]) -> Objects {
    Objects::restored(Kept { tail: entries.to_vec(), ..Kept::default() }, None)
}

fn state(objects: &mut Objects) -> BTreeMap<ObjectId, Object> {
    objects.snapshot().iter().map(|(id, object)| (id.clone(), object.clone())).collect()
}

/// What a disk has of the rows it was given.
#[derive(Default)]
struct Disk {
    objects: BTreeMap<ObjectId, Object>,
    upto: Option<Serial>,
}

impl Disk {
    fn keep(&mut self, objects: &mut Objects) {
        if let Some(changes) = objects.changes(false) {
            assert_eq!(changes.from, self.upto);
            self.put(changes.rows);
            self.upto = Some(changes.upto);
        }
    }

    fn put(&mut self, rows: Vec<Row>) {
        for row in rows {
            match row {
                Row::Head(id, head) => {
                    let mut object = Object::with(head);
                    let before = self.objects.remove(&id);
                    before.iter().flat_map(|object| object.entries()).for_each(|(key, entry)| {
                        object.put(key.clone(), entry.clone());
                    });
                    self.objects.insert(id, object);
                }
                Row::Entry(id, key, entry) => {
                    let object = self.objects.entry(id.clone()).or_insert_with(|| Object::zero(id.kind()));
                    match entry {
                        Some(entry) => object.put(key, entry),
                        None => object.remove(&key),
                    }
                }
                Row::Gone(id) => drop(self.objects.remove(&id)),
                Row::AllGone => self.objects.clear(),
            }
        }
    }

    fn kept(&self) -> Kept {
        let objects = self.objects.iter().map(|(id, object)| (id.clone(), object.clone())).collect();
        Kept { objects, upto: self.upto, tail: Vec::new() }
    }
}

/// features spec RTLM7, RTLM8, RTLM24, RTLC7-9, RTLO5.
#[test]
fn operations_do_what_they_do_at_clients() {
    let (map, counter) = (id(Type::Map, "m"), id(Type::Counter, "c"));
    let on_map = |action| ObjectOperation::new(map.clone(), action);
    let on_counter = |action| ObjectOperation::new(counter.clone(), action);
    let mut log = Log::new();
    let mut entries = vec![
        log.entry(vec![
            on_counter(Action::Increment(2.0)),
            on_counter(Action::CreateCounter(Some(10.0))),
            on_counter(Action::CreateCounter(Some(10.0))),
            set("counter", Value::Object(counter.clone())),
            set("map", Value::Object(map.clone())),
        ]),
        log.entry(vec![on_map(Action::CreateMap(vec![
            ("a".into(), Value::Number(1.0)),
            ("b".into(), Value::Boolean(true)),
        ]))]),
        log.entry(vec![on_map(Action::Remove("a".into())), on_counter(Action::Increment(-0.5))]),
    ];
    let mut objects = after(&entries);
    let now = objects.snapshot();
    assert_eq!(now.get(&counter).unwrap().count(), 11.5);
    let keys: Vec<_> = now.get(&map).unwrap().values().map(|(key, _)| key.clone()).collect();
    assert_eq!(keys, ["b"]);
    assert_eq!(now.get(&map).unwrap().entries().len(), 2, "what was removed is remembered");

    entries.push(log.entry(vec![on_map(Action::Clear), on_map(Action::Set("c".into(), Value::Text("x".into())))]));
    let cleared = after(&entries).snapshot();
    assert_eq!(cleared.get(&map).unwrap().entries().len(), 1);

    entries.push(log.entry(vec![on_map(Action::Delete), root(Action::Delete), on_map(Action::Clear)]));
    let deleted = after(&entries).snapshot();
    let head = deleted.get(&map).unwrap().head;
    assert!(head.deleted.is_some() && deleted.get(&map).unwrap().entries().is_empty());
    assert!(deleted.get(&ObjectId::root()).unwrap().head.deleted.is_none(), "root cannot be deleted");
    let fault = after(&entries).judge(&[on_map(Action::Clear)]).expect_err("deleted");
    assert!(matches!(fault, Fault::ObjectDeleted { .. }), "{fault}");
    let fault = after(&entries).judge(&[on_map(Action::Increment(1.0))]).expect_err("unfit");
    assert!(matches!(fault, Fault::InvalidObject { field: "objectId", .. }), "{fault}");
}

/// What objects have is charged and bounded, also while it is on its way into the log; what was removed counts until it is
/// forgotten, and nothing is left then.
#[test]
fn objects_are_bounded_and_charged() {
    let account = Account::server(1 << 26);
    let mut objects = Objects::restored(Kept::default(), Some(account.clone()));
    let large = |key: String| root(Action::Set(key.into(), Value::Text("x".repeat(60_000).into())));
    let (mut log, mut waiting) = (Log::new(), Vec::new());
    let fault = (0..).find_map(|number| {
        let operations = vec![large(format!("k{number}"))];
        if let Err(fault) = objects.judge(&operations) {
            return Some(fault);
        }
        let entry = log.entry(operations);
        objects.stamped(entry.objects());
        waiting.push(entry);
        None
    });
    assert_eq!(fault, Some(Fault::ObjectsFull { what: "bytes", limit: limits::OBJECTS_BYTES }));
    assert_eq!(waiting.len(), limits::OBJECTS_BYTES / (60_000 + limits::OBJECT_ENTRY_COST + 2));
    // The log refuses one; what it would have had is free.
    objects.withdrawn();
    waiting.drain(1..).for_each(|entry| objects.take(&entry));
    assert_eq!(objects.judge(&[large("again".into())]), Ok(()));
    assert_eq!(objects.judge(&[root(Action::Set("k7".into(), Value::Number(1.0)))]), Ok(()), "one that gets smaller");
    assert!(account.kept() > limits::OBJECTS_BYTES * 9 / 10);

    for number in 1..200 {
        let entry = log.entry(vec![root(Action::Remove(format!("k{number}").into()))]);
        objects.take(&entry);
    }
    let day = |days: u64| Now {
        wall: Timestamp::from_millis(days * 24 * 60 * 60 * 1_000 + 10_000),
        uptime: Duration::from_secs(days * 24 * 60 * 60),
    };
    assert!(objects.snapshot().get(&ObjectId::root()).unwrap().entries().len() > 100);
    objects.expire(day(2));
    assert!(objects.snapshot().get(&ObjectId::root()).unwrap().entries().is_empty());
    assert!(account.kept() < 4_096, "{}", account.kept());
    drop(objects);
    assert_eq!(account.kept(), 0);

    let mut objects = Objects::default();
    let counters =
        (0..limits::OBJECTS).map(|n| ObjectOperation::new(id(Type::Counter, &n.to_string()), Action::Increment(1.0)));
    let counters: Vec<_> = counters.collect();
    let fault = counters.chunks(1_000).find_map(|operations| {
        let fault = objects.judge(operations).err();
        objects.take(&log.entry(operations.to_vec()));
        fault
    });
    assert!(matches!(fault, None | Some(Fault::ObjectsFull { .. })), "{fault:?}");
    let one_more = ObjectOperation::new(id(Type::Counter, "more"), Action::Increment(1.0));
    assert!(matches!(objects.judge(&[one_more]), Err(Fault::ObjectsFull { .. })));
}

/// `docs/protocols/ably.md §10.7`: what cannot be reached from root is deleted after a while, together with what only it
/// leads to; what is deleted is
/// forgotten after a day.
#[test]
fn what_cannot_be_reached_is_deleted_and_then_forgotten() {
    let (map, counter) = (id(Type::Map, "m"), id(Type::Counter, "c"));
    let mut log = Log::new();
    let inner = Action::Set("inner".into(), Value::Object(counter.clone()));
    let mut entries = vec![
        log.entry(vec![set("m", Value::Object(map.clone())), ObjectOperation::new(map.clone(), inner)]),
        log.entry(vec![root(Action::Remove("m".into()))]),
    ];
    let mut objects = after(&entries);
    // The last operation was at 1,002 ms.
    let at = |seconds: u64| Now { wall: Timestamp::from_millis(1_000 * (seconds + 1)), uptime: Duration::ZERO };
    assert_eq!(objects.expire(at(1)), []);
    assert_eq!(objects.expire(at(300)), []);
    let mut due = objects.expire(at(301));
    due.sort();
    assert_eq!(due, [counter.clone(), map.clone()]);
    // Whoever reads them anew knows it as well.
    assert_eq!(after(&entries).expire(at(301)).len(), 2);
    assert_eq!(objects.expire(at(302)), [], "once");
    let delete = |id: ObjectId| ObjectOperation::new(id, Action::Delete);
    entries.push(log.entry(due.into_iter().map(delete).collect()));
    objects.take(&entries[2]);
    assert!(objects.snapshot().get(&map).unwrap().head.deleted.is_some());
    assert_eq!(objects.unreached(vec![map.clone(), ObjectId::root()]), [], "what is deleted, or root");
    // A day later, at the next full hour.
    assert_eq!(objects.expire(at(90_000)), []);
    let left: Vec<_> = objects.snapshot().iter().map(|(id, _)| id.clone()).collect();
    assert_eq!(left, [ObjectId::root()]);
}

fn operation() -> impl Strategy<Value = ObjectOperation> {
    let object = prop_oneof![
        Just(ObjectId::root()),
        (0..3_u8).prop_map(|n| id(Type::Map, &n.to_string())),
        (0..3_u8).prop_map(|n| id(Type::Counter, &n.to_string())),
    ];
    let key = || (0..4_u8).prop_map(|n| format!("k{n}").into());
    let value = prop_oneof![
        (0..9_u8).prop_map(|n| Value::Number(n.into())),
        (0..3_u8).prop_map(|n| Value::Object(id(Type::Map, &n.to_string()))),
        (0..3_u8).prop_map(|n| Value::Object(id(Type::Counter, &n.to_string()))),
    ];
    (object, 0..8_u8, key(), value, 0..9_u8).prop_map(|(object, what, key, value, number)| {
        let action = match (object.kind(), what) {
            (_, 0) => Action::Delete,
            (Type::Map, 1) => Action::Clear,
            (Type::Map, 2) if !object.is_root() => Action::CreateMap(vec![(key, value)]),
            (Type::Map, 3 | 4) => Action::Remove(key),
            (Type::Map, _) => Action::Set(key, value),
            (Type::Counter, 1 | 2) => Action::CreateCounter(Some(number.into())),
            (Type::Counter, _) => Action::Increment(number.into()),
        };
        ObjectOperation::new(object, action)
    })
}

proptest! {
    /// Whatever is told again, in any order and as often as one likes, changes nothing; and what was kept at any moment, with
    /// the log from any place up to there on, comes to the same as the whole log.
    #[test]
    fn objects_follow_from_the_log_and_from_nothing_else(
        log in prop::collection::vec(prop::collection::vec(operation(), 1..4), 1..40),
        kept_at in any::<prop::sample::Index>(),
        from in any::<prop::sample::Index>(),
        again in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let mut mint = Log::new();
        let entries: Vec<_> = log.into_iter().map(|operations| mint.entry(operations)).collect();
        let whole = state(&mut after(&entries));

        let (mut objects, mut disk) = (Objects::restored(Kept::default(), None), Disk::default());
        let kept_at = kept_at.index(entries.len());
        for entry in &entries[..kept_at] {
            objects.take(entry);
            disk.keep(&mut objects);
        }
        let tail = &entries[from.index(kept_at + 1)..];
        let mut restored = Objects::restored(Kept { tail: tail.to_vec(), ..disk.kept() }, None);
        prop_assert_eq!(&state(&mut restored), &whole);

        for index in again {
            restored.take(&entries[index.index(entries.len())]);
        }
        prop_assert_eq!(&state(&mut restored), &whole);
        // What is kept all at once comes to the same.
        let all = restored.changes(true).unwrap();
        let mut disk = Disk::default();
        disk.put(all.rows);
        prop_assert_eq!(&state(&mut Objects::restored(disk.kept(), None)), &whole);
    }
}

/// A counter stays a number after each operation of a frame, and so does what it was increased by, which is told apart.
#[test]
fn counters_stay_numbers() {
    let counter = id(Type::Counter, "counter");
    let add = |number| ObjectOperation::new(counter.clone(), Action::Increment(number));
    let create = |number| ObjectOperation::new(counter.clone(), Action::CreateCounter(Some(number)));
    let refused: [(&[ObjectOperation], &[ObjectOperation]); 4] = [
        (&[create(0.0)], &[add(1e308), add(1e308)]),
        (&[create(1e308), add(-1e308)], &[add(-1e308)]),
        (&[add(1.5e308)], &[create(1e308)]),
        (&[], &[create(1e308), add(1e308)]),
    ];
    for (before, operations) in refused {
        let mut log = Log::new();
        let mut objects = after(&[log.entry(before.to_vec())]);
        let told = objects.judge(operations);
        assert!(matches!(told, Err(Fault::InvalidObject { .. })), "{before:?} {operations:?}: {told:?}");
        assert!(objects.judge(&[add(5.0)]).is_ok());
        // What was judged at the same time elsewhere is taken all the same.
        objects.take(&log.entry(operations.to_vec()));
        assert!(state(&mut objects)[&counter].count().is_finite());
    }
}

type Part = (ObjectId, Head, Vec<ByteString>);

/// All that is on the pages, with the head of each part.
fn page_of(objects: &Snapshot, from: Option<&ObjectsStart>) -> (Vec<Part>, Option<ObjectsStart>) {
    let mut listed = Vec::new();
    let page = objects.page(from, crate::core::wire::Slot::AblyJson, |parts| {
        listed = parts
            .map(|part| (part.id.clone(), part.head, part.entries.map(|(key, _)| key.clone()).collect()))
            .collect();
        Bytes::new()
    });
    (listed, page.next)
}

/// A map that is changed while its parts are sent: each entry is listed once, and all parts say what the first one said of the
/// map, behind which the operations of meanwhile follow.
#[test]
fn a_map_that_changes_between_its_parts() {
    let (mut log, mut objects) = (Log::new(), after(&[]));
    let text = Value::Text("x".repeat(30_000).into());
    for key in ["a", "b", "c", "d"] {
        objects.take(&log.entry(vec![set(key, text.clone())]));
    }
    let counter = id(Type::Counter, "z");
    objects.take(&log.entry(vec![set("e", Value::Object(counter.clone()))]));
    let first = objects.snapshot();
    let (told, next) = page_of(&first, None);
    let head = first.get(&ObjectId::root()).unwrap().head;
    let before = |key: &str| told.iter().any(|(id, _, keys)| id.is_root() && keys.iter().any(|known| known == key));
    assert!(before("a") && !before("d"));
    objects.take(&log.entry(vec![set("a", text.clone()), set("d", Value::Number(1.0)), set("f", Value::Number(2.0))]));
    let second = objects.snapshot();
    let mut all = told;
    let mut from = next;
    while from.is_some() {
        let (told, next) = page_of(&second, from.as_ref());
        all.extend(told);
        from = next;
    }
    let of_root: Vec<_> = all.iter().filter(|(id, ..)| id.is_root()).collect();
    assert!(of_root.len() > 1 && of_root.iter().all(|(_, of_part, _)| *of_part == head), "{of_root:?}");
    let keys: Vec<&str> = of_root.iter().flat_map(|(.., keys)| keys).map(|key| &**key).collect();
    assert_eq!(keys, ["a", "b", "c", "d", "e", "f"]);
    assert_eq!(all.iter().filter(|(id, ..)| *id == counter).count(), 1);
    // Who begins now is told how it is now.
    assert_ne!(page_of(&second, None).0.iter().find(|(id, ..)| id.is_root()).unwrap().1, head);
}
