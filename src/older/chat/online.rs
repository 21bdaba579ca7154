//! Who is online (`docs/protocols/chat.md §7`), and what the connections of users are to do for others.

use std::collections::BTreeSet;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::{
    actors::online::{self, Registration},
    ids::ChannelName,
    limits,
};

/// What a connection is to do.
#[derive(Debug)]
pub enum Notice {
    /// `done` hears when it is attached, if somebody waits for that; it is dropped when that will never be.
    Attach {
        channel: ChannelName,
        done: Option<oneshot::Sender<()>>,
    },
    Detach(ChannelName),
}

/// The rooms that a connection has joined.
pub type Rooms = Mutex<BTreeSet<String>>;

/// A connection has joined as many rooms as it may.
#[derive(Debug, PartialEq, Eq)]
pub struct TooMany;

/// The connections of each user.
pub type Online = online::Online<u64, Notice, Rooms>;

/// One connection of a user.
pub type Place = Registration<u64, Notice, Rooms>;

impl Notice {
    /// Who waits for it hears when it is attached.
    pub fn attach_and_report(channel: ChannelName) -> (Self, oneshot::Receiver<()>) {
        let (done, attached) = oneshot::channel();
        (Self::Attach { channel, done: Some(done) }, attached)
    }
}

/// Whether it is new that a connection is in this room.
///
/// # Errors
/// [`TooMany`] rooms.
pub fn join(rooms: &Rooms, room: &str) -> Result<bool, TooMany> {
    let mut rooms = rooms.lock();
    if rooms.len() >= limits::CHAT_ROOMS && !rooms.contains(room) {
        return Err(TooMany);
    }
    Ok(rooms.insert(room.to_owned()))
}

impl Online {
    /// Whether one of the user's connections has joined the room.
    pub fn is_in(&self, user: u64, room: &str) -> bool {
        self.registered(&user).iter().any(|connection| connection.data.lock().contains(room))
    }

    /// Has every connection of these users attach to `channel`; what each that is online says when it is.
    pub fn attach(&self, users: &[u64], channel: &ChannelName) -> Vec<oneshot::Receiver<()>> {
        let mut attached = Vec::new();
        for connection in users.iter().flat_map(|user| self.registered(user)) {
            if connection.handle().is_some() {
                let (notice, done) = Notice::attach_and_report(channel.clone());
                connection.notify(notice);
                attached.push(done);
            } else {
                connection.notify(Notice::Attach { channel: channel.clone(), done: None });
            }
        }
        attached
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use actix::{AsyncContext as _, Context};

    use super::*;
    use crate::{
        actors::fanout::hub::{Hub, HubHandle, TransportHandle},
        core::command::HubId,
        ids::{SessionId, Timestamp},
    };

    #[test]
    fn rooms_and_orders() {
        let online = Arc::new(Online::default());
        let [one, other] = [1, 2].map(|user| online.register(user, Rooms::default()));
        let hub = HubHandle::new(HubId(0), Context::<Hub>::new().address());
        let handle = TransportHandle { hub, session: SessionId::from_number(1) };
        one.enter(handle, Timestamp::from_millis(0), true);
        assert_eq!(join(&one.data, "room_1"), Ok(true));
        assert_eq!(join(&one.data, "room_1"), Ok(false));
        assert!(online.is_in(1, "room_1") && !online.is_in(2, "room_1"));
        for room in 2..=limits::CHAT_ROOMS {
            assert_eq!(join(&one.data, &format!("room_{room}")), Ok(true));
        }
        assert_eq!(join(&one.data, "one more"), Err(TooMany));
        // Also who is only about to come hears of it.
        let channel = ChannelName::from("chat:g:group_1");
        let mut told = online.attach(&[1, 2, 3], &channel);
        let Notice::Attach { channel: wanted, done } = one.take_notices().remove(0) else { panic!("to attach") };
        assert_eq!(wanted, channel);
        let waiting = other.take_notices().remove(0);
        assert!(matches!(waiting, Notice::Attach { channel: wanted, done: None } if wanted == channel));
        assert!(one.take_notices().is_empty());
        done.expect("somebody waits").send(()).expect("still");
        assert_eq!(told.remove(0).try_recv(), Ok(()));
        assert!(told.is_empty());
    }
}
