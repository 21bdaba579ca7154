//! Frames that leave a moment later, however many there are by one timer.

use bytes::Bytes;

use crate::limits;

/// What waits for the timer of one transport. A frame that comes while it runs waits for its next run, so that no frame
/// leaves before its time; none waits longer than twice that.
#[derive(Debug, Default)]
pub struct DelayedFrames {
    /// Leave when the timer ends.
    first: Vec<Bytes>,
    /// Have come since it began.
    behind: Vec<Bytes>,
    bytes: usize,
}

/// What becomes of a frame.
#[derive(Debug, PartialEq, Eq)]
pub enum Delay {
    /// It waits, and the timer has to be started.
    Begins,
    Waits,
    /// [`limits::DELAYED_BYTES`] wait already: it leaves at once.
    Full(Bytes),
}

impl DelayedFrames {
    pub fn push(&mut self, frame: Bytes) -> Delay {
        if self.bytes + frame.len() > limits::DELAYED_BYTES {
            return Delay::Full(frame);
        }
        self.bytes += frame.len();
        if self.first.is_empty() {
            self.first.push(frame);
            return Delay::Begins;
        }
        self.behind.push(frame);
        Delay::Waits
    }

    /// The timer has ended: what leaves now, and whether it has to run again.
    pub fn take(&mut self) -> (Vec<Bytes>, bool) {
        let behind = std::mem::take(&mut self.behind);
        let leaving = std::mem::replace(&mut self.first, behind);
        self.bytes -= leaving.iter().map(Bytes::len).sum::<usize>();
        (leaving, !self.first.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Bytes = Bytes::from_static(b"frame");

    #[test]
    fn one_timer_for_all() {
        let mut delayed = DelayedFrames::default();
        assert_eq!(delayed.push(FRAME), Delay::Begins);
        assert!((0..100).all(|_| delayed.push(FRAME) == Delay::Waits));
        let (leaving, runs_again) = delayed.take();
        assert_eq!((leaving.len(), runs_again), (1, true));
        let (leaving, runs_again) = delayed.take();
        assert_eq!((leaving.len(), runs_again), (100, false));
        assert_eq!(delayed.push(FRAME), Delay::Begins);
    }

    #[test]
    fn they_are_bounded() {
        let mut delayed = DelayedFrames::default();
        let half = Bytes::from(vec![0; limits::DELAYED_BYTES / 2]);
        assert_eq!(delayed.push(half.clone()), Delay::Begins);
        assert_eq!(delayed.push(half.clone()), Delay::Waits);
        assert_eq!(delayed.push(FRAME), Delay::Full(FRAME));
        delayed.take();
        assert_eq!(delayed.push(FRAME), Delay::Waits);
    }
}
