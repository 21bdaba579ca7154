//! One mailbox: the letters that wait in it or are on the way, and the connections that empty it
//! (`protocols/postoffice.md §4`). Pure: `office` puts it behind a lock and carries out what it says.
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
    pub peer: P,
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
    seen: HashMap<Arc<str>, Duration>,
}

impl<P> Default for Mailbox<P> {
    fn default() -> Self {
        Self {
            letters: BTreeMap::new(),
            last: 0,
            handed: 0,
            readers: Vec::new(),
            is_kept: false,
            seen: HashMap::new(),
        }
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
    pub fn post(
        &mut self,
        posted: Posted,
        bounds: Bounds,
        uptime: Duration,
        gone: &mut Vec<Gone>,
    ) -> Taken {
        if let Some(key) = posted.key {
            self.forget(uptime);
            if self.seen.contains_key(&key) {
                return Taken::Again;
            }
            self.seen.insert(key, uptime);
        }
        let is_read = self
            .readers
            .iter()
            .any(|reader| reader.is_ready && !reader.is_behind);
        let is_stored = bounds.stores && self.is_kept;
        if self.readers.is_empty() && !is_stored {
            return Taken::Dropped;
        }
        let number = self.last + 1;
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
            let Some((victim, _)) = waiting.min_by_key(|(number, letter)| (letter.level, **number))
            else {
                break;
            };
            let victim = *victim;
            gone.extend(self.remove(victim));
            if victim == number {
                return Taken::Full;
            }
        }
        self.last = number;
        let to_disk = is_stored && !is_read;
        if to_disk && let Some(letter) = self.letters.get_mut(&number) {
            letter.row = Row::Writing;
        }
        Taken::In { number, to_disk }
    }

    /// Takes it back: it could not be kept.
    pub fn remove(&mut self, number: u64) -> Option<Gone> {
        let letter = self.letters.remove(&number)?;
        Some(Gone {
            number,
            bytes: letter.bytes,
            row: letter.row,
        })
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
        numbers
            .into_iter()
            .filter_map(|number| self.remove(number))
            .collect()
    }

    /// What is in memory only, to be written: noted as handed to the store.
    pub fn spill(&mut self) -> Vec<(u64, Waiting)> {
        let unwritten = self
            .letters
            .iter_mut()
            .filter(|(_, letter)| letter.row == Row::None);
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
        while let Some((number, _)) = self
            .letters
            .iter()
            .next()
            .filter(|(_, letter)| letter.came <= until)
        {
            let number = *number;
            gone.extend(self.remove(number));
        }
        gone
    }

