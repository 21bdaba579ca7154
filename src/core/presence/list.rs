//! All members at one moment, shared by all who ask before the next change.

use std::{
    ops::Deref,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;

use crate::core::{
    presence::Member,
    wire::{FORMATS, Slot},
};

/// Members by client id, then by connection.
#[derive(Debug, Default)]
pub struct MemberList {
    members: Box<[Arc<Member>]>,
    encoded: OnceLock<Box<[Pages; FORMATS]>>,
}

/// All of the members in one format.
type Pages = OnceLock<Box<[EncodedMembers]>>;

/// Some members as a protocol writes them.
#[derive(Clone, Debug)]
pub struct EncodedMembers {
    pub bytes: Bytes,
    pub len: usize,
}

impl MemberList {
    /// Page by page in the format of `slot`: encoded by the first who asks.
    pub fn pages<I>(&self, slot: Slot, encode: impl FnOnce(&[Arc<Member>]) -> I) -> &[EncodedMembers]
    where
        I: IntoIterator<Item = EncodedMembers>,
    {
        let formats = self.encoded.get_or_init(Box::default);
        formats[slot.index()].get_or_init(|| encode(&self.members).into_iter().collect())
    }
}

impl Deref for MemberList {
    type Target = [Arc<Member>];

    fn deref(&self) -> &Self::Target {
        &self.members
    }
}

impl FromIterator<Arc<Member>> for MemberList {
    fn from_iter<I: IntoIterator<Item = Arc<Member>>>(members: I) -> Self {
        Self { members: members.into_iter().collect(), encoded: OnceLock::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// findings G7: a crowd of newcomers costs one encoding per format.
    #[test]
    fn pages_are_encoded_once_per_format() {
        for newcomers in [10, 1_000] {
            let (list, mut encoded) = (MemberList::default(), 0);
            for _ in 0..newcomers {
                for slot in [Slot::AblyJson, Slot::AblyMsgpack] {
                    let pages = list.pages(slot, |members| {
                        encoded += 1;
                        [EncodedMembers { bytes: Bytes::from_static(b"[]"), len: members.len() }]
                    });
                    assert_eq!(pages.len(), 1);
                }
            }
            assert_eq!(encoded, 2);
        }
    }
}
