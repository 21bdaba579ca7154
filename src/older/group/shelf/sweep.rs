//! What is too old goes (`docs/protocols/group.md §6`), a few rows in each commit.

use super::{BACK, HOURS, IDS, MESSAGES, SEEN, SEEN_DUE, Shelf, key, notices};
use crate::{
    ids::Timestamp,
    limits,
    older::group::post::Post,
    store::{Batch, StoreError},
};

impl Shelf {
    /// Removes what was due at `now`: ids of messages sent, and notifications. None: nothing was.
    ///
    /// # Errors
    /// As [`crate::store::Store::due`].
    pub fn sweep_due(&self, now: Timestamp) -> Result<Option<Batch>, StoreError> {
        let mut batch = None;
        for row in self.0.due(SEEN_DUE, now, limits::GROUP_SWEPT)? {
            let rest = batch.unwrap_or_default();
            let removed = Batch::cancel(rest, SEEN_DUE, row.key.clone()).remove(SEEN, row.key);
            batch = Some(removed);
        }
        for row in self.0.due(notices::DUE, now, limits::GROUP_SWEPT)? {
            batch = Some(Self::remove_notice(batch.unwrap_or_default(), row.key, &row.value));
        }
        Ok(batch)
    }

    /// Removes the oldest messages of a group that came before `until`, in Unix seconds. None: there are none.
    ///
    /// # Errors
    /// As [`Shelf::after`].
    pub fn sweep_group(&self, group: &str, until: u64) -> Result<Option<Batch>, StoreError> {
        // Most groups have nothing that old: one row tells.
        let mut limit = 1;
        let mut batch = None;
        let mut after = 0;
        loop {
            let kept = self.after(group, after, limit)?;
            let count = kept.len();
            for message in kept {
                if message.created >= until {
                    return Ok(batch);
                }
                after = message.number;
                let rest = batch.unwrap_or_else(Batch::new);
                let rest = rest
                    .remove(MESSAGES, key(group, message.number))
                    .remove(BACK, key(group, u64::MAX - message.number));
                let post = serde_json::from_str::<Post>(&message.json);
                batch = Some(match post {
                    Ok(post) => rest.remove(IDS, post.message_id),
                    Err(_) => rest,
                });
            }
            if count < limit || limit > 1 {
                return Ok(batch);
            }
            limit = limits::GROUP_SWEPT;
        }
    }

    /// Forgets where an hour began.
    pub fn remove_hour(batch: Batch, hour: u64) -> Batch {
        batch.remove(HOURS, hour.to_be_bytes())
    }
}
