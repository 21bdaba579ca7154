//! Who is attached to a channel, and what that comes to in numbers. Every question is answered without a look at all
//! attachments: ten thousand may end at once.

use std::collections::{BTreeSet, HashMap, hash_map};

use crate::{
    core::{
        command::{AttachmentId, HubId, Subscription},
        filter::Filter,
        hashing::FastMap,
        occupancy::Occupancy,
        serial::Serial,
    },
    ids::{ConnectionId, SessionId},
};

#[derive(Debug)]
struct Attachment {
    hub: HubId,
    connection: ConnectionId,
    filter: Filter,
    counted: bool,
}

#[derive(Debug, Default)]
pub struct Subscriptions {
    attachments: FastMap<AttachmentId, Attachment>,
    /// Those by other names than the plain one. Few.
    aliased: BTreeSet<AttachmentId>,
    /// How many attachments each connection has.
    connections: HashMap<ConnectionId, usize>,
    /// Hubs with attachments, and how many. Few: one per worker thread.
    hubs: Vec<(HubId, usize)>,
    /// Attachments that hold a counted place.
    counted: usize,
    /// Attachments that want to know the occupancy.
    observers: usize,
    occupancy: Occupancy,
}

impl Subscriptions {
    pub fn is_empty(&self) -> bool {
        self.attachments.is_empty()
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.attachments.len()
    }

    pub const fn counted(&self) -> usize {
        self.counted
    }

    /// The hubs that an entry has to be sent to.
    pub fn hubs(&self) -> impl Iterator<Item = HubId> + '_ {
        self.hubs.iter().map(|(hub, _)| *hub)
    }

    /// An attachment wants to know the occupancy.
    pub const fn is_observed(&self) -> bool {
        self.observers > 0
    }

    /// Of the attachments; members are not counted here.
    pub const fn occupancy(&self) -> Occupancy {
        self.occupancy
    }

    pub fn has(&self, id: AttachmentId) -> bool {
        self.attachments.contains_key(&id)
    }

    pub fn has_connection(&self, connection: ConnectionId) -> bool {
        self.connections.contains_key(&connection)
    }

    pub fn has_session(&self, session: SessionId) -> bool {
        let first = AttachmentId { session, alias: 0 };
        let last = AttachmentId { session, alias: u16::MAX };
        // The plain name first: it is nearly always that.
        self.has(first) || self.aliased.range(first..=last).next().is_some()
    }

    /// Every attachment, with its hub, as one that begins at `since`.
    pub fn all(&self, since: Serial) -> impl Iterator<Item = (HubId, Subscription)> + '_ {
        self.attachments.iter().map(move |(id, attachment)| {
            let Attachment { hub, connection, ref filter, counted } = *attachment;
            (hub, Subscription { id: *id, connection, filter: filter.clone(), counted, since })
        })
    }

    /// The newest of those that hold a counted place.
    pub fn newest_counted(&self, count: usize) -> Vec<(AttachmentId, HubId, ConnectionId)> {
        let counted = self.attachments.iter().filter(|(_, attachment)| attachment.counted);
        let mut counted: Vec<_> =
            counted.map(|(id, attachment)| (*id, attachment.hub, attachment.connection)).collect();
        counted.sort_unstable_by_key(|(id, ..)| std::cmp::Reverse(*id));
        counted.truncate(count);
        counted
    }

    /// Adds the attachment, or changes what it wants.
    pub fn add(&mut self, hub: HubId, subscription: Subscription) {
        let Subscription { id, connection, filter, counted, .. } = subscription;
        self.observers += usize::from(filter.occupancy);
        self.occupancy.add(filter.modes);
        match self.attachments.entry(id) {
            hash_map::Entry::Occupied(mut known) => {
                let before = std::mem::replace(&mut known.get_mut().filter, filter);
                self.observers -= usize::from(before.occupancy);
                self.occupancy.remove(before.modes);
            }
            hash_map::Entry::Vacant(vacant) => {
                vacant.insert(Attachment { hub, connection, filter, counted });
                self.counted += usize::from(counted);
                *self.connections.entry(connection).or_default() += 1;
                if id.alias != 0 {
                    self.aliased.insert(id);
                }
                match self.hubs.iter_mut().find(|(id, _)| *id == hub) {
                    Some((_, attachments)) => *attachments += 1,
                    None => self.hubs.push((hub, 1)),
                }
            }
        }
    }

    pub fn remove(&mut self, id: AttachmentId) {
        let Some(attachment) = self.attachments.remove(&id) else {
            return;
        };
        self.aliased.remove(&id);
        self.counted -= usize::from(attachment.counted);
        self.observers -= usize::from(attachment.filter.occupancy);
        self.occupancy.remove(attachment.filter.modes);
        if let hash_map::Entry::Occupied(mut attachments) = self.connections.entry(attachment.connection) {
            *attachments.get_mut() -= 1;
            if *attachments.get() == 0 {
                attachments.remove();
            }
        }
        if let Some(at) = self.hubs.iter().position(|(id, _)| *id == attachment.hub) {
            self.hubs[at].1 -= 1;
            if self.hubs[at].1 == 0 {
                self.hubs.swap_remove(at);
            }
        }
    }
}
