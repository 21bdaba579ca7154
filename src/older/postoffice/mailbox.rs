//! One mailbox: the letters that wait in it or are on the way, and the connections that empty it
//! (`docs/protocols/postoffice.md §4`). Pure: `office` puts it behind a lock and carries out what it says.
//!
//! Letters are numbered from 1 without holes as they come, so whoever delivers them sees at once that one is
//! missing. A letter stays here until its reader has answered a ping that was sent behind it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use bytestring::ByteString;

use crate::{
    ids::{SessionId, Timestamp},
    limits,
};

/// A letter that its reader may not have read yet.
#[derive(Clone, Debug)]
pub struct Waiting {
    pub level: i64,
    pub came: Timestamp,
    pub bytes: usize,
    /// None: to be read from disk.
    pub text: Option<ByteString>,
    pub row: Row,
}

/// Whether a letter is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Row {
    None,
    /// Handed to the store.
    Writing,
    Written,
}

/// What a mailbox may hold.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Letters that wait.
    pub letters: usize,
    /// Letters wait for readers that are away, and on disk.
    pub stores: bool,
}

/// A letter as it is handed in.
#[derive(Clone, Debug)]
pub struct Posted {
    pub text: ByteString,
    pub level: i64,
    pub came: Timestamp,
    /// What a sender names it by who wants no second copy delivered.
    pub key: Option<Arc<str>>,
}

/// What came of a letter that was handed in.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    /// Wait for the reader: by the number. `to_disk`: nobody is there to read it now.
    In { number: u64, to_disk: bool },
    /// The same sender has sent one of this id before.
    Again,
    /// Nobody is there, and letters are not stored.
    Dropped,
    /// There is no room, and all that waits is of a higher level.
    Full,
}

/// A letter that is no longer here.
#[derive(Debug)]
pub struct Gone {
    pub number: u64,
    pub bytes: usize,
    pub row: Row,
}

/// A connection that empties the mailbox.
#[derive(Clone, Debug)]
pub struct Reader<P> {
    pub session: SessionId,
    pub handle: P,
    /// What the client says when it started, in milliseconds.
    pub started: Option<u64>,
    /// Attached to the channel: what is published reaches it.
    pub is_ready: bool,
    /// It has as much on the way as it may.
    pub is_behind: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Mailbox<P> {
    letters: BTreeMap<u64, Waiting>,
    last: u64,
    /// Up to here letters are on the way to a reader: they are not what waits.
    handed: u64,
    pub readers: Vec<Reader<P>>,
    /// Outlives its connections.
    pub is_kept: bool,
    seen: HashMap<Arc<str>, Seen>,
}

/// A letter that was taken in, by the key that its sender names it by.
#[derive(Debug)]
struct Seen {
    number: u64,
    /// When it came (monotonic).
    came: Duration,
}

impl<P> Default for Mailbox<P> {
    fn default() -> Self {
        Self { letters: BTreeMap::new(), last: 0, handed: 0, readers: Vec::new(), is_kept: false, seen: HashMap::new() }
    }
}

impl<P> Mailbox<P> {
    /// A letter that an earlier run has left.
    pub fn recall(&mut self, number: u64, waiting: Waiting) {
        self.last = self.last.max(number);
        self.letters.insert(number, waiting);
    }

    /// The number of the last letter that came.
    pub const fn last(&self) -> u64 {
        self.last
    }

    pub fn is_empty(&self) -> bool {
        self.letters.is_empty()
    }

    /// Takes a letter in; `uptime` is the monotonic now. What had to make room for it is added to `gone`.
    pub fn post(&mut self, posted: Posted, bounds: Bounds, uptime: Duration, gone: &mut Vec<Gone>) -> Taken {
        if posted.key.as_ref().is_some_and(|key| self.seen.contains_key(key)) {
            return Taken::Again;
        }
        let is_read = self.readers.iter().any(|reader| reader.is_ready && !reader.is_behind);
        let is_stored = bounds.stores && self.is_kept;
        if self.readers.is_empty() && !is_stored {
            return Taken::Dropped;
        }
        let number = self.last + 1;
        // Decided before anything goes: what is refused costs the others nothing.
        let waiting = self.letters.range(self.handed + 1..);
        let higher = waiting.filter(|(_, letter)| letter.level > posted.level);
        if !is_read && higher.count() >= bounds.letters {
            gone.push(Gone { number, bytes: posted.text.len(), row: Row::None });
            return Taken::Full;
        }
        let waiting = Waiting {
            level: posted.level,
            came: posted.came,
            bytes: posted.text.len(),
            text: Some(posted.text),
            row: Row::None,
        };
        self.letters.insert(number, waiting);
        while !is_read && self.letters.range(self.handed + 1..).count() > bounds.letters {
            let waiting = self.letters.range(self.handed + 1..);
            let Some((victim, _)) = waiting.min_by_key(|(number, letter)| (letter.level, **number)) else {
                break;
            };
            let victim = *victim;
            gone.extend(self.remove(victim));
        }
        self.last = number;
        // Only now: one that was not taken is to be taken when it comes again.
        if let Some(key) = posted.key {
            self.forget(uptime);
            self.seen.insert(key, Seen { number, came: uptime });
        }
        let to_disk = is_stored && !is_read;
        if to_disk && let Some(letter) = self.letters.get_mut(&number) {
            letter.row = Row::Writing;
        }
        Taken::In { number, to_disk }
    }

