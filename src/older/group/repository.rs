//! The rows of the group protocol.
//!
//! | table | key | value |
//! |---|---|---|
//! | `group groups` | group | [`GroupInfo`] |
//! | `group members` | group, NUL, user | [`Member`] |
//! | `group markers` | group, NUL, user | number of the last message read (8 bytes) |
//! | `group messages` | group, NUL, number (8 bytes) | Unix seconds (8), length of the sender (2), sender, [`GroupMessage`] |
//! | `group back` | group, NUL, `u64::MAX` - number | sender: the store lists forwards only; in older rows empty |
//! | `group ids` | id of a message | number (8), group |
//! | `group times` | user | last online, last offline (8 each, Unix seconds) |
//!
//! `numbers` says what the numbers are, `notifications` has the rows of notifications. Two tables are of earlier versions
//! alone: they are read and swept, and no longer written.
//!
//! | table | key | value |
//! |---|---|---|
//! | `group hours` | hour since the epoch (8) | first number of that hour (8) |
//! | `group seen` | digest of what was sent | id of the message; scheduled to go in `group seen due` |

use std::{ops::Deref, sync::Arc};

use crate::{
    ids::Timestamp,
    limits,
    older::group::{
        membership::{GroupInfo, Member, Membership},
        message::{GroupMessage, to_json},
    },
    store::{Batch, NumberKey, Row, Store, StoreError},
};

mod notifications;
mod numbers;

pub use notifications::StoredNotification;
pub use numbers::Numbers;

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

/// Where groups are kept.
pub struct Repository(Arc<dyn Store>);

/// A message as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredMessage {
    pub number: u64,
    /// Unix seconds.
    pub created: u64,
    pub sender: String,
    /// [`GroupMessage`] as JSON.
    pub json: String,
}

/// When a user came and went, in Unix seconds; 0 = never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    pub online: u64,
    pub offline: u64,
}

impl Deref for Repository {
    type Target = dyn Store;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

/// What fails, fails as the store's own reads; [`StoreError::Damaged`] also for a row that cannot be read.
impl Repository {
    pub const fn new(store: Arc<dyn Store>) -> Self {
        Self(store)
    }

    /// The numbers that follow those that were given.
    pub fn numbers(&self) -> Result<Numbers, StoreError> {
        let mut hours = Vec::new();
        self.each(HOURS, |key, value| {
            hours.push((read_number(key)?, read_number(value)?));
            Some(())
        })?;
        Ok(Numbers::new(self.cursor(numbers::LAST)?, hours))
    }

    /// All groups with their members and markers.
    pub fn membership(&self) -> Result<Membership, StoreError> {
        let mut membership = Membership::default();
        self.each(GROUPS, |key, value| {
            membership.put(std::str::from_utf8(key).ok()?, serde_json::from_slice(value).ok()?);
            Some(())
        })?;
        self.each(MEMBERS, |key, value| {
            let (group, user) = pair(key)?;
            if membership.get(group).is_none() {
                membership.put(group, GroupInfo::default());
            }
            membership.add(group, user, serde_json::from_slice(value).ok()?);
            Some(())
        })?;
        self.each(MARKERS, |key, value| {
            let (group, user) = pair(key)?;
            membership.mark(group, user, read_number(value)?);
            Some(())
        })?;
        Ok(membership)
    }

    /// Sees that the numbers of the server go on behind this one.
    pub fn go_on_behind(&self, number: u64, batch: Batch) -> Result<Batch, StoreError> {
        Ok(if self.cursor(numbers::LAST)? < number { batch.set_cursor(numbers::LAST, number) } else { batch })
    }

    /// The number of every message of any group.
    pub fn each_number(&self, mut hears: impl FnMut(u64)) -> Result<(), StoreError> {
        for row in self.scan(BACK, b"", limits::GROUP_ROWS) {
            hears(number_of_back(&row?)?);
        }
        Ok(())
    }

    /// Every row of a table; `read` says none when it cannot be read.
    fn each(&self, table: &'static str, mut read: impl FnMut(&[u8], &[u8]) -> Option<()>) -> Result<(), StoreError> {
        for row in self.scan(table, b"", limits::GROUP_ROWS) {
            let Row { key, value } = row?;
            read(&key, &value).ok_or_else(|| damaged(table))?;
        }
        Ok(())
    }

