#![allow(clippy::unwrap_used)]

use bytes::Bytes;

use super::*;
use crate::{core::budget::Account, ids::Timestamp};

const STORED: Storage = Storage { is_on: true, bounds: Bounds { messages: 3, bytes: usize::MAX } };
const DROPPED: Storage = Storage { is_on: false, ..STORED };

struct Mailbox {
    owner: MailboxOwner<()>,
    queue: Queue,
}

/// What came of a letter, with its number.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Disk(u64),
    Live(u64),
    Again,
    Dropped,
    Refused,
}
use Outcome::{Again, Disk, Dropped, Live, Refused};

impl Mailbox {
    fn new(is_remembered: bool) -> Self {
        Self { owner: MailboxOwner { is_remembered, ..MailboxOwner::new("erp") }, queue: Queue::default() }
    }

    fn reader(&mut self, number: u64) -> SessionId {
        let session = SessionId::from_number(number);
        self.owner.readers.push(Reader {
            session,
            handle: (),
            started: None,
            is_ready: true,
            is_behind: false,
            is_claimed: false,
        });
        session
    }

    fn put_named(&mut self, id: Option<&str>, level: i64, storage: Storage) -> Outcome {
        let since = Timestamp::from_millis(1_000);
        let letter = Message { body: Bytes::from_static(b"x"), bytes: 1, since, level, key: "".into() };
        let payers = Payers { all: Account::mailboxes(usize::MAX), memory: Account::server(usize::MAX) };
        match self.owner.take_in((letter, id.map(Arc::from)), &mut self.queue, storage, &payers, Duration::ZERO) {
            Ok(Taken::In { put, to_disk: true }) => Disk(put.number),
            Ok(Taken::In { put, to_disk: false }) => Live(put.number),
            Ok(Taken::Again) => Again,
            Ok(Taken::Dropped) => Dropped,
            Err(_) => Refused,
        }
    }

    fn put(&mut self, storage: Storage) -> Outcome {
        self.put_named(None, 0, storage)
    }

    fn waiting(&self) -> Vec<u64> {
        self.queue.behind(0).map(|(number, _)| number).collect()
    }
}

#[test]
fn who_is_away_finds_letters_on_disk_and_who_is_there_gets_them_now() {
    let mut mailbox = Mailbox::new(true);
    assert_eq!(mailbox.put(STORED), Disk(1));
    let session = mailbox.reader(1);
    assert_eq!(mailbox.put(STORED), Live(2));
    mailbox.owner.set_behind(session, true, 2);
    assert_eq!(mailbox.put(STORED), Disk(3));
}

/// findings C10: a letter that is refused costs no other letter its place.
#[test]
fn nothing_goes_for_a_letter_that_is_refused() {
    let mut mailbox = Mailbox::new(true);
    let session = mailbox.reader(1);
    for level in [0, 0, 0, 5, 5, 5] {
        mailbox.put_named(None, level, STORED);
    }
    // More than may wait: they were on the way.
    mailbox.owner.leave(session, STORED, &mut mailbox.queue);
    assert_eq!(mailbox.put(STORED), Refused);
    assert_eq!(mailbox.waiting(), [1, 2, 3, 4, 5, 6]);
    assert_eq!(mailbox.put_named(None, 6, STORED), Disk(7));
    assert_eq!(mailbox.waiting(), [5, 6, 7]);
}

#[test]
fn what_is_on_the_way_does_not_count_as_waiting() {
    let mut mailbox = Mailbox::new(true);
    let session = mailbox.reader(1);
    for number in 1..=5 {
        assert_eq!(mailbox.put(STORED), Live(number));
    }
    mailbox.owner.set_behind(session, true, 5);
    for number in 6..=8 {
        assert_eq!(mailbox.put(STORED), Disk(number));
    }
    assert_eq!(mailbox.waiting(), [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(mailbox.put(STORED), Disk(9));
    assert_eq!(mailbox.waiting(), [1, 2, 3, 4, 5, 7, 8, 9]);
}

#[test]
fn nothing_is_stored_where_that_is_off() {
    let mut mailbox = Mailbox::new(true);
    assert_eq!(mailbox.put(DROPPED), Dropped);
    let session = mailbox.reader(1);
    assert_eq!(mailbox.put(DROPPED), Live(1));
    assert_eq!(mailbox.owner.leave(session, DROPPED, &mut mailbox.queue).len(), 1);
    assert!(mailbox.queue.is_empty());
}

#[test]
fn what_was_not_confirmed_waits_again() {
    let mut mailbox = Mailbox::new(true);
    let session = mailbox.reader(1);
    for _ in 0..3 {
        mailbox.put(STORED);
    }
    mailbox.queue.remove(1);
    assert!(mailbox.owner.leave(session, STORED, &mut mailbox.queue).is_empty());
    assert_eq!(mailbox.waiting(), [2, 3]);
}

#[test]
fn a_letter_with_an_id_is_taken_once() {
    let mut mailbox = Mailbox::new(true);
    assert_eq!(mailbox.put_named(Some("a\u{0}7"), 0, STORED), Disk(1));
    assert_eq!(mailbox.put_named(Some("a\u{0}7"), 0, STORED), Again);
}

#[test]
fn ids_are_paid_for_until_they_are_forgotten() {
    let mut mailbox = Mailbox::new(true);
    assert_eq!(mailbox.put_named(Some("a\u{0}7"), 0, STORED), Disk(1));
    assert_eq!(mailbox.owner.tab.bytes(), limits::SEEN_ID_COST + 3);
    mailbox.owner.forget_old(limits::IDEMPOTENCY_WINDOW);
    assert_eq!(mailbox.owner.tab.bytes(), 0);
    assert_eq!(mailbox.put_named(Some("a\u{0}7"), 0, STORED), Disk(2));
}

/// findings C2: a letter that was not taken, or could not be written, is taken when it comes again.
#[test]
fn a_letter_that_was_refused_is_no_repetition() {
    let mut mailbox = Mailbox::new(true);
    for _ in 0..3 {
        mailbox.put_named(None, 1, STORED);
    }
    assert_eq!(mailbox.put_named(Some("full"), 0, STORED), Refused);
    mailbox.queue.remove(1);
    assert_eq!(mailbox.put_named(Some("full"), 0, STORED), Disk(4));
    assert_eq!(mailbox.put_named(Some("full"), 0, STORED), Again);
    // As when the disk did not take it.
    assert!(mailbox.queue.remove(4).is_some());
    mailbox.owner.forget(4);
    assert_eq!(mailbox.put_named(Some("full"), 0, STORED), Disk(5));

    let mut nobody = Mailbox::new(false);
    assert_eq!(nobody.put_named(Some("early"), 0, DROPPED), Dropped);
    nobody.reader(1);
    assert_eq!(nobody.put_named(Some("early"), 0, DROPPED), Live(1));
}