    /// Takes it back: it could not be kept, and is to be taken when it comes again.
    pub fn withdraw(&mut self, number: u64) -> Option<Gone> {
        self.seen.retain(|_, seen| seen.number != number);
        self.remove(number)
    }

    /// It has been read, or has to go.
    pub fn remove(&mut self, number: u64) -> Option<Gone> {
        let letter = self.letters.remove(&number)?;
        Some(Gone { number, bytes: letter.bytes, row: letter.row })
    }

    /// The store does not have it: it stays in memory.
    pub fn unwritten(&mut self, number: u64) {
        if let Some(letter) = self.letters.get_mut(&number) {
            letter.row = Row::None;
        }
    }

    /// The store has it; whether it still is here.
    pub fn written(&mut self, number: u64) -> bool {
        let Some(letter) = self.letters.get_mut(&number) else {
            return false;
        };
        letter.row = Row::Written;
        letter.text = None;
        true
    }

    /// The first letter behind `after` that `held` does not have.
    pub fn next(&self, after: u64, held: impl Fn(u64) -> bool) -> Option<(u64, &Waiting)> {
        let mut letters = self.letters.range(after + 1..);
        let found = letters.find(|(number, _)| !held(**number));
        found.map(|(number, letter)| (*number, letter))
    }

    /// One that empties it has fallen behind with everything up to `handed` on the way, or is up to date
    /// again.
    pub fn set_behind(&mut self, session: SessionId, is_behind: bool, handed: u64) {
        if let Some(reader) = self.reader_mut(session) {
            reader.is_behind = is_behind;
        }
        self.handed = handed;
    }

    pub fn reader_mut(&mut self, session: SessionId) -> Option<&mut Reader<P>> {
        let mut readers = self.readers.iter_mut();
        readers.find(|reader| reader.session == session)
    }

    /// A connection has gone. When it was the last, what nobody has read waits again, or goes if it is not
    /// stored.
    pub fn leave(&mut self, session: SessionId, bounds: Bounds) -> Vec<Gone> {
        self.readers.retain(|reader| reader.session != session);
        if !self.readers.is_empty() {
            return Vec::new();
        }
        self.handed = 0;
        if bounds.stores && self.is_kept {
            return Vec::new();
        }
        let numbers: Vec<u64> = self.letters.keys().copied().collect();
        numbers.into_iter().filter_map(|number| self.remove(number)).collect()
    }

    /// What is in memory only, to be written: noted as handed to the store.
    pub fn spill(&mut self) -> Vec<(u64, Waiting)> {
        let unwritten = self.letters.iter_mut().filter(|(_, letter)| letter.row == Row::None);
        unwritten
            .map(|(number, letter)| {
                letter.row = Row::Writing;
                (*number, letter.clone())
            })
            .collect()
    }

    /// Letters that came at `until` or before.
    pub fn expire(&mut self, until: Timestamp) -> Vec<Gone> {
        let mut gone = Vec::new();
        // They came in the order of their numbers, but for a clock that was set back.
        while let Some((number, _)) = self.letters.iter().next().filter(|(_, letter)| letter.came <= until) {
            let number = *number;
            gone.extend(self.remove(number));
        }
        gone
    }

    fn forget(&mut self, uptime: Duration) {
        if self.seen.len() >= limits::POST_IDS {
            self.seen.retain(|_, seen| uptime.saturating_sub(seen.came) < limits::IDEMPOTENCY_WINDOW);
        }
        if self.seen.len() >= limits::POST_IDS {
            self.seen.clear();
        }
    }
}

#[cfg(test)]
mod tests;
