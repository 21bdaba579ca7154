//! When a hub has to look for attachments whose channel's actor has ended, while no connection here published: a walk over all
//! channels of the thread.

/// Follows how many actors have ended.
#[derive(Debug, Default)]
pub(super) struct OrphanWatch {
    /// The count at the last tick, and at the one before. An actor is counted before its mailbox is closed, so one more
    /// look follows.
    last: u64,
    before: u64,
    is_unfinished: bool,
}

impl OrphanWatch {
    /// At every tick: whether to look. `ended` only rises.
    pub fn is_due(&mut self, ended: u64) -> bool {
        let is_due = std::mem::take(&mut self.is_unfinished) || ended != self.before;
        self.before = std::mem::replace(&mut self.last, ended);
        is_due
    }

    /// Some could not be taken over yet.
    pub fn look_again(&mut self) {
        self.is_unfinished = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// findings G14: as long as no actor ends, nobody looks at the channels, however many they are.
    #[test]
    fn channels_are_looked_at_after_the_end_of_an_actor() {
        let mut watch = OrphanWatch::default();
        assert!((0..1_000).all(|_| !watch.is_due(0)));
        assert_eq!([1, 1, 1, 1].map(|ended| watch.is_due(ended)), [true, true, false, false]);
        assert_eq!([2, 3, 3, 3].map(|ended| watch.is_due(ended)), [true, true, true, false]);
        watch.look_again();
        assert_eq!([3, 3].map(|ended| watch.is_due(ended)), [true, false]);
    }
}
