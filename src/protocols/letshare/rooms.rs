//! The protocol handler of one LetShare connection: requests become commands, answers become replies.

use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;

use crate::{
    actors::transport::context::{Attaching, ProtocolHandler, TransportContext},
    config::Config,
    core::{
        command::Answer,
        filter::Filter,
        message::{Message, Payload},
        rules::Rules,
        wire::WireFormat,
    },
    error::Fault,
    ids::{ChannelName, SessionId},
    limits,
    protocols::letshare::{
        refusal::Refusal,
        reply::{self, LetShareJson},
        request::Request,
        sender,
        transfer::{self, Files},
    },
};

/// The event that everybody in a room subscribes to; meant when a client names none.
const ALL: &str = "signal:all";
/// What stands before the id of the user whom a signal is for.
const SIGNAL: &str = "signal:";

/// How rooms behave on this server.
#[derive(Debug)]
pub struct RoomSettings {
    pub rules: Arc<Rules>,
    /// Refuse a `from` that is not the user of the connection.
    pub enforce_from: bool,
    /// Whoever subscribes to `signal:all` gets every event, as the Go server did.
    pub wildcard_signal_all: bool,
    /// Any member may subscribe to the signals of another user, as in the Go server.
    pub foreign_signals: bool,
    pub events_per_subscription: usize,
}

impl RoomSettings {
    pub fn new(config: &Config) -> Self {
        Self {
            rules: Arc::new(Rules::letshare_room(config.websocket.max_room_users)),
            enforce_from: config.letshare.enforce_from,
            wildcard_signal_all: config.letshare.wildcard_signal_all,
            foreign_signals: config.letshare.foreign_signals,
            events_per_subscription: config.limits.events_per_subscription,
        }
    }
}

pub struct Rooms {
    user: String,
    /// The token allows this room alone.
    only_room: Option<String>,
    settings: Arc<RoomSettings>,
    files: Files,
}

impl Rooms {
    pub const fn new(user: String, only_room: Option<String>, settings: Arc<RoomSettings>, files: Files) -> Self {
        Self { user, only_room, settings, files }
    }

    fn subscribe(&self, request: &Request<'_>, transport: &mut TransportContext<'_>) -> Result<(), Refusal> {
        let room = room(request)?;
        self.settings.rules.check_name(room.as_str())?;
        if self.only_room.as_ref().is_some_and(|only| only != room.as_str()) {
            return Err(Fault::ChannelForbidden.into());
        }
        let mut filter = transport.filter(&room, 0).cloned().unwrap_or_else(Filter::named);
        let event = event_name(&request.event)?;
        if !self.may_hear(event) {
            return Err(Refusal::ForeignSignal(event.to_owned()));
        }
        filter.add(event.into());
        if event == ALL && self.settings.wildcard_signal_all {
            filter.add_every_name();
        }
        let limit = self.settings.events_per_subscription;
        if filter.len() > limit {
            return Err(Fault::TooManyEvents { limit }.into());
        }
        let confirmation = reply::subscribed(room.as_str(), &request.event, transport.now());
        self.attach(&room, filter, confirmation, transport)
    }

    /// A signal is for the user whom it names: by the whole id, or without what a page adds to it (`bob` of `bob:x1y2z3`).
    fn may_hear(&self, event: &str) -> bool {
        let Some(id) = event.strip_prefix(SIGNAL).filter(|_| event != ALL) else {
            return true;
        };
        let is_open = self.settings.foreign_signals || self.settings.wildcard_signal_all;
        let without_suffix = self.user.rsplit_once(':').map(|(name, _)| name);
        is_open || id == self.user || Some(id) == without_suffix
    }

    /// Unsubscribing is always confirmed; from `signal:all` it leaves the room.
    fn unsubscribe(&self, request: &Request<'_>, transport: &mut TransportContext<'_>) -> Result<(), Refusal> {
        let room = room(request)?;
        let confirmation = reply::unsubscribed(room.as_str(), &request.event, transport.now());
        let Some(mut filter) = transport.filter(&room, 0).cloned() else {
            transport.send_frame(confirmation);
            return Ok(());
        };
        match event_or_all(&request.event) {
            ALL => Ok(transport.detach(&room, 0, confirmation)?),
            event => {
                filter.remove(event);
                self.attach(&room, filter, confirmation, transport)
            }
        }
    }

