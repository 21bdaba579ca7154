//! What was said (`docs/protocols/group.md §2, §6`): missed, past, unread; and its end.

use std::sync::Arc;

use super::Forum;
use crate::{
    limits,
    older::group::{
        code::Code,
        registry::Member,
        shelf::{Kept, Shelf},
    },
    store::{Batch, StoreError},
};

/// Missed messages, the oldest first, without a hole.
#[derive(Default)]
pub struct Missed {
    pub messages: Vec<Kept>,
    /// Later ones were left out.
    pub has_more: bool,
}

impl Missed {
    /// Adds messages, and leaves out the last of all that are too many.
    fn take(&mut self, page: Vec<Kept>, limit: usize) {
        self.messages.extend(page);
        self.messages.sort_unstable_by_key(|message| message.number);
        let mut bytes = 0;
        let fits = |message: &Kept| {
            let is_first = bytes == 0;
            bytes += message.json.len();
            is_first || bytes <= limits::GROUP_RESUMED_BYTES
        };
        let fitting = self.messages.iter().take(limit).map(fits);
        let fitting = fitting.take_while(|fits| *fits).count();
        self.has_more |= fitting < self.messages.len();
        self.messages.truncate(fitting);
    }

    fn last(&self) -> u64 {
        self.messages.last().map_or(0, |message| message.number)
    }
}

impl Forum {
    /// Reads beside the worker threads: what is behind thousands of groups must not hold up who is connected. A few such
    /// reads run at a time, to their end; more wait for their turn.
    ///
    /// # Errors
    /// That of the read; [`Code::Internal`] when it broke.
    pub async fn beside<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&Self) -> Result<T, Code> + Send + 'static,
    ) -> Result<T, Code> {
        // Never closed.
        let turn = Arc::clone(&self.readers).acquire_owned().await;
        let forum = Arc::clone(self);
        let reading = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            read(&forum)
        });
        reading.await.unwrap_or(Err(Code::Internal))
    }

    /// The number of a message and its group.
    ///
    /// # Errors
    /// [`Code::NoMessage`], [`Code::Internal`].
    pub fn find(&self, message: &str) -> Result<(u64, String), Code> {
        let found = self.shelf.find(message).map_err(|error| self.told(&error))?;
        found.ok_or(Code::NoMessage)
    }

    /// The group messages that a user has not got since `after`.
    ///
    /// # Errors
    /// [`Code::Internal`].
    pub fn missed(&self, user: &str, after: u64, limit: usize) -> Result<Missed, Code> {
        let registry = self.registry.read();
        let groups = registry.groups_of(user).into_iter();
        let from = |group: Arc<str>| {
            let joined = registry.member(&group, user).map_or(0, |member| member.joined_after);
            (group, after.max(joined))
        };
        let groups: Vec<_> = groups.map(from).collect();
        drop(registry);
        let mut missed = Missed::default();
        for (group, mut after) in groups {
            loop {
                let page = self.shelf.after(&group, after, limits::GROUP_RESUMED_PAGE);
                let page = page.map_err(|error| self.told(&error))?;
                let is_last = page.len() < limits::GROUP_RESUMED_PAGE;
                after = page.last().map_or(after, |last| last.number);
                missed.take(page, limit);
                if is_last || missed.has_more && after >= missed.last() {
                    break;
                }
            }
        }
        Ok(missed)
    }

    /// The same since the message `last`, which it must have got.
    ///
    /// # Errors
    /// [`Code::NoMessage`], [`Code::Internal`].
    pub fn missed_since(&self, user: &str, last: &str) -> Result<Missed, Code> {
        let (number, group) = self.find(last)?;
        // As if it were not there: whoever is no member has not got it from us.
        self.check_member(&group, user).map_err(|_| Code::NoMessage)?;
        self.missed(user, number, limits::GROUP_RESUMED)
    }

    /// The messages of a group before a number, the newest first; one more than `limit` if there are.
    ///
    /// # Errors
    /// [`Code::Internal`].
    pub fn past(&self, group: &str, before: u64, limit: usize) -> Result<Vec<Kept>, Code> {
        let kept = self.shelf.before(group, before, limit + 1);
        kept.map_err(|error| self.told(&error))
    }

    /// Messages in a group that a user has not read and others have sent; counted up to a limit.
    ///
    /// # Errors
    /// [`Code::Internal`].
    pub fn unread(&self, group: &str, user: &str) -> Result<usize, Code> {
        let seen = self.registry.read().member(group, user).map(Member::seen);
        let Some(seen) = seen else { return Ok(0) };
        self.shelf.count_unread(group, user, seen).map_err(|error| self.told(&error))
    }

    /// A number that no message after `seconds` has: from there on they can be looked for.
    pub fn number_before(&self, seconds: u64) -> u64 {
        let line = self.line.lock();
        let hour = line.hours.range(..=seconds / 3_600).next_back();
        hour.map_or(0, |(_, first)| first.saturating_sub(1))
    }

    /// Removes what is too old; a few rows at a time.
    ///
    /// # Errors
    /// When the disk cannot be read or written.
    pub async fn sweep(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        while let Some(batch) = self.shelf.sweep_due(now)? {
            self.commit(batch).await?;
        }
        let age = self.settings.message_age;
        if age.is_zero() {
            return Ok(());
        }
        let until = (now.millis() / 1_000).saturating_sub(age.as_secs());
        let groups = self.registry.read().names();
        for group in groups {
            while let Some(batch) = self.shelf.sweep_group(&group, until)? {
                self.commit(batch).await?;
            }
            // Other tasks of the thread have their turn.
            tokio::task::yield_now().await;
        }
        let old: Vec<u64> = self.line.lock().hours.range(..until / 3_600).map(|(hour, _)| *hour).collect();
        // The last one of them still says where what is left begins.
        if let Some((_, gone)) = old.split_last() {
            let batch = gone.iter().fold(Batch::new(), |batch, hour| Shelf::remove_hour(batch, *hour));
            self.commit(batch).await?;
            let mut line = self.line.lock();
            for hour in gone {
                line.hours.remove(hour);
            }
        }
        Ok(())
    }
}
