//! Which chunks of a file have passed.

/// Which chunks were seen: a bit each.
#[derive(Debug, Default)]
pub struct ChunkSet {
    words: Vec<u64>,
    len: u64,
}

impl ChunkSet {
    /// True when it was not in the set.
    pub fn insert(&mut self, index: u64) -> bool {
        let (word, bit) = ((index / 64) as usize, 1 << (index % 64));
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        let is_new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        self.len += u64::from(is_new);
        is_new
    }

    pub fn contains(&self, index: u64) -> bool {
        let word = self.words.get((index / 64) as usize);
        word.is_some_and(|word| word & (1 << (index % 64)) != 0)
    }

    pub const fn len(&self) -> u64 {
        self.len
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set(indexes in prop::collection::vec(0u64..300, 0..200)) {
            let (mut set, mut model) = (ChunkSet::default(), BTreeSet::new());
            for index in indexes {
                prop_assert_eq!(set.insert(index), model.insert(index));
                prop_assert_eq!(set.len(), model.len() as u64);
            }
            for index in 0..300 {
                prop_assert_eq!(set.contains(index), model.contains(&index));
            }
        }
    }
}
