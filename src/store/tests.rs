//! The engine on disks that fail, the folder and its damage.

use std::{
    fs,
    path::Path,
    sync::mpsc::{self, Receiver},
};

use super::{
    contract::{self, commit},
    embedded::EmbeddedStore,
    engine::{Engine, META, Rows as _, Table, Writing, bytes_of},
    faulty::FaultyDisk,
    folder::{DataFolder, FolderFault, Terms, data_file},
    *,
};
use crate::{clock::Clock, limits};

mod damage;
mod power;

const TABLE: Table = Table("test");

const TERMS: Terms = Terms { cache_bytes: 1 << 20, verify_bytes: 1 << 30 };

fn open(folder: &Path) -> Result<DataFolder, FolderFault> {
    DataFolder::open(folder, TERMS, Clock::system())
}

fn engine(disk: &FaultyDisk) -> Engine {
    Engine::start(disk.opener(), Clock::system()).unwrap()
}

/// Writes one row; the answer comes later.
fn put(engine: &Engine, key: u32, size: usize) -> Receiver<Result<(), StoreError>> {
    let (told, outcome) = mpsc::channel();
    engine.submit(
        size,
        Box::new(move |rows| rows.put(TABLE, &key.to_be_bytes(), &vec![7; size])),
        Box::new(move |result| drop(told.send(result))),
    );
    outcome
}

fn has(engine: &Engine, key: u32) -> bool {
    let row = engine.read(|rows| rows.get(TABLE, &key.to_be_bytes()));
    row.unwrap().is_some()
}

#[test]
fn keeps_the_contract_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let data = open(folder.path()).unwrap();
    contract::holds(&EmbeddedStore::new(Arc::clone(data.engine())));
    let epoch = data.epoch();
    data.close().unwrap();
    drop(data);

    let data = open(folder.path()).unwrap();
    assert_eq!(data.epoch(), epoch);
    let store = EmbeddedStore::new(Arc::clone(data.engine()));
    assert_eq!(store.cursor("n").unwrap(), 5);
    assert_eq!(store.get("own", b"k").unwrap().unwrap(), b"moved");
    assert_eq!(store.due("push", Timestamp::from_millis(99), 9).unwrap().len(), 1);
}

/// The bytes of the tables are counted with each commit, and once by reading where a former version has written.
#[test]
fn what_a_former_version_has_written_is_counted() {
    let disk = FaultyDisk::default();
    let bytes = |engine: &Engine| engine.read(|rows| bytes_of(rows, TABLE.0)).unwrap();
    let (commits, counted) = {
        let engine = engine(&disk);
        put(&engine, 1, 10).recv().unwrap().unwrap();
        (engine.commits(), bytes(&engine))
    };
    let database = disk.opener()().unwrap();
    let transaction = database.begin_write().unwrap();
    let mut former = Writing::new(&transaction);
    former.put(TABLE, &2_u32.to_be_bytes(), &[7; 10]).unwrap();
    former.put(META, b"commits", &(commits + 1).to_be_bytes()).unwrap();
    drop(former);
    transaction.commit().unwrap();
    drop(database);

    let engine = engine(&disk);
    assert_eq!((bytes(&engine), engine.commits()), (2 * counted, commits + 1));
    assert_eq!(engine.reads(), 1, "the server's own looks do not count");
    put(&engine, 1, 20).recv().unwrap().unwrap();
    assert_eq!(bytes(&engine), 2 * counted + 10);
}

/// findings C12: a panic in what a protocol does when it is told, or in what it writes, costs that write alone.
#[test]
fn a_panic_in_one_write_leaves_the_writer_to_the_others() {
    let disk = FaultyDisk::default();
    let engine = engine(&disk);
    disk.hold();
    let before = put(&engine, 1, 10);
    engine.submit(0, Box::new(|rows| rows.put(TABLE, b"told", &[])), Box::new(|_| panic!("on purpose")));
    let (told, panicked) = mpsc::channel();
    engine.submit(0, Box::new(|_| panic!("on purpose")), Box::new(move |result| drop(told.send(result))));
    let behind = put(&engine, 2, 10);
    disk.release();
    before.recv().unwrap().unwrap();
    assert!(matches!(panicked.recv().unwrap(), Err(StoreError::Damaged(_))));
    behind.recv().unwrap().unwrap();
    put(&engine, 3, 10).recv().unwrap().unwrap();
    assert!(has(&engine, 1) && has(&engine, 2) && has(&engine, 3));
    assert!(engine.read(|rows| rows.get(TABLE, b"told")).unwrap().is_some(), "it was written all the same");
}

