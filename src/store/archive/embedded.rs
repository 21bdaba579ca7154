//! [`Archive`] on the [`Store`] of the data folder. All rows of a message are one batch.
//!
//! | table | key | value |
//! |---|---|---|
//! | `chat messages` | id | message |
//! | `chat rooms` | room, id with all bits turned: the newest first | |
//! | `chat inbox` | receiver, id: one-to-one only | |
//! | `chat client ids` | sender, `client_id` | when it ends to count, id; also scheduled for that moment |
//! | `chat seen` | user | id |
//! | `chat groups` | group id | group |
//! | `chat members` | member, group id | |
//! | `chat participants` | group id, user who took part: of groups that were not made here | |
//!
//! A room's messages are counted by two counters, since counters only rise: stored and removed.
//!
//! The rows may be those of several nodes: what is written by what was read expects it to be so still, and is judged again if not.

use std::{
    collections::BTreeSet,
    sync::{Arc, mpsc},
    time::Duration,
};

use futures_util::FutureExt as _;

use crate::{
    clock::Clock,
    ids::Timestamp,
    limits,
    store::{
        Batch, Found, KeyedLock, Read, Readers, Row, Store, StoreError,
        archive::{
            Archive, CLIENT_ID_WINDOW, Group, Inserted, Message, MessageId, Page, Reading, check_users,
            embedded::keys::{id_at_end, id_of_room_key, removed_from, room_key, room_prefix, stored_in, user_key},
        },
    },
};

mod keys;

const MESSAGES: &str = "chat messages";
const ROOMS: &str = "chat rooms";
const INBOX: &str = "chat inbox";
const CLIENT_IDS: &str = "chat client ids";
const SEEN: &str = "chat seen";
const GROUPS: &str = "chat groups";
const MEMBERS: &str = "chat members";
const PARTICIPANTS: &str = "chat participants";
const TABLES: [&str; 8] = [MESSAGES, ROOMS, INBOX, CLIENT_IDS, SEEN, GROUPS, MEMBERS, PARTICIPANTS];

/// The rows of one message: where it stands, whom it is for, what its sender calls it.
const MESSAGE_ROWS: usize = 4;

/// The archive of a data folder. Clones are the same.
#[derive(Clone)]
pub struct EmbeddedArchive {
    store: Arc<dyn Store>,
    clock: Clock,
    /// How long messages are kept; for ever if none.
    retention: Option<Duration>,
    /// How much all of it may have; none: as much as there is room for.
    bytes: Option<u64>,
    /// Rows that are looked at before they are written, by table and key. A lock ends when they are on disk, whether
    /// anybody waits for that or not.
    locks: Arc<KeyedLock>,
    readers: Readers,
}

impl EmbeddedArchive {
    pub fn new(store: Arc<dyn Store>, clock: Clock, retention: Option<Duration>) -> Self {
        Self { store, clock, retention, bytes: None, locks: Arc::default(), readers: Readers::default() }
    }

    /// The same, of which more than this is refused: what is there and what comes in at one moment.
    pub fn bounded(self, bytes: u64) -> Self {
        Self { bytes: Some(bytes), ..self }
    }

    /// # Errors
    /// [`StoreError::NoRoom`]: for so many bytes in so many rows.
    fn check_room(&self, bytes: usize, rows: usize) -> Result<(), StoreError> {
        let Some(limit) = self.bytes else { return Ok(()) };
        let reads = TABLES.iter().flat_map(|table| [Read::bytes(table), Read::count(table, "")]).collect();
        let cost = |bytes: u64, rows: u64| bytes.saturating_add(rows.saturating_mul(limits::ARCHIVE_ROW_COST as u64));
        let mut kept = cost(bytes as u64, rows as u64);
        for table in self.look(reads)?.chunks_exact(2) {
            kept = kept.saturating_add(cost(table[0].clone().number()?, table[1].clone().number()?));
        }
        if kept > limit { Err(StoreError::NoRoom { limit, setting: "chat.stored_bytes" }) } else { Ok(()) }
    }