    /// The number of a message, and its group.
    pub fn find(&self, message: &str) -> Result<Option<(u64, String)>, StoreError> {
        let Some(row) = self.get(IDS, message.as_bytes())? else {
            return Ok(None);
        };
        let read = || {
            let (number, group) = row.split_first_chunk()?;
            Some((u64::from_be_bytes(*number), String::from_utf8(group.to_vec()).ok()?))
        };
        read().map(Some).ok_or_else(|| damaged("index of messages"))
    }

    /// The messages of a group behind `after`, the oldest first; at most `limit`.
    pub fn after(&self, group: &str, after: u64, limit: usize) -> Result<Vec<StoredMessage>, StoreError> {
        let from = NumberKey::new(group, after).bytes();
        let rows = self.list(MESSAGES, &NumberKey::prefix(group), Some(&from), limit)?;
        let read = |row: Row| {
            let key = NumberKey::read(&row.key).ok_or_else(|| damaged("message"))?;
            StoredMessage::read(key.number, &row.value)
        };
        rows.into_iter().map(read).collect()
    }

    /// The messages of a group before `before`, the newest first; at most `limit`.
    pub fn before(&self, group: &str, before: u64, limit: usize) -> Result<Vec<StoredMessage>, StoreError> {
        let numbers = self.numbers_before(group, before, limit)?;
        numbers.into_iter().filter_map(|number| self.message(group, number).transpose()).collect()
    }

    /// Their numbers alone.
    pub fn numbers_before(&self, group: &str, before: u64, limit: usize) -> Result<Vec<u64>, StoreError> {
        let from = back_key(group, before);
        self.list(BACK, &NumberKey::prefix(group), Some(&from), limit)?.iter().map(number_of_back).collect()
    }

    /// None: it is swept.
    pub fn message(&self, group: &str, number: u64) -> Result<Option<StoredMessage>, StoreError> {
        let value = self.get(MESSAGES, &NumberKey::new(group, number).bytes())?;
        value.map(|value| StoredMessage::read(number, &value)).transpose()
    }

    /// How many messages of a group behind `seen` are from others than `user`; at most [`limits::GROUP_UNREAD_MESSAGES`],
    /// among as many of the newest as are looked at. Messages themselves are not read.
    pub fn count_unread(&self, group: &str, user: &str, seen: u64) -> Result<usize, StoreError> {
        let mut count = 0;
        let rows = self.scan(BACK, &NumberKey::prefix(group), limits::GROUP_ROWS);
        for row in rows.take(limits::GROUP_UNREAD_ROWS) {
            let row = row?;
            let number = number_of_back(&row)?;
            if number <= seen || count >= limits::GROUP_UNREAD_MESSAGES {
                break;
            }
            let is_own = if row.value.is_empty() {
                // Written by an earlier version.
                self.message(group, number)?.is_none_or(|message| message.sender == user)
            } else {
                row.value == user.as_bytes()
            };
            count += usize::from(!is_own);
        }
        Ok(count)
    }

    /// The id that an earlier version gave to what was sent.
    pub fn seen(&self, digest: &[u8; 32]) -> Result<Option<String>, StoreError> {
        let text = self.get(SEEN, digest)?.map(String::from_utf8).transpose();
        text.map_err(|_| damaged("message that was seen"))
    }

    pub fn times(&self, user: &str) -> Result<Times, StoreError> {
        let row = self.get(TIMES, user.as_bytes())?.unwrap_or_default();
        let (halves, _) = row.as_chunks::<8>();
        let half = |at: usize| halves.get(at).map_or(0, |half| u64::from_be_bytes(*half));
        Ok(Times { online: half(0), offline: half(1) })
    }

    /// Removes notifications that were due at `now`, and what earlier versions had noted of messages. None: nothing was.
    pub fn sweep_due(&self, now: Timestamp) -> Result<Option<Batch>, StoreError> {
        let mut batch = None;
        for row in self.due(SEEN_DUE, now, limits::GROUP_SWEPT)? {
            let rest: Batch = batch.unwrap_or_default();
            batch = Some(rest.cancel(SEEN_DUE, row.key.clone()).remove(SEEN, row.key));
        }
        for row in self.due(notifications::DUE, now, limits::GROUP_SWEPT)? {
            batch = Some(Self::remove_notification(batch.unwrap_or_default(), row.key, &row.value));
        }
        Ok(batch)
    }

