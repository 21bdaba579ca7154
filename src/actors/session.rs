//! One transport of a connection as its worker thread sees it: the outbox, the translator, the attachments.
//!
//! The connection's actor feeds it what the client sends; the hub hands it what channels answer.
//! Both run on one thread, so an answer takes its place among the deliveries without a mailbox.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use actix::Addr;
use bytes::Bytes;

use crate::{
    actors::{
        attachments::Attachments,
        broker::FrameLimiter,
        channel::{Channel, Leave},
        connection::{Close, Connection},
        link::{Link, Terms, Translator},
        outbox::{self, Full, Outbox},
        socket::Socket,
        worker::Worker,
    },
    core::{
        command::{self, Answer, AttachmentId},
        filter::Filter,
        frame,
        message::Entry,
        vitals::{Patience, Verdict, Vitals},
        wire::WireFormat,
    },
    error::CloseReason,
    ids::{ChannelName, ConnectionId, SessionId},
};

pub struct Session {
    pub id: SessionId,
    /// The connection that this is a transport of.
    pub connection_id: ConnectionId,
    pub(super) outbox: Outbox,
    pub(super) socket: Socket,
    pub(super) connection: Addr<Connection>,
    worker: Rc<Worker>,
    format: &'static dyn WireFormat,
    talk: RefCell<Talk>,
    pub(super) ping: Bytes,
    patience: Patience,
    vitals: Cell<Vitals>,
    heard: Cell<bool>,
    limiter: Option<FrameLimiter>,
    /// Channels that it may be attached to at once.
    pub(super) channels: usize,
    farewell: fn(CloseReason) -> Option<Bytes>,
    /// By how much its outbox was widened for what it missed.
    widened: Cell<usize>,
    /// How long its members stay present without it.
    pub(super) hold: Cell<Duration>,
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
        let Terms { connection: connection_id, ping, patience, rate, channels, farewell, hold } =
            translator.terms(&worker.broker.settings.get());
        Self {
            id: SessionId::next(),
            connection_id,
            outbox,
            socket,
            connection,
            ping,
            patience,
            limiter: rate.map(|rate| worker.broker.frame_limiter(rate)),
            channels,
            farewell,
            widened: Cell::new(0),
            hold: Cell::new(hold),
            worker,
            format: translator.format(),
            talk: RefCell::new(Talk { translator, attachments: Attachments::default() }),
            vitals: Cell::default(),
            heard: Cell::new(true),
            departed: Cell::new(false),
        }
    }

    pub(super) const fn worker(&self) -> &Rc<Worker> {
        &self.worker
    }

    /// Something arrived: the peer is alive.
    pub(super) fn hear(&self) {
        self.heard.set(true);
    }

    /// Whether the rate limit leaves room for one more frame; counts it.
    pub(super) fn may_send(&self) -> bool {
        let allowed = self.limiter.as_ref().is_none_or(|limiter| limiter.check().is_ok());
        if !allowed {
            self.worker.count(|counters| counters.rate_limited += 1);
        }
        allowed
    }

    /// Lets the translator act.
    pub(super) fn talk(&self, act: impl FnOnce(&mut dyn Translator, &mut Link<'_>)) {
        let Talk { translator, attachments } = &mut *self.talk.borrow_mut();
        let mut link = Link { session: self, attachments };
        act(&mut **translator, &mut link);
    }

    /// Hands a channel's answer on.
    pub(super) fn answer(&self, channel: &ChannelName, answer: Answer) {
        self.talk.borrow_mut().attachments.answered(channel, &answer);
        self.talk(|translator, link| translator.answered(channel, answer, link));
    }

    /// Queues a finished frame. A reader too slow for it is closed, at the cost of its outbox.
    pub(super) fn push(&self, frame: Bytes) {
        if let Err(Full) = self.outbox.push(frame) {
            self.outbox.clear();
            self.say_goodbye(CloseReason::TooSlow);
            self.connection.do_send(Close(CloseReason::TooSlow));
        }
    }

    /// Queues a frame of what the client missed. It has room of its own: a client that comes back is behind
    /// by no fault of its reading, and what it gets is shared with all who missed it.
    pub(super) fn push_missed(&self, frame: Bytes) {
        let room = outbox::cost(&frame);
        self.outbox.widen(room);
        self.widened.set(self.widened.get() + room);
        self.push(frame);
    }

    /// Queues the last words of the protocol and the close frame.
    pub(super) fn say_goodbye(&self, reason: CloseReason) {
        if let Some(last_words) = (self.farewell)(reason) {
            // No room for them: then the close frame has to do.
            let _ = self.outbox.push(last_words);
        }
        self.outbox.close(frame::close(reason));
    }

    /// Queues an entry in the form that all attachments of this format share; how many bytes it has.
    pub(super) fn deliver(&self, filter: &Filter, entry: &Entry) -> Option<usize> {
        let frame = if filter.accepts_all_of(entry) {
            entry.frame(self.format).clone()
        } else {
            self.format.encode(&entry.only(|message| filter.wants(message)))
        };
        let bytes = frame.len();
        if bytes == 0 {
            return None;
        }
        self.push(frame);
        Some(bytes)
    }

    /// Queues an entry for one of the attachments that are written to in a way of their own.
    pub(super) fn deliver_tailored(&self, alias: u16, entry: &Entry) -> Option<usize> {
        let frame = self.talk.borrow_mut().translator.tailored(alias, entry)?;
        let bytes = frame.len();
        self.push(frame);
        Some(bytes)
    }

    /// The actor that this session sends its commands for a channel to.
    pub(super) fn channel(&self, name: &ChannelName, alias: u16) -> Option<Addr<Channel>> {
        self.talk.borrow().attachments.address(name, alias).cloned()
    }

    /// The filter that the client wants by now.
    pub(super) fn wanted(&self, name: &ChannelName, alias: u16) -> Option<Filter> {
        self.talk.borrow().attachments.wanted(name, alias).map(|attachment| attachment.filter.clone())
    }

    pub(super) fn attaches_anew(&self, name: &ChannelName, alias: u16) -> bool {
        self.talk.borrow().attachments.attaches_anew(name, alias)
    }

    pub(super) fn moved_on(&self, name: &ChannelName, alias: u16, successor: Addr<Channel>) {
        self.talk.borrow_mut().attachments.sent_again(name, alias, successor);
    }

    /// The client has come back by another transport. This one leaves its channels and ends at once: whoever still listens
    /// to it has to know that somebody else has the connection now.
    pub(super) fn supersede(&self) {
        self.depart();
        self.talk(|translator, link| translator.superseded(link));
    }

    pub(super) fn is_silent(&self) -> bool {
        self.departed.get()
    }

    pub(super) fn check_vitals(&self) -> Verdict {
        if self.outbox.is_empty() {
            self.outbox.narrow(self.widened.take());
        }
        let patience = &self.patience;
        let mut vitals = self.vitals.get();
        let verdict = vitals.tick(
            self.worker.broker.settings.get().patience.tick(),
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
        for (name, alias, channel) in attachments {
            let id = AttachmentId { session: self.id, alias };
            self.worker.unseat(&name, id);
            let channel = if channel.connected() {
                Ok(channel)
            } else {
                // It died, and its successor may know this member.
                self.worker.channel(&name)
            };
            if let Ok(channel) = channel {
                // Not refused by a full mailbox: a member that is never removed would be worse.
                channel.do_send(Leave(command::Leave { id, connection: self.connection_id, hold: self.hold.get() }));
            }
        }
    }
}