    /// Reads one state of several things, and waits for it.
    fn look(&self, reads: Vec<Read>) -> Result<Vec<Found>, StoreError> {
        let (told, found) = mpsc::sync_channel(1);
        self.store.look(reads, Box::new(move |result| drop(told.send(result))));
        found.recv().map_err(|_| StoreError::Closed)?
    }

    /// What was stored under a sender's `client_id`, whose row this is, if that still counts.
    fn known(&self, row: Option<&[u8]>) -> Result<Option<Message>, StoreError> {
        let Some(value) = row else {
            return Ok(None);
        };
        let ends = value.first_chunk().copied().map(u64::from_be_bytes);
        let ends = ends.ok_or_else(|| StoreError::damaged("a client id of a chat message"))?;
        if ends <= self.clock.now().millis() {
            return Ok(None);
        }
        self.message(id_at_end(value)?)
    }

    /// None when it was removed a moment ago.
    fn message(&self, id: MessageId) -> Result<Option<Message>, StoreError> {
        let value = self.store.get(MESSAGES, &id.to_bytes())?;
        value.map(|value| read_message(id, &value)).transpose()
    }

    /// Those of these messages that there are still, by one read: the store may be on another machine.
    fn messages(&self, ids: &[MessageId]) -> Result<Vec<Message>, StoreError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let found = self.look(ids.iter().map(|id| Read::get(MESSAGES, id.to_bytes())).collect())?;
        let read = |(id, found): (&MessageId, Found)| found.value()?.map(|value| read_message(*id, &value)).transpose();
        ids.iter().zip(found).map(read).filter_map(Result::transpose).collect()
    }

    /// The way to the last page of a large room is long.
    fn read_page(&self, room: &str, page: u64, size: usize) -> Result<Page, StoreError> {
        let total = self.count(room)?;
        let mut skip = page.saturating_sub(1).saturating_mul(size as u64);
        let mut messages = Vec::new();
        if skip >= total {
            return Ok(Page { messages, total });
        }
        let wanted = usize::try_from(skip).unwrap_or(usize::MAX).saturating_add(size);
        let prefix = room_prefix(room);
        let mut rows = self.store.scan(ROOMS, &prefix, wanted.min(limits::ARCHIVE_ROWS));
        while messages.len() < size {
            let portion = rows.next_page()?;
            if portion.is_empty() {
                break;
            }
            let skipped = skip.min(portion.len() as u64);
            skip -= skipped;
            let mut rest = &portion[skipped as usize..];
            // What was removed meanwhile is made up for by what is behind it.
            while !rest.is_empty() && messages.len() < size {
                let (rows, behind) = rest.split_at(rest.len().min(size - messages.len()));
                let ids: Result<Vec<MessageId>, _> = rows.iter().map(|row| id_of_room_key(&row.key)).collect();
                messages.extend(self.messages(&ids?)?);
                rest = behind;
            }
        }
        Ok(Page { messages, total })
    }

    fn read_seen(&self, user: u64) -> Result<Option<MessageId>, StoreError> {
        let value = self.store.get(SEEN, &user_key(user, &[]))?;
        value.map(|value| id_at_end(&value)).transpose()
    }

    fn read_group(&self, id: &str) -> Result<Option<Group>, StoreError> {
        let value = self.store.get(GROUPS, id.as_bytes())?;
        let group = value.map(|value| serde_json::from_slice(&value)).transpose();
        group.map_err(|error| StoreError::damaged(format!("a chat group: {error}")))
    }

    /// Messages that a room has.
    fn count(&self, room: &str) -> Result<u64, StoreError> {
        let stored = self.store.cursor(&stored_in(room))?;
        Ok(stored.saturating_sub(self.store.cursor(&removed_from(room))?))
    }

    /// Forgets who took part in a room that has no message any more.
    async fn remove_participants(&self, room: &str) -> Result<(), StoreError> {
        if self.count(room)? > 0 {
            return Ok(());
        }
        let prefix = room_prefix(room);
        let mut participants = self.store.scan(PARTICIPANTS, &prefix, limits::ARCHIVE_ROWS);
        loop {
            let rows = participants.next_page()?;
            if rows.is_empty() {
                return Ok(());
            }
            let remove = |batch: Batch, row: Row| batch.remove(PARTICIPANTS, row.key);
            self.store.commit(rows.into_iter().fold(Batch::new(), remove)).await?;
        }
    }

    /// Forgets some client ids that count no more; whether there may be others.
    async fn remove_client_ids(&self) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let due = self.store.due(CLIENT_IDS, now, limits::ARCHIVE_ROWS)?;
        let (mut batch, mut locks) = (Batch::new(), Vec::new());
        for row in &due {
            // One that is just being used anew is left to the next sweep.
            let Ok(lock) = self.locks.try_lock(lock_key(CLIENT_IDS, &row.key)) else {
                continue;
            };
            // It may have been used anew since it was listed.
            let value = self.store.get(CLIENT_IDS, &row.key)?;
            let ends = value.as_deref().and_then(<[u8]>::first_chunk);
            if ends.is_some_and(|ends| u64::from_be_bytes(*ends) > now.millis()) {
                continue;
            }
            locks.push(lock);
            batch = batch.expect(CLIENT_IDS, row.key.clone(), value);
            batch = batch.cancel(CLIENT_IDS, row.key.clone()).remove(CLIENT_IDS, row.key.clone());
        }
        if locks.is_empty() {
            return Ok(false);
        }
        match self.store.commit_holding(batch, locks).await {
            // Another node has used one anew, or is at it: left to the next sweep.
            Err(StoreError::Changed) => return Ok(false),
            outcome => drop(outcome?),
        }
        Ok(due.len() == limits::ARCHIVE_ROWS)
    }

    /// Removes some messages made before `until`; whether there may be others.
    async fn remove_messages(&self, until: u64) -> Result<bool, StoreError> {
        // Two sweeps at a time would count what they remove twice.
        let lock = self.locks.lock(lock_key(MESSAGES, b"sweep")).await;
        let is_old = |row: &Row| -> Result<Option<Message>, StoreError> {
            let message = read_message(id_at_end(&row.key)?, &row.value)?;
            Ok((message.created.millis() < until).then_some(message))
        };
        // Mostly there is nothing to do: one row shows that.
        let first = self.store.list(MESSAGES, &[], None, 1)?;
        if first.first().map_or(Ok(None), is_old)?.is_none() {
            return Ok(false);
        }
        let rows = self.store.list(MESSAGES, &[], None, limits::ARCHIVE_ROWS)?;
        let mut batch = Batch::new();
        // Of two nodes that do it, one does.
        if let Some(row) = rows.first() {
            batch = batch.expect(MESSAGES, row.key.clone(), Some(row.value.clone()));
        }
        let (mut count, mut rooms) = (0, BTreeSet::new());
        for row in &rows {
            // Ids rise with time, so all behind a young one are young, too.
            let Some(message) = is_old(row)? else { break };
            count += 1;
            batch = batch
                .remove(MESSAGES, row.key.clone())
                .remove(ROOMS, room_key(&message.room, message.id))
                .remove(INBOX, user_key(message.to, &row.key))
                .add(removed_from(&message.room), 1);
            rooms.insert(message.room);
        }
        match self.store.commit_holding(batch, lock).await {
            Err(StoreError::Changed) => return Ok(false),
            outcome => drop(outcome?),
        }
        for room in &rooms {
            self.remove_participants(room).await?;
        }
        Ok(count == limits::ARCHIVE_ROWS)
    }
}

