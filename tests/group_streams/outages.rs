//! Redis gone and back, processes that die: nothing that was accepted is lost.

use std::sync::atomic::Ordering;

use letshare_server::{
    clock::Clock,
    engines::redis::{Link, RedisError},
    older::group::streams::{Outgoing, QueueFull},
    store::{Batch, Committed, Store, StoreError},
};
use tokio::sync::oneshot;

use super::{Disk, Instance, RedisServer, eventually, payload};

#[tokio::test]
async fn redis_is_killed_while_two_instances_publish() {
    const ROUNDS: usize = 3;
    const EACH: usize = 400;
    let mut server = RedisServer::start().await;
    let (one, other) = (Instance::start(&server).await, Instance::start(&server).await);
    let mut reader = Instance::start(&server).await;
    let publish = |round: usize| {
        for number in round * EACH..(round + 1) * EACH {
            one.publish(&format!("one-{number}"));
            other.publish(&format!("other-{number}"));
        }
    };
    let mut next = [0, 0];
    let mut read = async |count: usize| {
        for _ in 0..count {
            let id = reader.message().await;
            let (publisher, number) = id.split_once('-').unwrap();
            let next = &mut next[usize::from(publisher == "other")];
            // Each once, in the order of its publisher.
            assert_eq!(number, next.to_string(), "of {publisher}");
            *next += 1;
        }
    };
    for round in 0..ROUNDS {
        publish(2 * round);
        // Some are published, the rest is on the way.
        read(EACH / 4).await;
        server.kill();
        publish(2 * round + 1);
        server.restart().await;
        read(EACH / 4).await;
    }
    read(2 * 2 * ROUNDS * EACH - 2 * ROUNDS * (EACH / 4)).await;
}

#[tokio::test]
async fn while_redis_is_away_the_queue_fills_and_then_says_so() {
    const QUEUE: usize = 10_000;
    let mut server = RedisServer::start().await;
    let mut reader = Instance::start(&server).await;
    let instance = Instance::start(&server).await;
    server.kill();
    until_down(&instance).await;
    for number in 0..QUEUE {
        instance.publish(&number.to_string());
    }
    let refused = instance.bus.message(payload("refused"), "refused").map(Outgoing::send);
    assert_eq!(refused, Err(QueueFull));
    assert_eq!(instance.bus.waiting(), QUEUE);

    server.restart().await;
    for number in 0..QUEUE {
        assert_eq!(reader.message().await, number.to_string());
    }
    eventually(async || {
        tokio::task::yield_now().await;
        (instance.bus.waiting() == 0).then_some(())
    })
    .await;
    instance.publish("after");
    assert_eq!(reader.message().await, "after");
}

