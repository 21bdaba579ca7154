//! The rows of the group protocol.
//!
//! | table | key | value |
//! |---|---|---|
//! | `group groups` | group | [`Facts`] |
//! | `group members` | group, NUL, user | [`Member`] |
//! | `group markers` | group, NUL, user | number of the last message read (8 bytes) |
//! | `group messages` | group, NUL, number (8 bytes) | Unix seconds (8), length of the sender (2), sender, [`Post`] |
//! | `group back` | group, NUL, `u64::MAX` - number | sender: the store lists forwards only; in older rows empty |
//! | `group ids` | id of a message | number (8), group |
//! | `group hours` | hour since the epoch (8) | first number of that hour (8) |
//! | `group seen` | digest of what was sent | id of the message; scheduled to go in `group seen due` |
//! | `group times` | user | last online, last offline (8 each, Unix seconds) |
//!
//! Numbers rise over the whole server, and stand in the order of commits. `notices` has those of notifications.

use std::sync::Arc;

use crate::{
    ids::Timestamp,
    limits,
    older::group::{
        post::Post,
        registry::{Facts, Member, Registry},
    },
    store::{Batch, Committed, Done, Store, StoreError},
};

mod notices;
mod sweep;

pub use notices::KeptNotice;

const GROUPS: &str = "group groups";
const MEMBERS: &str = "group members";
const MARKERS: &str = "group markers";
const MESSAGES: &str = "group messages";
const BACK: &str = "group back";
const IDS: &str = "group ids";
const HOURS: &str = "group hours";
const SEEN: &str = "group seen";
const SEEN_DUE: &str = "group seen due";
const TIMES: &str = "group times";
/// The last number that was given.
const LAST: &str = "group last";

/// Where groups are kept.
pub struct Shelf(Arc<dyn Store>);

/// A message as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub number: u64,
    /// Unix seconds.
    pub created: u64,
    pub sender: String,
    /// [`Post`] as JSON.
    pub json: String,
}

/// Names a message that was sent, so that the same again is known.
pub type Digest = [u8; 32];

/// When a user came and went, in Unix seconds; 0 = never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    pub online: u64,
    pub offline: u64,
}

impl Shelf {
    pub const fn new(store: Arc<dyn Store>) -> Self {
        Self(store)
    }

    pub fn submit(&self, batch: Batch, done: Done<Committed>) {
        self.0.submit(batch, done);
    }

    /// The last number that was given.
    ///
    /// # Errors
    /// As [`Store::cursor`].
    pub fn last(&self) -> Result<u64, StoreError> {
        self.0.cursor(LAST)
    }

    /// All groups with their members and markers.
    ///
    /// # Errors
    /// As [`Store::list`]; [`StoreError::Damaged`] also for a row that cannot be read.
    pub fn registry(&self) -> Result<Registry, StoreError> {
        let mut registry = Registry::default();
        self.each(GROUPS, b"", |key, value| {
            let facts: Facts = serde_json::from_slice(value).ok()?;
            registry.put(std::str::from_utf8(key).ok()?, facts).ok()
        })?;
        self.each(MEMBERS, b"", |key, value| {
            let (group, user) = pair(key)?;
            let member: Member = serde_json::from_slice(value).ok()?;
            if registry.get(group).is_none() {
                registry.put(group, Facts::default()).ok()?;
            }
            registry.add(group, user, member).ok().map(drop)
        })?;
        self.each(MARKERS, b"", |key, value| {
            let (group, user) = pair(key)?;
            registry.mark(group, user, number(value)?);
            Some(())
        })?;
        Ok(registry)
    }

    /// The first numbers of the hours since the epoch.
    ///
    /// # Errors
    /// As [`Store::list`].
    pub fn hours(&self, mut found: impl FnMut(u64, u64)) -> Result<(), StoreError> {
        self.each(HOURS, b"", |key, value| {
            found(number(key)?, number(value)?);
            Some(())
        })
    }