impl Archive for EmbeddedArchive {
    fn insert(&self, message: Message) -> Reading<'_, Inserted> {
        async move {
            check_users([message.from, message.to])?;
            let (mut batch, mut lock) = (Batch::new(), None);
            if let Some(client_id) = &message.client_id {
                let key = user_key(message.from, client_id.as_bytes());
                lock = Some(self.locks.lock(lock_key(CLIENT_IDS, &key)).await);
                let row = self.store.get(CLIENT_IDS, &key)?;
                if let Some(known) = self.known(row.as_deref())? {
                    return Ok(Inserted::Again(known));
                }
                batch = batch.expect(CLIENT_IDS, key.clone(), row);
                let ends = message.created.millis().saturating_add(CLIENT_ID_WINDOW.as_millis() as u64);
                let value = [&ends.to_be_bytes()[..], &message.id.to_bytes()].concat();
                let ends = Timestamp::from_millis(ends);
                batch = batch.put(CLIENT_IDS, key.clone(), value).schedule(CLIENT_IDS, ends, key, []);
            }
            let id = message.id;
            batch = batch.put(ROOMS, room_key(&message.room, id), []).add(stored_in(&message.room), 1);
            if message.to != 0 {
                batch = batch.put(INBOX, user_key(message.to, &id.to_bytes()), []);
            }
            let json = json(&message)?;
            self.check_room(json.len(), MESSAGE_ROWS)?;
            batch = batch.put(MESSAGES, id.to_bytes(), json);
            match self.store.commit_holding(batch, lock).await {
                // Another node has stored it meanwhile.
                Err(StoreError::Changed) => self.insert(message).await,
                outcome => outcome.map(|_| Inserted::New),
            }
        }
        .boxed()
    }

    fn find(&self, id: MessageId) -> Reading<'_, Option<Message>> {
        std::future::ready(self.message(id)).boxed()
    }

    fn page(&self, room: &str, page: u64, size: usize) -> Reading<'_, Page> {
        let (archive, room) = (self.clone(), room.to_owned());
        async move { self.readers.read(move || archive.read_page(&room, page, size)).await? }.boxed()
    }

    fn missed(&self, to: u64, after: Option<MessageId>, limit: usize) -> Reading<'_, Vec<Message>> {
        async move {
            let after = after.map(|id| user_key(to, &id.to_bytes()));
            let rows = self.store.list(INBOX, &user_key(to, &[]), after.as_deref(), limit)?;
            let ids: Result<Vec<MessageId>, _> = rows.iter().map(|row| id_at_end(&row.key)).collect();
            self.messages(&ids?)
        }
        .boxed()
    }

    fn seen(&self, user: u64) -> Reading<'_, Option<MessageId>> {
        std::future::ready(self.read_seen(user)).boxed()
    }

    fn set_seen(&self, user: u64, message: MessageId) -> Reading<'_, ()> {
        async move {
            let key = user_key(user, &[]);
            let lock = self.locks.lock(lock_key(SEEN, &key)).await;
            let known = self.read_seen(user)?;
            if known.is_some_and(|known| known >= message) {
                return Ok(());
            }
            let batch = Batch::new().expect(SEEN, key.clone(), known.map(|known| known.to_bytes().to_vec()));
            let batch = batch.put(SEEN, key, message.to_bytes());
            match self.store.commit_holding(batch, lock).await {
                Err(StoreError::Changed) => self.set_seen(user, message).await,
                outcome => outcome.map(drop),
            }
        }
        .boxed()
    }

    fn create_group(&self, group: Group) -> Reading<'_, bool> {
        async move {
            check_users(group.members.iter().copied().chain([group.owner]))?;
            let lock = self.locks.lock(lock_key(GROUPS, group.id.as_bytes())).await;
            if let Some(known) = self.read_group(&group.id)? {
                return Ok(known == group);
            }
            let json = json(&group)?;
            self.check_room(json.len(), 1 + group.members.len())?;
            let batch = Batch::new().expect(GROUPS, group.id.as_str(), None);
            let batch = batch.put(GROUPS, group.id.as_str(), json);
            let put = |batch: Batch, member: &u64| batch.put(MEMBERS, user_key(*member, group.id.as_bytes()), []);
            match self.store.commit_holding(group.members.iter().fold(batch, put), lock).await {
                Err(StoreError::Changed) => self.create_group(group).await,
                outcome => outcome.map(|_| true),
            }
        }
        .boxed()
    }

    fn add_members(&self, group: &str, users: Vec<u64>) -> Reading<'_, ()> {
        let id = group.to_owned();
        async move {
            check_users(users.iter().copied())?;
            let lock = self.locks.lock(lock_key(GROUPS, id.as_bytes())).await;
            let row = self.store.get(GROUPS, id.as_bytes())?;
            let Some(mut group) = self.read_group(&id)? else {
                return Ok(());
            };
            self.check_room(0, users.len())?;
            let mut batch = Batch::new().expect(GROUPS, id.as_str(), row);
            for user in &users {
                if !group.members.contains(user) {
                    group.members.push(*user);
                    batch = batch.put(MEMBERS, user_key(*user, id.as_bytes()), []);
                }
            }
            let batch = batch.put(GROUPS, id.as_str(), json(&group)?);
            match self.store.commit_holding(batch, lock).await {
                Err(StoreError::Changed) => self.add_members(&id, users).await,
                outcome => outcome.map(drop),
            }
        }
        .boxed()
    }

    fn group(&self, id: &str) -> Reading<'_, Option<Group>> {
        std::future::ready(self.read_group(id)).boxed()
    }

    fn groups_of(&self, user: u64) -> Reading<'_, Vec<String>> {
        let prefix = user_key(user, &[]);
        let groups = self.store.scan(MEMBERS, &prefix, limits::ARCHIVE_ROWS).map(|row| {
            let id = row?.key.get(prefix.len()..).unwrap_or_default().to_vec();
            String::from_utf8(id).map_err(|_| StoreError::damaged("the id of a chat group"))
        });
        std::future::ready(groups.collect()).boxed()
    }

    fn take_part(&self, room: &str, users: Vec<u64>) -> Reading<'_, ()> {
        let room = room.to_owned();
        async move {
            check_users(users.iter().copied())?;
            if !users.is_empty() {
                self.check_room(0, users.len())?;
                let put = |batch: Batch, user: &u64| batch.put(PARTICIPANTS, participant_key(&room, *user), []);
                self.store.commit(users.iter().fold(Batch::new(), put)).await?;
            }
            Ok(())
        }
        .boxed()
    }

    fn participants(&self, room: &str) -> Reading<'_, Vec<u64>> {
        let prefix = room_prefix(room);
        let users = self.store.scan(PARTICIPANTS, &prefix, limits::ARCHIVE_ROWS).map(|row| {
            let user = row?.key.last_chunk().copied().map(u64::from_be_bytes);
            user.ok_or_else(|| StoreError::damaged("a participant of a chat group"))
        });
        std::future::ready(users.collect()).boxed()
    }

    fn took_part(&self, room: &str, user: u64) -> Reading<'_, bool> {
        let row = self.store.get(PARTICIPANTS, &participant_key(room, user));
        std::future::ready(row.map(|row| row.is_some())).boxed()
    }

    fn ping(&self) -> Reading<'_, ()> {
        std::future::ready(self.store.cursor("chat").map(drop)).boxed()
    }

    fn sweep(&self) -> Reading<'_, ()> {
        async move {
            while self.remove_client_ids().await? {}
            if let Some(retention) = self.retention {
                let until = self.clock.now().millis().saturating_sub(retention.as_millis() as u64);
                while self.remove_messages(until).await? {}
            }
            Ok(())
        }
        .boxed()
    }
}

