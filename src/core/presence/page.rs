//! The members page by page (`docs/protocols/ably.md §7.8`): each page begins where the one before has ended.

use std::{ops::Bound, sync::Arc};

use crate::{
    core::presence::{Member, MemberKey, Members},
    ids::{ClientId, ConnectionId},
};

/// Which members are asked for.
#[derive(Clone, Debug, Default)]
pub struct MembersQuery {
    pub client: Option<ClientId>,
    pub connection: Option<ConnectionId>,
    /// The last member of the page before.
    pub after: Option<(ClientId, ConnectionId)>,
    /// At most so many.
    pub limit: usize,
}

/// Some members, by client id, then by connection.
#[derive(Clone, Debug, Default)]
pub struct MembersPage {
    pub members: Vec<Arc<Member>>,
    /// Others follow.
    pub has_more: bool,
}

impl Members {
    pub fn page(&self, query: &MembersQuery) -> MembersPage {
        let mut members: Vec<Arc<Member>> = self.walk(query).take(query.limit.saturating_add(1)).cloned().collect();
        let has_more = members.len() > query.limit;
        members.truncate(query.limit);
        MembersPage { members, has_more }
    }

    /// Those that the query wants, from the first that its page may have.
    fn walk<'a>(&'a self, query: &'a MembersQuery) -> impl Iterator<Item = &'a Arc<Member>> {
        let first = query.client.clone().map(|client| (client, ConnectionId::from_bytes([0; 9])));
        let start = match (first, query.after.clone()) {
            (Some(first), Some(after)) if first > after => Bound::Included(first),
            (_, Some(after)) => Bound::Excluded(after),
            (Some(first), None) => Bound::Included(first),
            (None, None) => Bound::Unbounded,
        };
        let is_client = |client: &ClientId| query.client.as_ref().is_none_or(|wanted| wanted == client);
        let is_connection = |connection| query.connection.is_none_or(|wanted| wanted == connection);
        let found = self.present.range::<MemberKey, _>((start, Bound::Unbounded));
        let found = found.take_while(move |((client, _), _)| is_client(client));
        found.filter(move |((_, connection), _)| is_connection(*connection)).map(|(_, member)| member)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::{core::message::Payload, ids::Timestamp};

    fn member(client: u32, connection: u8) -> Arc<Member> {
        Arc::new(Member {
            id: "".into(),
            connection: ConnectionId::from_bytes([connection; 9]),
            client_id: ClientId::new(format!("{client:06}")).unwrap(),
            payload: Payload::default(),
            extras: None,
            timestamp: Timestamp::from_millis(1),
        })
    }

    fn key(member: &Member) -> (ClientId, ConnectionId) {
        (member.client_id.clone(), member.connection)
    }

    /// findings G11: a page is as long as a page, however many members come before it.
    #[test]
    fn a_page_begins_where_the_one_before_has_ended() {
        for count in [1_000, 10_000] {
            let all: Vec<_> = (0..count).map(|client| member(client, 1)).collect();
            let members = Members::new(0, all.clone());
            let mut query = MembersQuery { limit: 100, ..MembersQuery::default() };
            let mut found = Vec::new();
            loop {
                // The first that is looked at is the first of the page.
                let first = members.walk(&query).next().cloned();
                let page = members.page(&query);
                assert_eq!(first, page.members.first().cloned());
                found.extend(page.members);
                if !page.has_more {
                    break;
                }
                query.after = found.last().map(|last| key(last));
            }
            assert_eq!(found, all);
        }
    }

    #[test]
    fn one_client_or_one_connection_is_found_among_all() {
        let all = [member(1, 1), member(1, 2), member(2, 1), member(2, 2), member(3, 1)];
        let members = Members::new(0, all.clone());
        let found = |client: Option<usize>, connection: Option<usize>, after: Option<usize>| {
            let client = client.map(|of| all[of].client_id.clone());
            let connection = connection.map(|of| all[of].connection);
            let after = after.map(|after| key(&all[after]));
            members.page(&MembersQuery { client, connection, after, limit: 10 }).members
        };
        assert_eq!(found(Some(2), None, None), all[2..4]);
        assert_eq!(found(Some(2), None, Some(0)), all[2..4]);
        assert_eq!(found(Some(2), None, Some(2)), all[3..4]);
        assert_eq!(found(Some(0), None, Some(2)), []);
        assert_eq!(found(Some(2), Some(3), None), all[3..4]);
        assert_eq!(found(None, Some(1), None), [&all[1], &all[3]].map(Arc::clone));
        assert_eq!(found(None, None, Some(3)), all[4..]);
    }
}
