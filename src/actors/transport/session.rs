//! One transport of a connection as its worker thread sees it: the outbox, the protocol handler, the attachments.
//!
//! The connection's actor feeds it what the client sends; the hub hands it what channels answer.
//! Both run on one thread, so an answer takes its place among the deliveries without a mailbox.

use std::{
    cell::{Cell, RefCell, RefMut},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use actix::Addr;
use bytes::Bytes;

use crate::{
    actors::{
        channels::Leave,
        fanout::{Budget, NotQueued, Outbox, Source, TransportMessage},
        listing::Shown,
        transport::attachments::Attachments,
        transport::context::{Peer, ProtocolHandler, Terms, TransportContext},
        transport::socket::Socket,
        transport::{Transport, TransportCommand},
        worker::Worker,
    },
    core::{
        command::{self, Answer, AttachmentId},
        filter::Filter,
        frame,
        keepalive::{Keepalive, Timeouts, Verdict},
        message::Entry,
        rate::{FrameBuckets, Pace, frame_cost},
        wire::WireFormat,
    },
    error::CloseReason,
    ids::{AppId, ChannelName, ConnectionId, SessionId, Timestamp},
    limits,
};

pub struct Session {
    pub id: SessionId,
    /// The connection that this is a transport of.
    pub connection_id: ConnectionId,
    pub(in crate::actors) app: AppId,
    pub(in crate::actors) peer: Peer,
    opened: Timestamp,
    pub(in crate::actors) outbox: Outbox,
    pub(in crate::actors) socket: Socket,
    transport: Addr<Transport>,
    worker: Rc<Worker>,
    format: &'static dyn WireFormat,
    protocol: RefCell<Protocol>,
    pub(in crate::actors) ping: Bytes,
    timeouts: Timeouts,
    keepalive: Cell<Keepalive>,
    heard: Cell<bool>,
    /// None: it may send as many frames as it likes.
    rate: RefCell<Option<FrameBuckets>>,
    /// Channels that it may be attached to at once.
    pub(in crate::actors) channels: usize,
    farewell: fn(CloseReason) -> Option<Bytes>,
    /// How long its members stay present without it.
    pub(in crate::actors) hold: Cell<Duration>,
    departed: Cell<bool>,
}

struct Protocol {
    handler: Box<dyn ProtocolHandler>,
    attachments: Attachments,
}

impl Session {
    pub fn new(
        handler: Box<dyn ProtocolHandler>,
        terms: Terms,
        transport: Addr<Transport>,
        outbox: Outbox,
        socket: Socket,
        worker: Rc<Worker>,
    ) -> Self {
        let Terms { connection: connection_id, ping, timeouts, rate, channels, farewell, hold, app, peer } = terms;
        Self {
            id: SessionId::next(),
            connection_id,
            app,
            peer,
            opened: worker.broker.clock.now(),
            outbox,
            socket,
            transport,
            ping,
            timeouts,
            rate: RefCell::new(rate.map(FrameBuckets::new)),
            channels,
            farewell,
            hold: Cell::new(hold),
            worker,
            format: handler.format(),
            protocol: RefCell::new(Protocol { handler, attachments: Attachments::default() }),
            keepalive: Cell::default(),
            heard: Cell::new(true),
            departed: Cell::new(false),
        }
    }

    pub(in crate::actors) const fn worker(&self) -> &Rc<Worker> {
        &self.worker
    }

    /// Something arrived: the peer is alive.
    pub(in crate::actors) fn note_activity(&self) {
        self.heard.set(true);
    }

    /// Counts a frame of the client against its rate, before it is read.
    pub(super) fn pace_of(&self, bytes: usize) -> Pace {
        let pace = self.with_rate(|rate, now| rate.judge(now, frame_cost(bytes)));
        if matches!(pace, Some(Pace::Over | Pace::Flood)) {
            self.worker.count(|counters| counters.rate_limited += 1);
        }
        pace.unwrap_or(Pace::Within)
    }

    /// The same for binary data, which the protocol may bound itself.
    pub(super) fn pace_of_binary(&self, data: &Bytes) -> Pace {
        let is_paced = self.protocol.borrow().handler.paces(data, self.id);
        if is_paced { Pace::Within } else { self.pace_of(data.len()) }
    }

    /// A pong answers a ping of ours, so it is never refused; a flood of them ends the connection like any other.
    pub(super) fn pace_of_pong(&self) -> Pace {
        self.with_rate(|rate, now| rate.judge_refused(now, 1)).unwrap_or(Pace::Within)
    }

    /// The frame that is carried out costs so much more.
    pub(super) fn spend(&self, cost: u32) {
        self.with_rate(|rate, now| rate.spend(now, cost));
    }

    fn with_rate<T>(&self, act: impl FnOnce(&mut FrameBuckets, Duration) -> T) -> Option<T> {
        let mut rate = self.rate.borrow_mut();
        rate.as_mut().map(|rate| act(rate, self.worker.broker.clock.uptime()))
    }

    /// Whom the connection speaks for.
    pub(in crate::actors) fn client_id(&self) -> Option<String> {
        self.protocol.borrow().handler.client_id().map(str::to_owned)
    }

    /// As operators see it.
    pub(in crate::actors) fn show(&self) -> Shown {
        let client_id = self.client_id();
        let attachments = self.attachments();
        Shown {
            session: self.id,
            connection: self.connection_id,
            peer: self.peer.clone(),
            app: self.app,
            client_id,
            opened: self.opened,
            bytes_waiting: self.outbox.waiting(),
            frames_sent: self.outbox.taken(),
            burst_spent: self.with_rate(|rate, now| rate.spent(now)),
            attachments: attachments.len(),
            channels: attachments.channels().take(limits::ADMIN_PAGE).cloned().collect(),
        }
    }

    /// Lets the protocol handler act.
    pub(in crate::actors) fn with_handler(
        &self,
        act: impl FnOnce(&mut dyn ProtocolHandler, &mut TransportContext<'_>),
    ) {
        let Protocol { handler, attachments } = &mut *self.protocol.borrow_mut();
        let mut transport = TransportContext { session: self, attachments };
        act(&mut **handler, &mut transport);
    }

    /// Hands a channel's answer on.
    pub(in crate::actors) fn answer(&self, channel: &ChannelName, answer: Answer) {
        self.attachments().answered(channel, &answer);
        self.with_handler(|handler, transport| handler.answered(channel, answer, transport));
    }

    /// Queues a finished frame. A reader for which there is no room is closed, at the cost of its outbox.
    pub(in crate::actors) fn push(&self, frame: Bytes) {
        self.end_if_full(self.outbox.push(frame));
    }

    /// Queues what is put into frames as the socket drains, and keeps `bytes` meanwhile.
    pub(in crate::actors) fn push_source(&self, source: impl Source + 'static, bytes: usize) {
        self.end_if_full(self.outbox.push_source(Box::new(source), bytes));
    }

    fn end_if_full(&self, pushed: Result<(), NotQueued>) {
        if let Err(why) = pushed {
            self.outbox.clear();
            self.send_close(why.to_close_reason());
            self.close(why.to_close_reason());
        }
    }

    /// Whether there was no room for what is put into frames as the socket drains; then the connection ends.
    pub(in crate::actors) fn ends_overdrawn(&self) -> bool {
        let full = self.outbox.overdrawn();
        self.end_if_full(full.map_or(Ok(()), |full| Err(NotQueued::NoMemory(full))));
        full.is_some()
    }

    /// Takes what others have for this transport.
    pub(in crate::actors) fn receive(&self, message: TransportMessage) {
        match message {
            TransportMessage::Frames(frames) => {
                self.worker.count(|counters| {
                    counters.messages_out += 1;
                    counters.bytes_out += frames.iter().map(|frame| frame.len() as u64).sum::<u64>();
                });
                frames.into_iter().for_each(|frame| self.push(frame));
            }
            TransportMessage::Budget(Budget::Widen(bytes)) => self.outbox.widen(bytes),
            TransportMessage::Budget(Budget::Narrow(bytes)) => self.outbox.narrow(bytes),
            TransportMessage::Supersede => self.supersede(),
            TransportMessage::Close(reason) => self.close(reason),
            TransportMessage::Nudge if self.outbox.is_open() => {
                self.with_handler(|handler, transport| handler.nudged(transport));
            }
            TransportMessage::Nudge => {}
            TransportMessage::Resume => self.outbox.resume(),
            TransportMessage::Probe => self.command(TransportCommand::Probe),
        }
    }

    /// Ends the transport when what was sent has left.
    pub(in crate::actors) fn close(&self, reason: CloseReason) {
        self.command(TransportCommand::Close(reason));
    }

    pub(super) fn command(&self, command: TransportCommand) {
        self.transport.do_send(command);
    }

    /// Queues the farewell of the protocol and the close frame.
    pub(in crate::actors) fn send_close(&self, reason: CloseReason) {
        if let Some(farewell) = (self.farewell)(reason) {
            // No room for it: then the close frame has to do.
            let _ = self.outbox.push(farewell);
        }
        self.outbox.close(frame::close(reason));
    }

    /// Queues an entry in the form that all attachments of this format share; how many bytes it has.
    pub(in crate::actors) fn deliver(&self, filter: &Filter, entry: &Entry) -> Option<usize> {
        let frame = match filter.part_of(entry) {
            None => entry.frame(self.format).clone(),
            Some(part) => self.format.encode(&part),
        };
        let bytes = frame.len();
        if bytes == 0 {
            return None;
        }
        self.push(frame);
        Some(bytes)
    }

    /// Queues an entry for an attachment whose entries the protocol handler writes itself.
    pub(in crate::actors) fn deliver_tailored(&self, alias: u16, filter: &Filter, entry: &Arc<Entry>) -> Option<usize> {
        let part = filter.part_of(entry).map(Arc::new);
        let entry = part.as_ref().unwrap_or(entry);
        let frame = self.protocol.borrow_mut().handler.tailored(alias, entry)?;
        let bytes = frame.len();
        self.push(frame);
        Some(bytes)
    }

    /// What the transport is attached to, while its protocol handler does nothing.
    pub(in crate::actors) fn attachments(&self) -> RefMut<'_, Attachments> {
        RefMut::map(self.protocol.borrow_mut(), |protocol| &mut protocol.attachments)
    }

    /// The client has come back by another transport. This one leaves its channels and ends at once: whoever still listens
    /// to it has to know that somebody else has the connection now.
    fn supersede(&self) {
        self.depart();
        self.with_handler(|handler, transport| handler.superseded(transport));
    }

    pub(in crate::actors) fn has_departed(&self) -> bool {
        self.departed.get()
    }

    pub(in crate::actors) fn check_keepalive(&self) -> Verdict {
        let timeouts = &self.timeouts;
        let mut keepalive = self.keepalive.get();
        let verdict = keepalive.tick(
            self.worker.broker.settings.get().timeouts.tick(),
            self.heard.replace(false),
            self.outbox.taken(),
            !self.outbox.is_empty(),
            timeouts,
        );
        self.keepalive.set(keepalive);
        verdict
    }

    /// Leaves every channel, at once for this thread and by message for the channels. Once.
    pub(in crate::actors) fn depart(&self) {
        if self.departed.replace(true) {
            return;
        }
        self.with_handler(|handler, transport| handler.closed(transport));
        let attachments = self.attachments().take();
        for (name, alias, channel) in attachments {
            let id = AttachmentId { session: self.id, alias };
            self.worker.unsubscribe(&name, id);
            let channel = if channel.connected() {
                Ok(channel)
            } else {
                // It died, and its successor may know this member.
                self.worker.channel(&name, None)
            };
            if let Ok(channel) = channel {
                // Not refused by a full mailbox: a member that is never removed would be worse.
                channel.do_send(Leave(command::Leave { id, connection: self.connection_id, hold: self.hold.get() }));
            }
        }
    }
}
