//! Entries that stand twice in a stream: `queue` says how that comes. Of those that are close to each other
//! only the first is taken.

use std::collections::{HashSet, VecDeque};

use sha2::{Digest as _, Sha256};

use crate::{limits, older::group::streams::entry::Entry};

/// An entry with everything in it, hashed: an UUID alone need not be one.
pub type Mark = [u8; 16];

#[derive(Default)]
pub struct Seen {
    marks: HashSet<Mark>,
    /// Oldest first.
    order: VecDeque<Mark>,
}

impl Seen {
    /// Takes an entry; none if it was taken before.
    pub fn take(&mut self, stream: &str, entry: &Entry) -> Option<Mark> {
        let mut hash = Sha256::new();
        for part in [stream.as_bytes(), entry.uuid.as_bytes(), &entry.payload] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let mark = *hash.finalize().first_chunk::<16>()?;
        if !self.marks.insert(mark) {
            return None;
        }
        self.order.push_back(mark);
        if self.order.len() > limits::STREAM_IDS
            && let Some(oldest) = self.order.pop_front()
        {
            self.marks.remove(&oldest);
        }
        Some(mark)
    }

    /// An entry that was taken is not done with, and comes again.
    pub fn give_back(&mut self, mark: &Mark) {
        if self.marks.remove(mark)
            && let Some(at) = self.order.iter().rposition(|known| known == mark)
        {
            self.order.remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(uuid: &str, payload: &str) -> Entry {
        Entry { uuid: uuid.to_owned(), payload: payload.into(), ..Entry::default() }
    }

    #[test]
    fn the_same_entry_is_taken_once_unless_it_is_given_back() {
        let mut seen = Seen::default();
        let mark = seen.take("s", &entry("u", "{}")).unwrap();
        assert_eq!(seen.take("s", &entry("u", "{}")), None);
        assert!(seen.take("s", &entry("u", "{ }")).is_some());
        assert!(seen.take("t", &entry("u", "{}")).is_some());
        seen.give_back(&mark);
        assert_eq!(seen.take("s", &entry("u", "{}")), Some(mark));
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let mut seen = Seen::default();
        for number in 0..=limits::STREAM_IDS {
            assert!(seen.take("s", &entry(&number.to_string(), "")).is_some());
        }
        assert_eq!(seen.marks.len(), limits::STREAM_IDS);
        assert_eq!(seen.order.len(), limits::STREAM_IDS);
        assert!(seen.take("s", &entry("0", "")).is_some());
        assert_eq!(seen.take("s", &entry("2", "")), None);
    }
}
