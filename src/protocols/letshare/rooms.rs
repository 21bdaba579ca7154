//! The protocol handler of one LetShare connection: requests become commands, answers become replies.

use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;

use crate::{
    actors::transport::context::{Attaching, ProtocolHandler, TransportContext},
    core::{
        command::Answer,
        filter::Filter,
        message::{Message, Payload},
        rules::Rules,
        wire::WireFormat,
    },
    error::Fault,
    ids::ChannelName,
    limits,
    protocols::letshare::{
        reply::{self, LetShareJson},
        request::Request,
        sender::{self, BadData},
        transfer::{self, Files, Unreadable},
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
    /// Whoever likes may subscribe to the signals of another user, as in the Go server.
    pub foreign_signals: bool,
    pub events_per_subscription: usize,
}

pub struct Rooms {
    user: String,
    /// The token allows this room alone.
    only_room: Option<String>,
    settings: Arc<RoomSettings>,
    files: Files,
}

/// A request that cannot be carried out.
enum Refusal {
    MissingChannel,
    MissingData,
    BadData,
    UnknownType(String),
    /// The signals of another user.
    ForeignSignal(String),
    Fault(Fault),
}

impl Refusal {
    /// `kind` is the type of the message that could not be read. A binary frame that is no chunk has
    /// none: so the Go server, which takes it for JSON, answers it too.
    fn unreadable(fault: Unreadable, kind: &str) -> Self {
        match fault {
            Unreadable::UnknownKind | Unreadable::NoChunk => Self::UnknownType(kind.to_owned()),
            Unreadable::NoTransferId => Self::BadData,
            Unreadable::RateLimited => Self::Fault(Fault::RateLimited),
        }
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
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
        let text = sender::signed(data, &self.user, self.settings.enforce_from).map_err(|bad_data| match bad_data {
            BadData::NotAnObject => Refusal::BadData,
            BadData::ForgedSender => Fault::ForgedSender.into(),
        })?;
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

    fn text(&mut self, text: ByteString, transport: &mut TransportContext<'_>) {
        if !transport.may_send() {
            return tell_fault(transport, &Fault::RateLimited, "");
        }
        let Some(request) = Request::parse(&text) else {
            return tell(transport, 400, "消息格式错误", &Request::fault(&text));
        };
        let outcome = match &*request.kind {
            "subscribe" => self.subscribe(&request, transport),
            "unsubscribe" => self.unsubscribe(&request, transport),
            "publish" => self.publish(&request, transport),
            other if other.starts_with(transfer::PREFIX) => {
                let kind = &other[transfer::PREFIX.len()..];
                self.files
                    .control(kind, &request.channel, request.data, transport)
                    .map_err(|fault| Refusal::unreadable(fault, other))
            }
            unknown => Err(Refusal::UnknownType(unknown.to_owned())),
        };
        if let Err(refusal) = outcome {
            tell_refusal(transport, refusal, &request.channel);
        }
    }

    fn binary(&mut self, data: Bytes, transport: &mut TransportContext<'_>) {
        if let Err(fault) = self.files.chunk(data, transport) {
            tell_refusal(transport, Refusal::unreadable(fault, ""), "");
        }
    }

    fn answered(&mut self, channel: &ChannelName, answer: Answer, transport: &mut TransportContext<'_>) {
        match answer {
            Answer::Attached(attached) => {
                transport.send_frame(attached.context);
                self.files.entered(channel, transport);
            }
            Answer::Detached { context, .. } => {
                self.files.left(channel, transport);
                transport.send_frame(context);
            }
            Answer::AttachRefused { fault, .. } | Answer::PublishRefused { fault, .. } => {
                tell_fault(transport, &fault, channel.as_str());
            }
            // Not asked for: a publisher hears of refusals only (§2.2).
            Answer::Published { .. } => {}
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

fn tell_refusal(transport: &mut TransportContext<'_>, refusal: Refusal, channel: &str) {
    match refusal {
        Refusal::MissingChannel => tell(transport, 400, "缺少频道名称", "channel is missing"),
        Refusal::MissingData => tell(transport, 400, "缺少消息数据", "data is missing"),
        Refusal::BadData => tell(transport, 400, "消息数据格式错误", "data must be a JSON object"),
        Refusal::UnknownType(kind) => {
            let shown: String = kind.chars().take(limits::ECHOED_CHARS).collect();
            let reason = "unknown type; known are subscribe, unsubscribe, publish and file:transfer:<kind>";
            tell(transport, 400, &format!("不支持的消息类型: {shown}"), reason);
        }
        Refusal::ForeignSignal(event) => {
            let shown: String = event.chars().take(limits::ECHOED_CHARS).collect();
            let text = "只能订阅发给自己的信令，除非服务器设置 letshare.foreign_signals";
            let reason = "the signals of another user: only its own may be subscribed to unless the server sets \
                          letshare.foreign_signals";
            tell(transport, 403, &format!("不能订阅其他用户的信令: {shown}（{text}）"), reason);
        }
        Refusal::Fault(fault) => tell_fault(transport, &fault, channel),
    }
}

fn tell_fault(transport: &mut TransportContext<'_>, fault: &Fault, channel: &str) {
    let shown: String = channel.chars().take(limits::ECHOED_CHARS).collect();
    let (code, message) = reply::fault_text(fault, &shown);
    tell(transport, code, &message, &fault.to_string());
}

fn tell(transport: &mut TransportContext<'_>, code: u16, message: &str, reason: &str) {
    transport.count_error();
    transport.send_frame(reply::error(code, message, reason, transport.now()));
}
