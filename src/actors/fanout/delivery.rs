//! The last hop: what a channel or a transfer has for the connections of this thread.
//!
//! Messages from other threads come through the mailbox of the [`Hub`](super::hub::Hub); a channel of the
//! same thread calls directly.

use std::{rc::Rc, sync::Arc};

use crate::{
    actors::{fanout::hub::HubMessage, transport::Session, worker::Worker},
    core::{
        command::{Answer, AttachmentId},
        message::Entry,
        operation::Operation,
        subscribers::Subscriber,
    },
    ids::{ChannelName, SessionId},
};

/// Puts an entry into the outbox of one attachment; how many bytes it has there.
#[inline]
fn hand(Subscriber { subscription, handle: session }: &Subscriber<Rc<Session>>, entry: &Arc<Entry>) -> Option<usize> {
    if subscription.filter.is_tailored {
        session.deliver_tailored(subscription.id.alias, &subscription.filter, entry)
    } else {
        session.deliver(&subscription.filter, entry)
    }
}

impl Worker {
    pub(in crate::actors) fn receive(&self, message: HubMessage) {
        match message {
            HubMessage::Delivery(entry) => self.deliver(&entry),
            HubMessage::Answer { channel, session, answer } => self.answer(&channel, session, answer),
            HubMessage::Undone { channel, command } => self.undone(&channel, command),
            HubMessage::Transport { session, message } => {
                if let Some(session) = self.session(session) {
                    session.receive(message);
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

    pub(in crate::actors) fn deliver(&self, entry: &Arc<Entry>) {
        let mut locals = self.locals.borrow_mut();
        let Some(local) = locals.get_mut(&entry.channel) else {
            return;
        };
        let (mut deliveries, mut bytes) = (0, 0);
        let mut count = |delivered: Option<usize>| {
            if let Some(length) = delivered {
                deliveries += 1;
                bytes += length as u64;
            }
        };
        match entry.operation().and_then(Operation::grown) {
            None => local.subscribers.deliver(entry, |subscriber| count(hand(subscriber, entry))),
            Some(grown) => local.subscribers.deliver(entry, |subscriber| {
                let whole = subscriber.subscription.needs_whole(grown.previous).then(|| entry.whole()).flatten();
                count(hand(subscriber, whole.as_ref().unwrap_or(entry)));
            }),
        }
        if deliveries == 0 {
            return;
        }
        self.count(|counters| {
            counters.messages_out += deliveries;
            counters.bytes_out += bytes;
        });
        local.traffic.borrow_mut().went_out(entry, deliveries);
    }

    pub(in crate::actors) fn answer(&self, channel: &ChannelName, session: SessionId, answer: Answer) {
        let Some(session) = self.session(session).filter(|s| s.outbox.is_open()) else {
            return;
        };
        match &answer {
            Answer::Attached(attached) => self.subscribe(channel, attached, &session),
            Answer::Broken(_) => {}
            Answer::Detached { alias, .. } => {
                let id = AttachmentId { session: session.id, alias: *alias };
                self.unsubscribe(channel, id);
            }
            Answer::AttachRefused { .. } | Answer::Published { .. } | Answer::PublishRefused { .. } => {}
        }
        session.answer(channel, answer);
    }
}
