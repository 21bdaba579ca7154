//! Keys of numbered rows.

/// The key of a row that an owner numbers: owner, NUL, number in eight bytes. Rows sort by owner, then by number. An
/// owner may contain NUL: the number is read from the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NumberKey<'a> {
    pub owner: &'a str,
    pub number: u64,
}

const NUMBER_BYTES: usize = 8;

impl<'a> NumberKey<'a> {
    pub const fn new(owner: &'a str, number: u64) -> Self {
        Self { owner, number }
    }

    /// What the keys of all rows of an owner begin with.
    pub fn prefix(owner: &str) -> Vec<u8> {
        [owner.as_bytes(), &[0]].concat()
    }

    /// None: it is no such key.
    pub fn read(key: &'a [u8]) -> Option<Self> {
        let (owner, number) = key.split_last_chunk::<NUMBER_BYTES>()?;
        let owner = std::str::from_utf8(owner).ok()?.strip_suffix('\0')?;
        Some(Self { owner, number: u64::from_be_bytes(*number) })
    }

    pub fn bytes(self) -> Vec<u8> {
        [self.owner.as_bytes(), &[0], &self.number.to_be_bytes()].concat()
    }
}

impl From<NumberKey<'_>> for Vec<u8> {
    fn from(key: NumberKey<'_>) -> Self {
        key.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_tell_owner_and_number() {
        for owner in ["a", "", "nul\0in it", "小明"] {
            let key = NumberKey::new(owner, 7);
            assert_eq!(NumberKey::read(&key.bytes()), Some(key));
        }
        assert_eq!(NumberKey::read(b"short"), None);
    }
}
