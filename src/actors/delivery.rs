//! The last hop: what a channel or a transfer has for the connections of this thread.
//!
//! Letters from other threads come through the mailbox of the [`Hub`](super::hub::Hub); a channel of the
//! same thread calls directly.

use bytes::Bytes;

use crate::{
    actors::{
        connection::Probe,
        hub::{Budget, Letter},
        worker::Worker,
    },
    core::{
        channel::{Answer, Seat},
        message::Entry,
    },
    ids::{ChannelName, ConnectionId},
};

impl Worker {
    pub(super) fn receive(&self, letter: Letter) {
        match letter {
            Letter::Delivery(entry) => self.deliver(&entry),
            Letter::Answer {
                channel,
                connection,
                answer,
            } => self.answer(&channel, connection, answer),
            Letter::Direct { connection, frames } => self.direct(connection, frames),
            Letter::Budget { connection, change } => self.budget(connection, change),
            Letter::Probe { connection } => {
                if let Some(session) = self.session(connection) {
                    session.connection.do_send(Probe);
                }
            }
        }
    }

    fn deliver(&self, entry: &Entry) {
        let mut rosters = self.rosters.borrow_mut();
        let Some(local) = rosters.get_mut(&entry.channel) else {
            return;
        };
        let (mut deliveries, mut bytes) = (0, 0);
        for session in local.roster.receivers(entry) {
            let frame = entry.frame(session.format());
            deliveries += 1;
            bytes += frame.len() as u64;
            session.push(frame.clone());
        }
        self.count(|counters| {
            counters.messages_out += deliveries;
            counters.bytes_out += bytes;
        });
    }

    fn answer(&self, channel: &ChannelName, connection: ConnectionId, answer: Answer) {
        let Some(session) = self.session(connection).filter(|s| s.outbox.is_open()) else {
            return;
        };
        match &answer {
            Answer::Attached {
                filter,
                counted,
                position,
                ..
            } => {
                let seat = Seat {
                    connection,
                    counted: *counted,
                };
                self.seat(channel, seat, *position, filter.clone(), &session);
            }
            Answer::Detached { .. } => self.unseat(channel, connection),
            Answer::AttachRefused { .. } | Answer::PublishRefused { .. } => {}
        }
        session.answer(channel, answer);
    }

    fn direct(&self, connection: ConnectionId, frames: Vec<Bytes>) {
        let Some(session) = self.session(connection) else {
            return;
        };
        self.count(|counters| {
            counters.messages_out += 1;
            counters.bytes_out += frames.iter().map(|frame| frame.len() as u64).sum::<u64>();
        });
        for frame in frames {
            session.push(frame);
        }
    }

    fn budget(&self, connection: ConnectionId, change: Budget) {
        if let Some(session) = self.session(connection) {
            match change {
                Budget::Widen(bytes) => session.outbox.widen(bytes),
                Budget::Narrow(bytes) => session.outbox.narrow(bytes),
            }
        }
    }
}