    fn publish(&self, request: &Request<'_>, transport: &mut TransportContext<'_>) -> Result<(), Refusal> {
        let room = room(request)?;
        let data = request.data.ok_or(Refusal::MissingData)?;
        let text = sender::signed(data, &self.user, self.settings.enforce_from)?;
        let name = event_name(&request.event)?.into();
        let message = Message { name, payload: Payload::json(text), ..Message::default() };
        Ok(transport.publish(&room, message)?)
    }

    fn attach(
        &self,
        room: &ChannelName,
        filter: Filter,
        confirmation: Bytes,
        transport: &mut TransportContext<'_>,
    ) -> Result<(), Refusal> {
        let rules = Some(Arc::clone(&self.settings.rules));
        let attaching = Attaching { rules, context: confirmation, ..Attaching::new(filter) };
        Ok(transport.attach(room, attaching)?)
    }
}

impl ProtocolHandler for Rooms {
    fn format(&self) -> &'static dyn WireFormat {
        &LetShareJson
    }

    fn client_id(&self) -> Option<&str> {
        Some(&self.user)
    }

    fn text(&mut self, text: ByteString, transport: &mut TransportContext<'_>) {
        let Some(request) = Request::parse(&text) else {
            return refuse(transport, &Refusal::NoRequest(Request::fault(&text)), "");
        };
        let outcome = match &*request.kind {
            "subscribe" => self.subscribe(&request, transport),
            "unsubscribe" => self.unsubscribe(&request, transport),
            "publish" => self.publish(&request, transport),
            other if other.starts_with(transfer::PREFIX) => {
                let kind = &other[transfer::PREFIX.len()..];
                self.files.control(kind, &request.channel, request.data, transport)
            }
            unknown => Err(Refusal::UnknownType(unknown.to_owned())),
        };
        if let Err(refusal) = outcome {
            refuse(transport, &refusal, &request.channel);
        }
    }

    fn binary(&mut self, data: Bytes, transport: &mut TransportContext<'_>) {
        if let Err(refusal) = self.files.chunk(data, transport) {
            refuse(transport, &refusal, "");
        }
    }

    fn over_rate(&mut self, _: &Bytes, transport: &mut TransportContext<'_>) {
        refuse(transport, &Fault::RateLimited.into(), "");
    }

    fn paces(&self, data: &Bytes, session: SessionId) -> bool {
        self.files.expects(data, session)
    }

    fn answered(&mut self, channel: &ChannelName, answer: Answer, transport: &mut TransportContext<'_>) {
        match answer {
            Answer::Attached(attached) => {
                transport.send_frame(attached.context);
                self.files.entered(channel, transport);
            }
            Answer::Detached { context, fault, .. } => {
                self.files.left(channel, transport);
                match fault {
                    None => transport.send_frame(context),
                    Some(fault) => refuse(transport, &fault.into(), channel.as_str()),
                }
            }
            Answer::AttachRefused { fault, .. } | Answer::PublishRefused { fault, .. } => {
                refuse(transport, &fault.into(), channel.as_str());
            }
            // A publish that succeeds has no answer in this protocol (§2.2).
            Answer::Published { .. } | Answer::Broken(_) => {}
        }
    }

    fn closed(&mut self, transport: &mut TransportContext<'_>) {
        self.files.closed(transport);
    }
}

fn room(request: &Request<'_>) -> Result<ChannelName, Refusal> {
    if request.channel.is_empty() {
        return Err(Refusal::MissingChannel);
    }
    Ok((&*request.channel).into())
}

/// What a client subscribes to or publishes.
fn event_name(event: &str) -> Result<&str, Fault> {
    let max = limits::EVENT_NAME_BYTES;
    if event.len() > max {
        return Err(Fault::EventNameTooLong { max });
    }
    Ok(event_or_all(event))
}

fn event_or_all(event: &str) -> &str {
    if event.is_empty() { ALL } else { event }
}

fn refuse(transport: &mut TransportContext<'_>, refusal: &Refusal, channel: &str) {
    transport.count_error();
    transport.send_frame(reply::error(&refusal.reply(channel), transport.now()));
}
