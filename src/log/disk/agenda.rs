//! Which persisted channels a sweep looks at: those that have changed since, and those whose oldest entries are over. All of
//! them now and then only, so that what is kept and at rest costs nothing.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    ids::{ChannelName, Timestamp},
    limits,
};

/// Times are milliseconds since 1970.
#[derive(Debug, Default)]
pub struct Agenda {
    /// The channels by when they are to be looked at, each at least once; some in vain, because they were looked at since.
    due: BTreeSet<(u64, ChannelName)>,
    /// From then on channels may be due that are not listed.
    complete_until: u64,
}

impl Agenda {
    /// Whether all channels have to be looked at. Then the agenda begins anew.
    pub fn begins_anew(&mut self, now: Timestamp) -> bool {
        let pause = u64::try_from(limits::SWEEP_ALL.as_millis()).unwrap_or(u64::MAX);
        let latest = now.millis().saturating_add(pause);
        // Later than that: the clock was set back.
        let is_over = self.complete_until <= now.millis() || self.complete_until > latest;
        if is_over {
            *self = Self { due: BTreeSet::new(), complete_until: latest };
        }
        is_over
    }

    /// Takes those that are due.
    pub fn take_due(&mut self, now: Timestamp) -> Vec<ChannelName> {
        let mut names = Vec::new();
        while self.due.first().is_some_and(|(due, _)| *due <= now.millis()) {
            names.extend(self.due.pop_first().map(|(_, name)| name));
        }
        names
    }

    /// `name` is to be looked at when something of it that came at `oldest` has reached `age`.
    pub fn add(&mut self, name: ChannelName, oldest: u64, age: Duration) {
        let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        // Older by one than what is kept.
        let due = oldest.saturating_add(age).saturating_add(1);
        if due >= self.complete_until {
            return;
        }
        self.due.insert((due, name));
        if self.due.len() > limits::SWEEP_AGENDA
            && let Some((due, _)) = self.due.pop_last()
        {
            self.complete_until = due;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGE: Duration = Duration::from_secs(100);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    fn name(number: usize) -> ChannelName {
        format!("channel-{number:06}").as_str().into()
    }

    #[test]
    fn a_channel_is_due_when_its_oldest_entry_is_over_and_not_before() {
        let mut agenda = Agenda::default();
        assert!(agenda.begins_anew(at(1_000)));
        agenda.add(name(1), 1_000_000, AGE);
        agenda.add(name(2), 1_050_000, AGE);
        assert_eq!(agenda.take_due(at(1_100)), []);
        assert_eq!(agenda.take_due(at(1_101)), [name(1)]);
        assert!(!agenda.begins_anew(at(1_599)));
        assert_eq!(agenda.take_due(at(1_151)), [name(2)]);
        assert!(agenda.begins_anew(at(1_600)));
        assert!(agenda.begins_anew(at(900)), "the clock was set back");
    }

    /// findings G15: what is listed has a bound, and nobody is due unlisted.
    #[test]
    fn what_does_not_fit_is_found_by_a_look_at_all() {
        let mut agenda = Agenda::default();
        assert!(agenda.begins_anew(at(1_000)));
        for number in (0..=limits::SWEEP_AGENDA).rev() {
            agenda.add(name(number), 1_000_000 + number as u64, AGE);
        }
        let last = 1_100_001 + limits::SWEEP_AGENDA as u64;
        assert!(!agenda.begins_anew(Timestamp::from_millis(last - 1)));
        assert_eq!(agenda.take_due(Timestamp::from_millis(last)).len(), limits::SWEEP_AGENDA);
        assert!(agenda.begins_anew(Timestamp::from_millis(last)));
    }
}
