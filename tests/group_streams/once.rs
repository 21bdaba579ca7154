//! What must happen once over all instances: the consumer group.

use std::collections::BTreeMap;

use letshare_server::older::group::streams::{Event, Notification};

use super::{Instance, RedisServer, SHORT_LEASE};

const STREAM: &str = "chat.notification.new";
/// `{"user_id": "7"}` in MessagePack.
const FOR_USER_7: &[u8] = b"\x81\xa7user_id\xa17";

async fn notify(server: &RedisServer, id: usize) {
    let payload = format!(r#"{{"notification_id":{id},"type":"system","title":"t","content":"c"}}"#);
    server.add(STREAM, &id.to_string(), FOR_USER_7, &payload).await;
}

#[tokio::test]
async fn each_notification_is_stored_on_one_instance_and_delivered_on_all() {
    const COUNT: usize = 40;
    let server = RedisServer::start().await;
    let (mut one, mut other) = (Instance::start(&server).await, Instance::start(&server).await);
    for id in 0..COUNT {
        notify(&server, id).await;
    }
    let (mut stored, mut live) = (BTreeMap::<_, usize>::new(), [0, 0]);
    let count = |who: usize, event, live: &mut [usize; 2], stored: &mut BTreeMap<_, usize>| match event {
        Event::Notification(it) => {
            // In the order of the stream.
            assert_eq!(it.notification_id, live[who].to_string());
            live[who] += 1;
        }
        Event::StoreNotification(it) => {
            assert_eq!(it.user_id, "7");
            *stored.entry(it.notification_id).or_default() += 1;
        }
        other => panic!("{other:?}"),
    };
    for _ in 0..3 * COUNT {
        tokio::select! {
            event = one.event() => count(0, event, &mut live, &mut stored),
            event = other.event() => count(1, event, &mut live, &mut stored),
        }
    }
    assert_eq!(live, [COUNT, COUNT]);
    assert_eq!(stored.len(), COUNT);
    server.until_acknowledged(STREAM).await;
}

#[tokio::test]
async fn a_notification_of_ours_comes_to_all_and_is_stored_by_one() {
    let server = RedisServer::start().await;
    let (mut one, mut other) = (Instance::start(&server).await, Instance::start(&server).await);
    let expected = Notification {
        user_id: "7".into(),
        notification_id: "n".into(),
        kind: "system".into(),
        title: "t".into(),
        content: "c".into(),
        created_at: 5,
    };
    one.bus.notification(&expected).unwrap().send();
    let (mut live, mut stored) = (0, 0);
    for _ in 0..3 {
        let event = tokio::select! {
            event = one.event() => event,
            event = other.event() => event,
        };
        match event {
            Event::Notification(it) if it == expected => live += 1,
            Event::StoreNotification(it) if it == expected => stored += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((live, stored), (2, 1));
    server.until_acknowledged("notification:push").await;
}

#[tokio::test]
async fn what_a_dead_instance_took_is_done_by_another() {
    let server = RedisServer::start().await;
    let mut dead = Instance::start(&server).await;
    notify(&server, 1).await;
    let held = loop {
        let received = dead.receive().await;
        if let Event::StoreNotification(it) = &received.event {
            assert_eq!(it.notification_id, "1");
            break received;
        }
        received.receipt.done();
    };
    dead.kill();
    drop(held);

    let mut heir = Instance::start_with(&server, SHORT_LEASE).await;
    loop {
        if let Event::StoreNotification(it) = heir.event().await {
            assert_eq!(it.notification_id, "1");
            break;
        }
    }
    server.until_acknowledged(STREAM).await;
}

/// As when Redis starts without its data: the group is made anew, and gets all that came meanwhile.
#[tokio::test]
async fn a_consumer_group_that_is_gone_is_made_again() {
    let server = RedisServer::start().await;
    let mut instance = Instance::start(&server).await;
    server.command(&[b"FLUSHALL"]).await;
    notify(&server, 1).await;
    let mut seen = [false, false];
    while seen != [true, true] {
        match instance.event().await {
            Event::Notification(_) => seen[0] = true,
            Event::StoreNotification(_) => seen[1] = true,
            other => panic!("{other:?}"),
        }
    }
    server.until_acknowledged(STREAM).await;
}
