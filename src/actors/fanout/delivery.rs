//! The last hop: what a channel or a transfer has for the connections of this thread.
//!
//! Messages from other threads come through the mailbox of the [`Hub`](super::hub::Hub); a channel of the
//! same thread calls directly.

use bytes::Bytes;

use crate::{
    actors::{
        fanout::hub::{Budget, HubMessage},
        transport::{Close, Probe},
        worker::Worker,
    },
    core::{
        command::{Answer, AttachmentId},
        message::Entry,
        subscribers::Subscriber,
    },
    ids::{ChannelName, SessionId},
};

impl Worker {
    pub(in crate::actors) fn receive(&self, message: HubMessage) {
        match message {
            HubMessage::Delivery(entry) => self.deliver(&entry),
            HubMessage::Answer { channel, session, answer } => self.answer(&channel, session, answer),
            HubMessage::Undone { channel, command } => self.undone(&channel, command),
            HubMessage::Direct { session, frames } => self.direct(session, frames),
            HubMessage::Budget { session, change } => self.budget(session, change),
            HubMessage::Supersede { session } => {
                if let Some(session) = self.session(session) {
                    session.supersede();
                }
            }
            HubMessage::Close { session, reason } => {
                if let Some(session) = self.session(session) {
                    session.transport.do_send(Close(reason));
                }
            }
            HubMessage::Nudge { session } => {
                if let Some(session) = self.session(session).filter(|s| s.outbox.is_open()) {
                    session.talk(|handler, transport| handler.nudged(transport));
                }
            }
            HubMessage::Probe { session } => {
                if let Some(session) = self.session(session) {
                    session.transport.do_send(Probe);
                }
            }
        }
    }

    /// Has the answer to a publish written before what it brings to others, as far as its socket has no other turn yet. Its
    /// own echo stays ahead of its answer.
    pub(in crate::actors) fn serve_first(&self, session: SessionId) {
        if let Some(session) = self.session(session) {
            session.outbox.take_turn();
        }
    }

    fn deliver(&self, entry: &Entry) {
        let mut locals = self.locals.borrow_mut();
        let Some(local) = locals.get_mut(&entry.channel) else {
            return;
        };
        let (mut deliveries, mut bytes) = (0, 0);
        for Subscriber { subscription, handle: session } in local.subscribers.receivers(entry) {
            let delivered = if subscription.filter.is_tailored {
                session.deliver_tailored(subscription.id.alias, entry)
            } else {
                session.deliver(&subscription.filter, entry)
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

    pub(in crate::actors) fn answer(&self, channel: &ChannelName, session: SessionId, answer: Answer) {
        let Some(session) = self.session(session).filter(|s| s.outbox.is_open()) else {
            return;
        };
        match &answer {
            Answer::Attached(attached) => self.subscribe(channel, attached, &session),
            Answer::Detached { alias, .. } => {
                let id = AttachmentId { session: session.id, alias: *alias };
                self.unsubscribe(channel, id);
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
