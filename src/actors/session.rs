//! One connection as its worker thread sees it: the outbox, the translator, the attachments.
//!
//! The connection's actor feeds it what the client sends; the hub hands it what channels answer.
//! Both run on one thread, so an answer takes its place among the deliveries without a mailbox.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use actix::Addr;
use bytes::Bytes;

use crate::{
    actors::{
        attachments::Attachments,
        broker::FrameLimiter,
        channel::{Channel, Leave},
        connection::{Close, Connection},
        link::{Link, Translator},
        outbox::{Full, Outbox},
        socket::Socket,
        worker::Worker,
    },
    core::{
        channel::Answer,
        frame,
        vitals::{Verdict, Vitals},
        wire::WireFormat,
    },
    error::CloseReason,
    ids::{ChannelName, ConnectionId},
};

pub struct Session {
    pub id: ConnectionId,
    pub(super) outbox: Outbox,
    pub(super) socket: Socket,
    pub(super) connection: Addr<Connection>,
    worker: Rc<Worker>,
    format: &'static dyn WireFormat,
    talk: RefCell<Talk>,
    vitals: Cell<Vitals>,
    heard: Cell<bool>,
    limiter: Option<FrameLimiter>,
    departed: Cell<bool>,
}

struct Talk {
    translator: Box<dyn Translator>,
    attachments: Attachments,
}

impl Session {
    pub fn new(
        translator: Box<dyn Translator>,
        connection: Addr<Connection>,
        outbox: Outbox,
        socket: Socket,
        worker: Rc<Worker>,
    ) -> Self {
        Self {
            id: ConnectionId::random(),
            outbox,
            socket,
            connection,
            limiter: worker.broker.frame_limiter(),
            worker,
            format: translator.format(),
            talk: RefCell::new(Talk {
                translator,
                attachments: Attachments::default(),
            }),
            vitals: Cell::default(),
            heard: Cell::new(true),
            departed: Cell::new(false),
        }
    }

    pub(super) const fn worker(&self) -> &Rc<Worker> {
        &self.worker
    }

    pub(super) const fn format(&self) -> &'static dyn WireFormat {
        self.format
    }

    /// Something arrived: the peer is alive.
    pub(super) fn hear(&self) {
        self.heard.set(true);
    }

    /// Whether the rate limit leaves room for one more frame; counts it.
    pub(super) fn may_send(&self) -> bool {
        let allowed = self
            .limiter
            .as_ref()
            .is_none_or(|limiter| limiter.check().is_ok());
        if !allowed {
            self.worker.count(|counters| counters.rate_limited += 1);
        }
        allowed
    }

    /// Lets the translator act.
    pub(super) fn talk(&self, act: impl FnOnce(&mut dyn Translator, &mut Link<'_>)) {
        let Talk {
            translator,
            attachments,
        } = &mut *self.talk.borrow_mut();
        let mut link = Link {
            session: self,
            attachments,
        };
        act(&mut **translator, &mut link);
    }

    /// Hands a channel's answer on.
    pub(super) fn answer(&self, channel: &ChannelName, answer: Answer) {
        self.talk
            .borrow_mut()
            .attachments
            .answered(channel, &answer);
        self.talk(|translator, link| translator.answered(channel, answer, link));
    }

    /// Queues a finished frame. A reader too slow for it is closed, at the cost of its outbox.
    pub(super) fn push(&self, frame: Bytes) {
        if let Err(Full) = self.outbox.push(frame) {
            self.outbox.clear();
            self.outbox.close(frame::close(CloseReason::TooSlow));
            self.connection.do_send(Close(CloseReason::TooSlow));
        }
    }

    /// The actor that this session sends its commands for a channel to.
    pub(super) fn channel(&self, name: &ChannelName) -> Option<Addr<Channel>> {
        self.talk.borrow().attachments.address(name).cloned()
    }

    pub(super) fn check_vitals(&self) -> Verdict {
        let broker = &self.worker.broker;
        let patience = &broker.settings.patience;
        let mut vitals = self.vitals.get();
        let verdict = vitals.tick(
            patience.tick(),
            self.heard.replace(false),
            self.outbox.taken(),
            !self.outbox.is_empty(),
            patience,
        );
        self.vitals.set(vitals);
        verdict
    }

    /// Leaves every channel, at once for this thread and by message for the channels. Once.
    pub(super) fn depart(&self) {
        if self.departed.replace(true) {
            return;
        }
        self.talk(|translator, link| translator.closed(link));
        let attachments = self.talk.borrow_mut().attachments.take();
        for (name, channel) in attachments {
            self.worker.unseat(&name, self.id);
            let channel = if channel.connected() {
                Ok(channel)
            } else {
                // It died, and its successor may know this member.
                self.worker.channel(&name)
            };
            if let Ok(channel) = channel {
                // Not refused by a full mailbox: a member that is never removed would be worse.
                channel.do_send(Leave(self.id));
            }
        }
    }
}
