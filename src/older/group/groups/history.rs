//! What was said (`docs/protocols/group.md §2, §6`): missed, past, unread; and its end.

use std::sync::Arc;

use tokio::runtime::Handle;

use super::{AnswerTo, Groups};
use crate::{
    limits,
    older::group::{
        code::Code,
        membership::Member,
        reply,
        repository::{self, StoredMessage},
        streams::{Change, Marked},
    },
    store::{Batch, StoreError},
};

/// A marker that is to be moved.
struct Mark {
    group: String,
    user: Arc<str>,
    number: u64,
    message: String,
    answer: AnswerTo,
}

/// Missed messages, the oldest first, without a hole.
#[derive(Default)]
pub struct Missed {
    pub messages: Vec<StoredMessage>,
    /// Later ones were left out.
    pub has_more: bool,
}

impl Missed {
    /// Adds messages, and leaves out the last of all that are too many.
    fn take(&mut self, page: Vec<StoredMessage>, limit: usize) {
        self.messages.extend(page);
        self.messages.sort_unstable_by_key(|message| message.number);
        let mut bytes = 0;
        let fits = |message: &&StoredMessage| {
            let is_first = bytes == 0;
            bytes += message.json.len();
            is_first || bytes <= limits::GROUP_RESUMED_BYTES
        };
        let fitting = self.messages.iter().take(limit).take_while(fits).count();
        self.has_more |= fitting < self.messages.len();
        self.messages.truncate(fitting);
    }
}