    /// Removes the oldest messages of a group that came before `until`, in Unix seconds. None: there are none.
    pub fn sweep_group(&self, group: &str, until: u64) -> Result<Option<Batch>, StoreError> {
        let is_old = |message: &StoredMessage| message.created < until;
        // Most groups have nothing that old: one row says so.
        if !self.after(group, 0, 1)?.iter().any(is_old) {
            return Ok(None);
        }
        let oldest = self.after(group, 0, limits::GROUP_SWEPT)?;
        let batch = oldest.iter().take_while(|message| is_old(message)).fold(Batch::new(), |batch, message| {
            let batch = batch
                .remove(MESSAGES, NumberKey::new(group, message.number))
                .remove(BACK, back_key(group, message.number));
            match serde_json::from_str::<GroupMessage>(&message.json) {
                Ok(message) => batch.remove(IDS, message.message_id),
                Err(_) => batch,
            }
        });
        Ok(Some(batch))
    }
}

pub fn put_group(batch: Batch, group: &str, info: &GroupInfo) -> Batch {
    batch.put(GROUPS, group, to_json(info))
}

pub fn put_member(batch: Batch, group: &str, user: &str, member: &Member) -> Batch {
    batch.put(MEMBERS, join(group, user), to_json(member))
}

pub fn remove_member(batch: Batch, group: &str, user: &str) -> Batch {
    let key = join(group, user);
    batch.remove(MEMBERS, key.clone()).remove(MARKERS, key)
}

pub fn put_marker(batch: Batch, group: &str, user: &str, number: u64) -> Batch {
    batch.put(MARKERS, join(group, user), number.to_be_bytes())
}

pub fn put_times(batch: Batch, user: &str, times: Times) -> Batch {
    batch.put(TIMES, user, [times.online, times.offline].map(u64::to_be_bytes).concat())
}

/// `json` is the message.
pub fn put_message(batch: Batch, number: u64, message: &GroupMessage, json: &str) -> Batch {
    let (group, sender) = (&*message.group_id, &*message.sender_id);
    // A sender of another service may have any name; what is longer counts as somebody else's.
    let length = u16::try_from(sender.len()).unwrap_or_default();
    let kept_sender = sender.get(..usize::from(length)).unwrap_or_default();
    let value = [&message.created_at.to_be_bytes()[..], &length.to_be_bytes(), kept_sender.as_bytes(), json.as_bytes()];
    batch.put(MESSAGES, NumberKey::new(group, number), value.concat()).put(BACK, back_key(group, number), sender).put(
        IDS,
        &*message.message_id,
        [&number.to_be_bytes(), group.as_bytes()].concat(),
    )
}

impl StoredMessage {
    fn read(number: u64, value: &[u8]) -> Result<Self, StoreError> {
        let read = || {
            let (created, rest) = value.split_first_chunk()?;
            let (length, rest) = rest.split_first_chunk()?;
            let (sender, json) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
            Some(Self {
                number,
                created: u64::from_be_bytes(*created),
                sender: String::from_utf8(sender.to_vec()).ok()?,
                json: String::from_utf8(json.to_vec()).ok()?,
            })
        };
        read().ok_or_else(|| damaged("message"))
    }
}

/// Sorts the newest first.
fn back_key(group: &str, number: u64) -> Vec<u8> {
    NumberKey::new(group, u64::MAX - number).bytes()
}

fn number_of_back(row: &Row) -> Result<u64, StoreError> {
    let key = NumberKey::read(&row.key).ok_or_else(|| damaged("message's place"))?;
    Ok(u64::MAX - key.number)
}

fn join(left: &str, right: &str) -> Vec<u8> {
    [left.as_bytes(), &[0], right.as_bytes()].concat()
}

fn pair(key: &[u8]) -> Option<(&str, &str)> {
    std::str::from_utf8(key).ok()?.split_once('\0')
}

fn read_number(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

fn damaged(what: &str) -> StoreError {
    StoreError::damaged(format!("a row of the groups: {what}"))
}

#[cfg(test)]
mod tests;
