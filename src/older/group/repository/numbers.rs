//! The numbers of messages and notifications: they rise over the whole server, in the order of the commits, so that one
//! number says what came later in any group. They also say when: the upper bits are milliseconds since the epoch, at least
//! those of the clock.
//!
//! Earlier versions counted from 1, and noted with which number each hour began.

use std::collections::BTreeMap;

use super::HOURS;
use crate::{engines::redis::EntryId, ids::Timestamp, store::Batch};

/// The cursor of a number that none which was given has reached.
pub(super) const LAST: &str = "group last";

/// Numbers of one millisecond; more borrow from the next.
const PER_MILLI: u64 = 1 << 10;
/// The cursor is so far ahead: it is written once a minute, not with each message.
const RESERVED_MILLIS: u64 = 60_000;
const SECONDS_OF_HOUR: u64 = 3_600;

pub struct Numbers {
    last: u64,
    /// The cursor as it is on disk.
    reserved: u64,
    /// Of an earlier version: hour since the epoch -> its first number.
    hours: BTreeMap<u64, u64>,
}

impl Numbers {
    pub fn new(reserved: u64, hours: impl IntoIterator<Item = (u64, u64)>) -> Self {
        Self { last: reserved, reserved, hours: hours.into_iter().collect() }
    }

    /// That of a message which stands there in the stream of all instances.
    pub fn of(entry: EntryId) -> u64 {
        entry.millis.saturating_mul(PER_MILLI) + entry.sequence.min(PER_MILLI - 1)
    }

    /// No message or notification has a greater one.
    pub const fn last(&self) -> u64 {
        self.last
    }

    /// The next number. `batch`, which writes what it names, also sees that a later start goes on behind it.
    pub fn give(&mut self, now: Timestamp, batch: Batch) -> (u64, Batch) {
        let number = (self.last + 1).max(Self::first_of(now));
        self.last = number;
        let batch = if number < self.reserved { batch } else { batch.set_cursor(LAST, reservation(number)) };
        (number, batch)
    }

    /// The batch of a number is on disk.
    pub fn committed(&mut self, number: u64) {
        if number >= self.reserved {
            self.reserved = reservation(number);
        }
    }

    /// The first number of a moment.
    pub const fn first_of(moment: Timestamp) -> u64 {
        moment.millis() * PER_MILLI
    }

    /// About when a number was given; long ago when an earlier version did.
    pub const fn time_of(number: u64) -> Timestamp {
        Timestamp::from_millis(number / PER_MILLI)
    }

    /// A number that no message after `seconds` has: from there on they can be looked for.
    pub fn before(&self, seconds: u64) -> u64 {
        let hour = seconds / SECONDS_OF_HOUR;
        let first = match self.hours.last_key_value() {
            Some((newest, _)) if hour <= *newest => {
                self.hours.range(..=hour).next_back().map_or(0, |(_, first)| *first)
            }
            _ => hour.saturating_mul(SECONDS_OF_HOUR * 1_000 * PER_MILLI),
        };
        first.saturating_sub(1)
    }

    /// Forgets the hours of an earlier version when all that it wrote came before `until`, in Unix seconds. None: it did
    /// not, or they are forgotten.
    pub fn forget_hours(&mut self, until: u64) -> Option<Batch> {
        let (newest, _) = self.hours.last_key_value()?;
        if *newest >= until / SECONDS_OF_HOUR {
            return None;
        }
        let hours = std::mem::take(&mut self.hours).into_keys();
        Some(hours.fold(Batch::new(), |batch, hour| batch.remove(HOURS, hour.to_be_bytes())))
    }
}

const fn reservation(number: u64) -> u64 {
    number + RESERVED_MILLIS * PER_MILLI
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = SECONDS_OF_HOUR;

    #[test]
    fn numbers_rise_whatever_the_clock_does_and_over_a_restart() {
        let mut numbers = Numbers::new(0, []);
        let mut last = 0;
        for millis in [1_000_000, 1_000_000, 999_000, 1_000_001, 1_070_000] {
            let (number, _) = numbers.give(Timestamp::from_millis(millis), Batch::new());
            assert!(number > last && Numbers::time_of(number).millis() >= millis);
            numbers.committed(number);
            last = number;
        }
        // What the store has of it, and a clock that was set back.
        let mut again = Numbers::new(numbers.reserved, []);
        assert!(again.give(Timestamp::from_millis(5), Batch::new()).0 > last);
    }

    #[test]
    fn messages_of_a_time_are_behind_the_number_before_it() {
        let mut numbers = Numbers::new(0, []);
        let (number, _) = numbers.give(Timestamp::from_millis(10 * HOUR * 1_000 + 5), Batch::new());
        assert!(numbers.before(10 * HOUR) < number && numbers.before(10 * HOUR + 3_599) < number);
        assert!(numbers.before(11 * HOUR) > number);
    }

    /// What an earlier version wrote is found by its hours, also in the hour of the change.
    #[test]
    fn hours_of_an_earlier_version() {
        let mut numbers = Numbers::new(9, [(3, 1), (5, 7)]);
        let before = |hour: u64| numbers.before(hour * HOUR);
        assert_eq!((before(2), before(3), before(4), before(5)), (0, 0, 0, 6));
        assert!(before(6) > 9);
        assert!(numbers.forget_hours(5 * HOUR).is_none());
        assert!(numbers.forget_hours(6 * HOUR).is_some() && numbers.forget_hours(9 * HOUR).is_none());
    }
}
