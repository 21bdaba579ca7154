//! The attachments of one channel on one worker thread: who gets an entry.

use std::collections::HashMap;

use crate::{
    core::{channel::Seat, filter::Filter, message::Entry, serial::Serial},
    ids::ConnectionId,
};

/// A list that is walked for every entry, so it is dense; `T` is what the walker needs to deliver.
#[derive(Debug)]
pub struct Roster<T> {
    members: Vec<Member<T>>,
    places: HashMap<ConnectionId, usize>,
    delivered: Serial,
}

/// One attachment.
#[derive(Debug)]
struct Member<T> {
    seat: Seat,
    filter: Filter,
    peer: T,
}

impl<T> Roster<T> {
    /// Begins at `position`: what comes after it is to be delivered.
    pub fn new(position: Serial) -> Self {
        Self {
            members: Vec::new(),
            places: HashMap::new(),
            delivered: position,
        }
    }

    /// Adds the attachment or replaces its filter.
    pub fn seat(&mut self, seat: Seat, filter: Filter, peer: T) {
        match self.places.get(&seat.connection) {
            Some(place) => self.members[*place].filter = filter,
            None => {
                self.places.insert(seat.connection, self.members.len());
                self.members.push(Member { seat, filter, peer });
            }
        }
    }

    pub fn unseat(&mut self, connection: ConnectionId) {
        let Some(place) = self.places.remove(&connection) else {
            return;
        };
        self.members.swap_remove(place);
        if let Some(moved) = self.members.get(place) {
            self.places.insert(moved.seat.connection, place);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub fn seats(&self) -> impl Iterator<Item = Seat> + '_ {
        self.members.iter().map(|member| member.seat)
    }

    /// The position up to which everything was delivered here.
    pub const fn delivered(&self) -> Serial {
        self.delivered
    }

    /// Who gets `entry`: everybody whose filter accepts it, but not its publisher. From now on it
    /// counts as delivered; an entry that was delivered before has no receivers, so replays do no
    /// harm.
    pub fn receivers<'a>(&'a mut self, entry: &'a Entry) -> impl Iterator<Item = &'a T> {
        let is_new = self.delivered.epoch() != entry.serial.epoch()
            || self.delivered.place() < entry.serial.place();
        if is_new {
            self.delivered = entry.serial;
        }
        let members = if is_new { &self.members[..] } else { &[] };
        members
            .iter()
            .filter(|member| member.seat.connection != entry.publisher)
            .filter(|member| member.filter.accepts(&entry.message.name))
            .map(|member| &member.peer)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::{
        core::{
            message::Message,
            serial::{Epoch, Mint},
        },
        ids::Timestamp,
    };

    fn id(number: u8) -> ConnectionId {
        ConnectionId::from_bytes([number; 9])
    }

    fn only(name: &str) -> Filter {
        let mut filter = Filter::default();
        filter.add(name.into());
        filter
    }

    #[test]
    fn nothing_is_delivered_twice() {
        let mut roster = Roster::new(Mint::new(Epoch::new(1)).position());
        let seat = Seat {
            connection: id(1),
            counted: false,
        };
        roster.seat(seat, Filter::everything(), ());
        let entry = entry(2, "n");
        assert_eq!(roster.receivers(&entry).count(), 1);
        assert_eq!(roster.receivers(&entry).count(), 0);
    }

    fn entry(publisher: u8, name: &str) -> Entry {
        let now = Timestamp::from_millis(1);
        let serial = Mint::new(Epoch::new(1)).mint(now);
        let message = Message {
            name: name.into(),
            data: Bytes::new(),
        };
        Entry::new("c".into(), serial, now, id(publisher), message)
    }

    proptest! {
        #[test]
        fn exactly_the_seated_with_a_matching_filter_receive(
            steps in prop::collection::vec((any::<bool>(), 0u8..20, 0u8..3), 0..150),
        ) {
            let names = ["a", "b", "c"];
            let (mut roster, mut model) = (Roster::new(Mint::new(Epoch::new(1)).position()), BTreeMap::new());
            for (seat, number, name) in steps {
                if seat {
                    let seat = Seat { connection: id(number), counted: false };
                    roster.seat(seat, only(names[name as usize]), number);
                    model.insert(number, name);
                } else {
                    roster.unseat(id(number));
                    model.remove(&number);
                }
            }
            let mut got: Vec<u8> = roster.receivers(&entry(3, "b")).copied().collect();
            got.sort_unstable();
            let expected: Vec<u8> =
                model.iter().filter(|(n, f)| **f == 1 && **n != 3).map(|(n, _)| *n).collect();
            prop_assert_eq!(got, expected);
        }
    }
}