fn json(record: &impl serde::Serialize) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(record).map_err(|error| StoreError::Io(error.to_string().into()))
}

fn read_message(id: MessageId, bytes: &[u8]) -> Result<Message, StoreError> {
    let message = serde_json::from_slice::<Message>(bytes);
    let message = message.map_err(|error| StoreError::damaged(format!("chat message {id}: {error}")))?;
    Ok(Message { id, ..message })
}

fn lock_key(table: &str, key: &[u8]) -> Vec<u8> {
    [table.as_bytes(), &[0], key].concat()
}

fn participant_key(room: &str, user: u64) -> Vec<u8> {
    [&room_prefix(room)[..], &user.to_be_bytes()].concat()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::store::{Committed, Done, Scheduled, archive::Ids, faulty::FaultyDisk};

    /// A store that counts the calls that would each be a round trip.
    struct Counted {
        store: Arc<dyn Store>,
        calls: AtomicUsize,
    }

    impl Counted {
        fn counted(&self) -> &Arc<dyn Store> {
            self.calls.fetch_add(1, Ordering::Relaxed);
            &self.store
        }
    }

    impl Store for Counted {
        fn submit(&self, batch: Batch, done: Done<Committed>) {
            self.store.submit(batch, done);
        }

        fn get(&self, table: &str, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
            self.counted().get(table, key)
        }

        fn list(&self, table: &str, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, StoreError> {
            self.counted().list(table, prefix, after, limit)
        }

        fn due(&self, table: &str, until: Timestamp, limit: usize) -> Result<Vec<Scheduled>, StoreError> {
            self.counted().due(table, until, limit)
        }

        fn scheduled(&self, table: &str, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
            self.counted().scheduled(table, key)
        }

        fn cursor(&self, name: &str) -> Result<u64, StoreError> {
            self.counted().cursor(name)
        }

        fn bytes(&self, table: &str) -> Result<u64, StoreError> {
            self.counted().bytes(table)
        }

        fn look(&self, reads: Vec<Read>, done: Done<Vec<Found>>) {
            self.counted().look(reads, done);
        }
    }

    fn message(ids: &Ids, clock: &Clock, number: usize) -> Message {
        Message {
            id: ids.mint(),
            room: "private_7_8".to_owned(),
            from: 7,
            to: 8,
            kind: 1,
            content: number.to_string(),
            created: clock.now(),
            client_id: None,
        }
    }

    /// What is too old makes room; a message that was stored before needs none.
    #[tokio::test]
    async fn what_is_kept_is_bounded() {
        const LIMIT: u64 = 20_000;
        let (disk, clock) = (FaultyDisk::default(), Clock::manual(Timestamp::from_millis(1_760_000_000_000)));
        let day = Duration::from_secs(24 * 3_600);
        let archive = EmbeddedArchive::new(disk.store(), clock.clone(), Some(day)).bounded(LIMIT);
        let ids = Ids::new(clock.clone());
        let first = Message { client_id: Some("first".to_owned()), ..message(&ids, &clock, 0) };
        assert_eq!(archive.insert(first.clone()).await, Ok(Inserted::New));
        let mut count = 1;
        let refused = loop {
            match archive.insert(message(&ids, &clock, count)).await {
                Ok(_) => count += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(refused, StoreError::NoRoom { limit: LIMIT, setting: "chat.stored_bytes" });
        assert!((10..50).contains(&count), "{count}");
        assert_eq!(archive.insert(first.clone()).await, Ok(Inserted::Again(first)));
        let group = Group {
            id: "group_1".into(),
            name: String::new(),
            owner: 1,
            members: vec![1; 99],
            description: String::new(),
            created: clock.now(),
        };
        assert!(matches!(archive.create_group(group).await, Err(StoreError::NoRoom { .. })));
        clock.advance(2 * day);
        archive.sweep().await.unwrap();
        assert_eq!(archive.insert(message(&ids, &clock, 0)).await, Ok(Inserted::New));
    }

    /// A page of messages costs a store on another machine few round trips, however many they are.
    #[tokio::test]
    async fn messages_are_read_together() {
        let store = Arc::new(Counted { store: FaultyDisk::default().store(), calls: AtomicUsize::new(0) });
        let clock = Clock::system();
        let archive = EmbeddedArchive::new(Arc::clone(&store) as Arc<_>, clock.clone(), None);
        let ids = Ids::new(clock.clone());
        let mut all = Vec::new();
        for number in 0..50 {
            let message = message(&ids, &clock, number);
            archive.insert(message.clone()).await.unwrap();
            all.push(message);
        }
        store.calls.store(0, Ordering::Relaxed);
        assert_eq!(archive.missed(8, None, 100).await.unwrap(), all);
        assert_eq!(store.calls.swap(0, Ordering::Relaxed), 2);
        all.reverse();
        let page = archive.page("private_7_8", 2, 20).await.unwrap();
        assert_eq!((&page.messages[..], page.total), (&all[20..40], 50));
        // How many there are, which, and what they are.
        assert_eq!(store.calls.load(Ordering::Relaxed), 4);
    }
}
