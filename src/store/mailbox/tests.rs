#![allow(clippy::unwrap_used)]

use super::*;
use crate::store::faulty::FaultyDisk;

pub(super) const TABLES: Tables = Tables { facts: "facts", bodies: "bodies" };
const TWO: Bounds = Bounds { messages: 2, bytes: usize::MAX };

pub(super) struct Nobody;

impl Owner for Nobody {
    fn new(_: &str) -> Self {
        Self
    }

    fn is_idle(&self) -> bool {
        true
    }
}

fn open(disk: &FaultyDisk) -> Arc<Mailboxes<Nobody>> {
    Mailboxes::open(disk.store(), TABLES, usize::MAX, &Account::server(usize::MAX)).unwrap()
}

fn message(text: &str) -> Message {
    let since = Timestamp::from_millis(1);
    Message { body: text.to_owned().into(), bytes: text.len(), since, level: 0, key: text.into() }
}

/// Puts a message in, for the disk.
fn put(mailboxes: &Arc<Mailboxes<Nobody>>, mailbox: &Arc<Mailbox<Nobody>>, text: &str) -> Commit {
    let put = mailbox.lock().queue.put(message(text), TWO, 0, &mailboxes.payers).unwrap();
    mailboxes.write(mailbox, put)
}

fn keys(mailbox: &Mailbox<Nobody>) -> Vec<String> {
    mailbox.lock().queue.behind(0).map(|(_, waiting)| waiting.key.to_string()).collect()
}

#[tokio::test]
async fn what_waits_is_there_after_a_restart_as_far_as_it_was_not_removed() {
    let disk = FaultyDisk::default();
    let mailboxes = open(&disk);
    let mailbox = mailboxes.of("ann");
    for text in ["one", "two", "three"] {
        put(&mailboxes, &mailbox, text).await.unwrap();
    }
    put(&mailboxes, &mailboxes.of("bob"), "four").await.unwrap();
    mailboxes.remove(&mailbox, [2]);
    assert_eq!(mailboxes.stored().await.unwrap(), 2);
    drop((mailbox, mailboxes));

    let mailboxes = open(&disk);
    let mailbox = mailboxes.find("ann").unwrap();
    assert_eq!(keys(&mailbox), ["three"]);
    assert_eq!(mailboxes.body("ann", 3).unwrap().unwrap(), "three");
    assert_eq!((mailboxes.body("ann", 1).unwrap(), mailboxes.body("ann", 2).unwrap()), (None, None));
    assert_eq!((mailboxes.stored().await.unwrap(), mailbox.lock().queue.last()), (2, 3));
    put(&mailboxes, &mailbox, "five").await.unwrap();
    assert_eq!(keys(&mailbox), ["three", "five"]);
}

#[tokio::test]
async fn what_the_disk_does_not_take_displaces_nothing() {
    let disk = FaultyDisk::default();
    let mailboxes = open(&disk);
    let mailbox = mailboxes.of("ann");
    for text in ["one", "two"] {
        put(&mailboxes, &mailbox, text).await.unwrap();
    }
    disk.limit(Some(0));
    let large = "x".repeat(1 << 20);
    assert_eq!(put(&mailboxes, &mailbox, &large).await, Err(StoreError::Full));
    assert_eq!(keys(&mailbox), ["one", "two"]);
    disk.limit(None);
    put(&mailboxes, &mailbox, "three").await.unwrap();
    assert_eq!(keys(&mailbox), ["two", "three"]);
    assert_eq!(mailboxes.stored().await.unwrap(), 2);
}

#[tokio::test]
async fn what_is_read_while_it_is_written_leaves_no_row() {
    let disk = FaultyDisk::default();
    let mailboxes = open(&disk);
    let mailbox = mailboxes.of("ann");
    disk.hold();
    let written = put(&mailboxes, &mailbox, "one");
    mailboxes.remove(&mailbox, [1]);
    disk.release();
    written.await.unwrap();
    // Behind the removal of its rows.
    put(&mailboxes, &mailbox, "two").await.unwrap();
    assert_eq!((mailboxes.body("ann", 1).unwrap(), mailboxes.stored().await.unwrap()), (None, 1));
}

#[tokio::test]
async fn a_mailbox_is_forgotten_when_it_is_empty_and_in_nobodys_hands() {
    let mailboxes = open(&FaultyDisk::default());
    let mailbox = mailboxes.of("ann");
    let other = mailboxes.of("ann");
    mailboxes.release(&mailbox);
    assert_eq!(mailboxes.count(), 1);
    drop(other);
    put(&mailboxes, &mailbox, "one").await.unwrap();
    mailboxes.release(&mailbox);
    assert_eq!(mailboxes.count(), 1);
    mailboxes.expire(&mailbox, Timestamp::from_millis(2));
    mailboxes.release(&mailbox);
    assert_eq!(mailboxes.count(), 0);
}
