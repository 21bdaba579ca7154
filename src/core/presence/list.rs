//! All members at one moment, shared by all who ask before the next change.

use std::{
    ops::Deref,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;

use crate::core::{
    budget::{Account, Charge, Kind},
    presence::Member,
    wire::{FORMATS, Slot},
};

/// Members by client id, then by connection.
#[derive(Debug, Default)]
pub struct MemberList {
    members: Box<[Arc<Member>]>,
    encoded: OnceLock<Box<[OnceLock<Pages>; FORMATS]>>,
    /// Pays for what is encoded; none where nobody does.
    account: Option<Account>,
}

/// All of the members in one format.
#[derive(Debug)]
struct Pages {
    pages: Box<[EncodedMembers]>,
    /// Whatever the limit: whoever attaches is to see who is present, and the members themselves are bounded.
    _charge: Option<Charge>,
}

/// Some members as a protocol writes them.
#[derive(Clone, Debug)]
pub struct EncodedMembers {
    pub bytes: Bytes,
    pub len: usize,
}

impl MemberList {
    /// `account` pays for what is encoded of it.
    pub fn new(members: impl IntoIterator<Item = Arc<Member>>, account: Option<Account>) -> Self {
        Self { members: members.into_iter().collect(), encoded: OnceLock::new(), account }
    }

    /// Page by page in the format of `slot`: encoded by the first who asks.
    pub fn pages<I>(&self, slot: Slot, encode: impl FnOnce(&[Arc<Member>]) -> I) -> &[EncodedMembers]
    where
        I: IntoIterator<Item = EncodedMembers>,
    {
        let formats = self.encoded.get_or_init(Box::default);
        let of_format = formats[slot.index()].get_or_init(|| {
            let pages: Box<[_]> = encode(&self.members).into_iter().collect();
            let bytes = pages.iter().map(|page| page.bytes.len()).sum();
            let charge = self.account.as_ref().map(|account| account.charge_anyway(Kind::Presence, bytes));
            Pages { pages, _charge: charge }
        });
        &of_format.pages
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
        Self::new(members, None)
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

    /// Pages are charged as long as somebody has the list.
    #[test]
    fn pages_are_charged_while_they_are_kept() {
        let account = Account::server(1);
        let list = MemberList::new([], Some(account.clone()));
        for slot in [Slot::AblyJson, Slot::AblyMsgpack, Slot::AblyJson] {
            list.pages(slot, |_| [EncodedMembers { bytes: Bytes::from_static(b"12345"), len: 0 }]);
        }
        assert_eq!(account.kept_of(Kind::Presence), 10);
        drop(list);
        assert_eq!(account.kept(), 0);
    }
}
