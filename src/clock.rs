//! The only reader of time. Everything else is handed a `Clock` or an instant.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::ids::Timestamp;

/// Wall time and monotonic time; cheap to clone.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System {
        started: Instant,
    },
    Led {
        started: Instant,
        /// Milliseconds that it is ahead of the clock of the machine.
        ahead: Arc<AtomicI64>,
    },
    Manual {
        millis: Arc<AtomicU64>,
    },
}

fn machine_millis() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

impl Clock {
    pub fn system() -> Self {
        Self(Source::System { started: Instant::now() })
    }

    /// A clock for tests: stands still until [`Clock::advance`] moves it.
    pub fn manual(start: Timestamp) -> Self {
        Self(Source::Manual { millis: Arc::new(AtomicU64::new(start.millis())) })
    }

    /// Moves a manual clock; the system clock cannot be moved and ignores it.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual { millis } = &self.0 {
            millis.fetch_add(by.as_millis() as u64, Ordering::Relaxed);
        }
    }

    /// The same clock, whose wall time can be put where that of others is, for servers that have to agree on it. A manual clock
    /// stays one.
    #[must_use]
    pub fn led(self) -> Self {
        match self.0 {
            Source::System { started } => Self(Source::Led { started, ahead: Arc::default() }),
            Source::Led { .. } | Source::Manual { .. } => self,
        }
    }

    /// Puts one that is led, and all its clones, so many milliseconds ahead of the clock of the machine; others ignore it.
    pub fn set_ahead(&self, millis: i64) {
        if let Source::Led { ahead, .. } = &self.0 {
            ahead.store(millis, Ordering::Relaxed);
        }
    }

    /// By how many milliseconds it is ahead of the clock of the machine.
    pub fn ahead(&self) -> i64 {
        match &self.0 {
            Source::Led { ahead, .. } => ahead.load(Ordering::Relaxed),
            Source::System { .. } | Source::Manual { .. } => 0,
        }
    }

    /// Wall time: for what clients see. It may step backwards.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System { .. } => Timestamp::from_millis(machine_millis()),
            Source::Led { ahead, .. } => {
                Timestamp::from_millis(machine_millis().saturating_add_signed(ahead.load(Ordering::Relaxed)))
            }
            Source::Manual { millis } => Timestamp::from_millis(millis.load(Ordering::Relaxed)),
        }
    }

    /// Monotonic time since the clock was made: for deadlines. It never steps backwards.
    pub fn uptime(&self) -> Duration {
        match &self.0 {
            Source::System { started } | Source::Led { started, .. } => started.elapsed(),
            Source::Manual { millis } => Duration::from_millis(millis.load(Ordering::Relaxed)),
        }
    }
}

/// The rate limiters run on the same clock (`governor` measures in nanoseconds).
impl governor::clock::Clock for Clock {
    type Instant = governor::nanos::Nanos;

    fn now(&self) -> Self::Instant {
        self.uptime().into()
    }
}

/// Lets something through once a second and counts the rest: for warnings that clients can cause, so that
/// a flood of them neither fills the disk nor hides the others.
#[derive(Debug, Default)]
pub struct OncePerSecond {
    /// The second that was used up, counted from 1.
    used: AtomicU64,
    held_back: AtomicU64,
}

impl OncePerSecond {
    /// How many were held back since the last that was let through; none when this one is held back, too.
    pub fn allows(&self, clock: &Clock) -> Option<u64> {
        let second = clock.uptime().as_secs() + 1;
        if self.used.swap(second, Ordering::Relaxed) == second {
            self.held_back.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(self.held_back.swap(0, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_per_second_and_the_rest_is_counted() {
        let clock = Clock::manual(Timestamp::from_millis(0));
        let warning = OncePerSecond::default();
        assert_eq!(warning.allows(&clock), Some(0));
        assert_eq!(warning.allows(&clock), None);
        assert_eq!(warning.allows(&clock), None);
        clock.advance(Duration::from_secs(1));
        assert_eq!(warning.allows(&clock), Some(2));
        assert_eq!(warning.allows(&clock), None);
    }
}
