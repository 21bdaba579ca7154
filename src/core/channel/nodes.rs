//! What a channel does for a log that several nodes write to (`docs/design/cluster.md §3`).

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::{ChannelState, Order};
use crate::{
    core::{
        command::{Answer, AttachmentId, Effect, Now},
        dedupe::Known,
        message::{Body, Draft, Entry},
        objects::ObjectId,
        occupancy::Occupancy,
        presence::{Member, PresenceAction, PresenceEvent},
    },
    error::Fault,
    ids::{ConnectionId, NodeId},
    limits,
};

/// Members of this node that the log has no more although their connection is attached: how they came to be present.
pub type Lost = (ConnectionId, Vec<PresenceEvent>);

impl ChannelState {
    /// Takes the next entry of a log that gives the serials; `node` has appended it, none: this one. Members that another node
    /// took for dead are to enter again.
    pub fn follow(&mut self, now: Now, entry: &Entry, node: Option<NodeId>) -> Option<Lost> {
        self.order = Order::Given(entry.serial);
        if let Some(known) = Known::of(entry) {
            self.seen.note(now.uptime, known);
        }
        let (Body::Presence(events), Some(connection)) = (&entry.body, entry.publisher) else { return None };
        let is_attached = self.subscriptions.has_connection(connection);
        let is_reaped = node.is_some() && is_attached && self.members.elsewhere(connection).is_none();
        let members = if is_reaped { self.members.of(connection) } else { Vec::new() };
        self.members.follow(entry, node);
        if node.is_none() && !is_attached {
            // It was lost while its entry was on its way.
            self.hold(now.uptime, connection);
        }
        let left = |member: &Arc<Member>| {
            let leaves =
                |event: &PresenceEvent| event.action == PresenceAction::Leave && event.client_id == member.client_id;
            events.iter().any(leaves)
        };
        let lost: Vec<_> = members.into_iter().filter(left).map(|member| member.enter()).collect();
        (!lost.is_empty()).then_some((connection, lost))
    }

    /// The members as the log has them when this node begins with it, or begins anew: each with its owner, none: this node.
    /// Those of this node that it has no more are to enter again.
    pub fn restore(&mut self, now: Duration, members: Vec<(Arc<Member>, Option<NodeId>)>) -> Vec<Lost> {
        let own: Vec<_> = self.members.owned(None).filter(|own| self.subscriptions.has_connection(*own)).collect();
        let own: Vec<_> = own.into_iter().map(|connection| (connection, self.members.of(connection))).collect();
        self.members.restore(members);
        let gone: Vec<_> = self.members.owned(None).filter(|own| !self.subscriptions.has_connection(*own)).collect();
        for connection in gone {
            self.hold(now, connection);
        }
        let lost = own.into_iter().filter(|(connection, _)| self.members.elsewhere(*connection).is_none());
        let known = |connection| self.members.of(connection);
        let lost = lost.map(|(connection, members)| {
            let known = known(connection);
            let is_lost = |member: &&Arc<Member>| known.iter().all(|known| known.client_id != member.client_id);
            (connection, members.iter().filter(is_lost).map(|member| member.enter()).collect())
        });
        lost.filter(|(_, events): &Lost| !events.is_empty()).collect()
    }

    fn hold(&mut self, now: Duration, connection: ConnectionId) {
        self.members.lose(connection, now, Some(now + limits::PRESENCE_HOLD));
    }

    /// All members of a connection leave.
    pub fn leave_draft(&self, connection: ConnectionId) -> Option<Draft> {
        let leaves = self.members.leaves_of(connection);
        (!leaves.is_empty()).then(|| self.draft(Some(connection), Body::Presence(leaves), false))
    }

    /// The members of a connection, which is attached here, belong to this node from now on; none: they do already.
    pub fn adoption_draft(&self, connection: ConnectionId) -> Option<Draft> {
        let is_due = self.members.elsewhere(connection).is_some() && self.subscriptions.has_connection(connection);
        is_due.then(|| self.draft(Some(connection), Body::Presence(Vec::new()), false))
    }

    /// Members that the log has lost enter again, as far as their connection is attached.
    pub fn entry_draft(&mut self, (connection, events): Lost) -> Option<Draft> {
        if !self.subscriptions.has_connection(connection) {
            return None;
        }
        // They were judged and paid for when they came.
        let events = self.members.judge(connection, events, None).unwrap_or_default();
        (!events.is_empty()).then(|| self.draft(Some(connection), Body::Presence(events), false))
    }

    /// Objects are deleted that could not be reached when that was looked for, as far as it is still so.
    pub fn deletion_draft(&self, objects: Vec<ObjectId>) -> Option<Draft> {
        self.deletion(self.objects.as_ref()?.unreached(objects))
    }

    /// A draft that was judged was not published.
    pub fn forgo(&mut self, draft: &Entry) {
        match (&draft.body, draft.publisher) {
            (Body::Presence(_), Some(connection)) => self.members.settle(connection),
            // It may be another by the time that it is judged again.
            (Body::Operation(operation), _) => self.versions.judged(operation.target),
            _ => {}
        }
    }

    pub fn has_connection(&self, connection: ConnectionId) -> bool {
        self.subscriptions.has_connection(connection)
    }

    pub fn is_attached(&self, id: AttachmentId) -> bool {
        self.subscriptions.has(id)
    }

    /// Attachments here that hold a counted place.
    pub const fn counted(&self) -> usize {
        self.subscriptions.counted()
    }

    /// As many as there are more than seats lose their places: those who came last.
    pub fn unseat(&mut self, now: Now, seats: usize, fault: &Fault) -> Vec<Effect> {
        let newest = self.subscriptions.newest_counted(self.counted().saturating_sub(seats));
        let mut effects = Vec::new();
        for (id, hub, connection) in newest {
            effects.extend(self.unsubscribe(now, id, connection, Duration::ZERO));
            let answer = Answer::Detached { alias: id.alias, context: Bytes::new(), fault: Some(fault.clone()) };
            effects.push(Effect::Answer { hub, session: id.session, answer });
        }
        effects
    }

    /// The attachments here.
    pub const fn occupancy_here(&self) -> Occupancy {
        self.subscriptions.occupancy()
    }

    /// The attachments at other nodes.
    pub const fn set_elsewhere(&mut self, others: Occupancy) {
        self.elsewhere = others;
    }
}
