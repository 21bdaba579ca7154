//! Entries that stand twice in a stream, close to each other (`queue` says how that comes): only the first is taken.

use std::collections::{HashSet, VecDeque};

use sha2::{Digest as _, Sha256};

use crate::{limits, older::group::streams::event::Entry};

/// A digest of the whole entry: other services need not choose an UUID that is unique.
pub type Mark = [u8; 16];

/// The entries of the last pages.
#[derive(Default)]
pub struct Duplicates {
    marks: HashSet<Mark>,
    /// Oldest first.
    order: VecDeque<Mark>,
}

impl Duplicates {
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
        let mut duplicates = Duplicates::default();
        let mark = duplicates.take("s", &entry("u", "{}")).unwrap();
        assert_eq!(duplicates.take("s", &entry("u", "{}")), None);
        assert!(duplicates.take("s", &entry("u", "{ }")).is_some());
        assert!(duplicates.take("t", &entry("u", "{}")).is_some());
        duplicates.give_back(&mark);
        assert_eq!(duplicates.take("s", &entry("u", "{}")), Some(mark));
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let mut duplicates = Duplicates::default();
        for number in 0..=limits::STREAM_IDS {
            assert!(duplicates.take("s", &entry(&number.to_string(), "")).is_some());
        }
        assert_eq!(duplicates.marks.len(), limits::STREAM_IDS);
        assert_eq!(duplicates.order.len(), limits::STREAM_IDS);
        assert!(duplicates.take("s", &entry("0", "")).is_some());
        assert_eq!(duplicates.take("s", &entry("2", "")), None);
    }
}
