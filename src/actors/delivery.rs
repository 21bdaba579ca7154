//! The last hop: what a channel or a transfer has for the connections of this thread.
//!
//! Letters from other threads come through the mailbox of the [`Hub`](super::hub::Hub); a channel of the
//! same thread calls directly.

use bytes::Bytes;

use crate::{
    actors::{
        connection::{Close, Probe},
        hub::{Budget, Letter},
        worker::Worker,
    },
    core::{
        command::{Answer, AttachmentId},
        message::Entry,
        roster::Member,
    },
    ids::{ChannelName, SessionId},
};

impl Worker {
    pub(super) fn receive(&self, letter: Letter) {
        match letter {
            Letter::Delivery(entry) => self.deliver(&entry),
            Letter::Answer { channel, session, answer } => self.answer(&channel, session, answer),
            Letter::Undone { channel, command } => self.undone(&channel, command),
            Letter::Direct { session, frames } => self.direct(session, frames),
            Letter::Budget { session, change } => self.budget(session, change),
            Letter::Supersede { session } => {
                if let Some(session) = self.session(session) {
                    session.supersede();
                }
            }
            Letter::Close { session, reason } => {
                if let Some(session) = self.session(session) {
                    session.connection.do_send(Close(reason));
                }
            }
            Letter::Nudge { session } => {
                if let Some(session) = self.session(session).filter(|s| s.outbox.is_open()) {
                    session.talk(|translator, link| translator.nudged(link));
                }
            }
            Letter::Probe { session } => {
                if let Some(session) = self.session(session) {
                    session.connection.do_send(Probe);
                }
            }
        }
    }

    /// Has the answer to a publish written before what it brings to others, as far as its socket has no other turn yet. Its
    /// own echo stays ahead of its answer.
    pub(super) fn serve_first(&self, session: SessionId) {
        if let Some(session) = self.session(session) {
            session.outbox.take_turn();
        }
    }

    fn deliver(&self, entry: &Entry) {
        let mut rosters = self.rosters.borrow_mut();
        let Some(local) = rosters.get_mut(&entry.channel) else {
            return;
        };
        let (mut deliveries, mut bytes) = (0, 0);
        for Member { seat, peer: session } in local.roster.receivers(entry) {
            let delivered = if seat.filter.is_tailored {
                session.deliver_tailored(seat.id.alias, entry)
            } else {
                session.deliver(&seat.filter, entry)
            };
            if let Some(length) = delivered {
                deliveries += 1;
                bytes += length as u64;
            }
        }
        self.count(|counters| {
            counters.messages_out += deliveries;
            counters.bytes_out += bytes;
        });
    }

    pub(super) fn answer(&self, channel: &ChannelName, session: SessionId, answer: Answer) {
        let Some(session) = self.session(session).filter(|s| s.outbox.is_open()) else {
            return;
        };
        match &answer {
            Answer::Attached(attached) => self.seat(channel, attached, &session),
            Answer::Detached { alias, .. } => {
                let id = AttachmentId { session: session.id, alias: *alias };
                self.unseat(channel, id);
            }
            Answer::AttachRefused { .. } | Answer::Published { .. } | Answer::PublishRefused { .. } => {}
        }
        session.answer(channel, answer);
    }

    fn direct(&self, session: SessionId, frames: Vec<Bytes>) {
        let Some(session) = self.session(session) else {
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

    fn budget(&self, session: SessionId, change: Budget) {
        if let Some(session) = self.session(session) {
            match change {
                Budget::Widen(bytes) => session.outbox.widen(bytes),
                Budget::Narrow(bytes) => session.outbox.narrow(bytes),
            }
        }
    }
}
