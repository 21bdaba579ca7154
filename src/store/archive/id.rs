//! Ids of messages: 12 bytes as MongoDB's ObjectId has them, on either store (`docs/protocols/chat.md §4`).

use std::{fmt, str::FromStr};

use parking_lot::Mutex;
use rand::RngExt as _;

use crate::clock::Clock;

/// Seconds since the Unix epoch (4 bytes), milliseconds (2), the process that made it (3), a counter (3). Sorts as made: within a
/// process, and by the milliseconds over several that share a store.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId([u8; Self::BYTES]);

impl MessageId {
    pub const BYTES: usize = 12;

    pub const fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    pub const fn to_bytes(self) -> [u8; Self::BYTES] {
        self.0
    }
}

/// 24 lower-case hex digits.
impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for MessageId {
    type Err = hex::FromHexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; Self::BYTES];
        hex::decode_to_slice(text, &mut bytes)?;
        Ok(Self(bytes))
    }
}

/// Makes them. One for a process: two could draw the same counter.
pub struct Ids {
    clock: Clock,
    process: [u8; 3],
    last: Mutex<Last>,
}

/// Of the last id.
struct Last {
    millis: u64,
    count: u32,
}

/// The counter has three bytes.
const COUNTS: u32 = 1 << 24;

impl Ids {
    pub fn new(clock: Clock) -> Self {
        let mut random = rand::rng();
        // Below the middle, as MongoDB's drivers begin somewhere: ids of one millisecond then rarely wrap.
        let count = random.random_range(..COUNTS / 2);
        Self { clock, process: random.random(), last: Mutex::new(Last { millis: 0, count }) }
    }

    /// An id above all that were minted before, also when the wall clock was set back.
    pub fn mint(&self) -> MessageId {
        let mut last = self.last.lock();
        last.millis = last.millis.max(self.clock.now().millis());
        last.count += 1;
        if last.count == COUNTS {
            // The counter alone would begin anew below its last value.
            last.count = 0;
            last.millis += 1;
        }
        let (millis, count) = (last.millis, last.count.to_be_bytes());
        drop(last);
        let second = u32::try_from(millis / 1_000).unwrap_or(u32::MAX).to_be_bytes();
        let mut bytes = [0; MessageId::BYTES];
        bytes[..4].copy_from_slice(&second);
        bytes[4..6].copy_from_slice(&((millis % 1_000) as u16).to_be_bytes());
        bytes[6..9].copy_from_slice(&self.process);
        bytes[9..].copy_from_slice(&count[1..]);
        MessageId(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::ids::Timestamp;

    #[test]
    fn ids_are_24_hex_digits_and_come_back() {
        let ids = Ids::new(Clock::manual(Timestamp::from_millis(1_704_067_200_999)));
        let id = ids.mint();
        let text = id.to_string();
        assert_eq!(text.len(), 24);
        assert!(text.starts_with("65920080"), "{text}");
        assert_eq!(text.parse(), Ok(id));
        for bad in ["", "65920080", &text[1..], "g92020800000000000000000"] {
            assert!(bad.parse::<MessageId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn ids_rise_when_the_clock_is_set_back_and_when_the_counter_wraps() {
        let late = Clock::manual(Timestamp::from_millis(9_000_000));
        let ids = Ids::new(late);
        let first = ids.mint();
        let ids = Ids { clock: Clock::manual(Timestamp::from_millis(1_000_000)), ..ids };
        let second = ids.mint();
        assert!(second > first);
        ids.last.lock().count = COUNTS - 2;
        let before = ids.mint();
        let wrapped = ids.mint();
        assert!(wrapped > before && before > second);
        ids.clock.advance(Duration::from_secs(8_500));
        assert!(ids.mint() > wrapped);
    }
}
