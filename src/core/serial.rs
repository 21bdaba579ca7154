//! Positions in a channel's log: minting and comparing.

use std::fmt;

use crate::ids::Timestamp;

/// Which life of a log a serial belongs to. A log that was lost and begins anew has another epoch,
/// so an old position never looks like one of the new log, even if the clock was set back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Epoch(u64);

impl Epoch {
    pub const fn new(bits: u64) -> Self {
        Self(bits)
    }

    pub const fn bits(self) -> u64 {
        self.0
    }
}

/// Where a serial stands in its epoch: milliseconds, and a counter within each.
pub type Place = (u64, u16);

/// The position of one entry in its channel's log.
///
/// Written as `<14-digit ms>-<3-digit counter>@<epoch>`, so that the texts of one epoch sort as the
/// log does (`docs/protocols/ably.md §3.8`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Serial {
    millis: u64,
    counter: u16,
    epoch: Epoch,
}

impl Serial {
    /// The position at a [`Serial::place`] of an epoch.
    pub const fn at(epoch: Epoch, (millis, counter): Place) -> Self {
        Self { millis, counter, epoch }
    }

    pub const fn epoch(self) -> Epoch {
        self.epoch
    }

    /// The position just before it.
    pub const fn before(self) -> Self {
        let (millis, counter) = match self.counter {
            0 => (self.millis.saturating_sub(1), Mint::COUNTER_MAX),
            counter => (self.millis, counter - 1),
        };
        Self { millis, counter, ..self }
    }

    /// Where in its epoch it stands; compare only within one epoch.
    pub const fn place(self) -> Place {
        (self.millis, self.counter)
    }
}

impl Serial {
    /// None when `text` is not what a serial is written as.
    pub fn parse(text: &str) -> Option<Self> {
        let (place, epoch) = text.split_once('@')?;
        let (millis, counter) = place.split_once('-')?;
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let is_canonical = millis.len() == 14 && counter.len() == 3 && epoch.len() == 16;
        if !is_canonical || !digits(millis) || !digits(counter) {
            return None;
        }
        Some(Self {
            millis: millis.parse().ok()?,
            counter: counter.parse().ok()?,
            epoch: Epoch(u64::from_str_radix(epoch, 16).ok()?),
        })
    }
}

impl Serial {
    /// How it is written. Digit by digit: it stands in every frame, and `{:014}` pads it one character at a time.
    pub fn text(self) -> [u8; 35] {
        let Epoch(epoch) = self.epoch;
        let mut text = *b"00000000000000-000@0000000000000000";
        put_digits::<10>(&mut text[..14], self.millis);
        put_digits::<10>(&mut text[15..18], self.counter.into());
        put_digits::<16>(&mut text[19..], epoch);
        text
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(str::from_utf8(&self.text()).map_err(|_| fmt::Error)?)
    }
}

/// The last digits of `number`, as many as there is room for.
fn put_digits<const BASE: u64>(room: &mut [u8], mut number: u64) {
    for place in room.iter_mut().rev() {
        *place = b"0123456789abcdef"[(number % BASE) as usize];
        number /= BASE;
    }
}

/// Mints the serials of one channel: each greater than the one before, even when the wall clock is
/// set back.
#[derive(Debug)]
pub struct Mint {
    epoch: Epoch,
    last: Place,
}

impl Mint {
    /// The most entries of one millisecond; the next one borrows from the following millisecond.
    const COUNTER_MAX: u16 = 999;

    pub const fn new(epoch: Epoch) -> Self {
        Self { epoch, last: (0, 0) }
    }

    /// Goes on after `last`, in the same epoch.
    pub const fn resume(last: Serial) -> Self {
        Self { epoch: last.epoch, last: last.place() }
    }

    /// From now on every serial is behind `place` as well, which may be of an earlier epoch.
    pub fn follow(&mut self, place: Place) {
        self.last = self.last.max(place);
    }

    /// The position of the newest entry; before the first one, a position that all entries follow.
    pub const fn position(&self) -> Serial {
        let (millis, counter) = self.last;
        Serial { millis, counter, epoch: self.epoch }
    }

    pub fn mint(&mut self, now: Timestamp) -> Serial {
        let (millis, counter) = self.last;
        self.last = if now.millis() > millis {
            (now.millis(), 0)
        } else if counter < Self::COUNTER_MAX {
            (millis, counter + 1)
        } else {
            (millis + 1, 0)
        };
        self.position()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn serials_rise_whatever_the_clock_does(clock in prop::collection::vec(0u64..10_000, 1..3_000)) {
            let mut mint = Mint::new(Epoch::new(7));
            let serials: Vec<Serial> =
                clock.iter().map(|ms| mint.mint(Timestamp::from_millis(*ms))).collect();
            for pair in serials.windows(2) {
                prop_assert!(pair[0].place() < pair[1].place());
                prop_assert!(pair[0].to_string() < pair[1].to_string());
                prop_assert_eq!(Serial::parse(&pair[0].to_string()), Some(pair[0]));
            }
        }
    }

    #[test]
    fn other_texts_are_no_serials() {
        let good = Mint::new(Epoch::new(1)).position().to_string();
        for bad in ["", "@", "-@", "1-2@3", "x", &good[1..], &good.replace('0', "+")] {
            assert_eq!(Serial::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_resumed_mint_goes_on_after_the_last_serial() {
        let mut first = Mint::new(Epoch::new(1));
        let last = first.mint(Timestamp::from_millis(500));
        let next = Mint::resume(last).mint(Timestamp::from_millis(3));
        assert_eq!(next.epoch(), last.epoch());
        assert!(next.place() > last.place());
    }
}
