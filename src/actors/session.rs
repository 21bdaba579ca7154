//! One connection as its worker thread sees it: the outbox, the translator, the attachments.
//!
//! The connection's actor feeds it what the client sends; the hub hands it what channels answer.
//! Both run on one thread, so an answer takes its place among the deliveries without a mailbox.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    sync::Arc,
};

use actix::{Addr, Handler, dev::ToEnvelope, prelude::SendError};
use bytes::Bytes;
use bytestring::ByteString;
use governor::{
    Quota, RateLimiter,
    middleware::NoOpMiddleware,
    state::{InMemoryState, NotKeyed},
};

use crate::{
    actors::{
        broker::Broker,
        channel::{Channel, Command, Leave, Publish},
        connection::{Close, Connection},
        hub::Peer,
        outbox::{Full, Outbox},
        socket::Socket,
        worker::Worker,
    },
    clock::Clock,
    core::{
        channel::{Answer, Attach, Detach},
        filter::Filter,
        frame,
        message::Message,
        rules::Rules,
        vitals::{Verdict, Vitals},
        wire::WireFormat,
    },
    error::{CloseReason, Fault},
    ids::{ChannelName, ConnectionId},
};

/// One protocol's side of one connection: frames in, commands out; answers in, frames out.
pub trait Translator {
    /// How entries are written for this connection.
    fn format(&self) -> &'static dyn WireFormat;

