//! What travels: messages and presence events as published, and the log's entry that they become.

use std::{fmt, io, sync::OnceLock};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use bytestring::ByteString;

use crate::{
    core::{
        dedupe::Content,
        objects::ObjectOperation,
        occupancy::Occupancy,
        operation::{Annotation, MessageRef, Operation},
        presence::{PresenceAction, PresenceEvent},
        serial::Serial,
        summary::Digest,
        wire::{FORMATS, WireFormat},
    },
    ids::{ChannelName, ClientId, ConnectionId, Timestamp},
};

/// A message as its publisher handed it in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Message {
    /// Ably's message name, LetShare's event. Empty = none.
    pub name: ByteString,
    pub payload: Payload,
    /// The publisher, if it is identified.
    pub client_id: Option<ClientId>,
    pub extras: Option<Box<Extras>>,
}

impl Message {
    /// One that is a text and nothing else.
    pub fn text(text: ByteString) -> Self {
        let payload = Payload { data: Data::Text(text), ..Payload::default() };
        Self { payload, ..Self::default() }
    }
}

/// What an application sends, and how it has encoded it.
///
/// A JSON value travels as its text, byte for byte as the publisher wrote it, with the encoding `json`.
#[derive(Clone, Debug, Default)]
pub struct Payload {
    pub data: Data,
    /// The transformations that were applied, `/` between them, the first one leftmost. Never ends in
    /// `base64`: that is a matter of the wire (`docs/protocols/ably.md §3.5`). Empty = none.
    pub encoding: ByteString,
    /// The text was parsed and is valid JSON. False: it was not parsed, so it may be.
    pub is_json: bool,
}

/// Two payloads with the same content are equal, whether or not one of them was parsed.
impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        self.data == other.data && self.encoding == other.encoding
    }
}

impl Eq for Payload {}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Data {
    #[default]
    None,
    Text(ByteString),
    Binary(Bytes),
}

impl Payload {
    /// A JSON value; `text` is valid JSON.
    pub const fn json(text: ByteString) -> Self {
        Self { data: Data::Text(text), encoding: ByteString::from_static("json"), is_json: true }
    }
}

impl Payload {
    /// As a JSON value: JSON as it is; whatever else another protocol's client has sent as the JSON that
    /// comes nearest: text as a string, binary as base64, nothing as null.
    pub fn write_json(&self, json: &mut Vec<u8>) {
        match &self.data {
            Data::None => json.extend_from_slice(b"null"),
            Data::Text(text) if self.encoding == "json" && (self.is_json || is_json(text)) => {
                json.extend_from_slice(text.as_bytes());
            }
            Data::Text(text) => write_json_text(json, text),
            Data::Binary(bytes) => write_json_text(json, &BASE64_STANDARD.encode(bytes)),
        }
    }
}

