//! A circuit breaker: a service that failed some times in a row is left alone for a while; then one call finds out
//! whether it is back.

use std::time::Duration;

use parking_lot::Mutex;

use crate::{clock::Clock, limits};

pub struct Breaker {
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Clone, Copy)]
enum State {
    /// Calls go through; so many failed in a row.
    Closed { failures: u32 },
    /// None goes through before this moment.
    Open { until: Duration },
    /// One is on its way, and decides.
    Probing,
}

/// One call that may go through. A probe that is given up leaves its place to the next.
pub struct Call<'a> {
    breaker: &'a Breaker,
    is_probe: bool,
}

impl Breaker {
    pub const fn new(clock: Clock) -> Self {
        Self { clock, state: Mutex::new(State::Closed { failures: 0 }) }
    }

    /// None while the service is left alone.
    pub fn admit(&self) -> Option<Call<'_>> {
        let mut state = self.state.lock();
        let is_probe = match *state {
            State::Closed { .. } => false,
            State::Open { until } if self.clock.uptime() >= until => {
                *state = State::Probing;
                true
            }
            State::Open { .. } | State::Probing => return None,
        };
        drop(state);
        Some(Call { breaker: self, is_probe })
    }
}

impl Call<'_> {
    /// The service has answered.
    pub fn succeeded(mut self) {
        self.is_probe = false;
        // Also by the answer to a call that began before the breaker opened.
        *self.breaker.state.lock() = State::Closed { failures: 0 };
    }

    pub fn failed(mut self) {
        let mut state = self.breaker.state.lock();
        let failures = match *state {
            State::Closed { failures } => failures + 1,
            State::Probing if self.is_probe => limits::MODERATION_FAILURES,
            // It was sent before the breaker opened.
            State::Open { .. } | State::Probing => return,
        };
        self.is_probe = false;
        *state = if failures < limits::MODERATION_FAILURES {
            State::Closed { failures }
        } else {
            let until = self.breaker.clock.uptime() + limits::MODERATION_PAUSE;
            State::Open { until }
        };
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if self.is_probe {
            let until = self.breaker.clock.uptime();
            *self.breaker.state.lock() = State::Open { until };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Timestamp;

    fn open() -> (Breaker, Clock) {
        let clock = Clock::manual(Timestamp::from_millis(0));
        let breaker = Breaker::new(clock.clone());
        for _ in 0..limits::MODERATION_FAILURES {
            breaker.admit().unwrap().failed();
        }
        (breaker, clock)
    }

    #[test]
    fn opens_after_failures_in_a_row_only() {
        let breaker = Breaker::new(Clock::manual(Timestamp::from_millis(0)));
        for _ in 0..3 {
            for _ in 1..limits::MODERATION_FAILURES {
                breaker.admit().unwrap().failed();
            }
            breaker.admit().unwrap().succeeded();
        }
        // Given up: neither one nor the other.
        drop(breaker.admit().unwrap());
        assert!(breaker.admit().is_some());
        assert!(open().0.admit().is_none());
    }

    #[test]
    fn after_the_pause_one_call_decides() {
        let (breaker, clock) = open();
        clock.advance(limits::MODERATION_PAUSE - Duration::from_millis(1));
        assert!(breaker.admit().is_none());
        clock.advance(Duration::from_millis(1));
        let probe = breaker.admit().unwrap();
        assert!(breaker.admit().is_none());
        probe.failed();
        assert!(breaker.admit().is_none());

        clock.advance(limits::MODERATION_PAUSE);
        drop(breaker.admit().unwrap());
        let probe = breaker.admit().expect("the first was given up");
        probe.succeeded();
        let (one, other) = (breaker.admit(), breaker.admit());
        assert!(one.is_some() && other.is_some());
    }

    #[test]
    fn late_failures_do_not_prolong_the_pause() {
        let clock = Clock::manual(Timestamp::from_millis(0));
        let breaker = Breaker::new(clock.clone());
        let late: Vec<_> = (0..3).map(|_| breaker.admit().unwrap()).collect();
        for _ in 0..limits::MODERATION_FAILURES {
            breaker.admit().unwrap().failed();
        }
        clock.advance(limits::MODERATION_PAUSE);
        late.into_iter().for_each(Call::failed);
        let probe = breaker.admit().unwrap();
        assert!(breaker.admit().is_none());
        probe.succeeded();
        assert!(breaker.admit().is_some());
    }
}
