//! What every instance reads.

use letshare_server::older::group::streams::{Event, Member};

use super::{Instance, RedisServer, eventually, payload};

#[tokio::test]
async fn each_of_two_instances_sees_the_others_entries_once_and_not_its_own() {
    let server = RedisServer::start().await;
    let (mut one, mut other) = (Instance::start(&server).await, Instance::start(&server).await);
    for number in 0..50 {
        one.publish(&format!("one-{number}"));
    }
    for number in 0..50 {
        assert_eq!(other.message().await, format!("one-{number}"));
    }
    // Stands behind all of `one`'s in the stream, and is the first that `one` hears of.
    other.publish("other");
    assert_eq!(one.message().await, "other");
}

#[tokio::test]
async fn member_events_go_both_ways() {
    let server = RedisServer::start().await;
    let (mut one, mut other) = (Instance::start(&server).await, Instance::start(&server).await);
    let member = Member { group_id: "g".into(), user_id: "7".into() };
    one.bus.member_added("g", "7").unwrap().send();
    assert_eq!(other.event().await, Event::MemberAdded(member.clone()));
    other.bus.member_removed("g", "7").unwrap().send();
    assert_eq!(one.event().await, Event::MemberRemoved(member));
}

#[tokio::test]
async fn what_is_not_sent_is_not_published() {
    let server = RedisServer::start().await;
    let (one, mut other) = (Instance::start(&server).await, Instance::start(&server).await);
    drop(one.bus.message(payload("not sent"), "not sent").unwrap());
    one.publish("sent");
    assert_eq!(other.message().await, "sent");
    eventually(async || {
        tokio::task::yield_now().await;
        (one.bus.waiting() == 0).then_some(())
    })
    .await;
}

/// The bytes are those of `redisstream.DefaultMarshallerUnmarshaller`: the map of one text, the empty
/// map, nothing.
#[tokio::test]
async fn entries_of_a_foreign_watermill_producer_are_read() {
    let server = RedisServer::start().await;
    let (mut one, mut other) = (Instance::start(&server).await, Instance::start(&server).await);
    let entries: [(&str, &[u8], &str); 3] = [
        ("chat.message.new", b"\x81\xa3foo\xa3bar", "a"),
        ("chat.message.new", b"\x80", "b"),
        ("chat.message.new", b"", "c"),
    ];
    for (stream, metadata, id) in entries {
        server.add(stream, id, metadata, &payload(id)).await;
    }
    for instance in [&mut one, &mut other] {
        for (_, _, id) in entries {
            assert_eq!(instance.message().await, id);
        }
    }
    let progress = r#"{"user_id":7,"verify_id":"v","status":1,"refresh":false,"timestamp":5}"#;
    server.add("verify:progress", "v", b"", progress).await;
    for instance in [&mut one, &mut other] {
        let Event::VerifyProgress(progress) = instance.event().await else {
            panic!("no progress");
        };
        assert_eq!((&*progress.user_id, progress.timestamp), ("7", 5));
    }
}

/// As when the connection of its writer broke before Redis could say that it took it.
#[tokio::test]
async fn an_entry_that_stands_twice_in_the_stream_is_taken_once() {
    let server = RedisServer::start().await;
    let mut instance = Instance::start(&server).await;
    for id in ["a", "b", "a", "b", "c"] {
        server.add("chat.message.new", id, b"", &payload(id)).await;
    }
    for id in ["a", "b", "c"] {
        assert_eq!(instance.message().await, id);
    }
}

/// `docs/protocols/group.md §7`: the exact fields, readable by Watermill.
#[tokio::test]
async fn our_entries_have_watermills_fields() {
    let server = RedisServer::start().await;
    let instance = Instance::start(&server).await;
    instance.publish("3f0c0000-0000-4000-8000-000000000001");
    instance.bus.stop(crate::support::PATIENCE).await;
    let range: [&[u8]; 4] = [b"XRANGE", b"chat.message.new", b"-", b"+"];
    let answer = server.command(&range).await;
    let lines: Vec<_> = answer.split("\r\n").collect();
    let origin = instance.bus.origin();
    let id = "3f0c0000-0000-4000-8000-000000000001";
    // A map of one text: `origin`, and the 36 characters of an UUID.
    let metadata = format!("\u{fffd}\u{fffd}origin\u{fffd}${origin}");
    let payload = payload(id);
    let fields = ["_watermill_message_uuid", id, "metadata", &metadata, "payload", &payload];
    // Each text has its length before it.
    let texts = lines.iter().skip(6).step_by(2).copied();
    assert_eq!(texts.collect::<Vec<_>>(), fields, "{answer}");
}

#[tokio::test]
async fn malformed_entries_stop_nothing_and_are_acknowledged() {
    const STREAMS: [&str; 6] = [
        "chat.message.new",
        "chat.notification.new",
        "notification:push",
        "chat.group.member.added",
        "chat.group.member.removed",
        "verify:progress",
    ];
    let server = RedisServer::start().await;
    let mut instance = Instance::start(&server).await;
    for stream in STREAMS {
        server.add(stream, "u", b"", "no JSON").await;
        server.add(stream, "u", b"no MessagePack", "{}").await;
        let words: [&[u8]; 5] = [b"XADD", stream.as_bytes(), b"*", b"some", b"thing"];
        server.command(&words).await;
    }
    server.add("chat.message.new", "u", b"", &payload("good")).await;
    assert_eq!(instance.message().await, "good");
    for stream in ["chat.notification.new", "notification:push"] {
        let notification = r#"{"user_id":7,"notification_id":1}"#;
        server.add(stream, "u", b"", notification).await;
        for _ in ["live", "to store"] {
            let event = instance.event().await;
            assert!(matches!(event, Event::Notification(_) | Event::StoreNotification(_)), "{event:?}");
        }
        server.until_acknowledged(stream).await;
    }
    eventually(async || {
        tokio::task::yield_now().await;
        (instance.malformed() == 18).then_some(())
    })
    .await;
}

/// A receipt that is dropped says that it did not work out, as when the disk is full.
#[tokio::test]
async fn what_was_not_done_with_comes_again_in_order() {
    let server = RedisServer::start().await;
    let (one, mut other) = (Instance::start(&server).await, Instance::start(&server).await);
    one.publish("a");
    let refused = other.receive().await;
    one.publish("b");
    drop(refused.receipt);
    assert_eq!(other.message().await, "a");
    assert_eq!(other.message().await, "b");
}
