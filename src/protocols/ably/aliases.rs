//! Which number an attachment has that was asked for by a qualified name (`[?rewind=1]x`): a channel can be attached by
//! several names at a time.

use bytestring::ByteString;

use crate::{core::hashing::FastMap, error::Fault, protocols::ably::name::Name};

/// The qualified names that a connection has attachments by. There are as many as there are such attachments: whoever is
/// not attached leaves nothing here.
#[derive(Default)]
pub struct Aliases {
    numbers: FastMap<ByteString, u16>,
    /// Numbers that were given back, to be used before new ones.
    free: Vec<u16>,
}

impl Aliases {
    /// The number of a name that an attachment has: 0 for a plain name.
    pub fn known(&self, name: &Name) -> Option<u16> {
        if name.whole == name.base || name.is_meta() && name.params.is_empty() {
            return Some(0);
        }
        self.numbers.get(&name.whole).copied()
    }

    /// The number of a name that is to be attached. It is taken only by [`Self::keep`].
    /// Error: [`Fault::TooManyChannels`] when all numbers are taken.
    pub fn number_for(&self, name: &Name) -> Result<u16, Fault> {
        let free = || self.free.last().copied();
        let next = || u16::try_from(self.numbers.len() + 1).ok();
        let number = self.known(name).or_else(free).or_else(next);
        number.ok_or(Fault::TooManyChannels { limit: usize::from(u16::MAX) })
    }

    /// There is an attachment by this name now, with the number that [`Self::number_for`] gave.
    pub fn keep(&mut self, name: &ByteString, number: u16) {
        if number == 0 {
            return;
        }
        if self.free.last() == Some(&number) {
            self.free.pop();
        }
        self.numbers.insert(name.clone(), number);
    }

    /// The attachment by this name is no more, and no answer about it is to come.
    pub fn release(&mut self, name: &ByteString) {
        if let Some(number) = self.numbers.remove(name) {
            self.free.push(number);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn name(number: u32) -> Name {
        Name::parse(format!("[?a={number}]x")).unwrap()
    }

    fn take(aliases: &mut Aliases, name: &Name) -> u16 {
        let number = aliases.number_for(name).unwrap();
        aliases.keep(&name.whole, number);
        number
    }

    /// findings B9 and G13: what was never attached leaves nothing, and what was detached gives its place back.
    #[test]
    fn there_are_as_many_as_attachments() {
        let mut aliases = Aliases::default();
        for number in 0..100_000 {
            assert_eq!(aliases.known(&name(number)), None);
            assert_eq!(aliases.number_for(&name(number)).unwrap(), 1);
        }
        for number in 0..100_000 {
            let name = name(number);
            assert_eq!(take(&mut aliases, &name), 1);
            assert_eq!(aliases.known(&name), Some(1));
            aliases.release(&name.whole);
        }
        assert_eq!((aliases.numbers.len(), aliases.free.len()), (0, 1));
    }

    #[test]
    fn no_two_names_share_a_number() {
        let mut aliases = Aliases::default();
        for number in 1..=u32::from(u16::MAX) {
            assert_eq!(u32::from(take(&mut aliases, &name(number))), number);
        }
        let fault = aliases.number_for(&name(70_000)).unwrap_err();
        assert_eq!(fault, Fault::TooManyChannels { limit: 65_535 });
        aliases.release(&name(7).whole);
        assert_eq!(take(&mut aliases, &name(70_000)), 7);
        assert_eq!(take(&mut aliases, &name(8)), 8);
    }

    #[test]
    fn plain_names_need_none() {
        let mut aliases = Aliases::default();
        for plain in ["x", "[meta]x"] {
            let name = Name::parse(plain).unwrap();
            assert_eq!(take(&mut aliases, &name), 0);
            assert_eq!(aliases.known(&name), Some(0));
            aliases.release(&name.whole);
        }
        assert!(aliases.numbers.is_empty() && aliases.free.is_empty());
    }
}
