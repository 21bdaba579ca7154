//! What every store must do. Each implementation runs [`holds`] on itself.

use std::sync::mpsc;

use super::*;

/// Hands in and waits.
pub fn commit(store: &dyn Store, batch: Batch) -> Committed {
    let (told, outcome) = mpsc::channel();
    store.submit(batch, Box::new(move |result| told.send(result).unwrap()));
    outcome.recv().unwrap().unwrap()
}

const fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

/// Checks an empty store.
pub fn holds(store: &dyn Store) {
    rows_are_kept_by_table_and_key(store);
    due_rows_are_listed_taken_and_cancelled(store);
    cursors_and_counters(store);
    tables_have_their_bytes(store);
    a_batch_sees_its_own_steps(store);
    a_scan_reads_page_by_page(store);
    batches_are_done_in_order_and_a_later_read_sees_them(store);
    a_scan_goes_on_while_rows_are_written(store);
    a_batch_that_expects_something_else_does_nothing(store);
    of_two_who_claim_a_row_that_is_due_one_has_it(store);
    several_things_are_read_at_once(store);
}

fn rows_are_kept_by_table_and_key(store: &dyn Store) {
    let batch = Batch::new().put("a", "k1", "1").put("a", "k2", "2").put("a", "l1", "3").put("ab", "k1", "4");
    commit(store, batch);
    assert_eq!(store.get("a", b"k1").unwrap().unwrap(), b"1");
    assert_eq!(store.get("ab", b"k1").unwrap().unwrap(), b"4");
    assert_eq!(store.get("b", b"k1").unwrap(), None);
    let keys = |prefix: &str, after: Option<&str>, limit| {
        let rows = store.list("a", prefix.as_bytes(), after.map(str::as_bytes), limit).unwrap();
        let text = |row: Row| String::from_utf8(row.key).unwrap();
        rows.into_iter().map(text).collect::<Vec<_>>()
    };
    assert_eq!(keys("", None, 9), ["k1", "k2", "l1"]);
    assert_eq!(keys("k", None, 9), ["k1", "k2"]);
    assert_eq!(keys("k", Some("k1"), 9), ["k2"]);
    assert_eq!(keys("", Some("k1"), 1), ["k2"]);
    commit(store, Batch::new().remove("a", "k1").put("a", "k2", "5").remove("a", "none"));
    assert_eq!(keys("", None, 9), ["k2", "l1"]);
    assert_eq!(store.get("a", b"k2").unwrap().unwrap(), b"5");
}

fn due_rows_are_listed_taken_and_cancelled(store: &dyn Store) {
    let batch = Batch::new()
        .schedule("push", at(30), "c", "3")
        .schedule("push", at(10), "a", "1")
        .schedule("push", at(20), "b", "2")
        .schedule("other", at(5), "x", "9");
    commit(store, batch);
    let keys = |until, limit| {
        let rows = store.due("push", at(until), limit).unwrap();
        rows.into_iter().map(|row| (row.due.millis(), row.key[0])).collect::<Vec<_>>()
    };
    assert_eq!(keys(9, 9), []);
    assert_eq!(keys(20, 9), [(10, b'a'), (20, b'b')]);
    assert_eq!(keys(99, 1), [(10, b'a')]);
    // Moved, not doubled.
    commit(store, Batch::new().schedule("push", at(40), "a", "1"));
    assert_eq!(keys(99, 9), [(20, b'b'), (30, b'c'), (40, b'a')]);
    commit(store, Batch::new().cancel("push", "c").cancel("push", "none"));
    let taken = commit(store, Batch::new().take_due("push", at(30), 9)).taken;
    let row = Scheduled { due: at(20), key: b"b".to_vec(), value: b"2".to_vec() };
    assert_eq!(taken, [[row]]);
    assert_eq!(keys(u64::MAX, 9), [(40, b'a')]);
    assert_eq!(store.due("other", at(5), 9).unwrap().len(), 1);
}

fn cursors_and_counters(store: &dyn Store) {
    assert_eq!(store.cursor("n").unwrap(), 0);
    let batch = Batch::new().add("n", 2).add("n", 3).set_cursor("m", 7);
    assert_eq!(commit(store, batch).counters, [2, 5]);
    assert_eq!(store.cursor("n").unwrap(), 5);
    assert_eq!(store.cursor("m").unwrap(), 7);
}

