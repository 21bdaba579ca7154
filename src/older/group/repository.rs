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
    store::{Batch, Found, NumberKey, Placed, Read, Row, Store, StoreError},
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
/// Of a store of nodes, under the empty key: eight bytes that name its data.
const LIFE: &str = "group life";
/// See [`Repository::state`].
const SIZED: [&str; 9] =
    [GROUPS, MEMBERS, MARKERS, MESSAGES, BACK, IDS, notifications::NOTICES, notifications::UNREAD, notifications::IDS];

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

/// Which number a message gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    Number(u64),
    /// That of its place in the stream to which the batch appends it.
    Place,
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
        place_of(self.get(IDS, message.as_bytes())?)
    }

    /// The number alone, for whoever can await it.
    pub async fn number(&self, message: &str) -> Result<Option<u64>, StoreError> {
        let row = self.read_one(Read::get(IDS, message)).await?.value()?;
        Ok(place_of(row)?.map(|(number, _)| number))
    }

    /// The same of several, for whoever must not wait: `hears` is called as [`Store::look`] says.
    pub fn find_all(
        &self,
        messages: &[String],
        hears: impl FnOnce(Result<Vec<Option<(u64, String)>>, StoreError>) + Send + 'static,
    ) {
        let reads = messages.iter().map(|message| Read::get(IDS, message.as_bytes())).collect();
        let read = |found: Vec<Found>| found.into_iter().map(|found| place_of(found.value()?)).collect();
        self.look(reads, Box::new(move |found| hears(found.and_then(read))));
    }

    /// What is kept of a group and these users.
    pub async fn members(
        &self,
        group: &str,
        users: &[String],
    ) -> Result<(Option<GroupInfo>, Vec<Option<Member>>), StoreError> {
        let keys = || users.iter().map(|user| join(group, user));
        let reads = keys().map(|key| Read::get(MEMBERS, key)).chain(keys().map(|key| Read::get(MARKERS, key)));
        let mut found = self.read([Read::get(GROUPS, group)].into_iter().chain(reads).collect()).await?.into_iter();
        let mut next = || found.next().unwrap_or(Found::Value(None)).value();
        let info = next()?.map(|row| serde_json::from_slice(&row).map_err(|_| damaged(GROUPS))).transpose()?;
        let rows = users.iter().map(|_| next()).collect::<Result<Vec<_>, _>>()?;
        let mut members = Vec::new();
        for row in rows {
            let read = next()?.map(|row| read_number(&row).ok_or_else(|| damaged(MARKERS))).transpose()?;
            let member = row.map(|row| serde_json::from_slice::<Member>(&row).map_err(|_| damaged(MEMBERS)));
            members.push(member.transpose()?.map(|member| Member { read: read.unwrap_or_default(), ..member }));
        }
        Ok((info, members))
    }

    /// The marker of a user in a group; 0: there is none. `hears` as above.
    pub fn marker(&self, group: &str, user: &str, hears: impl FnOnce(Result<u64, StoreError>) + Send + 'static) {
        let read = |found: Vec<Found>| match found.into_iter().next().map(Found::value) {
            Some(Ok(Some(row))) => read_number(&row).ok_or_else(|| damaged(MARKERS)),
            Some(Err(error)) => Err(error),
            _ => Ok(0),
        };
        let reads = vec![Read::get(MARKERS, join(group, user))];
        self.look(reads, Box::new(move |found| hears(found.and_then(read))));
    }

    /// Bytes of all that grows with what clients and services say, and what names the data of a store of nodes.
    pub async fn state(&self) -> Result<(u64, Option<Vec<u8>>), StoreError> {
        let reads = [Read::get(LIFE, "")].into_iter().chain(SIZED.iter().map(|table| Read::bytes(table)));
        let mut found = self.read(reads.collect()).await?.into_iter();
        let life = found.next().map_or(Ok(None), Found::value)?;
        Ok((found.map(Found::number).sum::<Result<u64, _>>()?, life))
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
        let rows = self.scan(BACK, &NumberKey::prefix(group), limits::GROUP_UNREAD_PAGE);
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

    /// Of these groups, those that have messages which came before `until`, in Unix seconds: one row of each says so.
    pub async fn to_sweep<'g>(&self, groups: &'g [Arc<str>], until: u64) -> Result<Vec<&'g str>, StoreError> {
        let first = |group: &Arc<str>| Read::list(MESSAGES, NumberKey::prefix(group), 1);
        let mut old = Vec::new();
        for (group, found) in groups.iter().zip(self.read(groups.iter().map(first).collect()).await?) {
            for row in found.rows()? {
                if StoredMessage::read(0, &row.value)?.created < until {
                    old.push(&**group);
                }
            }
        }
        Ok(old)
    }

    /// Removes the oldest messages of a group that came before `until`, in Unix seconds. None: there are none.
    pub fn sweep_group(&self, group: &str, until: u64) -> Result<Option<Batch>, StoreError> {
        let is_old = |message: &StoredMessage| message.created < until;
        let oldest = self.after(group, 0, limits::GROUP_SWEPT)?;
        if !oldest.first().is_some_and(is_old) {
            return Ok(None);
        }
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

/// Names the data of a store of nodes, if nobody has.
pub fn put_life(batch: Batch, life: [u8; 8]) -> Batch {
    batch.expect(LIFE, "", None).put(LIFE, "", life)
}

/// Only if the group and a user in it are kept so.
pub fn expect_group(batch: Batch, group: &str, info: Option<&GroupInfo>) -> Batch {
    batch.expect(GROUPS, group, info.map(|info| to_json(info).into_bytes()))
}

pub fn expect_member(batch: Batch, group: &str, user: &str, member: Option<&Member>) -> Batch {
    batch.expect(MEMBERS, join(group, user), member.map(|member| to_json(member).into_bytes()))
}

pub fn expect_marker(batch: Batch, group: &str, user: &str, number: u64) -> Batch {
    batch.expect(MARKERS, join(group, user), (number > 0).then(|| number.to_be_bytes().to_vec()))
}

/// Only if there is no message of this id.
pub fn expect_new(batch: Batch, message: &str) -> Batch {
    batch.expect(IDS, message, None)
}

/// `json` is the message.
pub fn put_message(batch: Batch, at: At, message: &GroupMessage, json: &str) -> Batch {
    let (group, sender) = (&*message.group_id, &*message.sender_id);
    // A sender of another service may have any name; what is longer counts as somebody else's.
    let length = u16::try_from(sender.len()).unwrap_or_default();
    let kept_sender = sender.get(..usize::from(length)).unwrap_or_default();
    let value = [&message.created_at.to_be_bytes()[..], &length.to_be_bytes(), kept_sender.as_bytes(), json.as_bytes()];
    let (value, id) = (value.concat(), &*message.message_id);
    match at {
        At::Number(number) => batch
            .put(MESSAGES, NumberKey::new(group, number), value)
            .put(BACK, back_key(group, number), sender)
            .put(IDS, id, [&number.to_be_bytes(), group.as_bytes()].concat()),
        At::Place => batch
            .put_placed(MESSAGES, NumberKey::prefix(group), value, Placed::BehindKey)
            .put_placed(BACK, NumberKey::prefix(group), sender, Placed::BehindKeyFalling)
            .put_placed(IDS, id, group, Placed::BeforeValue),
    }
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

/// What a row of [`IDS`] says.
fn place_of(row: Option<Vec<u8>>) -> Result<Option<(u64, String)>, StoreError> {
    let Some(row) = row else { return Ok(None) };
    let read = || {
        let (number, group) = row.split_first_chunk()?;
        Some((u64::from_be_bytes(*number), String::from_utf8(group.to_vec()).ok()?))
    };
    read().map(Some).ok_or_else(|| damaged("index of messages"))
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
