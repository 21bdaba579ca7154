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

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures_util::FutureExt as _;
use tokio::sync::oneshot;

use crate::{
    clock::Clock,
    ids::Timestamp,
    limits,
    store::{
        Batch, Row, Store, StoreError,
        archive::{
            Answer, Archive, CLIENT_ID_WINDOW, Group, Inserted, Message, MessageId, Page, check_users,
            record::{
                id_at_end, id_of_room_key, read_group, read_message, room_key, room_prefix, user_key, write_group,
                write_message,
            },
            turns::{Turn, Turns},
        },
    },
};

const MESSAGES: &str = "chat messages";
const ROOMS: &str = "chat rooms";
const INBOX: &str = "chat inbox";
const CLIENT_IDS: &str = "chat client ids";
const SEEN: &str = "chat seen";
const GROUPS: &str = "chat groups";
const MEMBERS: &str = "chat members";
const PARTICIPANTS: &str = "chat participants";

/// The archive of a data folder.
pub struct EmbeddedArchive {
    store: Arc<dyn Store>,
    clock: Clock,
    /// How long messages are kept; for ever if none.
    retention: Option<Duration>,
    turns: Arc<Turns>,
}

impl EmbeddedArchive {
    pub fn new(store: Arc<dyn Store>, clock: Clock, retention: Option<Duration>) -> Self {
        Self { store, clock, retention, turns: Arc::default() }
    }

    /// Commits; `turns` end with that, whether anybody waits or not.
    async fn commit(&self, batch: Batch, turns: Vec<Turn>) -> Result<(), StoreError> {
        let (told, outcome) = oneshot::channel();
        self.store.submit(
            batch,
            Box::new(move |result| {
                drop(turns);
                let _ = told.send(result);
            }),
        );
        let outcome = outcome.await.unwrap_or(Err(StoreError::Closed));
        outcome.map(drop)
    }

    async fn put(&self, message: Message) -> Result<Inserted, StoreError> {
        check_users([message.from, message.to])?;
        let mut batch = Batch::new();
        let mut turns = Vec::new();
        if let Some(client_id) = &message.client_id {
            let key = user_key(message.from, client_id.as_bytes());
            turns.push(self.turns.take(turn_key(CLIENT_IDS, &key)).await);
            if let Some(known) = self.known(&key)? {
                return Ok(Inserted::Again(known));
            }
            let ends = later(message.created, CLIENT_ID_WINDOW);
            let value = [&ends.millis().to_be_bytes()[..], &message.id.to_bytes()].concat();
            batch = batch.put(CLIENT_IDS, key.clone(), value).schedule(CLIENT_IDS, ends, key, []);
        }
        let id = message.id;
        batch = batch.put(ROOMS, room_key(&message.room, id), []).add(stored_in(&message.room), 1);
        if message.to != 0 {
            batch = batch.put(INBOX, user_key(message.to, &id.to_bytes()), []);
        }
        batch = batch.put(MESSAGES, id.to_bytes(), write_message(message)?);
        self.commit(batch, turns).await?;
        Ok(Inserted::New)
    }

    /// What was stored under a sender's `client_id`, if that still counts.
    fn known(&self, key: &[u8]) -> Result<Option<Message>, StoreError> {
        let Some(value) = self.store.get(CLIENT_IDS, key)? else {
            return Ok(None);
        };
        let ends = value.first_chunk().copied().map(u64::from_be_bytes);
        let ends = ends.ok_or_else(|| StoreError::damaged("a client id of a chat message"))?;
        if ends <= self.clock.now().millis() {
            return Ok(None);
        }
        self.message(id_at_end(&value)?)
    }

    fn message(&self, id: MessageId) -> Result<Option<Message>, StoreError> {
        let value = self.store.get(MESSAGES, &id.to_bytes())?;
        value.map(|value| read_message(id, &value)).transpose()
    }

    async fn read_page(&self, room: &str, page: u64, size: usize) -> Result<Page, StoreError> {
        let stored = self.store.cursor(&stored_in(room))?;
        let total = stored.saturating_sub(self.store.cursor(&removed_from(room))?);
        let mut skip = page.saturating_sub(1).saturating_mul(size as u64);
        let mut messages = Vec::new();
        if skip >= total {
            return Ok(Page { messages, total });
        }
        let prefix = room_prefix(room);
        let mut after: Option<Vec<u8>> = None;
        while messages.len() < size {
            let portion = if skip > 0 {
                skip.min(limits::ARCHIVE_ROWS as u64) as usize
            } else {
                (size - messages.len()).min(limits::ARCHIVE_ROWS)
            };
            let rows = self.store.list(ROOMS, &prefix, after.as_deref(), portion)?;
            let Some(last) = rows.last() else { break };
            after = Some(last.key.clone());
            if skip > 0 {
                skip = skip.saturating_sub(rows.len() as u64);
                // The way to the last page of a large room is long; others want to go on, too.
                tokio::task::yield_now().await;
                continue;
            }
            for row in &rows {
                // Absent when it was removed a moment ago.
                messages.extend(self.message(id_of_room_key(&row.key)?)?);
            }
        }
        Ok(Page { messages, total })
    }