/// Bytes of keys and values, with a checksum each; what a table had is given back.
fn tables_have_their_bytes(store: &dyn Store) {
    let bytes = || store.bytes("sized").unwrap();
    assert_eq!(bytes(), 0);
    commit(store, Batch::new().put("sized", "k", "value").put("sized", "l", "").put("sizes", "k", "x"));
    let before = bytes();
    assert!((2 + 5 + 2..100).contains(&before), "{before}");
    commit(store, Batch::new().put("sized", "k", "a longer value"));
    assert_eq!(bytes(), before + 9);
    commit(store, Batch::new().schedule("sized", at(5), "k", "v"));
    assert!(bytes() > before + 9);
    commit(store, Batch::new().remove("sized", "k").remove("sized", "l").remove("sized", "none").cancel("sized", "k"));
    assert_eq!(bytes(), 0);
}

fn a_batch_sees_its_own_steps(store: &dyn Store) {
    let batch = Batch::new().schedule("own", at(1), "k", "v").take_due("own", at(1), 9).put("own", "k", "moved");
    assert_eq!(commit(store, batch).taken[0].len(), 1);
    assert_eq!(store.due("own", at(99), 9).unwrap(), []);
    assert_eq!(store.get("own", b"k").unwrap().unwrap(), b"moved");
}

fn a_scan_reads_page_by_page(store: &dyn Store) {
    let batch = (1..=5).fold(Batch::new().put("scan", "other", ""), |batch, number| {
        batch.put("scan", NumberKey::new("own", number), "")
    });
    commit(store, batch);
    let numbers = |scan: Scan<'_>| {
        let number = |row: Result<Row, StoreError>| NumberKey::read(&row.unwrap().key).unwrap().number;
        scan.map(number).collect::<Vec<_>>()
    };
    let own = NumberKey::prefix("own");
    for page in [1, 2, 5, 9] {
        assert_eq!(numbers(store.scan("scan", &own, page)), [1, 2, 3, 4, 5]);
        assert_eq!(numbers(store.scan("scan", &own, page).after(NumberKey::new("own", 3))), [4, 5]);
    }
    let mut pages = store.scan("scan", &own, 3);
    let lengths: Vec<usize> = std::iter::from_fn(|| Some(pages.next_page().unwrap().len())).take(3).collect();
    assert_eq!(lengths, [3, 2, 0]);
}

/// Nobody waits between them; who reads behind them sees the last.
fn batches_are_done_in_order_and_a_later_read_sees_them(store: &dyn Store) {
    let (told, outcomes) = mpsc::channel();
    for number in 0..200_u64 {
        let told = told.clone();
        let batch = Batch::new().put("order", "k", number.to_be_bytes()).add("order", 1);
        store.submit(batch, Box::new(move |done| told.send(done.unwrap().counters[0]).unwrap()));
    }
    drop(told);
    assert_eq!(outcomes.iter().collect::<Vec<_>>(), (1..=200).collect::<Vec<_>>());
    assert_eq!(store.get("order", b"k").unwrap().unwrap(), 199_u64.to_be_bytes());
    for number in 200..300_u64 {
        commit(store, Batch::new().put("order", "k", number.to_be_bytes()));
        assert_eq!(store.get("order", b"k").unwrap().unwrap(), number.to_be_bytes());
    }
}

/// What was there at the begin and is not touched comes once, whatever is written before and behind it.
fn a_scan_goes_on_while_rows_are_written(store: &dyn Store) {
    let key = |number: u64| NumberKey::new("s", number);
    commit(store, (1..=20).fold(Batch::new(), |batch, number| batch.put("written", key(10 * number), "")));
    let mut seen = Vec::new();
    for (turn, row) in (0..).zip(store.scan("written", b"", 3)) {
        seen.push(NumberKey::read(&row.unwrap().key).unwrap().number);
        let removed = seen.first().copied().filter(|_| turn == 7).unwrap_or_default();
        commit(store, Batch::new().put("written", key(10 * turn + 5), "").remove("written", key(removed)));
    }
    let stayed: Vec<u64> = seen.iter().copied().filter(|number| number % 10 == 0).collect();
    assert_eq!(stayed, (1..=20).map(|number| 10 * number).collect::<Vec<_>>());
    assert!(seen.is_sorted() && seen.windows(2).all(|pair| pair[0] != pair[1]), "{seen:?}");
}

