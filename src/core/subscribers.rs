//! The attachments of one channel on one worker thread: who gets an entry.

mod interests;

use crate::core::{
    command::{AttachmentId, Subscription},
    filter::Filter,
    hashing::FastMap,
    message::Entry,
    serial::Serial,
};

use interests::{Interested, Interests};

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

    /// An attachment that changes has missed nothing: it began where it began before, unless it wanted less until now.
    pub fn go_on(&self, subscription: &mut Subscription) {
        let known = self.places.get(&subscription.id).and_then(|place| self.list.get(*place));
        if let Some(Subscriber { subscription: known, .. }) = known
            && known.filter == subscription.filter
            && known.since.place() < subscription.since.place()
        {
            subscription.since = known.since;
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

    /// Hands `entry` to everybody whose filter accepts it. From now on it counts as delivered; an entry that was delivered
    /// before has no receivers, so replays do no harm.
    pub fn deliver(&mut self, entry: &Entry, mut receive: impl FnMut(&Subscriber<T>)) {
        let is_known = self.delivered.epoch() == entry.serial.epoch() && entry.serial.place() <= self.delivered.place();
        // What is not kept is never replayed, and may have the serial of the entry before it.
        if is_known && !entry.is_ephemeral {
            return;
        }
        self.delivered = entry.serial;
        let silent = entry.publisher.filter(|_| Filter::is_echo(&entry.body));
        let hears = |subscriber: &&Subscriber<T>| {
            let Subscription { filter, connection, .. } = &subscriber.subscription;
            filter.echo || silent != Some(*connection)
        };
        match self.interests.in_entry(entry, self.list.len()) {
            Interested::All => self.list.iter().filter(hears).for_each(receive),
            Interested::Some(places) => {
                places.filter_map(|place| self.list.get(place)).filter(hears).for_each(receive);
            }
            Interested::Unknown => {
                let accepts = |subscriber: &&Subscriber<T>| {
                    let Subscription { filter, connection, .. } = &subscriber.subscription;
                    filter.accepts(entry, entry.publisher == Some(*connection))
                };
                self.list.iter().filter(accepts).for_each(&mut receive);
            }
        }
    }
}

#[cfg(test)]
mod tests;