    fn read_missed(&self, to: u64, after: Option<MessageId>, limit: usize) -> Result<Vec<Message>, StoreError> {
        let after = after.map(|id| user_key(to, &id.to_bytes()));
        let prefix = user_key(to, &[]);
        let rows = self.store.list(INBOX, &prefix, after.as_deref(), limit)?;
        let messages = rows.iter().map(|row| self.message(id_at_end(&row.key)?));
        messages.filter_map(Result::transpose).collect()
    }

    fn read_seen(&self, user: u64) -> Result<Option<MessageId>, StoreError> {
        let value = self.store.get(SEEN, &user_key(user, &[]))?;
        value.map(|value| id_at_end(&value)).transpose()
    }

    async fn raise_seen(&self, user: u64, id: MessageId) -> Result<(), StoreError> {
        let key = user_key(user, &[]);
        let turn = self.turns.take(turn_key(SEEN, &key)).await;
        if self.read_seen(user)?.is_some_and(|known| known >= id) {
            return Ok(());
        }
        let batch = Batch::new().put(SEEN, key, id.to_bytes());
        self.commit(batch, vec![turn]).await
    }

    async fn put_group(&self, group: Group) -> Result<bool, StoreError> {
        check_users(group.members.iter().copied().chain([group.owner]))?;
        let turn = self.turns.take(turn_key(GROUPS, group.id.as_bytes())).await;
        if let Some(known) = self.read_group(group.id.as_bytes())? {
            return Ok(known == group);
        }
        let mut batch = Batch::new().put(GROUPS, group.id.as_str(), write_group(&group)?);
        for member in &group.members {
            batch = batch.put(MEMBERS, user_key(*member, group.id.as_bytes()), []);
        }
        self.commit(batch, vec![turn]).await?;
        Ok(true)
    }

    fn read_group(&self, id: &[u8]) -> Result<Option<Group>, StoreError> {
        let value = self.store.get(GROUPS, id)?;
        value.map(|value| read_group(&value)).transpose()
    }

    fn read_group_ids(&self, user: u64) -> Result<Vec<String>, StoreError> {
        let prefix = user_key(user, &[]);
        let rows = self.store.list(MEMBERS, &prefix, None, usize::MAX)?;
        let ids = rows.into_iter().map(|row| {
            let id = row.key.get(prefix.len()..).unwrap_or_default().to_vec();
            String::from_utf8(id).map_err(|_| StoreError::damaged("the id of a chat group"))
        });
        ids.collect()
    }

    async fn put_participants(&self, room: String, users: Vec<u64>) -> Result<(), StoreError> {
        check_users(users.iter().copied())?;
        if users.is_empty() {
            return Ok(());
        }
        let put = |batch: Batch, user: &u64| batch.put(PARTICIPANTS, participant_key(&room, *user), []);
        self.commit(users.iter().fold(Batch::new(), put), Vec::new()).await
    }

    fn read_participants(&self, room: &str) -> Result<Vec<u64>, StoreError> {
        let rows = self.store.list(PARTICIPANTS, &room_prefix(room), None, usize::MAX)?;
        let user = |row: &Row| row.key.last_chunk().copied().map(u64::from_be_bytes);
        let users =
            rows.iter().map(|row| user(row).ok_or_else(|| StoreError::damaged("a participant of a chat group")));
        users.collect()
    }

    /// Forgets who took part in a room that has no message any more.
    async fn remove_participants(&self, room: &str) -> Result<(), StoreError> {
        if self.store.cursor(&stored_in(room))? > self.store.cursor(&removed_from(room))? {
            return Ok(());
        }
        loop {
            let rows = self.store.list(PARTICIPANTS, &room_prefix(room), None, limits::ARCHIVE_ROWS)?;
            if rows.is_empty() {
                return Ok(());
            }
            let remove = |batch: Batch, row: Row| batch.remove(PARTICIPANTS, row.key);
            self.commit(rows.into_iter().fold(Batch::new(), remove), Vec::new()).await?;
        }
    }

    async fn remove_old(&self) -> Result<(), StoreError> {
        while self.remove_client_ids().await? {}
        if let Some(retention) = self.retention {
            let now = self.clock.now().millis();
            let until = now.saturating_sub(retention.as_millis() as u64);
            while self.remove_messages(until).await? {}
        }
        Ok(())
    }