    fn forget(&mut self, uptime: Duration) {
        if self.seen.len() >= limits::POST_IDS {
            self.seen
                .retain(|_, seen| uptime.saturating_sub(*seen) < limits::IDEMPOTENCY_WINDOW);
        }
        if self.seen.len() >= limits::POST_IDS {
            self.seen.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const STORED: Bounds = Bounds {
        letters: 3,
        stores: true,
    };
    const DROPPED: Bounds = Bounds {
        letters: 3,
        stores: false,
    };

    fn letter(text: &'static str, level: i64) -> Posted {
        Posted {
            text: text.into(),
            level,
            came: Timestamp::from_millis(1_000),
            key: None,
        }
    }

    fn kept() -> Mailbox<()> {
        Mailbox {
            is_kept: true,
            ..Mailbox::default()
        }
    }

    fn reader(mailbox: &mut Mailbox<()>, number: u64) -> SessionId {
        let session = SessionId::from_number(number);
        mailbox.readers.push(Reader {
            session,
            peer: (),
            started: None,
            is_ready: true,
            is_behind: false,
        });
        session
    }

    fn post(mailbox: &mut Mailbox<()>, letter: Posted, bounds: Bounds) -> (Taken, Vec<u64>) {
        let mut gone = Vec::new();
        let taken = mailbox.post(letter, bounds, Duration::ZERO, &mut gone);
        (taken, gone.iter().map(|gone| gone.number).collect())
    }

    fn waiting(mailbox: &Mailbox<()>) -> Vec<u64> {
        mailbox.letters.keys().copied().collect()
    }

    const fn to_disk(number: u64) -> Taken {
        Taken::In {
            number,
            to_disk: true,
        }
    }

    const fn live(number: u64) -> Taken {
        Taken::In {
            number,
            to_disk: false,
        }
    }

    #[test]
    fn who_is_away_finds_letters_on_disk_and_who_is_there_gets_them_now() {
        let mut mailbox = kept();
        assert_eq!(post(&mut mailbox, letter("a", 0), STORED).0, to_disk(1));
        let session = reader(&mut mailbox, 1);
        assert_eq!(post(&mut mailbox, letter("b", 0), STORED).0, live(2));
        mailbox.set_behind(session, true, 2);
        assert_eq!(post(&mut mailbox, letter("c", 0), STORED).0, to_disk(3));
    }

    #[test]
    fn the_lowest_level_goes_first_then_the_oldest() {
        let mut mailbox = kept();
        for level in [1, 0, 0] {
            post(&mut mailbox, letter("x", level), STORED);
        }
        assert_eq!(
            post(&mut mailbox, letter("x", 0), STORED),
            (to_disk(4), vec![2])
        );
        assert_eq!(
            post(&mut mailbox, letter("x", 5), STORED),
            (to_disk(5), vec![3])
        );
        assert_eq!(
            post(&mut mailbox, letter("x", 5), STORED),
            (to_disk(6), vec![4])
        );
        assert_eq!(waiting(&mailbox), [1, 5, 6]);
        assert_eq!(
            post(&mut mailbox, letter("x", 0), STORED),
            (Taken::Full, vec![7])
        );
        assert_eq!(post(&mut mailbox, letter("x", 1), STORED).0, to_disk(7));
    }

    #[test]
    fn what_is_on_the_way_does_not_count_as_waiting() {
        let mut mailbox = kept();
        let session = reader(&mut mailbox, 1);
        for _ in 0..5 {
            assert_eq!(post(&mut mailbox, letter("x", 0), STORED).1, [0; 0]);
        }
        mailbox.set_behind(session, true, 5);
        for _ in 0..3 {
            assert_eq!(post(&mut mailbox, letter("x", 0), STORED).1, [0; 0]);
        }
        assert_eq!(post(&mut mailbox, letter("x", 0), STORED).1, [6]);
    }

    #[test]
    fn nothing_is_stored_where_that_is_off() {
        let mut mailbox = kept();
        assert_eq!(
            post(&mut mailbox, letter("x", 0), DROPPED).0,
            Taken::Dropped
        );
        let session = reader(&mut mailbox, 1);
        assert_eq!(post(&mut mailbox, letter("x", 0), DROPPED).0, live(1));
        assert_eq!(mailbox.leave(session, DROPPED).len(), 1);
        assert!(mailbox.is_empty());
    }

    #[test]
    fn what_was_not_confirmed_waits_again() {
        let mut mailbox = kept();
        let session = reader(&mut mailbox, 1);
        for text in ["a", "b", "c"] {
            post(&mut mailbox, letter(text, 0), STORED);
        }
        mailbox.remove(1);
        assert!(mailbox.leave(session, STORED).is_empty());
        let spilled: Vec<u64> = mailbox.spill().iter().map(|(number, _)| *number).collect();
        assert_eq!(spilled, [2, 3]);
        assert!(mailbox.spill().is_empty());
        assert!(mailbox.written(2));
        let (number, first) = mailbox.next(0, |_| false).unwrap();
        assert_eq!((number, &first.text), (2, &None));
        assert_eq!(mailbox.next(0, |number| number == 2).unwrap().0, 3);
    }

    #[test]
    fn a_letter_with_an_id_is_taken_once() {
        let mut mailbox = kept();
        let named = || Posted {
            key: Some("a\u{0}7".into()),
            ..letter("x", 0)
        };
        assert_eq!(post(&mut mailbox, named(), STORED).0, to_disk(1));
        assert_eq!(post(&mut mailbox, named(), STORED).0, Taken::Again);
    }

    #[test]
    fn old_letters_go() {
        let mut mailbox = kept();
        for came in [1, 2, 3] {
            let posted = Posted {
                came: Timestamp::from_millis(came),
                ..letter("x", 0)
            };
            post(&mut mailbox, posted, STORED);
        }
        assert_eq!(mailbox.expire(Timestamp::from_millis(2)).len(), 2);
        assert_eq!(waiting(&mailbox), [3]);
    }
}
