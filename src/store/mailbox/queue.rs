//! The messages that wait for one owner, numbered from 1 without holes as they come. Pure: [`Mailboxes`] puts it behind
//! a lock, and carries out on the disk what it says.
//!
//! [`Mailboxes`]: super::Mailboxes

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;

use crate::{
    core::budget::{self, Account, Charge, Kind},
    ids::Timestamp,
    limits,
};

/// A message as it is put in.
#[derive(Clone, Debug)]
pub struct Message {
    pub body: Bytes,
    /// What is charged for it.
    pub bytes: usize,
    /// When its age began; [`UNTIL_READ`]: it is never too old.
    pub since: Timestamp,
    /// When there is no room, the lowest level goes first, and of that the oldest.
    pub level: i64,
    /// What it can be found by as long as it waits; may be empty.
    pub key: Arc<str>,
}

impl Message {
    /// One that waits until it was read, like all others.
    pub fn until_read(body: impl Into<Bytes>) -> Self {
        let body = body.into();
        Self { bytes: body.len(), body, since: UNTIL_READ, level: 0, key: "".into() }
    }
}

/// The age of a message that waits until it was read.
pub const UNTIL_READ: Timestamp = Timestamp::from_millis(u64::MAX);

/// A message that its owner may not have read yet.
#[derive(Debug)]
pub struct Waiting {
    /// None: it is on disk only.
    pub body: Option<Bytes>,
    pub since: Timestamp,
    pub level: i64,
    pub key: Arc<str>,
    pub(super) disk: Disk,
    /// For its bytes on disk.
    pub(super) charge: Charge,
    /// For what of it is in memory.
    pub(super) memory: Charge,
}

/// Who pays for what waits: all mailboxes of a protocol together for what is on disk, an app for what is in memory.
#[derive(Clone, Debug)]
pub struct Payers {
    pub all: Account,
    pub memory: Account,
}

impl Waiting {
    /// What was charged for it.
    pub const fn bytes(&self) -> usize {
        self.charge.bytes()
    }
}

/// Whether a message is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disk {
    Absent,
    /// Handed to the store, which has not answered yet.
    Writing,
    Written,
}

/// A message that is out of its queue, by its number.
pub type Removed = (u64, Waiting);

/// How much may wait for one owner.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub messages: usize,
    pub bytes: usize,
}

impl Bounds {
    pub const NONE: Self = Self { messages: usize::MAX, bytes: usize::MAX };
}

/// Why a message was not put in; then nothing has gone for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// As much waits for this owner as may, all that could go is of a higher level.
    Owner,
    /// All owners together have as many bytes as they may.
    All,
    /// There is no memory for what waits.
    Memory(budget::Full),
}

/// What putting a message in did.
#[derive(Debug)]
pub struct Put {
    pub number: u64,
    /// What went for it, the lowest level first.
    pub displaced: Vec<Removed>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Queue {
    waiting: BTreeMap<u64, Waiting>,
    last: u64,
    /// Only where nodes share what waits.
    gone: Option<Box<Gone>>,
}

/// What was removed of a mailbox that nodes share, so that what was read of it before does not bring it back.
#[derive(Debug, Default)]
struct Gone {
    /// Not yet out of the store, with their levels.
    numbers: BTreeMap<u64, i64>,
    removals: u64,
    /// More waits than was taken in hand.
    is_left: bool,
}

/// What has to go for a message, of what waits by level, number and bytes; none when it does not fit even so.
pub(super) fn room_for(
    message: &Message,
    bounds: Bounds,
    waiting: impl Iterator<Item = (i64, u64, usize)> + Clone,
) -> Option<Vec<u64>> {
    let (mut count, mut bytes) = (1, message.bytes);
    for (_, _, of_one) in waiting.clone() {
        count += 1;
        bytes = bytes.saturating_add(of_one);
    }
    let is_over = |count, bytes| count > bounds.messages || bytes > bounds.bytes;
    if !is_over(count, bytes) {
        return Some(Vec::new());
    }
    let mut may_go: Vec<_> = waiting.filter(|(level, _, _)| *level <= message.level).collect();
    may_go.sort_unstable();
    let mut may_go = may_go.into_iter();
    let mut gone = Vec::new();
    while is_over(count, bytes) {
        let (_, number, freed) = may_go.next()?;
        count -= 1;
        bytes -= freed;
        gone.push(number);
    }
    Some(gone)
}

impl Queue {
    /// The number of the last message that was put in.
    pub const fn last(&self) -> u64 {
        self.last
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.gone.as_ref().is_none_or(|gone| gone.numbers.is_empty())
    }