    /// Forgets some client ids that count no more; whether there may be others.
    async fn remove_client_ids(&self) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let due = self.store.due(CLIENT_IDS, now, limits::ARCHIVE_ROWS)?;
        let (mut batch, mut turns) = (Batch::new(), Vec::new());
        for row in &due {
            // One that is just being used anew is left to the next sweep.
            let Some(turn) = self.turns.try_take(turn_key(CLIENT_IDS, &row.key)) else {
                continue;
            };
            // It may have been used anew since it was listed.
            let value = self.store.get(CLIENT_IDS, &row.key)?;
            let ends = value.as_deref().and_then(<[u8]>::first_chunk);
            if ends.is_some_and(|ends| u64::from_be_bytes(*ends) > now.millis()) {
                continue;
            }
            turns.push(turn);
            batch = batch.cancel(CLIENT_IDS, row.key.clone()).remove(CLIENT_IDS, row.key.clone());
        }
        if turns.is_empty() {
            return Ok(false);
        }
        self.commit(batch, turns).await?;
        Ok(due.len() == limits::ARCHIVE_ROWS)
    }

    /// Removes some messages made before `until`; whether there may be others.
    async fn remove_messages(&self, until: u64) -> Result<bool, StoreError> {
        // Two sweeps at a time would count what they remove twice.
        let turn = self.turns.take(turn_key(MESSAGES, b"sweep")).await;
        let is_old = |row: &Row| {
            let message = read_message(id_at_end(&row.key)?, &row.value)?;
            Ok((message.created.millis() < until).then_some(message))
        };
        // Mostly there is nothing to do, which one row tells.
        let first = self.store.list(MESSAGES, &[], None, 1)?;
        if first.first().map_or(Ok(None), is_old)?.is_none() {
            return Ok(false);
        }
        let rows = self.store.list(MESSAGES, &[], None, limits::ARCHIVE_ROWS)?;
        let mut batch = Batch::new();
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
        self.commit(batch, vec![turn]).await?;
        for room in &rooms {
            self.remove_participants(room).await?;
        }
        Ok(count == limits::ARCHIVE_ROWS)
    }
}

impl Archive for EmbeddedArchive {
    fn insert(&self, message: Message) -> Answer<'_, Inserted> {
        self.put(message).boxed()
    }

    fn page(&self, room: &str, page: u64, size: usize) -> Answer<'_, Page> {
        let room = room.to_owned();
        async move { self.read_page(&room, page, size).await }.boxed()
    }

    fn missed(&self, to: u64, after: Option<MessageId>, limit: usize) -> Answer<'_, Vec<Message>> {
        std::future::ready(self.read_missed(to, after, limit)).boxed()
    }

    fn seen(&self, user: u64) -> Answer<'_, Option<MessageId>> {
        std::future::ready(self.read_seen(user)).boxed()
    }

    fn set_seen(&self, user: u64, message: MessageId) -> Answer<'_, ()> {
        self.raise_seen(user, message).boxed()
    }

    fn create_group(&self, group: Group) -> Answer<'_, bool> {
        self.put_group(group).boxed()
    }

    fn group(&self, id: &str) -> Answer<'_, Option<Group>> {
        std::future::ready(self.read_group(id.as_bytes())).boxed()
    }

    fn groups_of(&self, user: u64) -> Answer<'_, Vec<String>> {
        std::future::ready(self.read_group_ids(user)).boxed()
    }

    fn take_part(&self, room: &str, users: Vec<u64>) -> Answer<'_, ()> {
        self.put_participants(room.to_owned(), users).boxed()
    }

    fn participants(&self, room: &str) -> Answer<'_, Vec<u64>> {
        std::future::ready(self.read_participants(room)).boxed()
    }

    fn took_part(&self, room: &str, user: u64) -> Answer<'_, bool> {
        let row = self.store.get(PARTICIPANTS, &participant_key(room, user));
        std::future::ready(row.map(|row| row.is_some())).boxed()
    }

    fn ping(&self) -> Answer<'_, ()> {
        std::future::ready(self.store.cursor("chat").map(drop)).boxed()
    }

    fn sweep(&self) -> Answer<'_, ()> {
        self.remove_old().boxed()
    }
}

fn later(moment: Timestamp, by: Duration) -> Timestamp {
    Timestamp::from_millis(moment.millis().saturating_add(by.as_millis() as u64))
}

fn turn_key(table: &str, key: &[u8]) -> Vec<u8> {
    [table.as_bytes(), &[0], key].concat()
}

fn participant_key(room: &str, user: u64) -> Vec<u8> {
    [&room_prefix(room)[..], &user.to_be_bytes()].concat()
}

fn stored_in(room: &str) -> String {
    format!("chat stored {room}")
}

fn removed_from(room: &str) -> String {
    format!("chat removed {room}")
}
