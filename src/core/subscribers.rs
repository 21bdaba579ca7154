//! The attachments of one channel on one worker thread: who gets an entry.

use crate::{
    core::{
        command::{AttachmentId, Subscription},
        hashing::FastMap,
        message::Entry,
        serial::Serial,
    },
    ids::ConnectionId,
};

/// A list that is walked for every entry, so it is dense; `T` is what the walker needs to deliver.
#[derive(Debug)]
pub struct Subscribers<T> {
    list: Vec<Subscriber<T>>,
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
        Self { list: Vec::new(), places: FastMap::default(), delivered: position }
    }

    /// Adds the attachment or changes it.
    pub fn subscribe(&mut self, subscription: Subscription, handle: T) {
        match self.places.get(&subscription.id) {
            Some(place) => self.list[*place].subscription = subscription,
            None => {
                self.places.insert(subscription.id, self.list.len());
                self.list.push(Subscriber { subscription, handle });
            }
        }
    }

    pub fn unsubscribe(&mut self, id: AttachmentId) {
        let Some(place) = self.places.remove(&id) else {
            return;
        };
        self.list.swap_remove(place);
        if let Some(moved) = self.list.get(place) {
            self.places.insert(moved.subscription.id, place);
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
        let list = if is_new { &self.list[..] } else { &[] };
        list.iter().filter(|member| member.accepts(entry))
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
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        core::{
            filter::Filter,
            message::{Body, EntryId, Message},
            serial::{Epoch, Mint},
        },
        ids::{SessionId, Timestamp},
    };

    fn id(number: u8) -> AttachmentId {
        let session = SessionId::from_number(number.into());
        AttachmentId { session, alias: 0 }
    }

    fn subscription(number: u8, name: &str) -> Subscription {
        let mut filter = Filter::named();
        filter.add(name.into());
        Subscription { id: id(number), connection: ConnectionId::from_bytes([number; 9]), filter, counted: false }
    }

    #[test]
    fn nothing_is_delivered_twice() {
        let mut subscribers = Subscribers::new(Mint::new(Epoch::new(1)).position());
        subscribers.subscribe(subscription(1, "n"), ());
        let entry = entry(2, "n");
        assert_eq!(subscribers.receivers(&entry).count(), 1);
        assert_eq!(subscribers.receivers(&entry).count(), 0);
    }

    fn entry(publisher: u8, name: &str) -> Entry {
        let now = Timestamp::from_millis(1);
        let serial = Mint::new(Epoch::new(1)).mint(now);
        let message = Message { name: name.into(), ..Message::default() };
        let publisher = Some(ConnectionId::from_bytes([publisher; 9]));
        let body = Body::Messages(vec![message]);
        Entry::new("c".into(), serial, now, publisher, EntryId::Serial, body)
    }

    proptest! {
        #[test]
        fn exactly_the_seated_with_a_matching_filter_receive(
            steps in prop::collection::vec((any::<bool>(), 0u8..20, 0u8..3), 0..150),
        ) {
            let names = ["a", "b", "c"];
            let (mut subscribers, mut model) = (Subscribers::new(Mint::new(Epoch::new(1)).position()), BTreeMap::new());
            for (takes_seat, number, name) in steps {
                if takes_seat {
                    subscribers.subscribe(subscription(number, names[name as usize]), number);
                    model.insert(number, name);
                } else {
                    subscribers.unsubscribe(id(number));
                    model.remove(&number);
                }
            }
            let entry = entry(3, "b");
            let mut got: Vec<u8> = subscribers.receivers(&entry).map(|member| member.handle).collect();
            got.sort_unstable();
            let expected: Vec<u8> =
                model.iter().filter(|(n, f)| **f == 1 && **n != 3).map(|(n, _)| *n).collect();
            prop_assert_eq!(got, expected);
        }
    }
}
