//! Connections that have until some moment, the next one first.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use crate::ids::ConnectionId;

/// At most one moment (monotonic) for each connection. Nothing here looks at all of them: ten thousand that are lost at
/// once cost no more than one after the other.
#[derive(Debug, Default)]
pub struct Deadlines {
    of: HashMap<ConnectionId, Duration>,
    by_time: BTreeSet<(Duration, ConnectionId)>,
}

impl Deadlines {
    /// Takes the place of an earlier one.
    pub fn set(&mut self, connection: ConnectionId, due: Duration) {
        self.clear(connection);
        self.of.insert(connection, due);
        self.by_time.insert((due, connection));
    }

    pub fn clear(&mut self, connection: ConnectionId) {
        if let Some(due) = self.of.remove(&connection) {
            self.by_time.remove(&(due, connection));
        }
    }

    pub fn next(&self) -> Option<Duration> {
        self.by_time.first().map(|(due, _)| *due)
    }

    /// Those whose time is over; they are forgotten.
    pub fn take_due(&mut self, now: Duration) -> Vec<ConnectionId> {
        let mut over = Vec::new();
        while let Some((due, connection)) = self.by_time.first().copied()
            && due <= now
        {
            self.clear(connection);
            over.push(connection);
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
