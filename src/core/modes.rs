//! What an attachment may do and wants to get: a set of switches, with the bits that they have on Ably's
//! wire (`docs/protocols/ably.md §2.3, §2.4`).

use std::{
    fmt,
    ops::{BitAnd, BitOr},
};

#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Modes(u32);

impl Modes {
    pub const NONE: Self = Self(0);
    /// May be present.
    pub const PRESENCE: Self = Self(1 << 16);
    pub const PUBLISH: Self = Self(1 << 17);
    pub const SUBSCRIBE: Self = Self(1 << 18);
    /// Gets presence events.
    pub const PRESENCE_SUBSCRIBE: Self = Self(1 << 19);
    pub const ANNOTATION_PUBLISH: Self = Self(1 << 21);
    pub const ANNOTATION_SUBSCRIBE: Self = Self(1 << 22);
    pub const OBJECT_SUBSCRIBE: Self = Self(1 << 24);
    pub const OBJECT_PUBLISH: Self = Self(1 << 25);

    /// Each mode with the name that the `modes` parameter gives it.
    pub const NAMED: [(&str, Self); 8] = [
        ("presence", Self::PRESENCE),
        ("publish", Self::PUBLISH),
        ("subscribe", Self::SUBSCRIBE),
        ("presence_subscribe", Self::PRESENCE_SUBSCRIBE),
        ("annotation_publish", Self::ANNOTATION_PUBLISH),
        ("annotation_subscribe", Self::ANNOTATION_SUBSCRIBE),
        ("object_subscribe", Self::OBJECT_SUBSCRIBE),
        ("object_publish", Self::OBJECT_PUBLISH),
    ];

    /// The modes among the flags of a frame.
    pub fn from_flags(flags: u64) -> Self {
        let all = Self::NAMED.iter().fold(Self::NONE, |all, (_, mode)| all | *mode);
        // What does not fit is no mode.
        Self(flags as u32) & all
    }

    pub const fn flags(self) -> u64 {
        self.0 as u64
    }

    /// Whether it has every one of `others`.
    pub const fn has(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl BitOr for Modes {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitAnd for Modes {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl fmt::Debug for Modes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Self::NAMED.iter().filter(|(_, mode)| self.has(*mode));
        f.debug_set().entries(names.map(|(name, _)| name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// docs/protocols/ably.md §5.3: the example frames.
    #[test]
    fn flags_of_the_wire() {
        assert_eq!(Modes::from_flags(327_687), Modes::SUBSCRIBE | Modes::PRESENCE);
        assert_eq!((Modes::SUBSCRIBE | Modes::PRESENCE).flags(), 327_680);
        assert!(Modes::from_flags(7 | 1 << 20 | 1 << 23 | 1 << 40).is_empty());
    }
}