/// Hands in and waits; what it must not fail for is the caller's to say.
fn outcome(store: &dyn Store, batch: Batch) -> Result<Committed, StoreError> {
    let (told, outcome) = mpsc::channel();
    store.submit(batch, Box::new(move |result| told.send(result).unwrap()));
    outcome.recv().unwrap()
}

fn a_batch_that_expects_something_else_does_nothing(store: &dyn Store) {
    commit(store, Batch::new().put("expect", "k", "1").put("expect", "empty", ""));
    let write = || Batch::new().put("expect", "k", "2").schedule("expect", at(1), "s", "").add("expect", 1);
    for (key, value) in [("k", Some("0")), ("k", Some("")), ("k", None), ("none", Some("")), ("empty", None)] {
        let batch = write().expect("expect", key, value.map(Into::into));
        assert_eq!(outcome(store, batch), Err(StoreError::Changed), "{key} {value:?}");
    }
    assert_eq!(store.get("expect", b"k").unwrap().unwrap(), b"1");
    assert_eq!((store.due("expect", at(9), 9).unwrap(), store.cursor("expect").unwrap()), (vec![], 0));
    // As it was before the batch, wherever the step stands.
    let batch = write().expect("expect", "k", Some("1".into())).expect("expect", "none", None);
    assert_eq!(outcome(store, batch.expect("expect", "empty", Some("".into()))).unwrap().counters, [1]);
    assert_eq!(store.get("expect", b"k").unwrap().unwrap(), b"2");
}

/// As several servers send what is delayed: each reads it, one may.
fn of_two_who_claim_a_row_that_is_due_one_has_it(store: &dyn Store) {
    let rows = |batch: Batch, number: u8| batch.schedule("due", at(5), [number], "").put("claims", [number], "");
    commit(store, (0..20).fold(Batch::new(), rows));
    let (told, outcomes) = mpsc::channel();
    for claimer in ["one", "other"] {
        for row in store.due("due", at(5), 99).unwrap() {
            let (told, key) = (told.clone(), row.key.clone());
            let batch = Batch::new().expect("claims", key.clone(), Some("".into())).put("claims", key.clone(), claimer);
            store.submit(batch, Box::new(move |done| told.send((key, done.is_ok())).unwrap()));
        }
    }
    drop(told);
    let mut claimed: Vec<_> = outcomes.iter().filter(|(_, has_it)| *has_it).map(|(key, _)| key[0]).collect();
    claimed.sort_unstable();
    assert_eq!(claimed, (0..20).collect::<Vec<_>>());
}

fn several_things_are_read_at_once(store: &dyn Store) {
    let batch =
        Batch::new().put("look", "k", "v").put("look", "l", "w").schedule("look", at(3), "d", "x").add("look", 7);
    commit(store, batch);
    let (told, found) = mpsc::channel();
    let reads = vec![
        Read::get("look", "k"),
        Read::get("look", "none"),
        Read::list("look", "l", 9),
        Read::due("look", at(9), 9),
        Read::Cursor { name: "look".into() },
        Read::bytes("look"),
        Read::due_keys("look", at(9), 9),
        Read::due_keys("look", at(2), 9),
        Read::scheduled("look", "d"),
        Read::scheduled("look", "k"),
        Read::count("look", ""),
        Read::count("look", "l"),
        Read::count("none", ""),
    ];
    store.look(reads, Box::new(move |result| told.send(result.unwrap()).unwrap()));
    let found = found.recv().unwrap();
    let row = |key: &[u8], value: &[u8]| Row { key: key.to_vec(), value: value.to_vec() };
    assert_eq!(found[..3], [Found::Value(Some(b"v".to_vec())), Found::Value(None), Found::Rows(vec![row(b"l", b"w")])]);
    assert_eq!(found[3], Found::Due(vec![Scheduled { due: at(3), key: b"d".to_vec(), value: b"x".to_vec() }]));
    assert_eq!(found[4..6], [Found::Number(7), Found::Number(store.bytes("look").unwrap())]);
    let key = Scheduled { due: at(3), key: b"d".to_vec(), value: vec![] };
    assert_eq!(found[6..8], [Found::Due(vec![key]), Found::Due(vec![])]);
    assert_eq!(found[8..10], [Found::Value(Some(b"x".to_vec())), Found::Value(None)]);
    assert_eq!(found[10..], [2, 1, 0].map(Found::Number));
}
