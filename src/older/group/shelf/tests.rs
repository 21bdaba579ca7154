#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::mpsc;

use tempfile::TempDir;

use super::*;
use crate::{
    clock::Clock,
    older::group::post::Notice,
    store::{
        embedded::EmbeddedStore,
        folder::{DataFolder, Terms},
    },
};

struct Room {
    shelf: Shelf,
    _folder: DataFolder,
    _data: TempDir,
}

impl Room {
    fn new() -> Self {
        let data = TempDir::new().unwrap();
        let terms = Terms { cache_bytes: 1 << 20, verify_bytes: 1 << 20 };
        let clock = Clock::manual(Timestamp::from_millis(0));
        let folder = DataFolder::open(data.path(), terms, clock).unwrap();
        let store = EmbeddedStore::new(Arc::clone(folder.engine()));
        Self { shelf: Shelf::new(Arc::new(store)), _folder: folder, _data: data }
    }

    fn commit(&self, batch: Batch) {
        let (told, outcome) = mpsc::channel();
        let done = Box::new(move |result| drop(told.send(result)));
        self.shelf.submit(batch, done);
        outcome.recv().unwrap().unwrap();
    }

    fn say(&self, number: u64, group: &str, created: u64) {
        let post = Post {
            message_id: format!("m{number}"),
            group_id: group.into(),
            sender_id: "小明".into(),
            created_at: created,
            ..Post::default()
        };
        let json = serde_json::to_string(&post).unwrap();
        self.commit(put_message(Batch::new(), number, &post, &json));
    }
}

fn numbers(kept: Result<Vec<Kept>, StoreError>) -> Vec<u64> {
    kept.unwrap().iter().map(|message| message.number).collect()
}

#[test]
fn messages_are_read_both_ways() {
    let room = Room::new();
    // A group whose name begins with that of another is another.
    for (number, group) in [(1, "g"), (2, "g2"), (3, "g"), (5, "g"), (256, "g"), (257, "g2")] {
        room.say(number, group, number);
    }
    let shelf = &room.shelf;
    assert_eq!(numbers(shelf.after("g", 0, 10)), [1, 3, 5, 256]);
    assert_eq!(numbers(shelf.after("g", 3, 1)), [5]);
    assert_eq!(numbers(shelf.before("g", u64::MAX, 3)), [256, 5, 3]);
    assert_eq!(numbers(shelf.before("g", 5, 3)), [3, 1]);
    assert_eq!(shelf.find("m5"), Ok(Some((5, "g".into()))));
    assert_eq!(shelf.find("m4"), Ok(None));
    assert_eq!(shelf.last(), Ok(257));
    assert_eq!(shelf.after("g", 3, 1).unwrap()[0].sender, "小明");
}

/// findings C3: what is unread is counted without reading a message; rows of earlier versions, which do not tell the sender,
/// count as well.
#[test]
fn unread_messages_are_counted_by_their_index() {
    let room = Room::new();
    for number in 1..=9 {
        room.say(number, "g", 100);
    }
    let shelf = &room.shelf;
    let count = |user, seen| shelf.count_unread("g", user, seen);
    room.commit(Batch::new().put(BACK, key("g", u64::MAX - 9), ""));
    assert_eq!((count("8", 0), count("8", 5), count("8", 9)), (Ok(9), Ok(4), Ok(0)));
    assert_eq!(count("小明", 0), Ok(0));
    // Only that row needs its message.
    for number in 1..=8 {
        room.commit(Batch::new().remove(MESSAGES, key("g", number)));
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
    let shelf = &room.shelf;
    while let Some(batch) = shelf.sweep_group("g", 400).unwrap() {
        room.commit(batch);
    }
    assert_eq!(numbers(shelf.after("g", 0, 10)), [4, 5, 6]);
    assert_eq!(numbers(shelf.before("g", u64::MAX, 10)), [6, 5, 4]);
    assert_eq!(shelf.find("m3"), Ok(None));
    assert!(shelf.sweep_group("none", 400).unwrap().is_none());
}

#[test]
fn what_is_due_goes() {
    let room = Room::new();
    let (digest, at) = ([7; 32], Timestamp::from_millis);
    let notice = |id: &str| Notice { notification_id: id.into(), ..Notice::default() };
    let batch = put_seen(Batch::new(), &digest, "m1", at(50));
    let batch = Shelf::put_notice(batch, "u", 1, &notice("old"), Some(at(50)));
    let batch = Shelf::put_notice(batch, "u", 2, &notice("new"), Some(at(90)));
    room.commit(batch);
    let shelf = &room.shelf;
    assert!(shelf.sweep_due(at(49)).unwrap().is_none());
    assert_eq!(shelf.seen(&digest), Ok(Some("m1".into())));
    assert_eq!(shelf.unread("u"), Ok(2));
    room.commit(shelf.sweep_due(at(50)).unwrap().expect("something is due"));
    assert!(shelf.sweep_due(at(50)).unwrap().is_none());
    assert_eq!(shelf.seen(&digest), Ok(None));
    assert_eq!(shelf.unread("u"), Ok(1));
    assert_eq!(shelf.has_notice("u", "old"), Ok(false));
    let (page, total) = shelf.notices("u", 0, 10).unwrap();
    assert_eq!((page[0].notice.notification_id.as_str(), total), ("new", 1));
}

#[test]
fn groups_members_and_markers_come_back() {
    let room = Room::new();
    let member = Member { name: "Wu".into(), joined_after: 3, ..Member::default() };
    let batch = put_group(Batch::new(), "g", &Facts::default());
    let batch = put_member(batch, "g", "7", &member);
    let batch = put_member(batch, "lost", "8", &member);
    room.commit(put_marker(batch, "g", "7", 9));
    let registry = room.shelf.registry().unwrap();
    assert_eq!(registry.member("g", "7").map(Member::seen), Some(9));
    assert_eq!(registry.member("lost", "8").map(Member::seen), Some(3));
    room.commit(remove_member(Batch::new(), "g", "7"));
    let registry = room.shelf.registry().unwrap();
    assert!(registry.member("g", "7").is_none());
}
