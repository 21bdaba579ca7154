//! What has until some moment, the next one first.

use std::{
    collections::{BTreeSet, HashMap},
    hash::Hash,
    time::Duration,
};

/// At most one moment (monotonic) for each key. Nothing here looks at all of them: ten thousand connections that are lost at
/// once cost no more than one after the other.
#[derive(Debug)]
pub struct Deadlines<K> {
    of: HashMap<K, Duration>,
    by_time: BTreeSet<(Duration, K)>,
}

impl<K> Default for Deadlines<K> {
    fn default() -> Self {
        Self { of: HashMap::new(), by_time: BTreeSet::new() }
    }
}

impl<K: Copy + Eq + Hash + Ord> Deadlines<K> {
    /// Takes the place of an earlier one.
    pub fn set(&mut self, key: K, due: Duration) {
        self.clear(key);
        self.of.insert(key, due);
        self.by_time.insert((due, key));
    }

    pub fn clear(&mut self, key: K) {
        if let Some(due) = self.of.remove(&key) {
            self.by_time.remove(&(due, key));
        }
    }

    pub fn get(&self, key: K) -> Option<Duration> {
        self.of.get(&key).copied()
    }

    pub fn next(&self) -> Option<Duration> {
        self.by_time.first().map(|(due, _)| *due)
    }

    /// The next one whose time is over; it is forgotten.
    pub fn pop_due(&mut self, now: Duration) -> Option<K> {
        let (_, key) = self.by_time.first().copied().filter(|(due, _)| *due <= now)?;
        self.clear(key);
        Some(key)
    }

    /// All whose time is over; they are forgotten.
    pub fn take_due(&mut self, now: Duration) -> Vec<K> {
        std::iter::from_fn(|| self.pop_due(now)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ConnectionId;

    #[test]
    fn the_last_moment_that_was_set_counts() {
        let id = |number| ConnectionId::from_bytes([number; 9]);
        let at = Duration::from_secs;
        let mut deadlines = Deadlines::default();
        for (number, due) in [(1, 5), (2, 3), (3, 4), (1, 2), (2, 9)] {
            deadlines.set(id(number), at(due));
        }
        deadlines.clear(id(3));
        assert_eq!(deadlines.next(), Some(at(2)));
        assert_eq!(deadlines.take_due(at(1)), []);
        assert_eq!(deadlines.take_due(at(9)), [id(1), id(2)]);
        assert_eq!(deadlines.next(), None);
    }
}