    /// The number of a message, and its group.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub fn find(&self, message: &str) -> Result<Option<(u64, String)>, StoreError> {
        let Some(row) = self.0.get(IDS, message.as_bytes())? else {
            return Ok(None);
        };
        let read = || {
            let (number, group) = row.split_first_chunk()?;
            let group = String::from_utf8(group.to_vec()).ok()?;
            Some((u64::from_be_bytes(*number), group))
        };
        read().map(Some).ok_or_else(|| damaged("index of messages"))
    }

    /// The messages of a group behind `after`, the oldest first; at most `limit`.
    ///
    /// # Errors
    /// As [`Store::list`].
    pub fn after(&self, group: &str, after: u64, limit: usize) -> Result<Vec<Kept>, StoreError> {
        let prefix = prefix(group);
        let from = key(group, after);
        let rows = self.0.list(MESSAGES, &prefix, Some(&from), limit)?;
        let read = |row: crate::store::Row| Kept::read(row.key.get(prefix.len()..)?, &row.value);
        let kept = rows.into_iter().map(|row| read(row).ok_or_else(|| damaged("message")));
        kept.collect()
    }

    /// The messages of a group before `before`, the newest first; at most `limit`.
    ///
    /// # Errors
    /// As [`Store::list`].
    pub fn before(&self, group: &str, before: u64, limit: usize) -> Result<Vec<Kept>, StoreError> {
        let prefix = prefix(group);
        let from = key(group, u64::MAX - before);
        let rows = self.0.list(BACK, &prefix, Some(&from), limit)?;
        let mut kept = Vec::with_capacity(rows.len());
        for row in rows {
            let inverse = row.key.get(prefix.len()..).and_then(number);
            let number = u64::MAX - inverse.ok_or_else(|| damaged("message's place"))?;
            // None: the sweep was faster.
            if let Some(value) = self.0.get(MESSAGES, &key(group, number))? {
                let read = Kept::read(&number.to_be_bytes(), &value);
                kept.push(read.ok_or_else(|| damaged("message"))?);
            }
        }
        Ok(kept)
    }

    /// How many messages of a group behind `seen` are from others than `user`; at most [`limits::GROUP_UNREAD_MESSAGES`],
    /// among as many of the newest as are looked at. Messages themselves are not read.
    ///
    /// # Errors
    /// As [`Store::list`].
    pub fn count_unread(&self, group: &str, user: &str, seen: u64) -> Result<usize, StoreError> {
        let prefix = prefix(group);
        let (mut count, mut looked_at) = (0, 0);
        let mut from: Option<Vec<u8>> = None;
        while looked_at < limits::GROUP_UNREAD_ROWS {
            let rows = self.0.list(BACK, &prefix, from.as_deref(), limits::GROUP_ROWS)?;
            for row in &rows {
                let inverse = row.key.get(prefix.len()..).and_then(number);
                let number = u64::MAX - inverse.ok_or_else(|| damaged("message's place"))?;
                if number <= seen || count >= limits::GROUP_UNREAD_MESSAGES {
                    return Ok(count);
                }
                let is_own = if row.value.is_empty() {
                    // Written by an earlier version. None: the sweep was faster.
                    let value = self.0.get(MESSAGES, &key(group, number))?;
                    value
                        .and_then(|value| Kept::read(&number.to_be_bytes(), &value))
                        .is_none_or(|kept| kept.sender == user)
                } else {
                    row.value == user.as_bytes()
                };
                count += usize::from(!is_own);
            }
            looked_at += rows.len();
            match rows.into_iter().next_back() {
                Some(last) => from = Some(last.key),
                None => break,
            }
        }
        Ok(count)
    }

    /// The message that this was sent as, if it was.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub fn seen(&self, digest: &Digest) -> Result<Option<String>, StoreError> {
        let row = self.0.get(SEEN, digest)?;
        let text = row.map(String::from_utf8).transpose();
        text.map_err(|_| damaged("message that was seen"))
    }

    /// # Errors
    /// As [`Store::get`].
    pub fn times(&self, user: &str) -> Result<Times, StoreError> {
        let row = self.0.get(TIMES, user.as_bytes())?.unwrap_or_default();
        let (halves, _) = row.as_chunks::<8>();
        let half = |at: usize| halves.get(at).map_or(0, |half| u64::from_be_bytes(*half));
        Ok(Times { online: half(0), offline: half(1) })
    }

    /// Every row of a table below a prefix; `read` says none when it cannot be read.
    fn each(
        &self,
        table: &'static str,
        prefix: &[u8],
        mut read: impl FnMut(&[u8], &[u8]) -> Option<()>,
    ) -> Result<(), StoreError> {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let rows = self.0.list(table, prefix, after.as_deref(), limits::GROUP_ROWS)?;
            for row in &rows {
                read(&row.key, &row.value).ok_or_else(|| damaged(table))?;
            }
            match rows.into_iter().next_back() {
                Some(last) => after = Some(last.key),
                None => return Ok(()),
            }
        }
    }
}