    /// Whether a message with this key waits.
    pub fn has(&self, key: &str) -> bool {
        self.waiting.values().any(|waiting| &*waiting.key == key)
    }

    /// What waits behind a number, the first first.
    pub fn behind(&self, number: u64) -> impl Iterator<Item = (u64, &Waiting)> + Clone {
        let from = number.saturating_add(1);
        self.waiting.range(from..).map(|(number, waiting)| (*number, waiting))
    }

    /// A message that an earlier run has left.
    pub(super) fn recall(&mut self, number: u64, waiting: Waiting) {
        self.last = self.last.max(number);
        self.waiting.insert(number, waiting);
    }

    /// Puts a message in. What stands behind the number `on_way` counts as waiting; up to there everything is on its way
    /// to somebody.
    pub fn put(&mut self, message: Message, bounds: Bounds, on_way: u64, payers: &Payers) -> Result<Put, Full> {
        let waiting = self.behind(on_way).map(|(number, waiting)| (waiting.level, number, waiting.bytes()));
        let displaced = room_for(&message, bounds, waiting).ok_or(Full::Owner)?;
        let gone = || displaced.iter().filter_map(|number| self.waiting.get(number));
        let freed = gone().map(Waiting::bytes).sum();
        let charge = payers.all.charge_instead(Kind::Mailbox, message.bytes, freed).map_err(|_| Full::All)?;
        let freed = gone().map(|waiting| waiting.memory.bytes()).sum();
        let cost = limits::MAILBOX_MESSAGE_COST + message.key.len() + message.body.len();
        let memory = payers.memory.charge_instead(Kind::Mailbox, cost, freed).map_err(Full::Memory)?;
        let displaced = displaced.into_iter().filter_map(|number| self.remove(number)).collect();
        self.last += 1;
        let Message { body, since, level, key, .. } = message;
        let waiting = Waiting { body: Some(body), since, level, key, disk: Disk::Absent, charge, memory };
        self.waiting.insert(self.last, waiting);
        Ok(Put { number: self.last, displaced })
    }

    /// It was read, or has to go.
    pub fn remove(&mut self, number: u64) -> Option<Removed> {
        let removed = self.waiting.remove_entry(&number);
        if let Some((_, waiting)) = &removed {
            self.note_gone(number, waiting.level);
        }
        removed
    }

    /// The same, whether or not it is in hand. What is not has been removed before.
    pub(super) fn remove_anywhere(&mut self, number: u64) -> (u64, i64) {
        let level = self.waiting.remove(&number).map_or(0, |waiting| waiting.level);
        (number, self.note_gone(number, level))
    }

    /// Its level.
    fn note_gone(&mut self, number: u64, level: i64) -> i64 {
        let Some(gone) = &mut self.gone else { return level };
        gone.removals += 1;
        *gone.numbers.entry(number).or_insert(level)
    }

    /// From now on it is what one of several nodes has in hand of what waits.
    pub(super) fn share(&mut self) {
        self.gone = Some(Box::default());
    }

    /// How often something was removed.
    pub(super) fn removals(&self) -> u64 {
        self.gone.as_ref().map_or(0, |gone| gone.removals)
    }