#[test]
fn what_waits_is_committed_together() {
    let disk = FaultyDisk::default();
    let engine = engine(&disk);
    disk.hold();
    let answers: Vec<_> = (0..2_000).map(|key| put(&engine, key, 10)).collect();
    let before = engine.commits();
    disk.release();
    for answer in answers {
        answer.recv().unwrap().unwrap();
    }
    let commits = engine.commits() - before;
    // Whatever was there when the writer looked first, then 1024 at a time.
    assert!((2..=3).contains(&commits), "{commits} commits");
}

#[test]
fn nothing_is_told_before_the_sync_that_covers_it_and_all_in_order() {
    let disk = FaultyDisk::default();
    let engine = engine(&disk);
    disk.events();
    let (told, all) = mpsc::channel();
    for key in 0..200u32 {
        let (disk, told) = (disk.clone(), told.clone());
        engine.submit(
            10,
            Box::new(move |rows| rows.put(TABLE, &key.to_be_bytes(), b"x")),
            Box::new(move |result| {
                disk.note("told");
                told.send((key, result)).unwrap();
            }),
        );
    }
    drop(told);
    let order: Vec<_> = all.iter().map(|(key, result)| result.map(|()| key)).collect();
    assert!(order.into_iter().eq((0..200).map(Ok)));

    let mut is_synced = false;
    for event in disk.events() {
        match &*event {
            "write" => is_synced = false,
            "sync" => is_synced = true,
            _ => assert!(is_synced, "told before the sync"),
        }
    }
}

#[test]
fn readers_do_not_wait_for_a_slow_sync() {
    let disk = FaultyDisk::default();
    let engine = engine(&disk);
    put(&engine, 1, 10).recv().unwrap().unwrap();
    disk.hold();
    let slow = put(&engine, 2, 10);
    assert!(has(&engine, 1));
    assert!(!has(&engine, 2));
    assert!(slow.try_recv().is_err());
    disk.release();
    slow.recv().unwrap().unwrap();
    assert!(has(&engine, 2));
}

#[test]
fn a_full_disk_refuses_reads_on_and_recovers() {
    let disk = FaultyDisk::default();
    let engine = engine(&disk);
    put(&engine, 1, 10).recv().unwrap().unwrap();
    disk.limit(Some(0));
    let mut key = 1;
    let error = loop {
        key += 1;
        if let Err(error) = put(&engine, key, 100_000).recv().unwrap() {
            break error;
        }
    };
    assert_eq!(error, StoreError::Full);
    for earlier in 1..key {
        assert!(has(&engine, earlier));
    }
    assert!(!has(&engine, key));
    assert_eq!(put(&engine, key, 10_000_000).recv().unwrap(), Err(StoreError::Full));
    disk.limit(None);
    put(&engine, key, 100_000).recv().unwrap().unwrap();
    assert!(has(&engine, key));
}

#[test]
fn a_failed_sync_is_told_and_later_batches_succeed() {
    let disk = FaultyDisk::default();
    let engine = engine(&disk);
    put(&engine, 1, 10).recv().unwrap().unwrap();
    disk.fail_syncs(true);
    assert!(matches!(put(&engine, 2, 10).recv().unwrap(), Err(StoreError::Io(_))));
    disk.fail_syncs(false);
    put(&engine, 3, 10).recv().unwrap().unwrap();
    assert!(has(&engine, 1) && has(&engine, 3));
}

