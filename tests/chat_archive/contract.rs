//! What every archive must do. Each implementation runs [`holds`] on itself.

use std::time::Duration;

use letshare_server::{
    clock::Clock,
    ids::Timestamp,
    store::{
        StoreError,
        archive::{Archive, CLIENT_ID_WINDOW, Group, Ids, Inserted, Message, MessageId, Page},
    },
};

/// An archive, and what messages take from the server.
pub struct Ground<'a> {
    pub archive: &'a dyn Archive,
    /// The archive's own; a manual one.
    pub clock: Clock,
    pub ids: Ids,
}

impl<'a> Ground<'a> {
    pub fn new(archive: &'a dyn Archive, clock: Clock) -> Self {
        let ids = Ids::new(clock.clone());
        Self { archive, clock, ids }
    }

    /// A message between two users.
    pub fn private(&self, from: u64, to: u64, content: &str) -> Message {
        Message {
            id: self.ids.mint(),
            room: format!("private_{}_{}", from.min(to), from.max(to)),
            from,
            to,
            kind: 1,
            content: content.to_owned(),
            created: self.clock.now(),
            client_id: None,
        }
    }

    async fn store(&self, message: Message) -> Message {
        let inserted = self.archive.insert(message.clone()).await.unwrap();
        assert_eq!(inserted, Inserted::New);
        message
    }

    async fn page(&self, room: &str, page: u64, size: usize) -> Page {
        self.archive.page(room, page, size).await.unwrap()
    }

    async fn missed(&self, to: u64, after: Option<MessageId>, limit: usize) -> Vec<Message> {
        self.archive.missed(to, after, limit).await.unwrap()
    }
}

/// Where the clocks of these tests begin: MongoDB's dates are milliseconds, and its ids seconds.
pub const START: Timestamp = Timestamp::from_millis(1_767_605_400_123);

/// Checks an empty archive without retention.
pub async fn holds(ground: &Ground<'_>) {
    ground.archive.ping().await.unwrap();
    messages_come_back_as_they_were(ground).await;
    pages_go_from_the_newest(ground).await;
    rooms_do_not_mix(ground).await;
    missed_messages_come_in_order(ground).await;
    a_client_id_counts_for_a_day(ground).await;
    one_of_many_with_one_client_id_is_stored(ground).await;
    numbers_beyond_a_database_are_refused(ground).await;
    the_last_seen_message_only_rises(ground).await;
    groups_are_found_by_id_and_member(ground).await;
    who_took_part_is_remembered(ground).await;
    ground.archive.sweep().await.unwrap();
}

/// findings O4: of a group that was not made here.
async fn who_took_part_is_remembered(ground: &Ground<'_>) {
    let archive = ground.archive;
    let all = async |room| {
        let mut users = archive.participants(room).await.unwrap();
        users.sort_unstable();
        users
    };
    assert_eq!(all("group_5").await, Vec::<u64>::new());
    archive.take_part("group_5", vec![7, 42]).await.unwrap();
    archive.take_part("group_5", vec![42, 9]).await.unwrap();
    archive.take_part("group_5", vec![]).await.unwrap();
    archive.take_part("group_55", vec![1]).await.unwrap();
    assert_eq!(all("group_5").await, [7, 9, 42]);
    for (room, user, expected) in [
        ("group_5", 7, true),
        ("group_5", 9, true),
        ("group_5", 1, false),
        ("group_55", 7, false),
        ("group_6", 7, false),
    ] {
        assert_eq!(archive.took_part(room, user).await, Ok(expected), "{room} {user}");
    }
    assert_eq!(archive.took_part("group_5", u64::MAX).await, Ok(false));
    assert!(archive.take_part("group_5", vec![u64::MAX]).await.is_err());
}

async fn messages_come_back_as_they_were(ground: &Ground<'_>) {
    let mut message = ground.private(7, 42, "ready? 好 \u{1f600} \0 \"$set\" a.b");
    message.kind = -9;
    message.client_id = Some("c.$1".to_owned());
    let message = ground.store(message).await;
    let page = ground.page("private_7_42", 1, 20).await;
    assert_eq!((page.messages, page.total), (vec![message], 1));

    let mut longest = ground.private(i64::MAX as u64, i64::MAX as u64 - 1, "");
    longest.content = "字".repeat(6_666);
    longest.kind = i64::MAX;
    let longest = ground.store(longest).await;
    assert_eq!(ground.page(&longest.room, 1, 1).await.messages, [longest]);
}

async fn pages_go_from_the_newest(ground: &Ground<'_>) {
    let mut stored = Vec::new();
    for number in 0..7 {
        let content = number.to_string();
        stored.push(ground.store(ground.private(9, 10, &content)).await);
        ground.clock.advance(Duration::from_millis(700));
    }
    stored.reverse();
    for (page, range) in [(1, 0..3), (2, 3..6), (3, 6..7), (4, 7..7)] {
        let found = ground.page("private_9_10", page, 3).await;
        assert_eq!((found.messages, found.total), (stored[range].to_vec(), 7));
    }
    assert_eq!(ground.page("private_9_10", 1, 100).await.messages, stored, "all on one");
    let far = ground.page("private_9_10", u64::MAX, 100).await;
    assert_eq!((far.messages.len(), far.total), (0, 7));
}

async fn rooms_do_not_mix(ground: &Ground<'_>) {
    let mut group = ground.private(7, 0, "to all");
    group.room = "group_1".to_owned();
    let group = ground.store(group).await;
    let mut longer = ground.private(7, 0, "to others");
    longer.room = "group_11".to_owned();
    ground.store(longer).await;
    assert_eq!(ground.page("group_1", 1, 20).await.messages, [group]);
    assert_eq!(ground.page("group_", 1, 20).await, Page::default());
    assert_eq!(ground.page("", 1, 20).await, Page::default());
    assert_eq!(ground.missed(0, None, 20).await, [], "groups miss nothing");
}

