//! How fast somebody may send (`docs/protocols/group.md §8`): a bucket for each user, whose connections share it.

use std::{num::NonZeroU32, time::Duration};

use governor::{Quota, RateLimiter, middleware::NoOpMiddleware, nanos::Nanos, state::keyed::DefaultKeyedStateStore};

use crate::{clock::Clock, limits};

type Keyed<K> = RateLimiter<K, DefaultKeyedStateStore<K>, Clock, NoOpMiddleware<Nanos>>;

/// The buckets of everybody who is known by a key; without a limit there are none.
pub struct Buckets<K: Clone + Eq + std::hash::Hash>(Option<Keyed<K>>);

impl<K: Clone + Eq + std::hash::Hash> Buckets<K> {
    /// `per_second` 0 = no limit.
    pub fn new(per_second: u32, burst: u32, clock: Clock) -> Self {
        let quota = NonZeroU32::new(per_second)
            .map(|per_second| Quota::per_second(per_second).allow_burst(NonZeroU32::new(burst).unwrap_or(per_second)));
        Self(quota.map(|quota| RateLimiter::new(quota, DefaultKeyedStateStore::default(), clock)))
    }

    /// Whether there is room for one more; counts it.
    pub fn allow(&self, key: &K) -> bool {
        let Some(buckets) = &self.0 else { return true };
        if buckets.len() > limits::GROUP_RATES {
            buckets.retain_recent();
        }
        buckets.check_key(key).is_ok()
    }
}

/// Counts events within a span of time that begins with the first of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    since: Duration,
    count: u32,
}

impl Tally {
    /// One more at `uptime`; how many there are now.
    pub fn note(&mut self, uptime: Duration, within: Duration) -> u32 {
        if self.count == 0 || !self.is_current(uptime, within) {
            *self = Self { since: uptime, count: 0 };
        }
        self.count += 1;
        self.count
    }

    pub fn is_current(&self, uptime: Duration, within: Duration) -> bool {
        uptime.saturating_sub(self.since) <= within
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_refusals_in_a_minute_are_too_many() {
        let second = Duration::from_secs(1);
        let is_last =
            |tally: &mut Tally, uptime| tally.note(uptime, limits::GROUP_REFUSALS_WITHIN) >= limits::GROUP_REFUSALS;
        let mut refusals = Tally::default();
        assert!((0..99).all(|_| !is_last(&mut refusals, second)));
        assert!(is_last(&mut refusals, second * 60));
        let mut refusals = Tally::default();
        assert!((0..99).all(|_| !is_last(&mut refusals, second)));
        assert!(!is_last(&mut refusals, second * 62));
    }

    #[test]
    fn each_key_has_its_own_bucket() {
        let clock = Clock::manual(crate::ids::Timestamp::from_millis(0));
        let rates = Buckets::<u8>::new(1, 2, clock.clone());
        assert!(rates.allow(&1) && rates.allow(&1) && !rates.allow(&1) && rates.allow(&2));
        clock.advance(Duration::from_secs(1));
        assert!(rates.allow(&1) && !rates.allow(&1));
        let free = Buckets::<u8>::new(0, 1, clock);
        assert!((0..1_000).all(|_| free.allow(&1)));
    }
}