#[test]
fn a_failed_read_is_told_and_the_file_is_opened_again() {
    let disk = FaultyDisk::default();
    drop(engine(&disk));
    let engine = engine(&disk);
    for key in 0..200 {
        put(&engine, key, 20_000).recv().unwrap().unwrap();
    }
    disk.fail_reads(true);
    let failed = (0..200).find_map(|key| {
        let row = engine.read(|rows| rows.get(TABLE, &u32::to_be_bytes(key)));
        row.err()
    });
    assert!(matches!(failed, Some(StoreError::Io(_))), "{failed:?}");
    disk.fail_reads(false);
    put(&engine, 500, 10).recv().unwrap().unwrap();
    assert!((0..200).all(|key| has(&engine, key)));
}

#[test]
fn a_work_that_fails_does_not_harm_its_neighbours() {
    let disk = FaultyDisk::default();
    let engine = engine(&disk);
    disk.hold();
    let first = put(&engine, 0, 10);
    let good = put(&engine, 1, 10);
    let (told, bad) = mpsc::channel();
    engine.submit(
        10,
        Box::new(|rows| {
            rows.put(TABLE, &2u32.to_be_bytes(), b"half")?;
            Err(StoreError::damaged("on purpose"))
        }),
        Box::new(move |result| drop(told.send(result))),
    );
    let last = put(&engine, 3, 10);
    disk.release();
    for answer in [first, good, last] {
        answer.recv().unwrap().unwrap();
    }
    assert!(bad.recv().unwrap().is_err());
    assert!(has(&engine, 1) && !has(&engine, 2) && has(&engine, 3));
}

#[test]
fn more_than_may_wait_is_refused_at_once() {
    let disk = FaultyDisk::default();
    let engine = engine(&disk);
    disk.hold();
    let size = limits::STORE_QUEUE_BYTES / 8;
    let answers: Vec<_> = (0..9)
        .map(|_| {
            let (told, outcome) = mpsc::channel();
            let done = Box::new(move |result| drop(told.send(result)));
            engine.submit(size, Box::new(|_| Ok(())), done);
            outcome
        })
        .collect();
    assert_eq!(answers[8].recv().unwrap(), Err(StoreError::Busy));
    disk.release();
    assert!(answers[..8].iter().all(|answer| answer.recv().unwrap().is_ok()));
}

#[test]
fn a_closed_engine_writes_what_waits_and_refuses_the_rest() {
    let disk = FaultyDisk::default();
    let engine = engine(&disk);
    let answers: Vec<_> = (0..100).map(|key| put(&engine, key, 10)).collect();
    engine.close();
    assert!(answers.iter().all(|answer| answer.recv().unwrap().is_ok()));
    assert_eq!(put(&engine, 1, 1).recv().unwrap(), Err(StoreError::Closed));
    let row = engine.read(|rows| rows.get(TABLE, b"x"));
    assert_eq!(row, Err(StoreError::Closed));
}

#[test]
fn a_second_process_is_refused_and_told_the_holder() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("data");
    let data = open(&inner).unwrap();
    let Err(fault @ FolderFault::InUse { .. }) = open(&inner) else {
        panic!("opened twice");
    };
    let message = fault.to_string();
    assert!(message.contains(&format!("process {}", std::process::id())));
    data.close().unwrap();
    drop(data);
    open(&inner).unwrap().close().unwrap();

    let mut names: Vec<_> =
        fs::read_dir(&inner).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["closed", "letshare.redb", "lock"]);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_folder_that_cannot_be_used_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let message = open(&file).err().unwrap().to_string();
    assert!(message.contains("data.dir"), "{message}");

    let foreign = folder.path().join("foreign");
    fs::create_dir(&foreign).unwrap();
    fs::write(data_file(&foreign), vec![b'x'; 100_000]).unwrap();
    let message = open(&foreign).err().unwrap().to_string();
    assert!(message.contains("letshare.redb"), "{message}");
    assert_eq!(fs::read(data_file(&foreign)).unwrap(), vec![b'x'; 100_000]);
}

#[test]
fn a_newer_format_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let data = open(folder.path()).unwrap();
    data.engine().write(0, Box::new(|rows| rows.put(engine::META, b"format", &2u32.to_be_bytes()))).unwrap();
    data.close().unwrap();
    drop(data);
    assert!(matches!(open(folder.path()), Err(FolderFault::Newer { found: 2, .. })));
}