/// What is written for a group.
pub fn put_group(batch: Batch, group: &str, facts: &Facts) -> Batch {
    batch.put(GROUPS, group, json(facts))
}

pub fn put_member(batch: Batch, group: &str, user: &str, member: &Member) -> Batch {
    batch.put(MEMBERS, join(group, user), json(member))
}

pub fn remove_member(batch: Batch, group: &str, user: &str) -> Batch {
    let key = join(group, user);
    batch.remove(MEMBERS, key.clone()).remove(MARKERS, key)
}

pub fn put_marker(batch: Batch, group: &str, user: &str, number: u64) -> Batch {
    batch.put(MARKERS, join(group, user), number.to_be_bytes())
}

pub fn put_times(batch: Batch, user: &str, times: Times) -> Batch {
    let halves = [times.online, times.offline].map(u64::to_be_bytes);
    batch.put(TIMES, user, halves.concat())
}

/// What is written for a message; `json` is the post.
pub fn put_message(batch: Batch, number: u64, post: &Post, json: &str) -> Batch {
    let group = &*post.group_id;
    let mut value = post.created_at.to_be_bytes().to_vec();
    // A sender of another service may have any name; what is longer counts as somebody else's.
    let sender = u16::try_from(post.sender_id.len()).unwrap_or_default();
    value.extend_from_slice(&sender.to_be_bytes());
    value.extend_from_slice(post.sender_id.get(..usize::from(sender)).unwrap_or_default().as_bytes());
    value.extend_from_slice(json.as_bytes());
    let place = [&number.to_be_bytes(), group.as_bytes()].concat();
    batch
        .put(MESSAGES, key(group, number), value)
        .put(BACK, key(group, u64::MAX - number), post.sender_id.as_bytes())
        .put(IDS, &*post.message_id, place)
        .set_cursor(LAST, number)
}

pub fn put_hour(batch: Batch, hour: u64, first: u64) -> Batch {
    batch.put(HOURS, hour.to_be_bytes(), first.to_be_bytes())
}

/// Remembers what a message was sent as.
pub fn put_seen(batch: Batch, digest: &Digest, message: &str, until: Timestamp) -> Batch {
    batch.put(SEEN, *digest, message).schedule(SEEN_DUE, until, *digest, "")
}

impl Kept {
    fn read(key: &[u8], value: &[u8]) -> Option<Self> {
        let (created, rest) = value.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (sender, json) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        Some(Self {
            number: number(key)?,
            created: u64::from_be_bytes(*created),
            sender: String::from_utf8(sender.to_vec()).ok()?,
            json: String::from_utf8(json.to_vec()).ok()?,
        })
    }
}

fn json(of: &impl serde::Serialize) -> Vec<u8> {
    // Cannot fail: texts and numbers.
    serde_json::to_vec(of).unwrap_or_default()
}

fn prefix(name: &str) -> Vec<u8> {
    [name.as_bytes(), &[0]].concat()
}

fn key(name: &str, number: u64) -> Vec<u8> {
    [name.as_bytes(), &[0], &number.to_be_bytes()].concat()
}

fn join(left: &str, right: &str) -> Vec<u8> {
    [left.as_bytes(), &[0], right.as_bytes()].concat()
}

fn pair(key: &[u8]) -> Option<(&str, &str)> {
    std::str::from_utf8(key).ok()?.split_once('\0')
}

fn number(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

fn damaged(what: &str) -> StoreError {
    StoreError::damaged(format!("a row of the groups: {what}"))
}

#[cfg(test)]
mod tests;
