//! Who wants what, as places in the list of [`Subscribers`](super::Subscribers): an entry finds its receivers without a
//! look at all the others.

use std::collections::BTreeSet;

use bytestring::ByteString;

use crate::{
    core::{
        command::Subscription,
        hashing::FastMap,
        message::{Body, Entry},
        modes::Modes,
    },
    ids::ConnectionId,
};

/// Sorted, so that a walk over them goes through the list in its order; one comes or goes in O(log n).
type Places = BTreeSet<u32>;

#[derive(Debug, Default)]
pub struct Interests {
    /// Messages of all names.
    every_message: Places,
    /// Messages of some names only.
    named: FastMap<ByteString, Places>,
    /// Messages that an expression chooses.
    chosen: Places,
    /// Everybody's presence events.
    presence: Places,
    /// Presence events of the own connection only.
    own_presence: BTreeSet<(ConnectionId, u32)>,
    annotations: Places,
    objects: Places,
    occupancy: Places,
}

/// Who wants an entry.
pub enum Interested<P> {
    All,
    /// The places of those who do, each once.
    Some(P),
    /// Everybody has to be asked.
    Unknown,
}

impl Interests {
    pub fn add(&mut self, place: usize, subscription: &Subscription) {
        let (place, filter) = (place as u32, &subscription.filter);
        if filter.modes.has(Modes::SUBSCRIBE) {
            if filter.expression.is_some() {
                self.chosen.insert(place);
            } else if filter.wants_every_name() {
                self.every_message.insert(place);
            } else {
                for name in filter.names() {
                    self.named.entry(name.clone()).or_default().insert(place);
                }
            }
        }
        if filter.modes.has(Modes::PRESENCE_SUBSCRIBE) {
            self.presence.insert(place);
        } else {
            self.own_presence.insert((subscription.connection, place));
        }
        if filter.modes.has(Modes::ANNOTATION_SUBSCRIBE) {
            self.annotations.insert(place);
        }
        if filter.modes.has(Modes::OBJECT_SUBSCRIBE) {
            self.objects.insert(place);
        }
        if filter.occupancy {
            self.occupancy.insert(place);
        }
    }

    /// Takes back what was added with the same arguments.
    pub fn remove(&mut self, place: usize, subscription: &Subscription) {
        let (place, filter) = (place as u32, &subscription.filter);
        self.every_message.remove(&place);
        self.chosen.remove(&place);
        for name in filter.names() {
            if let Some(places) = self.named.get_mut(name) {
                places.remove(&place);
                if places.is_empty() {
                    self.named.remove(name);
                }
            }
        }
        self.presence.remove(&place);
        self.own_presence.remove(&(subscription.connection, place));
        self.annotations.remove(&place);
        self.objects.remove(&place);
        self.occupancy.remove(&place);
    }

    /// Who wants something of `entry`, of the `len` there are; whether they hear themselves is another question.
    pub fn in_entry<'a>(&'a self, entry: &Entry, len: usize) -> Interested<impl Iterator<Item = usize> + use<'a>> {
        let (first, second, own) = match &entry.body {
            Body::Messages(_) | Body::Operation(_) if !self.chosen.is_empty() => return Interested::Unknown,
            // Who lists several of the names would come up more than once.
            Body::Messages(messages) if messages.len() > 1 && !self.named.is_empty() => return Interested::Unknown,
            Body::Messages(messages) => {
                let named = messages.first().and_then(|message| self.named.get(&message.name));
                (Some(&self.every_message), named, None)
            }
            Body::Operation(operation) => (Some(&self.every_message), self.named.get(&operation.message.name), None),
            Body::Annotations(_) => (Some(&self.annotations), None, None),
            Body::Objects(_) => (Some(&self.objects), None, None),
            Body::Summary(summarised) => (Some(&self.every_message), self.named.get(&summarised.name), None),
            Body::Presence(_) => (Some(&self.presence), None, entry.publisher),
            Body::Occupancy(_) => (Some(&self.occupancy), None, None),
        };
        if first.map_or(0, Places::len) + second.map_or(0, Places::len) == len {
            return Interested::All;
        }
        let own = own.map(|own| self.own_presence.range((own, 0)..=(own, u32::MAX)));
        let own = own.into_iter().flatten().map(|(_, place)| place);
        let places = [first, second].into_iter().flatten().flatten().chain(own);
        Interested::Some(places.map(|place| *place as usize))
    }
}
