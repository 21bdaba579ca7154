#![allow(clippy::unwrap_used)]

use std::sync::{
    OnceLock, Weak,
    atomic::{AtomicUsize, Ordering},
};

use super::*;
use crate::{
    auth::Leeway,
    clock::Clock,
    config::Config,
    core::budget::Account,
    ids::{NodeId, Timestamp},
    older::postoffice::shared::REMEMBERED,
    store::{Batch, Claims, Committed, Done, Place, Row, Scheduled, Store, StoreError, faulty::FaultyDisk},
};

/// The disk of one mailbox with letters; looks at the mailbox's lock whenever one is read.
#[derive(Default)]
struct Watcher {
    shared: OnceLock<Weak<Shared>>,
    reads: AtomicUsize,
    locked: AtomicUsize,
}

const LETTERS: u64 = 10;
/// This one cannot be read.
const BROKEN: u64 = 4;

impl Store for Watcher {
    fn submit(&self, _: Batch, done: Done<Committed>) {
        done(Ok(Committed::default()));
    }

    fn get(&self, _: &str, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let shared = self.shared.get().unwrap().upgrade().unwrap();
        self.reads.fetch_add(1, Ordering::Relaxed);
        if shared.mailboxes.find("erp").unwrap().is_locked() {
            self.locked.fetch_add(1, Ordering::Relaxed);
        }
        let number = key.last().copied().unwrap();
        Ok((u64::from(number) != BROKEN).then(|| number.to_string().into()))
    }

    fn list(&self, table: &str, _: &[u8], after: Option<&[u8]>, _: usize) -> Result<Vec<Row>, StoreError> {
        if after.is_some() || table != "po_waiting" {
            return Ok(Vec::new());
        }
        let value = [1_u64, 0, 2].map(u64::to_be_bytes).concat();
        let key = |number: u64| [b"erp\0", &number.to_be_bytes()[..]].concat();
        Ok((1..=LETTERS).map(|number| Row { key: key(number), value: value.clone() }).collect())
    }

    fn due(&self, _: &str, _: Timestamp, _: usize) -> Result<Vec<Scheduled>, StoreError> {
        Ok(Vec::new())
    }

    fn scheduled(&self, _: &str, _: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(None)
    }

    fn cursor(&self, _: &str) -> Result<u64, StoreError> {
        Ok(0)
    }

    fn bytes(&self, _: &str) -> Result<u64, StoreError> {
        Ok(0)
    }
}

/// findings C5: letters are read from the disk while their mailbox is free for the writer's thread.
#[test]
fn letters_are_read_without_the_lock_of_their_mailbox() {
    let store = Arc::new(Watcher::default());
    let config = Config::for_tests();
    let (account, leeway) = (Account::server(usize::MAX), Leeway::default());
    let place = Place { store: Arc::<Watcher>::clone(&store), claims: None };
    let shared = Shared::open(&config.postoffice, place, &account, Clock::system(), &leeway);
    let shared = shared.unwrap();
    store.shared.set(Arc::downgrade(&shared)).unwrap();
    let mailbox = shared.mailboxes.find("erp").unwrap();
    let slot = shared.take_slot("erp").unwrap();
    let mut connection = Connection::new(Arc::clone(&shared), mailbox, Principal::default(), slot, None);
    connection.session = Some(SessionId::from_number(1));
    let sent = connection.gather();
    assert_eq!(store.reads.load(Ordering::Relaxed) as u64, LETTERS);
    assert_eq!(store.locked.load(Ordering::Relaxed), 0);
    assert!(sent.ends_with(&frame::ping_with(&LETTERS.to_be_bytes())));
    assert!(!connection.is_behind);
    assert_eq!(connection.unconfirmed.drain(), [1, 2, 3, 5, 6, 7, 8, 9, 10]);
}

/// Mailboxes of other nodes that somebody here writes to are not kept in mind for ever.
#[tokio::test]
async fn what_another_node_remembers_is_known_here_until_the_next_sweep() {
    let (store, clock, config) = (FaultyDisk::default().store(), Clock::system(), Config::for_tests());
    let node = NodeId::from_bytes([1; 8]);
    let claims = Claims::new(node, move || vec![node], std::time::Duration::from_secs(15), clock.clone());
    let place = Place { store: Arc::clone(&store), claims: Some(claims) };
    let account = Account::server(usize::MAX);
    let shared = Shared::open(&config.postoffice, place, &account, clock, &Leeway::default()).unwrap();
    store.commit(Batch::new().put(REMEMBERED, "erp", "")).await.unwrap();
    for _ in 0..2 {
        assert!(shared.known("erp").await.unwrap().is_some());
        assert!(shared.mailboxes.find("erp").is_some());
        shared.mailboxes.sweep(Timestamp::from_millis(0)).await.unwrap();
        assert!(shared.mailboxes.find("erp").is_none());
    }
}
