//! The attachments of one channel on one worker thread: who gets an entry.

use crate::{
    core::{
        command::{AttachmentId, Seat},
        hashing::FastMap,
        message::Entry,
        serial::Serial,
    },
    ids::ConnectionId,
};

/// A list that is walked for every entry, so it is dense; `T` is what the walker needs to deliver.
#[derive(Debug)]
pub struct Roster<T> {
    members: Vec<Member<T>>,
    places: FastMap<AttachmentId, usize>,
    delivered: Serial,
}

/// One attachment.
#[derive(Debug)]
pub struct Member<T> {
    pub seat: Seat,
    pub peer: T,
}

impl<T> Roster<T> {
    /// Begins at `position`: what comes after it is to be delivered.
    pub fn new(position: Serial) -> Self {
        Self { members: Vec::new(), places: FastMap::default(), delivered: position }
    }

    /// Adds the attachment or changes it.
    pub fn seat(&mut self, seat: Seat, peer: T) {
        match self.places.get(&seat.id) {
            Some(place) => self.members[*place].seat = seat,
            None => {
                self.places.insert(seat.id, self.members.len());
                self.members.push(Member { seat, peer });
            }
        }
    }

    pub fn unseat(&mut self, id: AttachmentId) {
        let Some(place) = self.places.remove(&id) else {
            return;
        };
        self.members.swap_remove(place);
        if let Some(moved) = self.members.get(place) {
            self.places.insert(moved.seat.id, place);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub fn seats(&self) -> impl Iterator<Item = Seat> + '_ {
        self.members.iter().map(|member| member.seat.clone())
    }

    /// The position up to which everything was delivered here.
    pub const fn delivered(&self) -> Serial {
        self.delivered
    }

    /// Who gets `entry`: everybody whose filter accepts it. From now on it counts as delivered; an entry
    /// that was delivered before has no receivers, so replays do no harm.
    pub fn receivers<'a>(&'a mut self, entry: &'a Entry) -> impl Iterator<Item = &'a Member<T>> {
        let is_new = self.delivered.epoch() != entry.serial.epoch() || self.delivered.place() < entry.serial.place();
        if is_new {
            self.delivered = entry.serial;
        }
        let members = if is_new { &self.members[..] } else { &[] };
        members.iter().filter(|member| member.accepts(entry))
    }
}

impl<T> Member<T> {
    fn accepts(&self, entry: &Entry) -> bool {
        let is_own = self.is_connection(entry.publisher);
        self.seat.filter.accepts(entry, is_own)
    }

    fn is_connection(&self, connection: Option<ConnectionId>) -> bool {
        connection == Some(self.seat.connection)
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

    fn seat(number: u8, name: &str) -> Seat {
        let mut filter = Filter::named();
        filter.add(name.into());
        Seat { id: id(number), connection: ConnectionId::from_bytes([number; 9]), filter, counted: false }
    }

    #[test]
    fn nothing_is_delivered_twice() {
        let mut roster = Roster::new(Mint::new(Epoch::new(1)).position());
        roster.seat(seat(1, "n"), ());
        let entry = entry(2, "n");
        assert_eq!(roster.receivers(&entry).count(), 1);
        assert_eq!(roster.receivers(&entry).count(), 0);
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
            let (mut roster, mut model) = (Roster::new(Mint::new(Epoch::new(1)).position()), BTreeMap::new());
            for (takes_seat, number, name) in steps {
                if takes_seat {
                    roster.seat(seat(number, names[name as usize]), number);
                    model.insert(number, name);
                } else {
                    roster.unseat(id(number));
                    model.remove(&number);
                }
            }
            let entry = entry(3, "b");
            let mut got: Vec<u8> = roster.receivers(&entry).map(|member| member.peer).collect();
            got.sort_unstable();
            let expected: Vec<u8> =
                model.iter().filter(|(n, f)| **f == 1 && **n != 3).map(|(n, _)| *n).collect();
            prop_assert_eq!(got, expected);
        }
    }
}
