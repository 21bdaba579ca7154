//! The rows of notifications (`docs/protocols/group.md §6`).
//!
//! | table | key | value |
//! |---|---|---|
//! | `group notices` | user, NUL, `u64::MAX` - number (8 bytes) | [`Notification`]: the newest first |
//! | `group unread` | the same | empty, while it is unread |
//! | `group notice ids` | user, NUL, id | number (8) |
//! | `group notices due` | as the first, scheduled | id: when it goes |

use super::{Repository, back_key, damaged, join, read_number};
use crate::{
    ids::Timestamp,
    limits,
    older::group::message::{Notification, to_json},
    store::{Batch, NumberKey, Read, StoreError},
};

pub(super) const NOTICES: &str = "group notices";
pub(super) const UNREAD: &str = "group unread";
pub(super) const IDS: &str = "group notice ids";
pub(super) const DUE: &str = "group notices due";

/// A notification as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredNotification {
    pub notification: Notification,
    pub is_read: bool,
}

impl Repository {
    /// What is written for a notification that nobody has read.
    pub fn put_notification(batch: Batch, number: u64, new: &Notification, until: Option<Timestamp>) -> Batch {
        let (user, id) = (&*new.user_id, &*new.notification_id);
        let key = back_key(user, number);
        let batch = batch.put(NOTICES, key.clone(), to_json(new)).put(UNREAD, key.clone(), "").put(
            IDS,
            join(user, id),
            number.to_be_bytes(),
        );
        match until {
            Some(until) => batch.schedule(DUE, until, key, id),
            None => batch,
        }
    }

    /// Only if the user has none of this id, and none has the number.
    pub fn expect_no_notification(batch: Batch, number: u64, new: &Notification) -> Batch {
        let id = join(&new.user_id, &new.notification_id);
        batch.expect(IDS, id, None).expect(NOTICES, back_key(&new.user_id, number), None)
    }

    /// Whether the user has it.
    pub async fn has_notification(&self, user: &str, id: &str) -> Result<bool, StoreError> {
        Ok(self.read_one(Read::get(IDS, join(user, id))).await?.value()?.is_some())
    }

    /// A page of a user's notifications, the newest first, and how many there are.
    pub fn notifications(
        &self,
        user: &str,
        skip: usize,
        limit: usize,
    ) -> Result<(Vec<StoredNotification>, usize), StoreError> {
        let (mut page, mut total) = (Vec::new(), 0);
        for row in self.scan(NOTICES, &NumberKey::prefix(user), limits::GROUP_ROWS) {
            let row = row?;
            if (skip..skip.saturating_add(limit)).contains(&total) {
                let notification = serde_json::from_slice(&row.value).map_err(|_| damaged(NOTICES))?;
                page.push(StoredNotification { notification, is_read: self.get(UNREAD, &row.key)?.is_none() });
            }
            total += 1;
        }
        Ok((page, total))
    }

    /// How many are unread, counted up to a limit.
    pub fn unread_notifications(&self, user: &str) -> Result<usize, StoreError> {
        Ok(self.list(UNREAD, &NumberKey::prefix(user), None, limits::GROUP_UNREAD)?.len())
    }

    /// Marks notifications of a user as read, or all of them; how many were not before.
    pub fn read_notifications(&self, user: &str, ids: Option<&[String]>) -> Result<(Batch, usize), StoreError> {
        let mut keys: Vec<Vec<u8>> = Vec::new();
        match ids {
            None => {
                let unread = self.list(UNREAD, &NumberKey::prefix(user), None, limits::GROUP_UNREAD)?;
                keys.extend(unread.into_iter().map(|row| row.key));
            }
            Some(ids) => {
                for id in ids {
                    let Some(row) = self.get(IDS, &join(user, id))? else {
                        continue;
                    };
                    let number = read_number(&row).ok_or_else(|| damaged("index of notifications"))?;
                    let key = back_key(user, number);
                    if self.get(UNREAD, &key)?.is_some() && !keys.contains(&key) {
                        keys.push(key);
                    }
                }
            }
        }
        let count = keys.len();
        Ok((keys.into_iter().fold(Batch::new(), |batch, key| batch.remove(UNREAD, key)), count))
    }

    /// Removes a notification that is too old.
    pub(super) fn remove_notification(batch: Batch, key: Vec<u8>, id: &[u8]) -> Batch {
        let user = NumberKey::read(&key).map_or("", |key| key.owner);
        let index = [user.as_bytes(), &[0], id].concat();
        batch.remove(IDS, index).remove(UNREAD, key.clone()).remove(NOTICES, key.clone()).cancel(DUE, key)
    }
}