    fn text(&mut self, text: ByteString, link: &mut Link<'_>);

    /// A binary message. Unlike a text it has not been counted against the rate limit: see
    /// [`Link::may_send`].
    fn binary(&mut self, data: Bytes, link: &mut Link<'_>);

    /// A channel's answer to one of this connection's commands.
    fn answered(&mut self, channel: &ChannelName, answer: Answer, link: &mut Link<'_>);

    /// A frame was dropped before it was read.
    fn refused(&mut self, fault: Fault, link: &mut Link<'_>);

    /// The connection ends; nothing can be sent any more.
    fn closed(&mut self, _link: &mut Link<'_>) {}
}

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
    limiter: Option<Limiter>,
    departed: Cell<bool>,
}

type Limiter = RateLimiter<NotKeyed, InMemoryState, Clock, NoOpMiddleware<governor::nanos::Nanos>>;

struct Talk {
    translator: Box<dyn Translator>,
    attachments: HashMap<ChannelName, Attachment>,
}

struct Attachment {
    channel: Addr<Channel>,
    filter: Filter,
    /// The last command was to attach, not to detach.
    wanted: bool,
    /// Commands that the channel has yet to answer. Only the answer to the last one says whether
    /// there is an attachment: a place can get free between two requests of which the first is refused.
    unanswered: usize,
}

impl Attachment {
    /// Notes an answer to one of the commands.
    fn answered(&mut self, was_refused: bool) {
        self.unanswered = self.unanswered.saturating_sub(1);
        if was_refused && self.unanswered == 0 {
            self.wanted = false;
        }
    }

    fn is_over(&self) -> bool {
        !self.wanted && self.unanswered == 0
    }

    /// Sends a command to the channel; when its actor has died, to the successor.
    fn send<C>(
        &mut self,
        name: &ChannelName,
        command: Command<C>,
        worker: &Worker,
    ) -> Result<(), Fault>
    where
        C: Send + 'static,
        Channel: Handler<Command<C>>,
        <Channel as actix::Actor>::Context: ToEnvelope<Channel, Command<C>>,
    {
        let Err(not_sent) = self.channel.try_send(command) else {
            return Ok(());
        };
        if self.channel.connected() {
            return Err(Fault::Busy);
        }
        let (SendError::Closed(command) | SendError::Full(command)) = not_sent;
        self.channel = worker.channel(name)?;
        self.channel.try_send(command).map_err(|_| Fault::Busy)
    }
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
            limiter: limiter(&worker.broker),
            worker,
            format: translator.format(),
            talk: RefCell::new(Talk {
                translator,
                attachments: HashMap::new(),
            }),
            vitals: Cell::default(),
            heard: Cell::new(true),
            departed: Cell::new(false),
        }
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

    /// Hands a channel's answer on. A session that is closing gets no more answers.
    pub(super) fn answer(&self, channel: &ChannelName, answer: Answer) {
        let was_refused = match answer {
            Answer::AttachRefused { .. } => Some(true),
            Answer::Attached { .. } | Answer::Detached { .. } => Some(false),
            Answer::PublishRefused { .. } => None,
        };
        if let Some(was_refused) = was_refused {
            let attachments = &mut self.talk.borrow_mut().attachments;
            if let Some(attachment) = attachments.get_mut(channel) {
                attachment.answered(was_refused);
                if attachment.is_over() {
                    attachments.remove(channel);
                }
            }
        }
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
        let talk = self.talk.borrow();
        let attachment = talk.attachments.get(name)?;
        Some(attachment.channel.clone())
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
        let attachments = std::mem::take(&mut self.talk.borrow_mut().attachments);
        for (name, attachment) in attachments {
            self.worker.unseat(&name, self.id);
            let channel = if attachment.channel.connected() {
                Ok(attachment.channel)
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

/// What a translator can do.
pub struct Link<'a> {
    session: &'a Session,
    attachments: &'a mut HashMap<ChannelName, Attachment>,
}

impl Link<'_> {
    /// Sends a text message to the client of this connection alone.
    pub fn send_text(&mut self, text: &[u8]) {
        self.send_frame(frame::text(text));
    }

    /// Sends a finished frame to the client of this connection alone.
    pub fn send_frame(&mut self, frame: Bytes) {
        self.worker().count(|counters| {
            counters.messages_out += 1;
            counters.bytes_out += frame.len() as u64;
        });
        self.session.push(frame);
    }

    /// This connection as others reach it.
    pub fn peer(&self) -> Peer {
        Peer {
            hub: self.worker().hub.clone(),
            connection: self.session.id,
        }
    }

    /// Whether the rate limit leaves room for one more frame; counts it.
    pub fn may_send(&self) -> bool {
        self.session.may_send()
    }

    /// Counts an error that the client was told.
    pub fn count_error(&self) {
        self.worker().count(|counters| counters.errors_told += 1);
    }

    pub fn now(&self) -> crate::ids::Timestamp {
        self.worker().broker.clock.now()
    }

    /// The filter of the attachment to `channel`, if there is one.
    pub fn filter(&self, channel: &ChannelName) -> Option<&Filter> {
        self.wanted(channel).map(|attachment| &attachment.filter)
    }

    fn wanted(&self, channel: &ChannelName) -> Option<&Attachment> {
        let attachment = self.attachments.get(channel);
        attachment.filter(|attachment| attachment.wanted)
    }

    /// The channels that the connection is attached to.
    pub fn channels(&self) -> impl Iterator<Item = &ChannelName> {
        self.attachments.keys()
    }

    /// Attaches, or changes the filter of the attachment there is; the answer brings `context` back.
    ///
    /// # Errors
    /// When the command could not even be sent: too many channels, or the server is busy.
    pub fn attach(
        &mut self,
        name: &ChannelName,
        filter: Filter,
        rules: Option<Arc<Rules>>,
        context: Bytes,
    ) -> Result<(), Fault> {
        let limit = self.worker().broker.settings.channels_per_connection;
        let has_room = || self.attachments.values().filter(|one| one.wanted).count() < limit;
        if self.wanted(name).is_none() && !has_room() {
            return Err(Fault::TooManyChannels { limit });
        }
        let worker = self.worker();
        let command = Command {
            hub: worker.hub.clone(),
            body: Attach {
                connection: self.session.id,
                hub: worker.hub.id,
                filter: filter.clone(),
                rules,
                context,
            },
        };
        let channel = worker.channel(name)?;
        channel.try_send(command).map_err(|_| Fault::Busy)?;
        // What a channel that died has not answered, nobody will.
        let before = self.attachments.get(name);
        let before = before.filter(|attachment| attachment.channel.connected());
        let unanswered = before.map_or(0, |attachment| attachment.unanswered) + 1;
        let attachment = Attachment {
            channel,
            filter,
            wanted: true,
            unanswered,
        };
        self.attachments.insert(name.clone(), attachment);
        Ok(())
    }

    /// Detaches; the answer brings `context` back.
    ///
    /// # Errors
    /// [`Fault::NotAttached`], or the server is busy.
    pub fn detach(&mut self, name: &ChannelName, context: Bytes) -> Result<(), Fault> {
        let worker = &self.session.worker;
        let attachment = self.attachments.get_mut(name);
        let attachment = attachment
            .filter(|attachment| attachment.wanted)
            .ok_or(Fault::NotAttached)?;
        let command = Command {
            hub: worker.hub.clone(),
            body: Detach {
                connection: self.session.id,
                hub: worker.hub.id,
                context,
            },
        };
        attachment.send(name, command, worker)?;
        attachment.wanted = false;
        attachment.unanswered += 1;
        Ok(())
    }

    /// Publishes to a channel that the connection is attached to.
    ///
    /// # Errors
    /// [`Fault::NotAttached`], or the server is busy. Other refusals come as an answer.
    pub fn publish(&mut self, name: &ChannelName, message: Message) -> Result<(), Fault> {
        let worker = &self.session.worker;
        let attachment = self.attachments.get_mut(name);
        let attachment = attachment
            .filter(|attachment| attachment.wanted)
            .ok_or(Fault::NotAttached)?;
        let command = Command {
            hub: worker.hub.clone(),
            body: Publish {
                connection: self.session.id,
                message,
            },
        };
        attachment.send(name, command, worker)
    }

    pub fn worker(&self) -> &Rc<Worker> {
        &self.session.worker
    }
}

fn limiter(broker: &Broker) -> Option<Limiter> {
    let rate = broker.settings.frame_rate?;
    let quota = Quota::per_second(rate.per_second).allow_burst(rate.burst);
    Some(RateLimiter::direct_with_clock(quota, broker.clock.clone()))
}
