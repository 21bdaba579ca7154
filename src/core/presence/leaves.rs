//! Leaves that clients have asked for: remembered as long as the member may be entered again by a client that has not
//! heard of its own leave (`docs/protocols/ably.md §7.2`).
//!
//! That can be while the connection is attached, and afterwards as long as it may be resumed. Bounded by these times, by
//! number and by the bytes of the clientIds; when there are too many, what was remembered first goes.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use crate::{
    core::{
        budget::{Account, Kind, Tab},
        deadlines::Deadlines,
        presence::position::EventPosition,
    },
    ids::{ClientId, ConnectionId},
    limits,
};

#[derive(Debug, Default)]
pub struct Leaves {
    of: HashMap<ConnectionId, HashMap<ClientId, Noted>>,
    /// By their numbers, the oldest first.
    order: BTreeMap<u64, (ConnectionId, ClientId)>,
    next_number: u64,
    /// Of all clientIds.
    bytes: usize,
    /// Of the app of the channel.
    tab: Tab,
    /// Connections that are not attached any more, and when what is remembered of them is forgotten.
    gone: Deadlines<ConnectionId>,
}

#[derive(Debug)]
struct Noted {
    place: EventPosition,
    number: u64,
}

fn cost(client: &ClientId) -> usize {
    limits::PRESENCE_LEAVE_COST + client.as_str().len()
}

impl Leaves {
    /// From now on `account` pays, whatever its limit: nobody is kept from leaving.
    pub fn charge_to(&mut self, account: Account) {
        self.tab = Tab::new(account, Kind::Presence);
    }

    pub fn is_empty(&self) -> bool {
        self.of.is_empty()
    }

    /// The newest leave of the member, if it is remembered.
    pub fn last(&self, connection: ConnectionId, client: &ClientId) -> Option<EventPosition> {
        self.of.get(&connection)?.get(client).map(|noted| noted.place)
    }

    pub fn note(&mut self, connection: ConnectionId, client: ClientId, place: EventPosition) {
        let before = self.remove(connection, &client);
        let place = before.map_or(place, |before| before.max(place));
        let number = self.next_number;
        self.next_number += 1;
        self.bytes += client.as_str().len();
        self.tab.add_anyway(cost(&client));
        self.order.insert(number, (connection, client.clone()));
        self.of.entry(connection).or_default().insert(client, Noted { place, number });
        while self.order.len() > limits::PRESENCE_LEAVES || self.bytes > limits::PRESENCE_LEAVE_BYTES {
            let Some((_, (connection, client))) = self.order.first_key_value() else {
                return;
            };
            let (connection, client) = (*connection, client.clone());
            self.remove(connection, &client);
        }
    }

    fn remove(&mut self, connection: ConnectionId, client: &ClientId) -> Option<EventPosition> {
        let clients = self.of.get_mut(&connection)?;
        let Noted { place, number } = clients.remove(client)?;
        if clients.is_empty() {
            self.of.remove(&connection);
            self.gone.clear(connection);
        }
        self.order.remove(&number);
        self.bytes -= client.as_str().len();
        self.tab.remove(cost(client));
        Some(place)
    }

    /// The connection is attached again.
    pub fn regain(&mut self, connection: ConnectionId) {
        self.gone.clear(connection);
    }

    /// The connection is not attached any more: until then it may come back and enter its members again.
    pub fn lose(&mut self, connection: ConnectionId, until: Duration) {
        if self.of.contains_key(&connection) {
            self.gone.set(connection, until);
        }
    }

    /// Forgets those of connections that cannot come back.
    pub fn forget(&mut self, now: Duration) {
        for connection in self.gone.take_due(now) {
            for (client, noted) in self.of.remove(&connection).unwrap_or_default() {
                self.order.remove(&noted.number);
                self.bytes -= client.as_str().len();
                self.tab.remove(cost(&client));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn connection(number: u8) -> ConnectionId {
        ConnectionId::from_bytes([number; 9])
    }

    fn client(name: impl ToString) -> ClientId {
        ClientId::new(name.to_string()).unwrap()
    }

    fn place(connection: ConnectionId, serial: u64) -> EventPosition {
        EventPosition::of(connection, &format!("{connection}:{serial}:0")).unwrap()
    }

    #[test]
    fn a_leave_is_remembered_until_its_connection_cannot_come_back() {
        let (mut leaves, one, account) = (Leaves::default(), connection(1), Account::server(0));
        leaves.charge_to(account.clone());
        leaves.note(one, client("a"), place(one, 7));
        assert!(account.kept_of(Kind::Presence) > limits::PRESENCE_LEAVE_COST, "it is charged, whatever the limit");
        leaves.note(one, client("a"), place(one, 3));
        assert_eq!(leaves.last(one, &client("a")), Some(place(one, 7)), "the newest counts");
        assert_eq!(leaves.last(connection(2), &client("a")), None);

        let at = Duration::from_secs;
        leaves.forget(at(1_000_000));
        assert!(!leaves.is_empty(), "it is attached");
        leaves.lose(one, at(10));
        leaves.regain(one);
        leaves.forget(at(20));
        assert!(!leaves.is_empty(), "it has come back");
        leaves.lose(one, at(30));
        leaves.forget(at(29));
        assert!(!leaves.is_empty());
        leaves.forget(at(30));
        assert!(leaves.is_empty());
        assert_eq!((leaves.order.len(), leaves.bytes, account.kept()), (0, 0, 0));
    }

    #[test]
    fn what_was_remembered_first_goes_when_there_is_too_much() {
        let (mut leaves, one) = (Leaves::default(), connection(1));
        for number in 0..=limits::PRESENCE_LEAVES {
            leaves.note(one, client(number), place(one, 1));
        }
        assert_eq!(leaves.order.len(), limits::PRESENCE_LEAVES);
        assert_eq!(leaves.last(one, &client(0)), None);
        assert!(leaves.last(one, &client(1)).is_some());

        let long = "x".repeat(limits::PRESENCE_LEAVE_BYTES - 1);
        leaves.note(one, client(&long), place(one, 1));
        assert!(leaves.bytes <= limits::PRESENCE_LEAVE_BYTES);
        assert!(leaves.last(one, &client(&long)).is_some());
        leaves.note(one, client("xx"), place(one, 1));
        assert_eq!(leaves.last(one, &client(&long)), None);
        assert_eq!((leaves.order.len(), leaves.bytes), (1, 2));
    }
}