    /// What was removed and may still be in the store, with the levels.
    pub(super) fn gone(&self) -> Vec<(u64, i64)> {
        self.gone.iter().flat_map(|gone| &gone.numbers).map(|(number, level)| (*number, *level)).collect()
    }

    /// The store has these no more.
    pub(super) fn is_removed(&mut self, removed: &[(u64, i64)]) {
        if let Some(gone) = &mut self.gone {
            gone.numbers.retain(|number, _| !removed.iter().any(|(removed, _)| removed == number));
        }
    }

    /// Whether more waits than was taken in hand.
    pub fn is_left(&self) -> bool {
        self.gone.as_ref().is_some_and(|gone| gone.is_left)
    }

    pub(super) fn note_left(&mut self, is_left: bool) {
        if let Some(gone) = &mut self.gone {
            gone.is_left = is_left;
        }
    }

    /// It is in hand, or was.
    pub(super) fn is_known(&self, number: u64) -> bool {
        self.waiting.contains_key(&number) || self.gone.as_ref().is_some_and(|gone| gone.numbers.contains_key(&number))
    }

    /// The last number that is in hand; 0: none is.
    pub(super) fn last_in_hand(&self) -> u64 {
        self.waiting.last_key_value().map_or(0, |(number, _)| *number)
    }

    /// It waits in the store, and for others.
    pub(super) fn drop_from_hand(&mut self, number: u64) -> Option<Waiting> {
        let waiting = self.waiting.remove(&number)?;
        if let Some(gone) = &mut self.gone {
            gone.removals += 1;
        }
        Some(waiting)
    }

    /// Removes everything.
    pub fn clear(&mut self) -> Vec<Removed> {
        std::mem::take(&mut self.waiting).into_iter().collect()
    }

    /// Removes what was put in before a moment.
    pub fn expire(&mut self, before: Timestamp) -> Vec<Removed> {
        let is_old = |_: &u64, waiting: &mut Waiting| waiting.since < before && waiting.since != UNTIL_READ;
        let expired: Vec<Removed> = self.waiting.extract_if(.., is_old).collect();
        for (number, waiting) in &expired {
            self.note_gone(*number, waiting.level);
        }
        expired
    }

    /// The numbers of what is in memory only.
    pub(super) fn in_memory(&self) -> Vec<u64> {
        let in_memory = self.waiting.iter().filter(|(_, waiting)| waiting.disk == Disk::Absent);
        in_memory.map(|(number, _)| *number).collect()
    }

    /// A message and its body, on the way to the disk from now on; none when it is there, or not here any more.
    pub(super) fn start_writing(&mut self, number: u64) -> Option<(&Waiting, Bytes)> {
        let waiting = self.waiting.get_mut(&number)?;
        let body = waiting.body.clone()?;
        waiting.disk = Disk::Writing;
        Some((waiting, body))
    }

    /// The store has it; what it had before. None: the message is not here any more.
    pub(super) fn written(&mut self, number: u64) -> Option<Disk> {
        let waiting = self.waiting.get_mut(&number)?;
        if let Some(body) = waiting.body.take() {
            waiting.memory.set_anyway(waiting.memory.bytes() - body.len());
        }
        Some(std::mem::replace(&mut waiting.disk, Disk::Written))
    }

    /// The store did not take these. What was put in just now is out again, and what went for it is back; everything else
    /// stays in memory, and can be written again.
    pub(super) fn not_written(&mut self, numbers: Vec<u64>, put: Option<Put>) {
        for number in numbers {
            if let Some(waiting) = self.waiting.get_mut(&number) {
                waiting.disk = Disk::Absent;
            }
        }
        let Some(put) = put else { return };
        self.waiting.remove(&put.number);
        for (number, mut waiting) in put.displaced {
            // Its row was removed if it was written while it was not here.
            if waiting.disk == Disk::Writing {
                waiting.disk = Disk::Absent;
            }
            self.waiting.insert(number, waiting);
        }
    }
}

#[cfg(test)]
mod tests;
