//! Which node owns the members of a connection (`docs/design/cluster.md §3`): the one that the newest entry about them came by.
//! The owner lets them leave when the connection does not come back; who re-attaches it elsewhere adopts them there.

use std::sync::Arc;

use crate::{
    core::{
        budget::Kind,
        message::Entry,
        presence::{Member, Members, PresenceAction, PresenceEvent},
    },
    ids::{ClientId, ConnectionId, NodeId},
};

impl Members {
    /// Applies an entry of a log that nodes share; `node` has appended it, none: this one. One without events tells the owner.
    pub fn follow(&mut self, entry: &Entry, node: Option<NodeId>) {
        self.apply(entry);
        if let Some(connection) = entry.publisher {
            self.own(connection, node);
        }
    }

    fn own(&mut self, connection: ConnectionId, node: Option<NodeId>) {
        let Some(clients) = self.clients.get_mut(&connection).filter(|clients| !clients.ids.is_empty()) else { return };
        self.elsewhere -= usize::from(clients.node.is_some());
        self.elsewhere += usize::from(node.is_some());
        clients.node = node;
        if node.is_some() {
            self.lost.clear(connection);
        }
        // Whose members they are pays at its node; for the copies here the app does.
        match (&mut clients.charge, &self.account) {
            (Some(charge), _) if charge.bytes() < clients.bytes => charge.set_anyway(clients.bytes),
            (None, Some(account)) => clients.charge = Some(account.charge_anyway(Kind::Presence, clients.bytes)),
            _ => {}
        }
    }

    /// The other node that owns the members of a connection.
    pub fn elsewhere(&self, connection: ConnectionId) -> Option<NodeId> {
        self.clients.get(&connection)?.node
    }

    /// The connections whose members are owned by a node; none: by this one.
    pub fn owned(&self, node: Option<NodeId>) -> impl Iterator<Item = ConnectionId> + '_ {
        let is_own = move |clients: &&super::Clients| clients.node == node && !clients.ids.is_empty();
        self.clients.iter().filter(move |(_, clients)| is_own(clients)).map(|(connection, _)| *connection)
    }

    /// What the log has of all members takes the place of what was known: each with its owner, none: this node.
    pub fn restore(&mut self, members: Vec<(Arc<Member>, Option<NodeId>)>) {
        let known: Vec<ConnectionId> = self.clients.keys().copied().collect();
        for connection in known {
            for member in self.of(connection) {
                self.present.remove(&(member.client_id.clone(), connection));
                self.strike(connection, &member);
            }
        }
        self.listed.take();
        for (member, node) in members {
            let (connection, client, cost) = (member.connection, member.client_id.clone(), member.cost());
            self.timestamp = self.timestamp(member.timestamp);
            self.present.insert((client.clone(), connection), member);
            let clients = self.clients.entry(connection).or_default();
            clients.ids.insert(client);
            clients.bytes += cost;
            self.bytes += cost;
            self.own(connection, node);
        }
    }

    /// What was judged of a connection was not published: what was paid for it is given back.
    pub fn settle(&mut self, connection: ConnectionId) {
        match self.clients.get_mut(&connection) {
            Some(clients) if clients.ids.is_empty() => drop(self.clients.remove(&connection)),
            Some(clients) => clients.settle(),
            None => {}
        }
    }

    /// No member of the connection stays when these events are applied.
    pub fn is_emptied_by(&self, connection: ConnectionId, events: &[PresenceEvent]) -> bool {
        let left = |client: &ClientId| events.iter().rev().find(|event| event.client_id == *client);
        let leaves = |event: &PresenceEvent| event.action == PresenceAction::Leave;
        let known = self.clients.get(&connection).into_iter().flat_map(|clients| &clients.ids);
        events.iter().all(|event| left(&event.client_id).is_some_and(leaves))
            && known.into_iter().all(|client| left(client).is_some_and(leaves))
    }
}
