#![allow(clippy::unwrap_used)]

use super::*;

const STORED: Bounds = Bounds { letters: 3, stores: true };
const DROPPED: Bounds = Bounds { letters: 3, stores: false };

fn letter(text: &'static str, level: i64) -> Posted {
    Posted { text: text.into(), level, came: Timestamp::from_millis(1_000), key: None }
}

fn kept() -> Mailbox<()> {
    Mailbox { is_kept: true, ..Mailbox::default() }
}

fn reader(mailbox: &mut Mailbox<()>, number: u64) -> SessionId {
    let session = SessionId::from_number(number);
    mailbox.readers.push(Reader { session, handle: (), started: None, is_ready: true, is_behind: false });
    session
}

fn post(mailbox: &mut Mailbox<()>, letter: Posted, bounds: Bounds) -> (Taken, Vec<u64>) {
    let mut gone = Vec::new();
    let taken = mailbox.post(letter, bounds, Duration::ZERO, &mut gone);
    (taken, gone.iter().map(|gone| gone.number).collect())
}

fn waiting(mailbox: &Mailbox<()>) -> Vec<u64> {
    mailbox.letters.keys().copied().collect()
}

const fn to_disk(number: u64) -> Taken {
    Taken::In { number, to_disk: true }
}

const fn live(number: u64) -> Taken {
    Taken::In { number, to_disk: false }
}

#[test]
fn who_is_away_finds_letters_on_disk_and_who_is_there_gets_them_now() {
    let mut mailbox = kept();
    assert_eq!(post(&mut mailbox, letter("a", 0), STORED).0, to_disk(1));
    let session = reader(&mut mailbox, 1);
    assert_eq!(post(&mut mailbox, letter("b", 0), STORED).0, live(2));
    mailbox.set_behind(session, true, 2);
    assert_eq!(post(&mut mailbox, letter("c", 0), STORED).0, to_disk(3));
}

#[test]
fn the_lowest_level_goes_first_then_the_oldest() {
    let mut mailbox = kept();
    for level in [1, 0, 0] {
        post(&mut mailbox, letter("x", level), STORED);
    }
    assert_eq!(post(&mut mailbox, letter("x", 0), STORED), (to_disk(4), vec![2]));
    assert_eq!(post(&mut mailbox, letter("x", 5), STORED), (to_disk(5), vec![3]));
    assert_eq!(post(&mut mailbox, letter("x", 5), STORED), (to_disk(6), vec![4]));
    assert_eq!(waiting(&mailbox), [1, 5, 6]);
    assert_eq!(post(&mut mailbox, letter("x", 0), STORED), (Taken::Full, vec![7]));
    assert_eq!(post(&mut mailbox, letter("x", 1), STORED).0, to_disk(7));
}

/// findings C10: a letter that is refused costs no other letter its place.
#[test]
fn nothing_goes_for_a_letter_that_is_refused() {
    let mut mailbox = kept();
    let session = reader(&mut mailbox, 1);
    for level in [0, 0, 0, 5, 5, 5] {
        post(&mut mailbox, letter("x", level), STORED);
    }
    // More than may wait: they were on the way.
    mailbox.leave(session, STORED);
    assert_eq!(post(&mut mailbox, letter("x", 0), STORED), (Taken::Full, vec![7]));
    assert_eq!(waiting(&mailbox), [1, 2, 3, 4, 5, 6]);
    assert_eq!(post(&mut mailbox, letter("x", 6), STORED), (to_disk(7), vec![1, 2, 3, 4]));
}

#[test]
fn what_is_on_the_way_does_not_count_as_waiting() {
    let mut mailbox = kept();
    let session = reader(&mut mailbox, 1);
    for _ in 0..5 {
        assert_eq!(post(&mut mailbox, letter("x", 0), STORED).1, [0; 0]);
    }
    mailbox.set_behind(session, true, 5);
    for _ in 0..3 {
        assert_eq!(post(&mut mailbox, letter("x", 0), STORED).1, [0; 0]);
    }
    assert_eq!(post(&mut mailbox, letter("x", 0), STORED).1, [6]);
}

#[test]
fn nothing_is_stored_where_that_is_off() {
    let mut mailbox = kept();
    assert_eq!(post(&mut mailbox, letter("x", 0), DROPPED).0, Taken::Dropped);
    let session = reader(&mut mailbox, 1);
    assert_eq!(post(&mut mailbox, letter("x", 0), DROPPED).0, live(1));
    assert_eq!(mailbox.leave(session, DROPPED).len(), 1);
    assert!(mailbox.is_empty());
}

#[test]
fn what_was_not_confirmed_waits_again() {
    let mut mailbox = kept();
    let session = reader(&mut mailbox, 1);
    for text in ["a", "b", "c"] {
        post(&mut mailbox, letter(text, 0), STORED);
    }
    mailbox.remove(1);
    assert!(mailbox.leave(session, STORED).is_empty());
    let spilled: Vec<u64> = mailbox.spill().iter().map(|(number, _)| *number).collect();
    assert_eq!(spilled, [2, 3]);
    assert!(mailbox.spill().is_empty());
    assert!(mailbox.written(2));
    let (number, first) = mailbox.next(0, |_| false).unwrap();
    assert_eq!((number, &first.text), (2, &None));
    assert_eq!(mailbox.next(0, |number| number == 2).unwrap().0, 3);
}

#[test]
fn a_letter_with_an_id_is_taken_once() {
    let mut mailbox = kept();
    let named = || Posted { key: Some("a\u{0}7".into()), ..letter("x", 0) };
    assert_eq!(post(&mut mailbox, named(), STORED).0, to_disk(1));
    assert_eq!(post(&mut mailbox, named(), STORED).0, Taken::Again);
}

/// findings C2: a letter that was not taken, or could not be written, is taken when it comes again.
#[test]
fn a_letter_that_was_refused_is_no_repetition() {
    let named = |id: &str| Posted { key: Some(id.into()), ..letter("x", 0) };
    let mut mailbox = kept();
    for _ in 0..3 {
        post(&mut mailbox, letter("x", 1), STORED);
    }
    assert_eq!(post(&mut mailbox, named("full"), STORED).0, Taken::Full);
    mailbox.remove(1);
    assert_eq!(post(&mut mailbox, named("full"), STORED).0, to_disk(4));
    assert_eq!(post(&mut mailbox, named("full"), STORED).0, Taken::Again);
    assert!(mailbox.withdraw(4).is_some());
    assert_eq!(post(&mut mailbox, named("full"), STORED).0, to_disk(5));

    let mut nobody = Mailbox::default();
    assert_eq!(post(&mut nobody, named("early"), DROPPED).0, Taken::Dropped);
    reader(&mut nobody, 1);
    assert_eq!(post(&mut nobody, named("early"), DROPPED).0, live(1));
}

#[test]
fn old_letters_go() {
    let mut mailbox = kept();
    for came in [1, 2, 3] {
        let posted = Posted { came: Timestamp::from_millis(came), ..letter("x", 0) };
        post(&mut mailbox, posted, STORED);
    }
    assert_eq!(mailbox.expire(Timestamp::from_millis(2)).len(), 2);
    assert_eq!(waiting(&mailbox), [3]);
}
