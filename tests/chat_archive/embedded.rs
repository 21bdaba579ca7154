//! The archive of the data folder: the contract, a restart, and what is too old.

use std::{path::Path, sync::Arc, time::Duration};

use letshare_server::{
    clock::Clock,
    store::{
        StoreError,
        archive::{Archive as _, Inserted, Message, embedded::EmbeddedArchive},
        embedded::EmbeddedStore,
        folder::{DataFolder, Terms},
    },
};

use super::contract::{self, Ground, START};

const DAY: Duration = Duration::from_secs(24 * 3_600);

fn open(folder: &Path) -> DataFolder {
    let terms = Terms { cache_bytes: 1 << 20, verify_bytes: 1 << 30 };
    DataFolder::open(folder, terms, Clock::system()).unwrap()
}

fn archive(data: &DataFolder, clock: &Clock, retention: Option<Duration>) -> EmbeddedArchive {
    let store = Arc::new(EmbeddedStore::new(Arc::clone(data.engine())));
    EmbeddedArchive::new(store, clock.clone(), retention)
}

#[tokio::test]
async fn keeps_the_contract_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::manual(START);
    let data = open(folder.path());
    let first = archive(&data, &clock, None);
    let ground = Ground::new(&first, clock.clone());
    contract::holds(&ground).await;
    let message = Message { client_id: Some("before".to_owned()), ..ground.private(1, 2, "before the restart") };
    let inserted = first.insert(message.clone()).await;
    assert_eq!(inserted, Ok(Inserted::New));
    data.close().unwrap();
    let refused = first.insert(ground.private(1, 2, "too late")).await;
    assert_eq!(refused, Err(StoreError::Closed));
    drop((first, data));

    let data = open(folder.path());
    let second = archive(&data, &clock, None);
    let page = second.page("private_1_2", 1, 20).await.unwrap();
    assert_eq!((page.messages, page.total), (vec![message.clone()], 1));
    let missed = second.missed(2, None, 20).await.unwrap();
    assert_eq!(missed, std::slice::from_ref(&message));
    let again = second.insert(message.clone()).await;
    assert_eq!(again, Ok(Inserted::Again(message)));
}

#[tokio::test]
async fn what_is_too_old_is_removed_with_all_its_rows() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::manual(START);
    let data = open(folder.path());
    let archive = archive(&data, &clock, Some(2 * DAY));
    let ground = Ground::new(&archive, clock.clone());
    let old = (0..2_100).map(|_| archive.insert(ground.private(1, 2, "old")));
    let outcomes = futures_util::future::join_all(old).await;
    assert!(outcomes.iter().all(|outcome| *outcome == Ok(Inserted::New)));
    clock.advance(DAY);
    let young = ground.private(1, 2, "young");
    archive.insert(young.clone()).await.unwrap();

    clock.advance(DAY - Duration::from_millis(1));
    archive.sweep().await.unwrap();
    let page = archive.page("private_1_2", 1, 1).await.unwrap();
    assert_eq!(page.total, 2_101);
    let deep = archive.page("private_1_2", 210, 10).await.unwrap();
    assert_eq!(deep.messages.len(), 10);

    clock.advance(Duration::from_millis(2));
    // The second finds nothing left; both at once count nothing twice.
    let (one, other) = tokio::join!(archive.sweep(), archive.sweep());
    assert_eq!((one, other), (Ok(()), Ok(())));
    let page = archive.page("private_1_2", 1, 20).await.unwrap();
    assert_eq!((page.messages, page.total), (vec![young.clone()], 1));
    assert_eq!(archive.missed(2, None, 20).await.unwrap(), [young]);
}

/// Whoever waited for the answer is gone: a repeat must find what is being written all the same.
#[tokio::test]
async fn a_repeat_after_an_abandoned_insert_is_the_same_message() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::manual(START);
    let data = open(folder.path());
    let archive = archive(&data, &clock, None);
    let ground = Ground::new(&archive, clock.clone());
    for round in 0..50 {
        let message = |content: &str| Message { client_id: Some(format!("c{round}")), ..ground.private(1, 2, content) };
        let first = message("first");
        // Polled once: handed to the writer, and dropped.
        let waiting = archive.insert(first.clone());
        assert!(futures_util::FutureExt::now_or_never(waiting).is_none());
        let again = archive.insert(message("again")).await;
        assert_eq!(again, Ok(Inserted::Again(first)));
    }
}
