//! The rows of notifications (`docs/protocols/group.md §6`).
//!
//! | table | key | value |
//! |---|---|---|
//! | `group notices` | user, NUL, `u64::MAX` - number (8 bytes) | [`Notice`]: the newest first |
//! | `group unread` | the same | empty, while it is unread |
//! | `group notice ids` | user, NUL, id | the same number (8) |
//! | `group notices due` | as the first, scheduled | id: when it goes |

use super::{LAST, Shelf, damaged, join, json, key, number, prefix};
use crate::{
    ids::Timestamp,
    limits,
    older::group::post::Notice,
    store::{Batch, StoreError},
};

const NOTICES: &str = "group notices";
const UNREAD: &str = "group unread";
const IDS: &str = "group notice ids";
pub(super) const DUE: &str = "group notices due";

/// A notification as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptNotice {
    pub notice: Notice,
    pub is_read: bool,
}

impl Shelf {
    /// What is written for a notification that nobody has read.
    pub fn put_notice(batch: Batch, user: &str, count: u64, notice: &Notice, until: Option<Timestamp>) -> Batch {
        let place = key(user, u64::MAX - count);
        let id = &*notice.notification_id;
        let batch = batch
            .put(NOTICES, place.clone(), json(notice))
            .put(UNREAD, place.clone(), "")
            .put(IDS, join(user, id), count.to_be_bytes())
            .set_cursor(LAST, count);
        match until {
            Some(until) => batch.schedule(DUE, until, place, id),
            None => batch,
        }
    }

    /// Whether the user has it.
    ///
    /// # Errors
    /// As [`crate::store::Store::get`].
    pub fn has_notice(&self, user: &str, id: &str) -> Result<bool, StoreError> {
        Ok(self.0.get(IDS, &join(user, id))?.is_some())
    }

    /// A page of a user's notifications, the newest first, and how many there are.
    ///
    /// # Errors
    /// As [`crate::store::Store::list`].
    pub fn notices(&self, user: &str, skip: usize, limit: usize) -> Result<(Vec<KeptNotice>, usize), StoreError> {
        let (mut page, mut total) = (Vec::new(), 0);
        let mut unreadable = None;
        self.each(NOTICES, &prefix(user), |key, value| {
            if (skip..skip.saturating_add(limit)).contains(&total) {
                let notice: Notice = serde_json::from_slice(value).ok()?;
                match self.0.get(UNREAD, key) {
                    Ok(unread) => page.push(KeptNotice { notice, is_read: unread.is_none() }),
                    Err(error) => unreadable = Some(error),
                }
            }
            total += 1;
            Some(())
        })?;
        unreadable.map_or(Ok((page, total)), Err)
    }

    /// # Errors
    /// As [`crate::store::Store::list`].
    pub fn unread(&self, user: &str) -> Result<usize, StoreError> {
        let rows = self.0.list(UNREAD, &prefix(user), None, limits::GROUP_UNREAD)?;
        Ok(rows.len())
    }

    /// Marks notifications of a user as read, or all of them; how many were not before.
    ///
    /// # Errors
    /// As [`crate::store::Store::list`].
    pub fn read_notices(&self, user: &str, ids: Option<&[String]>) -> Result<(Batch, usize), StoreError> {
        let (mut batch, mut count) = (Batch::new(), 0);
        let mut mark = |place: Vec<u8>| {
            batch = std::mem::take(&mut batch).remove(UNREAD, place);
            count += 1;
        };
        match ids {
            None => {
                for row in self.0.list(UNREAD, &prefix(user), None, limits::GROUP_UNREAD)? {
                    mark(row.key);
                }
            }
            Some(ids) => {
                let mut places: Vec<Vec<u8>> = Vec::new();
                for id in ids {
                    let Some(row) = self.0.get(IDS, &join(user, id))? else {
                        continue;
                    };
                    let count = number(&row).ok_or_else(|| damaged("index of notifications"))?;
                    let place = key(user, u64::MAX - count);
                    let is_unread = self.0.get(UNREAD, &place)?.is_some();
                    if is_unread && !places.contains(&place) {
                        places.push(place);
                    }
                }
                places.into_iter().for_each(&mut mark);
            }
        }
        Ok((batch, count))
    }

    /// Removes a notification that is too old.
    pub(super) fn remove_notice(batch: Batch, place: Vec<u8>, id: &[u8]) -> Batch {
        let user = place.get(..place.len().saturating_sub(9)).unwrap_or_default();
        let index = [user, &[0], id].concat();
        batch.remove(IDS, index).remove(UNREAD, place.clone()).remove(NOTICES, place.clone()).cancel(DUE, place)
    }
}
