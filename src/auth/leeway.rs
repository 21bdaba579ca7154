//! The one place that judges the times of JWTs, `iat`, `nbf` and `exp`, for all protocols. The clock of the signer
//! may be off by `auth.clock_leeway`. What the server signs itself is judged without leeway.

use std::{sync::Arc, time::Duration};

use crate::{
    clock::{Clock, OncePerSecond},
    ids::Timestamp,
    limits,
};

/// How far the clock of a signer may be off.
#[derive(Clone, Debug, Default)]
pub struct Leeway {
    span: Duration,
    /// None: there is no warning when a clock is off.
    watch: Option<Arc<Watch>>,
}

#[derive(Debug)]
struct Watch {
    clock: Clock,
    warning: OncePerSecond,
}

/// A claim is further ahead than it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ahead {
    pub by: Duration,
    pub allowed: Duration,
}

impl Leeway {
    pub fn new(span: Duration, clock: Clock) -> Self {
        let warning = OncePerSecond::default();
        Self { span, watch: Some(Arc::new(Watch { clock, warning })) }
    }

    /// When a token with this `exp` ends for good; none when it has ended. A token that comes in time ends at its `exp`,
    /// to the millisecond, also on a live connection; one that comes later than that, with the leeway.
    pub fn end(&self, exp: Timestamp, now: Timestamp) -> Option<Timestamp> {
        if now < exp {
            return Some(exp);
        }
        let end = Timestamp::from_millis(exp.millis().saturating_add(millis(self.span)));
        if now >= end {
            return None;
        }
        self.warn("exp", "passed", now.millis() - exp.millis());
        Some(end)
    }

    /// Whether a time that must not be ahead (`nbf`, `iat`) has come, as far as clocks go.
    ///
    /// # Errors
    /// [`Ahead`], when it is ahead by more than the leeway.
    pub fn begun(&self, claim: &'static str, begins: Timestamp, now: Timestamp) -> Result<(), Ahead> {
        self.begun_within(self.span, claim, begins, now)
    }

    /// The same with at least `span`.
    pub fn begun_within(
        &self,
        span: Duration,
        claim: &'static str,
        begins: Timestamp,
        now: Timestamp,
    ) -> Result<(), Ahead> {
        let allowed = span.max(self.span);
        let by = begins.millis().saturating_sub(now.millis());
        if by > millis(allowed) {
            return Err(Ahead { by: Duration::from_millis(by), allowed });
        }
        self.warn(claim, "is ahead", by);
        Ok(())
    }

    /// The token is accepted, with a warning for the operator of either clock. It names no claim but the time.
    fn warn(&self, claim: &'static str, how: &'static str, skew: u64) {
        let Some(watch) = self.watch.as_ref().filter(|_| skew >= millis(limits::CLOCK_SKEW_TOLD)) else {
            return;
        };
        if let Some(held_back) = watch.warning.allows(&watch.clock) {
            tracing::warn!(
                claim,
                how,
                skew_ms = skew,
                held_back,
                "a JWT is taken although a time in it {how}: the clock of whoever signs these, or this server's, is off \
                 by about {} s; auth.clock_leeway says how far it may be",
                skew.div_ceil(1_000)
            );
        }
    }
}

/// A time of a JWT: seconds since the epoch, which may have a fraction (RFC 7519 §2). None when it is no time from the epoch on.
pub fn instant(seconds: f64) -> Option<Timestamp> {
    let is_time = seconds.is_finite() && seconds >= 0.0;
    // Casts of floating point numbers stop at the largest integer.
    is_time.then(|| Timestamp::from_millis((seconds * 1_000.0) as u64))
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn at(offset: i64) -> Timestamp {
        Timestamp::from_millis(NOW.millis().saturating_add_signed(offset))
    }

    #[test]
    fn a_token_that_comes_in_time_ends_on_time_and_a_late_one_with_the_leeway() {
        let leeway = Leeway::new(Duration::from_secs(30), Clock::manual(NOW));
        assert_eq!(leeway.end(at(1), NOW), Some(at(1)));
        assert_eq!(leeway.end(at(0), NOW), Some(at(30_000)));
        assert_eq!(leeway.end(at(-29_999), NOW), Some(at(1)));
        assert_eq!(leeway.end(at(-30_000), NOW), None);
        assert_eq!(Leeway::default().end(at(0), NOW), None, "what is signed here");
    }

    /// What the log has of `act`.
    fn logged(act: impl FnOnce()) -> String {
        struct Log(Arc<parking_lot::Mutex<Vec<u8>>>);

        impl std::io::Write for Log {
            fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
                self.0.lock().extend_from_slice(line);
                Ok(line.len())
            }

            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }

        let lines = Arc::new(parking_lot::Mutex::new(Vec::new()));
        let log = Arc::clone(&lines);
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || Log(Arc::clone(&log))).finish();
        tracing::subscriber::with_default(subscriber, act);
        String::from_utf8_lossy(&lines.lock()).into_owned()
    }

    /// findings A10: a warning names the claim and by how much the clock is off, once a second.
    #[test]
    fn a_warning_names_the_skew() {
        let leeway = Leeway::new(Duration::from_secs(30), Clock::manual(NOW));
        let two_minutes = Duration::from_secs(120);
        let told = logged(|| {
            assert_eq!(leeway.begun_within(two_minutes, "iat", at(999), NOW), Ok(()));
            assert_eq!(leeway.begun_within(two_minutes, "iat", at(40_000), NOW), Ok(()));
            assert_eq!(leeway.end(at(-5_000), NOW), Some(at(25_000)));
        });
        assert_eq!(told.lines().count(), 1, "{told}");
        for word in ["WARN", "iat", "is ahead", "about 40 s", "auth.clock_leeway"] {
            assert!(told.contains(word), "{told}");
        }
    }

    #[test]
    fn what_is_further_ahead_than_allowed_is_told_with_both_numbers() {
        let leeway = Leeway::new(Duration::from_secs(30), Clock::manual(NOW));
        assert_eq!(leeway.begun("nbf", at(30_000), NOW), Ok(()));
        let (by, allowed) = (Duration::from_millis(30_001), Duration::from_secs(30));
        assert_eq!(leeway.begun("nbf", at(30_001), NOW), Err(Ahead { by, allowed }));
        let two_minutes = Duration::from_secs(120);
        assert_eq!(leeway.begun_within(two_minutes, "iat", at(120_000), NOW), Ok(()));
        assert!(leeway.begun_within(two_minutes, "iat", at(120_001), NOW).is_err());
    }
}
