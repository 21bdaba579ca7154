//! Who is online (`docs/protocols/chat.md §7`): the connections of each user, shared by all worker threads.
//!
//! One lock, taken when somebody comes or goes, and once or twice for each message. A connection takes its [`Seat`]
//! before it reads what groups it is in, so that a group that is made meanwhile is not missed; it counts as online from
//! [`Seat::enter`] on, when its channels are attached.

use std::{
    collections::{BTreeSet, HashMap},
    mem,
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::{actors::fanout::hub::TransportHandle, ids::ChannelName, limits};

#[derive(Default)]
pub struct Online(Mutex<State>);

#[derive(Default)]
struct State {
    users: HashMap<u64, Vec<Place>>,
    /// Users with a connection that is online.
    count: usize,
    last: u64,
}

/// One connection.
struct Place {
    number: u64,
    /// How it is reached, once it is online.
    handle: Option<TransportHandle>,
    /// What others have asked of it.
    orders: Vec<Order>,
    rooms: BTreeSet<String>,
}

/// A channel that a connection is to attach to.
#[derive(Debug)]
pub struct Order {
    pub channel: ChannelName,
    /// Told when it is attached, if somebody waits for that; dropped when it never will be.
    pub done: Option<oneshot::Sender<()>>,
}

/// The place of one connection; given up when it is dropped.
pub struct Seat {
    online: Arc<Online>,
    pub user: u64,
    number: u64,
}

/// There are as many as there may be.
#[derive(Debug, PartialEq, Eq)]
pub struct TooMany;

impl State {
    fn is_online(&self, user: u64) -> bool {
        let places = self.users.get(&user);
        places.is_some_and(|places| places.iter().any(|place| place.handle.is_some()))
    }

    fn place(&mut self, user: u64, number: u64) -> Option<&mut Place> {
        let places = self.users.get_mut(&user)?;
        places.iter_mut().find(|place| place.number == number)
    }

    fn leave(&mut self, user: u64, number: u64) {
        let was_online = self.is_online(user);
        if let Some(places) = self.users.get_mut(&user) {
            places.retain(|place| place.number != number);
            if places.is_empty() {
                self.users.remove(&user);
            }
        }
        if was_online && !self.is_online(user) {
            self.count -= 1;
        }
    }
}

impl Online {
    /// A place for a connection that is about to come.
    pub fn expect(self: &Arc<Self>, user: u64) -> Seat {
        let mut state = self.0.lock();
        state.last += 1;
        let number = state.last;
        state.users.entry(user).or_default().push(Place {
            number,
            handle: None,
            orders: Vec::new(),
            rooms: BTreeSet::new(),
        });
        Seat { online: Arc::clone(self), user, number }
    }

    /// How many users are online.
    pub fn count(&self) -> usize {
        self.0.lock().count
    }

    /// Who is online, each once, in ascending order.
    pub fn users(&self) -> Vec<u64> {
        let state = self.0.lock();
        let users = state.users.keys().copied();
        let mut users: Vec<u64> = users.filter(|user| state.is_online(*user)).collect();
        drop(state);
        users.sort_unstable();
        users
    }

    pub fn is_online(&self, user: u64) -> bool {
        self.0.lock().is_online(user)
    }

    /// How many of these users are online, `except` not counted.
    pub fn count_of(&self, users: &[u64], except: u64) -> usize {
        let state = self.0.lock();
        let others = users.iter().filter(|user| **user != except);
        others.filter(|user| state.is_online(**user)).count()
    }

    /// How many users but `except` are online.
    pub fn count_others(&self, except: u64) -> usize {
        let state = self.0.lock();
        state.count - usize::from(state.is_online(except))
    }

    /// Whether one of the user's connections has joined the room.
    pub fn is_in(&self, user: u64, room: &str) -> bool {
        let state = self.0.lock();
        let places = state.users.get(&user);
        places.is_some_and(|places| places.iter().any(|place| place.rooms.contains(room)))
    }

    /// Has every connection of these users attach to `channel`; each that is online tells when it is.
    pub fn order(&self, users: &[u64], channel: &ChannelName) -> Vec<oneshot::Receiver<()>> {
        let mut state = self.0.lock();
        let (mut awake, mut told) = (Vec::new(), Vec::new());
        for user in users {
            for place in state.users.get_mut(user).into_iter().flatten() {
                let channel = channel.clone();
                let mut done = None;
                if let Some(handle) = &place.handle {
                    awake.push(handle.clone());
                    let (sender, receiver) = oneshot::channel();
                    done = Some(sender);
                    told.push(receiver);
                }
                place.orders.push(Order { channel, done });
            }
        }
        drop(state);
        for handle in awake {
            handle.nudge();
        }
        told
    }
}

impl Seat {
    /// It is online from now on. Unless users may have several, its older connections are not any more: they are handed
    /// back to be told.
    pub fn enter(&self, handle: TransportHandle, multi_device: bool) -> Vec<TransportHandle> {
        let mut state = self.online.0.lock();
        let was_online = state.is_online(self.user);
        let mut replaced = Vec::new();
        let Some(places) = state.users.get_mut(&self.user) else {
            return replaced;
        };
        if !multi_device {
            places.retain_mut(|place| match place.handle.take() {
                Some(handle) if place.number != self.number => {
                    replaced.push(handle);
                    false
                }
                handle => {
                    place.handle = handle;
                    true
                }
            });
        }
        if let Some(place) = state.place(self.user, self.number) {
            place.handle = Some(handle);
            if !was_online {
                state.count += 1;
            }
        }
        replaced
    }

    /// What it was asked to attach to since the last call.
    pub fn take_orders(&self) -> Vec<Order> {
        let mut state = self.online.0.lock();
        let place = state.place(self.user, self.number);
        place.map_or_else(Vec::new, |place| mem::take(&mut place.orders))
    }

    /// Has this connection attach to these channels.
    pub fn order(&self, channels: impl IntoIterator<Item = ChannelName>) {
        let mut state = self.online.0.lock();
        let place = state.place(self.user, self.number);
        let handle = place.and_then(|place| {
            let orders = channels.into_iter();
            let orders = orders.map(|channel| Order { channel, done: None });
            place.orders.extend(orders);
            place.handle.clone()
        });
        drop(state);
        if let Some(handle) = handle {
            handle.nudge();
        }
    }

    /// Whether it is new that the connection is in this room.
    ///
    /// # Errors
    /// [`TooMany`] rooms.
    pub fn join(&self, room: &str) -> Result<bool, TooMany> {
        let mut state = self.online.0.lock();
        let Some(place) = state.place(self.user, self.number) else {
            return Ok(false);
        };
        if place.rooms.len() >= limits::CHAT_ROOMS && !place.rooms.contains(room) {
            return Err(TooMany);
        }
        Ok(place.rooms.insert(room.to_owned()))
    }

    /// Whether the connection was in this room.
    pub fn leave_room(&self, room: &str) -> bool {
        let mut state = self.online.0.lock();
        let place = state.place(self.user, self.number);
        place.is_some_and(|place| place.rooms.remove(room))
    }

    /// Whether it is still the connection's: not once it has left or was replaced.
    pub fn is_taken(&self) -> bool {
        let mut state = self.online.0.lock();
        state.place(self.user, self.number).is_some()
    }

    /// The connection is gone. Its place only: a newer connection of the user stays.
    pub fn leave(&self) {
        self.online.0.lock().leave(self.user, self.number);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use actix::{AsyncContext as _, Context};

    use super::*;
    use crate::{
        actors::fanout::hub::{Hub, HubHandle},
        core::command::HubId,
        ids::SessionId,
    };

    fn handle(number: u64) -> TransportHandle {
        // An actor that is never started: nobody takes what is sent to it.
        let context = Context::<Hub>::new();
        TransportHandle { hub: HubHandle::new(HubId(0), context.address()), session: SessionId::from_number(number) }
    }

    fn sessions(peers: Vec<TransportHandle>) -> Vec<SessionId> {
        peers.into_iter().map(|handle| handle.session).collect()
    }

    /// §7: a new connection closes the old one, whose clean-up does not remove the new one.
    #[test]
    fn a_newer_connection_takes_over() {
        let online = Arc::new(Online::default());
        let old = online.expect(7);
        assert!(!online.is_online(7) && online.count() == 0);
        assert!(old.enter(handle(1), false).is_empty());
        let new = online.expect(7);
        let replaced = sessions(new.enter(handle(2), false));
        assert_eq!(replaced, [SessionId::from_number(1)]);
        assert!(!old.is_taken() && new.is_taken());
        drop(old);
        assert!(online.is_online(7));
        assert_eq!((online.count(), online.users()), (1, vec![7]));
        drop(new);
        assert_eq!((online.count(), online.users()), (0, vec![]));
        assert!(online.0.lock().users.is_empty());
    }

    #[test]
    fn several_devices_are_one_user() {
        let online = Arc::new(Online::default());
        let seats: Vec<Seat> = [9, 10, 9].map(|user| online.expect(user)).into();
        for (number, seat) in (1..).zip(&seats) {
            assert!(seat.enter(handle(number), true).is_empty());
        }
        assert_eq!((online.count(), online.users()), (2, vec![9, 10]));
        assert_eq!(online.count_of(&[9, 10, 11], 10), 1);
        assert_eq!((online.count_others(9), online.count_others(5)), (1, 2));
        seats[0].leave();
        seats[0].leave();
        assert_eq!(online.count(), 2);
        seats[2].leave();
        assert_eq!(online.users(), [10]);
    }

    #[test]
    fn rooms_and_orders() {
        let online = Arc::new(Online::default());
        let (one, other) = (online.expect(1), online.expect(2));
        one.enter(handle(1), false);
        assert_eq!(one.join("room_1"), Ok(true));
        assert_eq!(one.join("room_1"), Ok(false));
        assert!(online.is_in(1, "room_1") && !online.is_in(2, "room_1"));
        for room in 2..=limits::CHAT_ROOMS {
            assert_eq!(one.join(&format!("room_{room}")), Ok(true));
        }
        assert_eq!(one.join("one more"), Err(TooMany));
        assert!(one.leave_room("room_1") && !one.leave_room("room_1"));
        // Also who is only about to come is told.
        let channel = ChannelName::from("chat:g:group_1");
        let mut told = online.order(&[1, 2, 3], &channel);
        let mut order = one.take_orders().remove(0);
        assert_eq!(order.channel, channel);
        let waiting = other.take_orders().remove(0);
        assert!(waiting.channel == channel && waiting.done.is_none());
        assert!(one.take_orders().is_empty());
        order.done.take().expect("somebody waits").send(()).expect("still");
        assert_eq!(told.remove(0).try_recv(), Ok(()));
        assert!(told.is_empty());
    }
}
