//! All members at one moment, shared by all who ask before the next change.

use std::{
    ops::Deref,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;

use crate::{
    core::{
        budget::{Account, Kind},
        pages::{Page, Pages, Start},
        presence::{Member, MemberKey},
        wire::Slot,
    },
    limits,
};

/// Where a page of members begins.
pub type MembersStart = Start<MemberKey, ()>;

/// Members by client id, then by connection.
#[derive(Debug, Default)]
pub struct MemberList {
    members: Box<[Arc<Member>]>,
    pages: OnceLock<Pages<MemberKey, ()>>,
    /// Pays for what is encoded; none where nobody does.
    account: Option<Account>,
}

impl MemberList {
    /// `account` pays for what is encoded of it.
    pub fn new(members: impl IntoIterator<Item = Arc<Member>>, account: Option<Account>) -> Self {
        Self { members: members.into_iter().collect(), pages: OnceLock::new(), account }
    }

    /// All of them stand on one page.
    pub fn is_one_page(&self) -> bool {
        self.pages().is_one()
    }

    /// The members from `from` on, as far as they stand on one page, written by `encode` in the format of `slot`.
    pub fn page(
        &self,
        from: Option<&MembersStart>,
        slot: Slot,
        encode: impl FnOnce(&[Arc<Member>]) -> Bytes,
    ) -> Page<MemberKey, ()> {
        let place = |start: &MembersStart| {
            let (client, connection) = &start.0;
            self.members.partition_point(|member| (&member.client_id, &member.connection) < (client, connection))
        };
        self.pages().page(from, slot, |next| {
            encode(&self.members[from.map_or(0, place)..next.map_or(self.members.len(), place)])
        })
    }

    /// Cut so that no frame gets longer than clients can read (`docs/protocols/ably.md §1.4`).
    fn pages(&self) -> &Pages<MemberKey, ()> {
        self.pages.get_or_init(|| {
            let (mut starts, mut count, mut bytes) = (Vec::new(), 0, 0);
            for member in &self.members {
                bytes += member.size();
                if count > 0 && (count == limits::SYNC_PAGE_MEMBERS || bytes > limits::SYNC_PAGE_BYTES) {
                    starts.push(((member.client_id.clone(), member.connection), ()));
                    (count, bytes) = (0, member.size());
                }
                count += 1;
            }
            Pages::new(starts, self.account.clone().map(|account| (account, Kind::Presence)))
        })
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
