//! The only reader of time. Everything else is handed a `Clock` or an instant.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::ids::Timestamp;

/// Wall time and monotonic time; cheap to clone.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System { started: Instant },
    Manual { millis: Arc<AtomicU64> },
}

impl Clock {
    pub fn system() -> Self {
        Self(Source::System {
            started: Instant::now(),
        })
    }

    /// A clock for tests: stands still until [`Clock::advance`] moves it.
    pub fn manual(start: Timestamp) -> Self {
        Self(Source::Manual {
            millis: Arc::new(AtomicU64::new(start.millis())),
        })
    }

    /// Moves a manual clock; the system clock cannot be moved and ignores it.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual { millis } = &self.0 {
            millis.fetch_add(by.as_millis() as u64, Ordering::Relaxed);
        }
    }

    /// Wall time: for what clients see. It may step backwards.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System { .. } => {
                let since_epoch = SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .unwrap_or_default();
                Timestamp::from_millis(since_epoch.as_millis() as u64)
            }
            Source::Manual { millis } => Timestamp::from_millis(millis.load(Ordering::Relaxed)),
        }
    }

    /// Monotonic time since the clock was made: for deadlines. It never steps backwards.
    pub fn uptime(&self) -> Duration {
        match &self.0 {
            Source::System { started } => started.elapsed(),
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