async fn missed_messages_come_in_order(ground: &Ground<'_>) {
    let mut stored = Vec::new();
    for from in [51, 52, 51, 50] {
        stored.push(ground.store(ground.private(from, 50, "missed")).await);
        ground.store(ground.private(50, from + 10, "other")).await;
        ground.clock.advance(Duration::from_secs(1));
    }
    assert_eq!(ground.missed(50, None, 20).await, stored);
    let after = Some(stored[1].id);
    assert_eq!(ground.missed(50, after, 20).await, stored[2..]);
    assert_eq!(ground.missed(50, after, 1).await, stored[2..3]);
    assert_eq!(ground.missed(50, Some(stored[3].id), 20).await, []);
    assert_eq!(ground.missed(59, None, 20).await, []);
}

async fn a_client_id_counts_for_a_day(ground: &Ground<'_>) {
    let with_id = |from, content| Message { client_id: Some("c1".to_owned()), ..ground.private(from, 42, content) };
    let room = "private_42_71";
    let first = ground.store(with_id(71, "first")).await;
    ground.store(with_id(72, "of another sender")).await;
    ground.clock.advance(CLIENT_ID_WINDOW - Duration::from_millis(1));
    ground.archive.sweep().await.unwrap();
    let again = ground.archive.insert(with_id(71, "again")).await.unwrap();
    assert_eq!(again, Inserted::Again(first.clone()));
    assert_eq!(ground.page(room, 1, 20).await.total, 1);

    // Forgotten with and without a sweep between.
    ground.clock.advance(Duration::from_millis(1));
    let second = ground.store(with_id(71, "anew")).await;
    ground.clock.advance(CLIENT_ID_WINDOW);
    ground.archive.sweep().await.unwrap();
    let third = ground.store(with_id(71, "and anew")).await;
    ground.archive.sweep().await.unwrap();
    let again = ground.archive.insert(with_id(71, "again")).await.unwrap();
    assert_eq!(again, Inserted::Again(third.clone()));
    let page = ground.page(room, 1, 20).await;
    let contents: Vec<_> = page.messages.iter().map(|found| &found.content).collect();
    assert_eq!(contents, [&third.content, &second.content, &first.content]);

    // Without one, nothing is held to be the same.
    ground.store(ground.private(73, 42, "x")).await;
    ground.store(ground.private(73, 42, "x")).await;
}

async fn one_of_many_with_one_client_id_is_stored(ground: &Ground<'_>) {
    let attempts = (0..20).map(|_| {
        ground.archive.insert(Message { client_id: Some("at once".to_owned()), ..ground.private(81, 82, "once") })
    });
    let outcomes = futures_util::future::join_all(attempts).await;
    let stored = ground.page("private_81_82", 1, 20).await;
    assert_eq!(stored.messages.len(), 1);
    let mut new = 0;
    for outcome in outcomes {
        match outcome.unwrap() {
            Inserted::New => new += 1,
            Inserted::Again(known) => assert_eq!(known, stored.messages[0]),
        }
    }
    assert_eq!(new, 1);
}

async fn numbers_beyond_a_database_are_refused(ground: &Ground<'_>) {
    let message = ground.private(1, u64::MAX, "x");
    let room = message.room.clone();
    let refused = ground.archive.insert(message).await;
    assert!(matches!(refused, Err(StoreError::Io(_))), "{refused:?}");
    assert_eq!(ground.page(&room, 1, 20).await.total, 0);
    assert_eq!(ground.missed(u64::MAX, None, 20).await, []);
    assert_eq!(ground.archive.seen(u64::MAX).await, Ok(None));
    assert_eq!(ground.archive.groups_of(u64::MAX).await, Ok(Vec::new()));
}

async fn the_last_seen_message_only_rises(ground: &Ground<'_>) {
    let (first, second) = (ground.ids.mint(), ground.ids.mint());
    let archive = ground.archive;
    assert_eq!(archive.seen(7).await, Ok(None));
    archive.set_seen(7, second).await.unwrap();
    archive.set_seen(7, first).await.unwrap();
    assert_eq!(archive.seen(7).await, Ok(Some(second)));
    assert_eq!(archive.seen(8).await, Ok(None));
    let third = ground.ids.mint();
    archive.set_seen(7, third).await.unwrap();
    assert_eq!(archive.seen(7).await, Ok(Some(third)));
}

async fn groups_are_found_by_id_and_member(ground: &Ground<'_>) {
    let group = |id: &str, members: &[u64]| Group {
        id: id.to_owned(),
        name: "Чат".to_owned(),
        owner: 7,
        members: members.to_vec(),
        description: String::new(),
        created: ground.clock.now(),
    };
    let archive = ground.archive;
    let (first, second) = (group("group_1_7", &[7, 8, 9]), group("group_2_7", &[7, 9]));
    assert_eq!(archive.create_group(second.clone()).await, Ok(true));
    assert_eq!(archive.create_group(first.clone()).await, Ok(true));
    let other = group("group_1_7", &[100]);
    assert_eq!(archive.create_group(other).await, Ok(false));
    // Its answer may have been lost.
    assert_eq!(archive.create_group(first.clone()).await, Ok(true));
    assert_eq!(archive.group("group_1_7").await, Ok(Some(first.clone())));
    assert_eq!(archive.group("group_1").await, Ok(None));
    assert_eq!(archive.groups_of(8).await, Ok(vec![first.id.clone()]));
    assert_eq!(archive.groups_of(9).await, Ok(vec![first.id, second.id]));
    assert_eq!(archive.groups_of(100).await, Ok(Vec::new()));
}