#[tokio::test]
async fn what_was_committed_is_published_after_redis_and_then_the_process_died() {
    let mut server = RedisServer::start().await;
    let disk = Disk::new();
    let mut reader = Instance::start(&server).await;
    let dying = Instance::launch(server.settings(), disk.store(), Clock::system());
    dying.until_reading().await;
    server.kill();
    until_down(&dying).await;
    for id in ["a", "b", "c"] {
        let mut outgoing = dying.bus.message(payload(id), id).unwrap();
        let batch = outgoing.row(Batch::new().put("messages", id, "what the protocol keeps"));
        commit(&*disk.store, batch).await.unwrap();
        // The process dies between the commit of the last and sending it.
        if id != "c" {
            outgoing.send();
        }
    }
    // Without a row it is lost.
    dying.publish("lost");
    dying.kill();

    server.restart().await;
    let reborn = Instance::launch(server.settings(), disk.store(), Clock::system());
    reborn.publish("d");
    for id in ["a", "b", "c", "d"] {
        assert_eq!(reader.message().await, id);
    }
    let rows = async || disk.store.list("group outgoing", b"", None, 10).unwrap();
    eventually(async || {
        tokio::task::yield_now().await;
        rows().await.is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_commit_that_failed_gives_its_place_back() {
    let server = RedisServer::start().await;
    let disk = Disk::new();
    let instance = Instance::launch(server.settings(), disk.store(), Clock::system());
    let mut outgoing = instance.bus.message(payload("a"), "a").unwrap();
    let _not_committed = outgoing.row(Batch::new());
    assert_eq!(instance.bus.waiting(), 1);
    drop(outgoing);
    assert_eq!(instance.bus.waiting(), 0);
}

#[tokio::test]
async fn an_instance_with_a_store_reads_on_where_it_was() {
    let server = RedisServer::start().await;
    let disk = Disk::new();
    let other = Instance::start(&server).await;
    let mut instance = Instance::launch(server.settings(), disk.store(), Clock::system());
    instance.until_reading().await;
    other.publish("a");
    assert_eq!(instance.message().await, "a");
    other.publish("b");
    let not_done = instance.receive().await;
    instance.kill();
    drop(not_done);
    other.publish("c");

    let mut instance = Instance::launch(server.settings(), disk.store(), Clock::system());
    let mut first = instance.message().await;
    if first == "a" {
        // The position behind it had not reached the disk.
        first = instance.message().await;
    }
    assert_eq!(first, "b");
    assert_eq!(instance.message().await, "c");
}

#[tokio::test]
async fn an_instance_that_was_away_for_too_long_says_so() {
    let server = RedisServer::start().await;
    let disk = Disk::new();
    let other = Instance::start(&server).await;
    let mut instance = Instance::launch(server.settings(), disk.store(), Clock::system());
    instance.until_reading().await;
    other.publish("a");
    assert_eq!(instance.message().await, "a");
    let is_kept = async || {
        tokio::task::yield_now().await;
        let row = disk.store.get("group positions", b"chat.message.new");
        (row.unwrap()? != b"0-0").then_some(())
    };
    eventually(is_kept).await;
    instance.kill();
    let mut witness = Instance::start(&server).await;
    other.publish("b");
    other.publish("c");
    witness.message().await;
    witness.message().await;
    let words: [&[u8]; 4] = [b"XTRIM", b"chat.message.new", b"MAXLEN", b"1"];
    server.command(&words).await;

    let mut instance = Instance::launch(server.settings(), disk.store(), Clock::system());
    assert_eq!(instance.message().await, "c");
    assert_eq!(instance.bus.counts().gaps.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn redis_may_come_after_the_instance() {
    let mut server = RedisServer::start().await;
    server.kill();
    let one = Instance::launch(server.settings(), None, Clock::system());
    until_down(&one).await;
    one.publish("early");
    server.restart().await;
    eventually(async || {
        let length = server.command(&[b"XLEN", b"chat.message.new"]).await;
        (length == ":1\r\n").then_some(())
    })
    .await;
    assert!(one.bus.is_up());
}

#[tokio::test]
async fn a_wrong_or_missing_password_or_database_is_told() {
    let server = RedisServer::start_with(Some("the right one")).await;
    let mut wrong = server.settings();
    wrong.password = "CANARY-password".to_owned().into();
    let mut missing = server.settings();
    missing.password = String::new().into();
    let mut database = server.settings();
    database.database = 999;
    for settings in [wrong, missing, database] {
        let instance = Instance::launch(settings, None, Clock::system());
        let error = until_down(&instance).await;
        assert!(matches!(error, RedisError::Denied { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("check the password and the database"), "{text}");
        assert!(text.contains(&server.port.to_string()), "{text}");
        assert!(!text.contains("CANARY"), "{text}");
    }
    let right = Instance::start(&server).await;
    assert!(right.bus.is_up());
}

async fn until_down(instance: &Instance) -> RedisError {
    let mut link = instance.bus.watch();
    let is_down = link.wait_for(|link| matches!(link, Link::Down(_)));
    let link = tokio::time::timeout(crate::support::PATIENCE, is_down).await;
    match &*link.expect("it is noticed").expect("the bus runs") {
        Link::Down(error) => error.clone(),
        other => panic!("{other:?}"),
    }
}

async fn commit(store: &dyn Store, batch: Batch) -> Result<Committed, StoreError> {
    let (told, outcome) = oneshot::channel();
    store.submit(batch, Box::new(move |result| drop(told.send(result))));
    outcome.await.expect("the store tells")
}
