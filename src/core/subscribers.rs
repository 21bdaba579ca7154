//! The attachments of one channel on one worker thread: who gets an entry.

mod interests;

use crate::{
    core::{
        command::{AttachmentId, Subscription},
        hashing::FastMap,
        message::Entry,
        serial::Serial,
    },
    ids::ConnectionId,
};

use interests::Interests;

/// A list that is walked for every entry that all want, so it is dense; what few want is found by [`Interests`]. `T` is what
/// the walker needs to deliver.
#[derive(Debug)]
pub struct Subscribers<T> {
    list: Vec<Subscriber<T>>,
    interests: Interests,
    places: FastMap<AttachmentId, usize>,
    delivered: Serial,
}

/// One attachment.
#[derive(Debug)]
pub struct Subscriber<T> {
    pub subscription: Subscription,
    pub handle: T,
}

impl<T> Subscribers<T> {
    /// Begins at `position`: what comes after it is to be delivered.
    pub fn new(position: Serial) -> Self {
        Self { list: Vec::new(), interests: Interests::default(), places: FastMap::default(), delivered: position }
    }

    /// Adds the attachment or changes it.
    pub fn subscribe(&mut self, subscription: Subscription, handle: T) {
        match self.places.get(&subscription.id) {
            Some(&place) => {
                let known = &mut self.list[place].subscription;
                self.interests.remove(place, known);
                self.interests.add(place, &subscription);
                *known = subscription;
            }
            None => {
                let place = self.list.len();
                self.places.insert(subscription.id, place);
                self.interests.add(place, &subscription);
                self.list.push(Subscriber { subscription, handle });
            }
        }
    }

    pub fn unsubscribe(&mut self, id: AttachmentId) {
        let Some(place) = self.places.remove(&id) else {
            return;
        };
        let removed = self.list.swap_remove(place);
        self.interests.remove(place, &removed.subscription);
        // The last of the list has taken its place.
        if let Some(Subscriber { subscription, .. }) = self.list.get(place) {
            self.places.insert(subscription.id, place);
            self.interests.remove(self.list.len(), subscription);
            self.interests.add(place, subscription);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub fn subscriptions(&self) -> impl Iterator<Item = Subscription> + '_ {
        self.list.iter().map(|member| member.subscription.clone())
    }

    /// The position up to which everything was delivered here.
    pub const fn delivered(&self) -> Serial {
        self.delivered
    }

    /// Who gets `entry`: everybody whose filter accepts it. From now on it counts as delivered; an entry
    /// that was delivered before has no receivers, so replays do no harm.
    pub fn receivers<'a>(&'a mut self, entry: &'a Entry) -> impl Iterator<Item = &'a Subscriber<T>> {
        let is_new = self.delivered.epoch() != entry.serial.epoch() || self.delivered.place() < entry.serial.place();
        if is_new {
            self.delivered = entry.serial;
        }
        let candidates = is_new.then(|| self.candidates(entry));
        candidates.into_iter().flatten().filter(|subscriber| subscriber.accepts(entry))
    }

    /// Whom to ask whether they want `entry`. When all do it is a walk over one list.
    fn candidates<'a>(&'a self, entry: &Entry) -> impl Iterator<Item = &'a Subscriber<T>> + use<'a, T> {
        let (all, some) = match self.interests.in_entry(entry, self.list.len()) {
            None => (&self.list[..], None),
            Some(places) => (&[][..], Some(places)),
        };
        let some = some.into_iter().flatten().filter_map(|place| self.list.get(place));
        all.iter().chain(some)
    }
}

impl<T> Subscriber<T> {
    fn accepts(&self, entry: &Entry) -> bool {
        let is_own = self.is_connection(entry.publisher);
        self.subscription.filter.accepts(entry, is_own)
    }

    fn is_connection(&self, connection: Option<ConnectionId>) -> bool {
        connection == Some(self.subscription.connection)
    }
}

#[cfg(test)]
mod tests;
