//! How fast one connection may send: a token bucket for every frame, and a second one for what is over it.

use std::{num::NonZeroU32, time::Duration};

use crate::limits;

/// Frames that one connection may send; dearer ones count for several.
#[derive(Clone, Copy, Debug)]
pub struct FrameRate {
    pub per_second: NonZeroU32,
    pub burst: NonZeroU32,
}

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// It is carried out.
    Within,
    /// It is refused.
    Over,
    /// So much was refused that the connection ends.
    Flood,
}

/// What a frame of so many bytes costs.
pub fn frame_cost(bytes: usize) -> u32 {
    u32::try_from(bytes / limits::FRAME_COST_BYTES).unwrap_or(u32::MAX).saturating_add(1)
}

/// The rate of one connection.
#[derive(Clone, Copy, Debug)]
pub struct FrameBuckets {
    allowed: Bucket,
    /// Refusing costs something, too: this one is for frames that were refused, and larger by [`limits::FLOOD_FACTOR`].
    refused: Bucket,
}

impl FrameBuckets {
    pub fn new(rate: FrameRate) -> Self {
        let times = |number: NonZeroU32| number.saturating_mul(limits::FLOOD_FACTOR);
        Self {
            allowed: Bucket::new(rate.per_second, rate.burst),
            refused: Bucket::new(times(rate.per_second), times(rate.burst)),
        }
    }

    /// Judges a frame that costs `cost`, and counts it.
    pub fn judge(&mut self, now: Duration, cost: u32) -> Pace {
        if self.allowed.take(now, cost) { Pace::Within } else { self.judge_refused(now, cost) }
    }

    /// The same for a frame that is not carried out in any case: only a flood of them matters.
    pub fn judge_refused(&mut self, now: Duration, cost: u32) -> Pace {
        if self.refused.take(now, cost) { Pace::Over } else { Pace::Flood }
    }

    /// Frames that were sent lately, until they are earned back.
    pub fn spent(&self, now: Duration) -> u64 {
        let bucket = &self.allowed;
        let left = bucket.full_at.saturating_sub(now).as_nanos() / bucket.interval.as_nanos().max(1);
        u64::try_from(left).unwrap_or(u64::MAX)
    }

    /// A frame that was judged costs so much more, as it turned out. It is carried out all the same; those behind it wait.
    pub fn spend(&mut self, now: Duration, cost: u32) {
        self.allowed.spend(now, cost);
    }
}

/// A token bucket, kept as the time at which it will be full again.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// In which one token comes.
    interval: Duration,
    /// In which the empty bucket fills.
    depth: Duration,
    full_at: Duration,
}

impl Bucket {
    fn new(per_second: NonZeroU32, burst: NonZeroU32) -> Self {
        let interval = Duration::from_secs(1) / per_second.get();
        Self { interval, depth: interval.saturating_mul(burst.get()), full_at: Duration::ZERO }
    }

    /// Takes `cost` tokens, but not more than fit into the bucket, if they are there.
    fn take(&mut self, now: Duration, cost: u32) -> bool {
        let full_at = self.full_at_after(now, self.interval.saturating_mul(cost).min(self.depth));
        let is_there = full_at.saturating_sub(now) <= self.depth;
        if is_there {
            self.full_at = full_at;
        }
        is_there
    }

    /// Takes `cost` tokens, also such as are not there yet; at most so many that the bucket is full again in twice the time
    /// that an empty one takes.
    fn spend(&mut self, now: Duration, cost: u32) {
        let full_at = self.full_at_after(now, self.interval.saturating_mul(cost));
        self.full_at = full_at.min(now.saturating_add(self.depth.saturating_mul(2)));
    }

    fn full_at_after(&self, now: Duration, filling: Duration) -> Duration {
        self.full_at.max(now).saturating_add(filling)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn buckets(per_second: u32, burst: u32) -> FrameBuckets {
        let number = |number| NonZeroU32::new(number).unwrap();
        FrameBuckets::new(FrameRate { per_second: number(per_second), burst: number(burst) })
    }

    const START: Duration = Duration::from_secs(1_800_000_000);

    #[test]
    fn a_burst_and_then_so_many_a_second() {
        let mut buckets = buckets(10, 5);
        let at = |millis| START + Duration::from_millis(millis);
        for (millis, allowed) in [(0, 5), (99, 0), (100, 1), (1_100, 5), (90_000, 5)] {
            for _ in 0..allowed {
                assert_eq!(buckets.judge(at(millis), 1), Pace::Within, "{millis}");
            }
            assert_eq!(buckets.judge(at(millis), 1), Pace::Over, "{millis}");
        }
    }

    #[test]
    fn what_is_dear_counts_for_several() {
        let mut buckets = buckets(1, 10);
        assert_eq!(buckets.judge(START, 8), Pace::Within);
        assert_eq!(buckets.judge(START, 3), Pace::Over);
        assert_eq!(buckets.judge(START, 2), Pace::Within);
        // One that costs more than the bucket holds passes when the bucket is full.
        let later = START + Duration::from_secs(10);
        assert_eq!(buckets.judge(later - Duration::from_millis(1), 100), Pace::Over);
        assert_eq!(buckets.judge(later, 100), Pace::Within);
    }

    #[test]
    fn what_turns_out_dear_is_paid_by_those_behind_it() {
        let mut buckets = buckets(1, 4);
        assert_eq!(buckets.judge(START, 1), Pace::Within);
        buckets.spend(START, 5);
        assert_eq!(buckets.judge(START + Duration::from_secs(2), 1), Pace::Over);
        assert_eq!(buckets.judge(START + Duration::from_secs(3), 1), Pace::Within);
        // The debt has an end.
        buckets.spend(START, 1_000_000);
        assert_eq!(buckets.judge(START + Duration::from_secs(5), 1), Pace::Within);
    }

    #[test]
    fn a_flood_ends() {
        let mut buckets = buckets(1, 5);
        let refused = 5 * limits::FLOOD_FACTOR.get();
        let mut judge = || buckets.judge(START, 1);
        assert!((0..5).all(|_| judge() == Pace::Within));
        assert!((0..refused).all(|_| judge() == Pace::Over));
        assert_eq!(judge(), Pace::Flood);
    }

    proptest! {
        /// Whatever comes when: in any span no more passes than the burst and what the span allows.
        #[test]
        fn no_span_lets_more_through(
            frames in proptest::collection::vec((0_u64..300, 1_u32..20), 1..200), per_second in 1_u32..100, burst in 20_u32..50,
        ) {
            let mut buckets = buckets(per_second, burst);
            let (mut millis, mut passed) = (0, Vec::new());
            for (pause, cost) in frames {
                millis += pause;
                if buckets.judge(START + Duration::from_millis(millis), cost) == Pace::Within {
                    passed.push((millis, u64::from(cost)));
                }
            }
            for (first, (since, _)) in passed.iter().enumerate() {
                let mut sum = 0;
                for (at, cost) in &passed[first..] {
                    sum += cost;
                    // One more, for what the interval is rounded down by.
                    let allowed = u64::from(burst) + (at - since) * u64::from(per_second) / 1_000 + 1;
                    prop_assert!(sum <= allowed, "{sum} of {allowed}");
                }
            }
        }
    }
}
