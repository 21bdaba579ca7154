//! When the summaries of a channel are sent (`docs/protocols/ably.md §9.7`).

use std::{hash::Hash, time::Duration};

use crate::{core::deadlines::Deadlines, limits};

/// Messages whose summaries have changed: the first change of one is told soon, what follows together with all that comes
/// within a second. Nothing is kept of a message of which nothing was told for that long.
#[derive(Debug)]
pub struct DueSummaries<M> {
    due: Deadlines<M>,
    /// Those that were told, until they may be told again.
    resting: Deadlines<M>,
}

impl<M> Default for DueSummaries<M> {
    fn default() -> Self {
        Self { due: Deadlines::default(), resting: Deadlines::default() }
    }
}

impl<M: Copy + Eq + Hash + Ord> DueSummaries<M> {
    /// The summary of a message is another one, or somebody has to hear of it again.
    pub fn changed(&mut self, now: Duration, message: M) {
        self.resting.take_due(now);
        if self.due.get(message).is_none() {
            let soon = now + limits::SUMMARY_DELAY;
            self.due.set(message, self.resting.get(message).map_or(soon, |rest| rest.max(soon)));
        }
    }

    /// When the next one is due.
    pub fn next(&self) -> Option<Duration> {
        self.due.next()
    }

    /// Those that are to be told now.
    pub fn take(&mut self, now: Duration) -> Vec<M> {
        self.resting.take_due(now);
        let due = std::iter::from_fn(|| self.due.pop_due(now));
        let due: Vec<M> = due.take(limits::SUMMARIES_AT_ONCE).collect();
        due.iter().for_each(|message| self.resting.set(*message, now + limits::SUMMARY_PAUSE));
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn the_first_change_is_told_soon_and_the_next_ones_together() {
        let mut summaries = DueSummaries::default();
        for now in [0, 10, 40] {
            summaries.changed(millis(now), 7);
        }
        assert_eq!((summaries.next(), summaries.take(millis(49))), (Some(millis(50)), vec![]));
        assert_eq!((summaries.take(millis(50)), summaries.next()), (vec![7], None));
        summaries.changed(millis(60), 7);
        summaries.changed(millis(600), 7);
        assert_eq!((summaries.next(), summaries.take(millis(1_049))), (Some(millis(1_050)), vec![]));
        assert_eq!(summaries.take(millis(1_050)), [7]);
        // After a second without a change it is as new.
        summaries.changed(millis(3_000), 7);
        assert_eq!((summaries.next(), summaries.resting.next()), (Some(millis(3_050)), None));
    }

    #[test]
    fn many_at_once_take_turns() {
        let mut summaries = DueSummaries::default();
        (0..250).for_each(|message| summaries.changed(Duration::ZERO, message));
        let turns: Vec<usize> = (1..5).map(|turn| summaries.take(turn * millis(50)).len()).collect();
        assert_eq!(turns, [100, 100, 50, 0]);
    }
}
