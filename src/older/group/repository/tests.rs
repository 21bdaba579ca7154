#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::mpsc;

use futures_util::FutureExt as _;

use super::*;
use crate::{older::group::message::Notification, store::faulty::FaultyDisk};

struct Room {
    repository: Repository,
}

impl Room {
    fn new() -> Self {
        Self { repository: Repository::new(FaultyDisk::default().store()) }
    }

    fn commit(&self, batch: Batch) {
        let (done, outcome) = mpsc::channel();
        let done = Box::new(move |result| drop(done.send(result)));
        self.repository.submit(batch, done);
        outcome.recv().unwrap().unwrap();
    }

    fn say(&self, number: u64, group: &str, created: u64) {
        let message = GroupMessage {
            message_id: format!("m{number}"),
            group_id: group.into(),
            sender_id: "小明".into(),
            created_at: created,
            ..GroupMessage::default()
        };
        self.commit(put_message(Batch::new(), At::Number(number), &message, &to_json(&message)));
    }
}

fn numbers(kept: Result<Vec<StoredMessage>, StoreError>) -> Vec<u64> {
    kept.unwrap().iter().map(|message| message.number).collect()
}

#[test]
fn messages_are_read_both_ways() {
    let room = Room::new();
    // A group whose name begins with that of another is another.
    for (number, group) in [(1, "g"), (2, "g2"), (3, "g"), (5, "g"), (256, "g"), (257, "g2")] {
        room.say(number, group, number);
    }
    let repository = &room.repository;
    assert_eq!(numbers(repository.after("g", 0, 10)), [1, 3, 5, 256]);
    assert_eq!(numbers(repository.after("g", 3, 1)), [5]);
    assert_eq!(numbers(repository.before("g", u64::MAX, 3)), [256, 5, 3]);
    assert_eq!(numbers(repository.before("g", 5, 3)), [3, 1]);
    assert_eq!(repository.find("m5"), Ok(Some((5, "g".into()))));
    assert_eq!(repository.find("m4"), Ok(None));
    assert_eq!(repository.after("g", 3, 1).unwrap()[0].sender, "小明");
}

/// findings C3: what is unread is counted without reading a message; rows of earlier versions, which do not tell the sender,
/// count as well.
#[test]
fn unread_messages_are_counted_by_their_index() {
    let room = Room::new();
    for number in 1..=9 {
        room.say(number, "g", 100);
    }
    let repository = &room.repository;
    let count = |user, seen| repository.count_unread("g", user, seen);
    room.commit(Batch::new().put(BACK, back_key("g", 9), ""));
    assert_eq!((count("8", 0), count("8", 5), count("8", 9)), (Ok(9), Ok(4), Ok(0)));
    assert_eq!(count("小明", 0), Ok(0));
    // Only that row needs its message.
    for number in 1..=8 {
        room.commit(Batch::new().remove(MESSAGES, NumberKey::new("g", number)));
    }
    assert_eq!((count("8", 0), count("小明", 0)), (Ok(9), Ok(0)));
    for number in 10..=limits::GROUP_UNREAD_MESSAGES as u64 + 20 {
        room.say(number, "g", 100);
    }
    assert_eq!(count("8", 0), Ok(limits::GROUP_UNREAD_MESSAGES));
}

#[test]
fn old_messages_go_and_nothing_of_them_stays() {
    let room = Room::new();
    for number in 1..=6 {
        room.say(number, "g", number * 100);
    }
    let repository = &room.repository;
    while let Some(batch) = repository.sweep_group("g", 400).unwrap() {
        room.commit(batch);
    }
    assert_eq!(numbers(repository.after("g", 0, 10)), [4, 5, 6]);
    assert_eq!(numbers(repository.before("g", u64::MAX, 10)), [6, 5, 4]);
    assert_eq!(repository.find("m3"), Ok(None));
    assert!(repository.sweep_group("none", 400).unwrap().is_none());
}

#[test]
fn what_is_due_goes() {
    let room = Room::new();
    let (digest, at) = ([7; 32], Timestamp::from_millis);
    let notification =
        |id: &str| Notification { user_id: "u".into(), notification_id: id.into(), ..Notification::default() };
    // As earlier versions wrote it.
    let batch = Batch::new().put(SEEN, digest, "m1").schedule(SEEN_DUE, at(50), digest, "");
    let batch = Repository::put_notification(batch, 1, &notification("old"), Some(at(50)));
    let batch = Repository::put_notification(batch, 2, &notification("new"), Some(at(90)));
    room.commit(batch);
    let repository = &room.repository;
    assert!(repository.sweep_due(at(49)).unwrap().is_none());
    assert_eq!(repository.seen(&digest), Ok(Some("m1".into())));
    assert_eq!(repository.unread_notifications("u"), Ok(2));
    room.commit(repository.sweep_due(at(50)).unwrap().expect("something is due"));
    assert!(repository.sweep_due(at(50)).unwrap().is_none());
    assert_eq!(repository.seen(&digest), Ok(None));
    assert_eq!(repository.unread_notifications("u"), Ok(1));
    assert_eq!(repository.has_notification("u", "old").now_or_never(), Some(Ok(false)));
    let (page, total) = repository.notifications("u", 0, 10).unwrap();
    assert_eq!((page[0].notification.notification_id.as_str(), total), ("new", 1));
}

#[test]
fn groups_members_and_markers_come_back() {
    let room = Room::new();
    let member = Member { name: "Wu".into(), joined_after: 3, ..Member::default() };
    let batch = put_group(Batch::new(), "g", &GroupInfo::default());
    let batch = put_member(batch, "g", "7", &member);
    let batch = put_member(batch, "lost", "8", &member);
    room.commit(put_marker(batch, "g", "7", 9));
    let membership = room.repository.membership().unwrap();
    assert_eq!(membership.member("g", "7").map(Member::seen), Some(9));
    assert_eq!(membership.member("lost", "8").map(Member::seen), Some(3));
    room.commit(remove_member(Batch::new(), "g", "7"));
    let membership = room.repository.membership().unwrap();
    assert!(membership.member("g", "7").is_none());
}