/// What cannot be read is [`Code::Internal`].
impl Groups {
    /// Reads beside the worker threads: what is behind thousands of groups must not hold up who is connected. A few such
    /// reads run at a time, to their end; more wait for a permit, of nodes until the deadline.
    pub async fn beside<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&Self) -> Result<T, Code> + Send + 'static,
    ) -> Result<T, Code> {
        let groups = Arc::clone(self);
        self.read(self.readers.read(move || read(&groups)).await)?
    }

    /// The number of a message of a group.
    pub fn find_in(&self, group: &str, message: &str) -> Result<u64, Code> {
        match self.read(self.repository.find(message))? {
            Some((number, of)) if of == group => Ok(number),
            _ => Err(Code::NoMessage),
        }
    }

    /// The group messages that a user has not got since `after`.
    pub fn missed(&self, user: &str, after: u64, limit: usize) -> Result<Missed, Code> {
        let membership = self.known()?;
        let from = |group: Arc<str>| {
            let joined = membership.member(&group, user).map_or(0, |member| member.joined_after);
            (group, after.max(joined))
        };
        let groups: Vec<_> = membership.groups_of(user).into_iter().map(from).collect();
        drop(membership);
        let mut missed = Missed::default();
        for (group, mut after) in groups {
            loop {
                let page = self.read(self.repository.after(&group, after, limits::GROUP_RESUMED_PAGE))?;
                let is_last = page.len() < limits::GROUP_RESUMED_PAGE;
                after = page.last().map_or(after, |last| last.number);
                missed.take(page, limit);
                let is_behind = missed.messages.last().is_none_or(|last| after >= last.number);
                if is_last || missed.has_more && is_behind {
                    break;
                }
            }
        }
        Ok(missed)
    }

    /// The same since the message `last`, which it must have got.
    pub fn missed_since(&self, user: &str, last: &str) -> Result<Missed, Code> {
        let (number, group) = self.read(self.repository.find(last))?.ok_or(Code::NoLastMessage)?;
        // As if it were not there: whoever is no member has not got it from us.
        self.check_member(&group, user).map_err(|_| Code::NoLastMessage)?;
        self.missed(user, number, limits::GROUP_RESUMED)
    }

    /// The same since a time in Unix seconds.
    pub fn missed_after(&self, user: &str, seconds: u64) -> Result<Missed, Code> {
        let mut from = self.numbers.lock().before(seconds);
        let mut all = Missed { messages: Vec::new(), has_more: true };
        let mut bytes = 0;
        while all.has_more && all.messages.len() < limits::GROUP_RESUMED && bytes < limits::GROUP_RESUMED_BYTES {
            let missed = self.missed(user, from, limits::GROUP_RESUMED)?;
            all.has_more = missed.has_more;
            from = missed.messages.last().map_or(from, |last| last.number);
            let new = missed.messages.into_iter().filter(|message| message.created > seconds);
            all.messages.extend(new.inspect(|message| bytes += message.json.len()));
        }
        all.has_more |= all.messages.len() > limits::GROUP_RESUMED;
        all.messages.truncate(limits::GROUP_RESUMED);
        Ok(all)
    }

    /// The messages of a group before a number, the newest first.
    pub fn before(&self, group: &str, before: u64, limit: usize) -> Result<Vec<StoredMessage>, Code> {
        self.read(self.repository.before(group, before, limit))
    }

    /// Their numbers alone.
    pub fn numbers_before(&self, group: &str, before: u64, limit: usize) -> Result<Vec<u64>, Code> {
        self.read(self.repository.numbers_before(group, before, limit))
    }

    /// The first of these messages, as many as are handed out at a time, and how many that are. What is swept is left out.
    pub fn portion(&self, group: &str, numbers: &[u64]) -> Result<(Vec<StoredMessage>, usize), Code> {
        let (mut messages, mut bytes, mut taken) = (Vec::new(), 0, 0);
        while bytes < limits::PAGE_PORTION && taken < numbers.len() {
            if let Some(message) = self.read(self.repository.message(group, numbers[taken]))? {
                bytes += message.json.len();
                messages.push(message);
            }
            taken += 1;
        }
        Ok((messages, taken))
    }

    /// Messages in a group that a user has not read and others have sent; counted up to a limit.
    pub fn unread(&self, group: &str, user: &str) -> Result<usize, Code> {
        let seen = self.known()?.member(group, user).map(Member::seen);
        let Some(seen) = seen else { return Ok(0) };
        self.read(self.repository.count_unread(group, user, seen))
    }

    /// Moves a user's marker forward. The answer comes when that is on disk; also when nothing is written, because what was
    /// written a moment ago is on disk by then.
    pub fn mark_read(
        self: &Arc<Self>,
        group: String,
        user: &Arc<str>,
        message: String,
        answer: AnswerTo,
    ) -> Result<(), Code> {
        self.check_member(&group, user)?;
        let (groups, user, asked) = (Arc::clone(self), Arc::clone(user), [message.clone()]);
        self.repository.find_all(&asked, move |found| match groups.read(found).as_deref() {
            Ok([Some((number, of))]) if *of == group => {
                let mark = Mark { group, user, number: *number, message, answer };
                groups.mark(mark, limits::GROUP_TRIES);
            }
            Ok(_) => groups.answer(&answer, &answer.id, &Err(Code::NoMessage)),
            Err(code) => groups.answer(&answer, &answer.id, &Err(code.clone())),
        });
        Ok(())
    }

    /// `tries`: how often another node may be first.
    fn mark(self: &Arc<Self>, mark: Mark, tries: u32) {
        let _changing = self.changing.lock();
        let before = self.membership.write().mark(&mark.group, &mark.user, mark.number);
        let (mut batch, mut outgoing) = (Batch::new(), None);
        if let Some(before) = before {
            if self.is_shared() {
                batch = repository::expect_marker(batch, &mark.group, &mark.user, before);
                let Mark { number, message, .. } = &mark;
                let read = Marked { user: mark.user.to_string(), number: *number, message: message.clone() };
                let group = mark.group.clone();
                outgoing = self.tell_nodes(&Change { group, read: Some(read), ..Change::default() });
            }
            batch = repository::put_marker(batch, &mark.group, &mark.user, mark.number);
        }
        drop(self.commit(batch, outgoing, move |groups, outcome| {
            if let (Err(error), Some(before)) = (outcome, before) {
                groups.membership.write().unmark(&mark.group, &mark.user, mark.number, before);
                groups.doubt(error);
            }
            if outcome == Err(&StoreError::Changed) && tries > 1 {
                return groups.mark_again(mark, tries - 1);
            }
            let Mark { group, user, message, answer, .. } = mark;
            let outcome = outcome.map_err(|error| groups.not_stored(error));
            groups.answer(&answer, &answer.id, &outcome);
            if outcome.is_ok() && before.is_some() && groups.settings.read_events {
                let frame = reply::read(&group, &message, groups.clock.now());
                let others = groups.connections_of(&user).into_iter().map(|(handle, _)| handle);
                for other in others.filter(|other| other.session != answer.handle.session) {
                    other.send(vec![frame.clone()]);
                }
            }
        }));
    }

    /// By the marker that another node has moved.
    fn mark_again(self: &Arc<Self>, mark: Mark, tries: u32) {
        let (groups, group, user) = (Arc::clone(self), mark.group.clone(), Arc::clone(&mark.user));
        self.repository.marker(&group, &user, move |found| match found {
            Ok(number) => {
                groups.membership.write().mark(&mark.group, &mark.user, number);
                groups.mark(mark, tries);
            }
            Err(error) => groups.answer(&mark.answer, &mark.answer.id, &Err(groups.not_stored(&error))),
        });
    }

    /// Removes what is too old, of nodes at one of them; beside the worker threads, a few rows at a time.
    pub async fn sweep(self: &Arc<Self>) -> Result<(), StoreError> {
        if !self.is_sweeper() {
            return Ok(());
        }
        let groups = Arc::clone(self);
        self.readers.read_to_the_end(move || Handle::current().block_on(groups.sweep_now())).await?
    }

    async fn sweep_now(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        while let Some(batch) = self.repository.sweep_due(now)? {
            self.repository.commit(batch).await?;
        }
        let age = self.settings.message_age;
        if age.is_zero() {
            return Ok(());
        }
        let until = (now.millis() / 1_000).saturating_sub(age.as_secs());
        let groups = self.membership.read().names();
        for some in groups.chunks(limits::GROUP_SWEPT) {
            for group in self.repository.to_sweep(some, until).await? {
                while let Some(batch) = self.repository.sweep_group(group, until)? {
                    self.repository.commit(batch).await?;
                }
            }
        }
        let hours = self.numbers.lock().forget_hours(until);
        if let Some(batch) = hours {
            self.repository.commit(batch).await?;
        }
        Ok(())
    }
}
