//! What a protocol does for one transport ([`ProtocolHandler`]), and what it can do there ([`TransportContext`]).

use std::{
    net::{IpAddr, Ipv4Addr},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use bytestring::ByteString;

use crate::{
    actors::{
        accounts::{Charge, Full, Kind},
        broker::Settings,
        channels::{Command, Listed},
        fanout::TransportHandle,
        inbox::Inbox,
        transport::TransportCommand,
        transport::attachments::Attachments,
        transport::listed::ListSource,
        transport::missed::{BacklogSource, Frames},
        transport::session::Session,
        worker::Worker,
    },
    core::{
        command::{Answer, Attach, AttachmentId, Detach, Publish, Reply, Start},
        filter::{Expression, Filter},
        frame,
        keepalive::Timeouts,
        message::{Body, Entry, EntryId, Message},
        modes::Modes,
        rate::FrameRate,
        replay::Backlog,
        rules::Rules,
        wire::WireFormat,
    },
    error::{CloseReason, Fault},
    ids::{AppId, ChannelName, ConnectionId, SessionId, Timestamp},
    limits,
};

/// One protocol's side of one transport: frames in, commands out; answers in, frames out.
pub trait ProtocolHandler {
    /// How entries are written for this connection.
    fn format(&self) -> &'static dyn WireFormat;

    /// Whom the connection speaks for, as far as that is known.
    fn client_id(&self) -> Option<&str> {
        None
    }

    /// What the transport is held to.
    fn terms(&self, settings: &Settings) -> Terms {
        Terms::new(settings)
    }

    /// The transport is open: the first thing to happen.
    fn opened(&mut self, _transport: &mut TransportContext<'_>) {}

    fn text(&mut self, text: ByteString, transport: &mut TransportContext<'_>);

    fn binary(&mut self, data: Bytes, transport: &mut TransportContext<'_>);

    /// A frame that comes faster than the rate of the connection allows: it is answered in the shape of the protocol, not
    /// carried out, and read no further than the answer needs.
    fn over_rate(&mut self, _frame: &Bytes, transport: &mut TransportContext<'_>) {
        transport.count_error();
    }

    /// Whether binary data belongs to something that the protocol bounds by itself. Then the rate does not count it.
    fn paces(&self, _data: &Bytes, _session: SessionId) -> bool {
        false
    }

    /// A channel's answer to one of this connection's commands.
    fn answered(&mut self, _channel: &ChannelName, answer: Answer, transport: &mut TransportContext<'_>) {
        if let Answer::AttachRefused { fault, .. } | Answer::PublishRefused { fault, .. } = answer {
            self.refused(fault, transport);
        }
    }

    /// What the client asked for is refused.
    fn refused(&mut self, _fault: Fault, transport: &mut TransportContext<'_>) {
        transport.count_error();
    }

    /// What waits for the user of this connection until it was read, if the protocol keeps any.
    fn inbox(&mut self) -> Option<&mut Inbox> {
        None
    }

    /// An entry for an attachment whose filter is tailored: its complete frame, or nothing.
    fn tailored(&mut self, _alias: u16, _entry: &Arc<Entry>) -> Option<Bytes> {
        None
    }

    /// The client has answered a ping that carried `payload`: it has read what was sent before.
    fn ponged(&mut self, payload: &Bytes, transport: &mut TransportContext<'_>) {
        if let Some(inbox) = self.inbox() {
            inbox.ponged(payload, transport);
        }
    }

    /// The client's close frame is here: it leaves in order. Comes before [`ProtocolHandler::closed`] when the client
    /// closes first, else behind it.
    fn hung_up(&mut self) {}

    /// The time has come that was asked for by [`TransportContext::wake_in`], or somebody called `TransportHandle::wake`.
    fn woken(&mut self, _transport: &mut TransportContext<'_>) {}

    /// Something was left for this connection where the protocol looks ([`TransportHandle::nudge`]).
    fn nudged(&mut self, transport: &mut TransportContext<'_>) {
        if let Some(inbox) = self.inbox() {
            inbox.deliver(transport);
        }
    }

    /// Some credentials have changed, perhaps those of this connection.
    fn credentials_changed(&mut self, _transport: &mut TransportContext<'_>) {}

    /// The client has come back by another transport; this one has left its channels, and is of no use any more.
    fn superseded(&mut self, transport: &mut TransportContext<'_>) {
        transport.close(CloseReason::Replaced);
    }

    /// The connection ends; nothing can be sent any more.
    fn closed(&mut self, _transport: &mut TransportContext<'_>) {
        if let Some(inbox) = self.inbox() {
            inbox.close();
        }
    }
}

/// Who is at the other end of a transport, for operators to see.
#[derive(Clone, Debug)]
pub struct Peer {
    /// What it speaks.
    pub protocol: &'static str,
    pub address: IpAddr,
    /// What its SDK or browser calls itself, of [`limits::AGENT_BYTES`] at most.
    pub agent: Box<str>,
}

/// Nobody, until a request says who it is.
impl Default for Peer {
    fn default() -> Self {
        Self { protocol: "", address: Ipv4Addr::UNSPECIFIED.into(), agent: Box::default() }
    }
}

/// What a transport is held to, and what is done for it without asking its protocol handler.
pub struct Terms {
    /// The connection that this is a transport of.
    pub connection: ConnectionId,
    /// Sent every ping interval.
    pub ping: Bytes,
    pub timeouts: Timeouts,
    /// Frames that it may send; none = as many as it likes.
    pub rate: Option<FrameRate>,
    /// Channels that it may be attached to at once.
    pub channels: usize,
    /// Sent before the close frame when the server ends it.
    pub farewell: fn(CloseReason) -> Option<Bytes>,
    /// How long its presence members stay when it is gone.
    pub hold: Duration,
    /// The app whose account pays for what is kept for it.
    pub app: AppId,
    pub peer: Peer,
}

impl Terms {
    /// Of a connection that ends with its transport.
    pub fn new(settings: &Settings) -> Self {
        Self {
            connection: ConnectionId::random(),
            ping: frame::ping(),
            timeouts: settings.timeouts,
            rate: settings.frame_rate,
            channels: settings.channels_per_connection,
            farewell: |_| None,
            hold: Duration::ZERO,
            app: AppId::DEFAULT,
            peer: Peer::default(),
        }
    }
}

/// What a protocol handler can do.
pub struct TransportContext<'a> {
    pub(in crate::actors) session: &'a Session,
    pub(in crate::actors) attachments: &'a mut Attachments,
}

/// An attachment that is asked for: to what is published from now on, unless it says more.
pub struct Attaching {
    /// Which of the names that the transport knows the channel by; 0 is the plain name.
    pub alias: u16,
    pub filter: Filter,
    /// Counted against the cap of these.
    pub rules: Option<Arc<Rules>>,
    pub start: Start,
    /// See [`Attach::evicts`].
    pub evicts: bool,
    /// Comes back with the answer.
    pub context: Bytes,
    /// Bytes that its protocol keeps of it.
    pub cost: usize,
}

impl Attaching {
    pub const fn new(filter: Filter) -> Self {
        Self { alias: 0, filter, rules: None, start: Start::Head, evicts: false, context: Bytes::new(), cost: 0 }
    }
}

impl TransportContext<'_> {
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

    /// Sends a finished frame after [`limits::PING_ECHO_DELAY`](crate::limits::PING_ECHO_DELAY).
    pub fn send_delayed(&mut self, frame: Bytes) {
        self.session.command(TransportCommand::SendDelayed(frame));
    }

    /// Sends finished frames of what the client missed, as its socket takes them; until then its account pays for all of them.
    pub fn send_missed(&mut self, frames: Vec<Bytes>) {
        if !frames.is_empty() {
            let bytes = frames.iter().map(Bytes::len).sum();
            self.session.push_source(Frames::new(frames.into_iter(), Rc::clone(self.worker())), bytes);
        }
    }

    /// Sends what `channel` lists, of which it has given `list`: `page` writes the next frame, each time of the list as it is then,
    /// and says whether it is the last; `broken` is sent instead of the rest when the channel cannot tell it.
    pub fn send_list<T: Listed>(
        &mut self,
        channel: &ChannelName,
        list: &Arc<T>,
        broken: Bytes,
        page: impl FnMut(&T) -> (Bytes, bool) + 'static,
    ) {
        let bytes = channel.as_str().len() + broken.len();
        let (worker, handle) = (Rc::clone(self.worker()), self.handle());
        self.session.push_source(ListSource::new(channel.clone(), list, broken, page, worker, handle), bytes);
    }

    /// Sends what an attachment missed, as its socket takes it: `encode` writes an entry, and `broken` is sent instead of the
    /// rest when the log has it no longer.
    pub fn send_backlog(
        &mut self,
        backlog: Backlog,
        broken: Bytes,
        encode: impl FnMut(&Arc<Entry>) -> Bytes + 'static,
    ) {
        let bytes = backlog.cost() + broken.len();
        let (worker, handle) = (Rc::clone(self.worker()), self.handle());
        self.session.push_source(BacklogSource::new(backlog, broken, encode, worker, handle), bytes);
    }

    /// Ends the transport when what was sent has left.
    pub fn close(&mut self, reason: CloseReason) {
        self.session.close(reason);
    }

    /// Has [`ProtocolHandler::woken`] called after `wait`. The last call counts.
    pub fn wake_in(&mut self, wait: Duration) {
        self.session.command(TransportCommand::Wake(wait));
    }

    /// How long the members stay present when the transport is gone.
    pub fn hold(&mut self, hold: Duration) {
        self.session.hold.set(hold);
    }

    /// This connection as others reach it.
    pub fn handle(&self) -> TransportHandle {
        TransportHandle { hub: self.worker().hub.clone(), session: self.session.id }
    }

    /// Pays for `bytes` that are about to be kept for this client; none where nobody pays, as in tests.
    pub fn charge(&self, kind: Kind, bytes: usize) -> Result<Option<Charge>, Full> {
        self.session.outbox.account().map(|account| account.charge(kind, bytes)).transpose()
    }

    pub const fn connection(&self) -> ConnectionId {
        self.session.connection_id
    }

    /// The frame that is carried out costs so much more of the rate, beside the 1 that every frame costs.
    pub fn spend(&self, cost: u32) {
        self.session.spend(cost);
    }

    /// Counts an error that was sent to the client.
    pub fn count_error(&self) {
        self.worker().count(|counters| counters.errors_sent += 1);
    }

    pub fn now(&self) -> Timestamp {
        self.worker().broker.clock.now()
    }

    /// An expression that chooses messages of a channel.
    pub fn expression(&self, channel: &ChannelName, text: &str) -> Result<Arc<Expression>, Fault> {
        self.worker().expressions.borrow_mut().get(channel, text)
    }

    /// The filter of the attachment to `channel`, if there is one.
    pub fn filter(&self, channel: &ChannelName, alias: u16) -> Option<&Filter> {
        self.attachments.wanted(channel, alias).map(|attachment| &attachment.filter)
    }

    /// Whether there is an attachment, or another answer about one is to come.
    pub fn awaits(&self, channel: &ChannelName, alias: u16) -> bool {
        self.attachments.address(channel, alias).is_some()
    }

    /// The channels that the connection is attached to.
    pub fn channels(&self) -> impl Iterator<Item = &ChannelName> {
        self.attachments.channels()
    }

    /// Attaches, or changes the attachment there is; the answer brings the context back.
    ///
    /// # Errors
    /// When the command could not even be sent: too many channels, or the server is busy.
    pub fn attach(&mut self, name: &ChannelName, attaching: Attaching) -> Result<(), Fault> {
        let Attaching { alias, filter, rules, start, evicts, context, cost } = attaching;
        let limit = self.session.channels;
        if self.attachments.wanted(name, alias).is_none() && self.attachments.len() >= limit {
            return Err(Fault::TooManyChannels { limit });
        }
        let names = filter.names().iter().map(|name| size_of::<ByteString>() + name.len()).sum::<usize>();
        let cost = limits::ATTACHMENT_COST + cost + name.as_str().len() + 2 * names;
        self.attachments.make_room(name, alias, cost, self.session.outbox.account())?;
        let worker = self.worker();
        let attach = Attach {
            id: self.attachment_id(alias),
            connection: self.session.connection_id,
            hub: worker.hub.id,
            filter: filter.clone(),
            rules,
            start,
            evicts,
            context,
            asked: worker.broker.clock.uptime(),
        };
        let command = Command::new(worker.hub.clone(), name.clone(), attach);
        // By the address that earlier commands took, so that none overtakes another.
        let known = self.attachments.address(name, alias).filter(|channel| channel.connected());
        let channel = match known {
            Some(channel) => channel.clone(),
            None => match worker.channel(name, self.session.outbox.account()) {
                Ok(channel) => channel,
                Err(fault) => {
                    command.withdraw();
                    return Err(fault);
                }
            },
        };
        command.try_send_to(&channel).map_err(Command::withdraw)?;
        self.attachments.attaching(name, alias, channel, filter, cost);
        Ok(())
    }

    /// Attaches to all messages of a channel by its plain name; the answer brings `context` back. `is_tailored`: the
    /// protocol handler is asked for each.
    ///
    /// # Errors
    /// Those of [`Self::attach`].
    pub fn subscribe(&mut self, name: &ChannelName, is_tailored: bool, context: Bytes) -> Result<(), Fault> {
        let mut filter = Filter::new(Modes::SUBSCRIBE, true);
        filter.is_tailored = is_tailored;
        self.attach(name, Attaching { context, ..Attaching::new(filter) })
    }

    /// Detaches; the answer brings `context` back.
    ///
    /// # Errors
    /// [`Fault::NotAttached`], or the server is busy.
    pub fn detach(&mut self, name: &ChannelName, alias: u16, context: Bytes) -> Result<(), Fault> {
        let worker = Rc::clone(self.worker());
        let body = Detach {
            id: self.attachment_id(alias),
            connection: self.session.connection_id,
            hub: worker.hub.id,
            context,
        };
        let attachment = self.attachments.wanted_mut(name, alias)?;
        let hub = worker.hub.clone();
        attachment.send(name, Command::new(hub, name.clone(), body), &worker)?;
        self.attachments.detaching(name, alias);
        Ok(())
    }

    /// Publishes to a channel that the connection is attached to by its plain name; only a refusal is
    /// answered.
    ///
    /// # Errors
    /// [`Fault::NotAttached`], or the server is busy. Other refusals come as an answer.
    pub fn publish(&mut self, name: &ChannelName, message: Message) -> Result<(), Fault> {
        let worker = Rc::clone(self.worker());
        let body = Publish {
            reply: Some(self.reply(None)),
            attached: Some(self.session.id),
            publisher: Some(self.session.connection_id),
            ..Publish::message(EntryId::Serial, message)
        };
        let attachment = self.attachments.wanted_mut(name, 0)?;
        let hub = worker.hub.clone();
        attachment.send(name, Command::new(hub, name.clone(), body), &worker)
    }

    /// Publishes to any channel. What is refused is asked of a channel that there is already: no other remembers it, and
    /// nobody opens a channel by what he may not do.
    ///
    /// # Errors
    /// When the server is busy, or what is refused cannot be known. Other refusals come as an answer.
    pub fn send(&mut self, name: &ChannelName, mut publish: Publish) -> Result<(), Fault> {
        if let Body::Presence(_) = publish.body {
            publish.account = self.session.outbox.account().cloned();
        }
        let worker = Rc::clone(self.worker());
        let hub = worker.hub.clone();
        match self.attachments.wanted_mut(name, 0) {
            Ok(attachment) => attachment.send(name, Command::new(hub, name.clone(), publish), &worker),
            Err(_) => {
                let channel = match &publish.refusal {
                    None => worker.channel(name, self.session.outbox.account())?,
                    Some(fault) => worker.broker.directory.open(name).ok_or_else(|| Fault::clone(fault))?,
                };
                let command = Command::new(hub, name.clone(), publish);
                command.try_send_to(&channel).map_err(Command::withdraw)
            }
        }
    }

    /// Where the answer to a publish of this connection goes; without a token only a refusal is answered.
    pub fn reply(&self, token: Option<u64>) -> Reply {
        Reply { session: self.session.id, hub: self.worker().hub.id, token }
    }

    fn attachment_id(&self, alias: u16) -> AttachmentId {
        let session = self.session.id;
        AttachmentId { session, alias }
    }

    pub fn worker(&self) -> &Rc<Worker> {
        self.session.worker()
    }
}