/// Whether it is one JSON value.
pub fn is_json(text: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

/// As a JSON string. What needs an escape is looked for by blocks, in which nearly always nothing does.
pub fn write_json_text(json: &mut Vec<u8>, text: &str) {
    const BLOCK: usize = 16;
    let is_special = |byte: &u8| *byte < 0x20 || *byte == b'"' || *byte == b'\\';
    json.reserve(text.len() + 2);
    json.push(b'"');
    // Up to where it is written.
    let (mut text, mut plain) = (text.as_bytes(), 0);
    while let Some(block) = text.get(plain..).filter(|rest| !rest.is_empty()) {
        let block = &block[..block.len().min(BLOCK)];
        if !block.iter().fold(false, |found, byte| found | is_special(byte)) {
            plain += block.len();
            continue;
        }
        plain += block.iter().position(is_special).unwrap_or_default();
        json.extend_from_slice(&text[..plain]);
        write_escape(json, text[plain]);
        (text, plain) = (&text[plain + 1..], 0);
    }
    json.extend_from_slice(text);
    json.push(b'"');
}

fn write_escape(json: &mut Vec<u8>, byte: u8) {
    let short = match byte {
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        control @ ..0x20 => return json.extend_from_slice(format!("\\u{control:04x}").as_bytes()),
        itself => itself,
    };
    json.extend_from_slice(&[b'\\', short]);
}

/// As a JSON number.
pub fn write_json_number(json: &mut Vec<u8>, number: u64) {
    // Cannot fail: a number is written into memory.
    let _ = serde_json::to_writer(json, &number);
}

impl Data {
    /// Text as UTF-8.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::None => &[],
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }

    /// In bytes; text as UTF-8.
    pub fn len(&self) -> usize {
        self.as_bytes().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The `extras` of a message: a JSON object (`docs/protocols/ably.md §3.6`).
pub type Extras = serde_json::Map<String, serde_json::Value>;

/// The extra that the server writes: the claim of the publisher's token about its user.
pub const USER_CLAIM: &str = "userClaim";

/// What is to become an entry: everything but its serial and its time, which the log gives.
#[derive(Clone, Debug)]
pub struct Draft {
    pub channel: ChannelName,
    /// The connection that it counts as; none when it came by HTTP.
    pub publisher: Option<ConnectionId>,
    pub id: EntryId,
    pub body: Body,
    /// See [`Entry::is_ephemeral`].
    pub is_ephemeral: bool,
    /// What it is compared by when something comes with the same id.
    pub content: Content,
}

impl Draft {
    /// It brings nothing.
    pub const fn is_empty(&self) -> bool {
        match &self.body {
            Body::Messages(messages) => messages.is_empty(),
            Body::Presence(events) => events.is_empty(),
            Body::Annotations(annotations) => annotations.is_empty(),
            Body::Objects(operations) => operations.is_empty(),
            Body::Occupancy(_) | Body::Operation(_) | Body::Summary(_) => false,
        }
    }
}

/// One item of a channel's log: immutable, shared by all who deliver, keep or replay it.
///
/// Its finished frames are built at the first need, once per wire format.
#[derive(Debug)]
pub struct Entry {
    pub channel: ChannelName,
    pub serial: Serial,
    /// When the channel accepted it.
    pub timestamp: Timestamp,
    /// The connection it came by; none when it came by HTTP.
    pub publisher: Option<ConnectionId>,
    pub id: EntryId,
    pub body: Body,
    /// Delivered and forgotten: the log does not have it, and its serial is no position to resume at.
    pub is_ephemeral: bool,
    /// None: it is as it was published.
    variant: Option<Box<Variant>>,
    frames: [OnceLock<Bytes>; FORMATS],
}

/// An entry as one reader is to see it.
#[derive(Clone, Debug, Default)]
struct Variant {
    /// Some messages only, for a reader who wants no others: which of the original's. None: all of them.
    chosen: Option<Box<[u16]>>,
    /// What the annotations of its items come to, for those that have any.
    summaries: Vec<(usize, Digest)>,
}

/// What an entry brings. The items of one entry were published together and stay together.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    Messages(Vec<Message>),
    Presence(Vec<PresenceEvent>),
    /// How many use the channel; always ephemeral.
    Occupancy(Box<Occupancy>),
    /// A version of a message that was published before.
    Operation(Box<Operation>),
    /// Of messages that were published before.
    Annotations(Vec<Annotation>),
    /// What is done to the objects of the channel.
    Objects(Vec<ObjectOperation>),
    /// What the annotations of one message come to; always ephemeral, because it follows from them.
    Summary(Box<Summarised>),
}

impl Body {
    /// Members leave, and nothing else.
    pub fn is_leave(&self) -> bool {
        let is_leave = |event: &PresenceEvent| event.action == PresenceAction::Leave;
        matches!(self, Self::Presence(events) if !events.is_empty() && events.iter().all(is_leave))
    }

    /// Its items.
    pub fn len(&self) -> usize {
        match self {
            Self::Messages(messages) => messages.len(),
            Self::Presence(events) => events.len(),
            Self::Annotations(annotations) => annotations.len(),
            Self::Objects(operations) => operations.len(),
            Self::Occupancy(_) | Self::Operation(_) | Self::Summary(_) => 1,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What keeping it costs in memory, in bytes.
    pub fn cost(&self) -> usize {
        match self {
            Self::Messages(messages) => messages.iter().map(Message::cost).sum(),
            Self::Presence(events) => events.iter().map(PresenceEvent::cost).sum(),
            Self::Occupancy(_) | Self::Summary(_) => 0,
            Self::Operation(operation) => operation.cost(),
            Self::Annotations(annotations) => annotations.iter().map(Annotation::cost).sum(),
            Self::Objects(operations) => operations.iter().map(ObjectOperation::cost).sum(),
        }
    }
}

/// A message and the summary of its annotations.
#[derive(Clone, Debug, PartialEq)]
pub struct Summarised {
    pub message: MessageRef,
    /// The message's own: some clients subscribe by it.
    pub name: ByteString,
    pub summary: Digest,
}

/// Where the ids of an entry's items come from (`docs/protocols/ably.md §3.8`). It is also what makes a
/// repeated publish known: see [`crate::core::dedupe`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum EntryId {
    /// `<connectionId>:<msgSerial>`, the items counted behind it.
    Frame { connection: ConnectionId, msg_serial: u64 },
    /// Chosen by the client or drawn for it, the items counted behind it.
    Base(ByteString),
    /// Chosen by the client for its only item.
    Item(ByteString),
    /// The serial's own text, the items counted behind it.
    Serial,
}

impl Entry {
    /// What a draft becomes in the log.
    pub fn of(draft: Draft, serial: Serial, timestamp: Timestamp) -> Self {
        let Draft { channel, publisher, id, body, is_ephemeral, content: _ } = draft;
        Self {
            channel,
            serial,
            timestamp,
            publisher,
            id,
            body,
            is_ephemeral,
            variant: None,
            frames: Default::default(),
        }
    }

    /// An entry that was in a log before.
    pub fn new(
        channel: ChannelName,
        serial: Serial,
        timestamp: Timestamp,
        publisher: Option<ConnectionId>,
        id: EntryId,
        body: Body,
    ) -> Self {
        let frames = Default::default();
        Self { channel, serial, timestamp, publisher, id, body, is_ephemeral: false, variant: None, frames }
    }

    /// The finished WebSocket frame of this entry in `format`: encoded by the first who asks.
    pub fn frame(&self, format: &dyn WireFormat) -> &Bytes {
        self.frames[format.slot().index()].get_or_init(|| format.encode(self))
    }

    /// The messages that it brings; none when it is of another kind.
    pub fn messages(&self) -> &[Message] {
        match &self.body {
            Body::Messages(messages) => messages,
            _ => &[],
        }
    }

    /// The presence events; none when it is of another kind.
    pub fn presence(&self) -> &[PresenceEvent] {
        match &self.body {
            Body::Presence(events) => events,
            _ => &[],
        }
    }

    /// What it does to the objects of the channel; none when it is of another kind.
    pub fn objects(&self) -> &[ObjectOperation] {
        match &self.body {
            Body::Objects(operations) => operations,
            _ => &[],
        }
    }

    /// The messages that it has something of: those that it brings, or the one that it is a version of.
    #[inline]
    pub fn subjects(&self) -> &[Message] {
        match &self.body {
            Body::Messages(messages) => messages,
            Body::Operation(operation) => std::slice::from_ref(&operation.message),
            _ => &[],
        }
    }

    pub fn len(&self) -> usize {
        self.body.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// It is judged by what was published before it, and later ones by it.
    pub const fn is_judged(&self) -> bool {
        matches!(self.body, Body::Presence(_) | Body::Operation(_) | Body::Annotations(_) | Body::Objects(_))
    }

    /// It is as it was published.
    pub const fn is_original(&self) -> bool {
        self.variant.is_none()
    }

    fn chosen(&self) -> Option<&[u16]> {
        self.variant.as_ref()?.chosen.as_deref()
    }

    /// What the annotations of an item come to, where a reader of the past is told.
    pub fn summary(&self, index: usize) -> Option<&Digest> {
        let summaries = &self.variant.as_ref()?.summaries;
        summaries.iter().find(|(of, _)| *of == index).map(|(_, summary)| summary)
    }

    /// Which item of the original it is: what serial and id are made with.
    pub fn original_index(&self, index: usize) -> usize {
        let chosen = self.chosen().and_then(|chosen| chosen.get(index));
        chosen.map_or(index, |original| usize::from(*original))
    }

    /// The id that all items share, without the index; none when each has to have one of its own.
    pub fn base_id(&self) -> Option<impl fmt::Display + '_> {
        let is_own = matches!(self.id, EntryId::Item(_)) || self.chosen().is_some();
        (!is_own).then(|| fmt::from_fn(|f| self.write_id(f)))
    }

    pub fn item_id(&self, index: usize) -> impl fmt::Display + '_ {
        fmt::from_fn(move |f| {
            self.write_id(f)?;
            match &self.id {
                EntryId::Item(_) => Ok(()),
                _ => write!(f, ":{}", self.original_index(index)),
            }
        })
    }

    fn write_id(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.id {
            EntryId::Frame { connection, msg_serial } => write!(f, "{connection}:{msg_serial}"),
            EntryId::Base(id) | EntryId::Item(id) => f.write_str(id),
            EntryId::Serial => write!(f, "{}", self.serial),
        }
    }

    /// The same entry with some of its messages only, for a reader who wants no others.
    pub fn only(&self, wanted: impl Fn(usize) -> bool) -> Self {
        let messages = self.messages().iter().enumerate().filter(|(index, _)| wanted(*index));
        let (chosen, messages): (Vec<u16>, Vec<Message>) =
            messages.map(|(index, message)| (self.original_index(index) as u16, message.clone())).unzip();
        let variant = Some(Box::new(Variant { chosen: Some(chosen.into()), ..Variant::default() }));
        Self { variant, ..self.with(Body::Messages(messages)) }
    }

    /// The same entry with what the annotations of some of its items come to.
    pub fn with_summaries(&self, summaries: Vec<(usize, Digest)>) -> Self {
        let chosen = self.chosen().map(Box::from);
        Self { variant: Some(Box::new(Variant { chosen, summaries })), ..self.with(self.body.clone()) }
    }

    /// The same entry with another body.
    pub fn with(&self, body: Body) -> Self {
        let (channel, id, variant) = (self.channel.clone(), self.id.clone(), self.variant.clone());
        Self { channel, id, variant, body, frames: Default::default(), ..*self }
    }

    /// By how many milliseconds its serial is ahead of its time: the clock was set back.
    pub fn skew(&self) -> u64 {
        let (millis, _) = self.serial.place();
        millis.saturating_sub(self.timestamp.millis())
    }

    /// What keeping this entry costs in memory, in bytes: itself, the content, and as much again for a
    /// finished frame.
    pub fn cost(&self) -> usize {
        size_of::<Self>() + 2 * self.body.cost()
    }
}

impl Message {
    /// Its size as the limits count it: name, client id, extras as JSON, data
    /// (`docs/protocols/ably.md §3.7`).
    pub fn size(&self) -> usize {
        self.name.len() + size_of_identity(self.client_id.as_ref(), self.extras.as_deref()) + self.payload.data.len()
    }

    pub(super) fn cost(&self) -> usize {
        size_of::<Self>() + self.size() + self.payload.encoding.len()
    }
}

/// The bytes of a client id and of extras as JSON.
pub fn size_of_identity(client_id: Option<&ClientId>, extras: Option<&Extras>) -> usize {
    client_id.map_or(0, |id| id.as_str().len()) + extras.map_or(0, size_of_extras)
}

fn size_of_extras(extras: &Extras) -> usize {
    let mut length = Length(0);
    serde_json::to_writer(&mut length, extras).map_or(0, |()| length.0)
}

/// Counts what is written: a message is weighed several times on its way, and nobody needs the text.
struct Length(usize);

impl io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn texts_are_written_as_serde_writes_them(text in prop_oneof![".*", "[a-z]{0,40}[\"\\\\\u{0}-\u{1f}é用]{0,3}[a-z]{0,40}"]) {
            let mut json = b"before".to_vec();
            write_json_text(&mut json, &text);
            prop_assert_eq!(&json[6..], serde_json::to_vec(&text).expect("text"));
        }
    }
}
