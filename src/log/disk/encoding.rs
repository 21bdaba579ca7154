//! An entry as bytes, and back. Numbers are LEB128, texts and data follow their length; the first byte is
//! the version. The serial, which is in the row's key, and the channel's name and epoch, which are in its row, are left out.

pub mod objects;

use bytes::Bytes;
use bytestring::ByteString;

use crate::{
    core::{
        growth::Grown,
        message::{Body, Data, Entry, EntryId, Extras, Message, Payload},
        operation::{Annotation, Change, MessageRef, Operation, Origin, Version},
        presence::{PresenceAction, PresenceEvent},
        serial::{Place, Serial},
        summary::Summary,
    },
    ids::{ChannelName, ClientId, ConnectionId, Timestamp},
    limits,
};

const VERSION: u8 = 1;

const NOT: u8 = 0;
const IS: u8 = 1;

const ID_SERIAL: u8 = 0;
const ID_FRAME: u8 = 1;
const ID_BASE: u8 = 2;
const ID_ITEM: u8 = 3;

const MESSAGES: u8 = 0;
const PRESENCE: u8 = 1;
const OPERATION: u8 = 2;
const ANNOTATIONS: u8 = 3;
const OBJECTS: u8 = 4;

const DATA_NONE: u8 = 0;
const DATA_TEXT: u8 = 1;
const DATA_BINARY: u8 = 2;

/// All that stands before the items: a time, a connection and an id.
const HEAD_BYTES: usize = 128 + limits::MESSAGE_ID_BYTES;

const ENTER: u8 = 0;
const LEAVE: u8 = 1;
const UPDATE: u8 = 2;

/// An append with all of its message.
const GROWN: u8 = 3;

const CHANGES: [Change; 3] = [Change::Update, Change::Delete, Change::Append];

/// The bytes of an entry that is no occupancy.
pub fn encode(entry: &Entry) -> Vec<u8> {
    write(entry, None)
}

/// The same of an append, with all of its message; none when that is not known.
pub fn encode_whole(entry: &Entry) -> Option<Vec<u8>> {
    let grown = entry.operation()?.grown()?;
    Some(write(entry, Some((grown.previous, grown.join()))))
}

fn write(entry: &Entry, whole: Option<(Place, Data)>) -> Vec<u8> {
    let mut out = Out(Vec::with_capacity(entry.cost() / 2));
    out.0.push(VERSION);
    out.number(entry.timestamp.millis());
    out.option(entry.publisher, |out, connection| {
        out.0.extend_from_slice(&connection.to_bytes());
    });
    match &entry.id {
        EntryId::Serial => out.0.push(ID_SERIAL),
        EntryId::Frame { connection, msg_serial } => {
            out.0.push(ID_FRAME);
            out.0.extend_from_slice(&connection.to_bytes());
            out.number(*msg_serial);
        }
        EntryId::Base(id) => out.tagged(ID_BASE, id),
        EntryId::Item(id) => out.tagged(ID_ITEM, id),
    }
    match &entry.body {
        Body::Messages(messages) => {
            out.0.push(MESSAGES);
            out.number(messages.len() as u64);
            for message in messages {
                out.message(message);
            }
        }
        Body::Presence(events) => {
            out.0.push(PRESENCE);
            out.number(events.len() as u64);
            for event in events {
                out.event(event);
            }
        }
        Body::Operation(operation) => {
            out.0.push(OPERATION);
            out.operation(operation, whole);
        }
        Body::Annotations(annotations) => {
            out.0.push(ANNOTATIONS);
            out.number(annotations.len() as u64);
            for annotation in annotations {
                out.annotation(annotation);
            }
        }
        Body::Objects(operations) => {
            out.0.push(OBJECTS);
            out.number(operations.len() as u64);
            for operation in operations {
                out.object_operation(operation);
            }
        }
        // Always ephemeral: no log has one.
        Body::Occupancy(_) | Body::Summary(_) => {
            out.0.push(MESSAGES);
            out.number(0);
        }
    }
    out.0
}

/// None when the bytes are no entry of this version.
pub fn decode(channel: &ChannelName, serial: Serial, bytes: Bytes) -> Option<Entry> {
    let mut from = In(bytes);
    if from.byte()? != VERSION {
        return None;
    }
    let timestamp = Timestamp::from_millis(from.number()?);
    let publisher = from.option(In::connection)?;
    let id = match from.byte()? {
        ID_SERIAL => EntryId::Serial,
        ID_FRAME => EntryId::Frame { connection: from.connection()?, msg_serial: from.number()? },
        ID_BASE => EntryId::Base(from.text()?),
        ID_ITEM => EntryId::Item(from.text()?),
        _ => return None,
    };
    let body = match from.byte()? {
        MESSAGES => Body::Messages(from.list(In::message)?),
        PRESENCE => Body::Presence(from.list(In::event)?),
        OPERATION => Body::Operation(Box::new(from.operation(serial)?)),
        ANNOTATIONS => Body::Annotations(from.list(|from| from.annotation(serial))?),
        OBJECTS => Body::Objects(from.list(In::object_operation)?),
        _ => return None,
    };
    let is_whole = from.0.is_empty();
    is_whole.then(|| Entry::new(channel.clone(), serial, timestamp, publisher, id, body))
}

/// Whether the entry has presence events, by what stands before its items: of a long entry the rest is not looked at.
pub fn is_presence(bytes: &[u8]) -> bool {
    kind_of(bytes) == Some(PRESENCE)
}

/// Whether the entry has operations on objects.
pub fn is_objects(bytes: &[u8]) -> bool {
    kind_of(bytes) == Some(OBJECTS)
}

/// Whether it concerns messages that were published before it.
pub fn touches(bytes: &[u8]) -> bool {
    matches!(kind_of(bytes), Some(OPERATION | ANNOTATIONS))
}

fn kind_of(bytes: &[u8]) -> Option<u8> {
    let head = &bytes[..bytes.len().min(HEAD_BYTES)];
    kind(&mut In(Bytes::copy_from_slice(head)))
}

fn kind(from: &mut In) -> Option<u8> {
    from.byte()?;
    from.number()?;
    from.option(In::connection)?;
    match from.byte()? {
        ID_SERIAL => {}
        ID_FRAME => {
            from.connection()?;
            from.number()?;
        }
        _ => {
            from.bytes()?;
        }
    }
    from.byte()
}

/// What the annotations of a message come to.
pub fn encode_summary(summary: &Summary) -> Vec<u8> {
    let mut out = Out(vec![VERSION]);
    for (kind, name, client, amount) in summary.counts() {
        out.bytes(kind.as_bytes());
        out.bytes(name.as_bytes());
        out.option(client, |out, id| out.bytes(id.as_str().as_bytes()));
        out.number(amount);
    }
    out.0
}

/// None when the bytes are no summary of this version.
pub fn decode_summary(bytes: Bytes) -> Option<Summary> {
    let (mut from, mut summary) = (In(bytes), Summary::default());
    if from.byte()? != VERSION {
        return None;
    }
    while !from.0.is_empty() {
        let (kind, name, client) = (from.text()?, from.text()?, from.option(In::client)?);
        summary.restore(&kind, name, client.as_ref(), from.number()?);
    }
    Some(summary)
}

struct Out(Vec<u8>);

impl Out {
    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn tagged(&mut self, tag: u8, text: &str) {
        self.0.push(tag);
        self.bytes(text.as_bytes());
    }

    fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        match value {
            None => self.0.push(NOT),
            Some(value) => {
                self.0.push(IS);
                write(self, value);
            }
        }
    }

    fn payload(&mut self, payload: &Payload) {
        match &payload.data {
            Data::None => self.0.push(DATA_NONE),
            Data::Text(text) => self.tagged(DATA_TEXT, text),
            Data::Binary(bytes) => {
                self.0.push(DATA_BINARY);
                self.bytes(bytes);
            }
        }
        self.bytes(payload.encoding.as_bytes());
    }

    fn extras(&mut self, extras: Option<&Extras>) {
        self.option(extras, |out, extras| {
            // cannot fail: the keys of a JSON object are texts.
            out.bytes(&serde_json::to_vec(extras).unwrap_or_default());
        });
    }

    fn message(&mut self, message: &Message) {
        self.bytes(message.name.as_bytes());
        self.payload(&message.payload);
        self.option(message.client_id.as_ref(), |out, id| {
            out.bytes(id.as_str().as_bytes());
        });
        self.extras(message.extras.as_deref());
    }

    fn target(&mut self, target: MessageRef) {
        let ((millis, counter), index) = target.place();
        self.number(millis);
        self.number(counter.into());
        self.number(index.into());
    }

    fn operation(&mut self, operation: &Operation, whole: Option<(Place, Data)>) {
        let Operation { target, change, message, origin, version, digest, .. } = operation;
        self.target(*target);
        let known = CHANGES.iter().position(|known| known == change).unwrap_or_default() as u8;
        self.0.push(if whole.is_some() { GROWN } else { known });
        self.0.extend_from_slice(&digest.to_be_bytes());
        self.bytes(origin.id.as_bytes());
        self.number(origin.timestamp.millis());
        self.option(origin.publisher, |out, connection| out.0.extend_from_slice(&connection.to_bytes()));
        self.option(version.client_id.as_ref(), |out, id| out.bytes(id.as_str().as_bytes()));
        self.option(version.description.as_ref(), |out, text| out.bytes(text.as_bytes()));
        self.extras(version.metadata.as_deref());
        self.message(message);
        if let Some(((millis, counter), data)) = whole {
            self.number(millis);
            self.number(counter.into());
            self.payload(&Payload { data, ..Payload::default() });
        }
    }

    fn annotation(&mut self, annotation: &Annotation) {
        let Annotation { target, is_delete, kind, name, count, client_id, payload, extras } = annotation;
        self.target(*target);
        self.0.push(u8::from(*is_delete));
        self.bytes(kind.as_bytes());
        self.bytes(name.as_bytes());
        self.option(*count, |out, count| out.number(count));
        self.option(client_id.as_ref(), |out, id| out.bytes(id.as_str().as_bytes()));
        self.payload(payload);
        self.extras(extras.as_deref());
    }

    fn event(&mut self, event: &PresenceEvent) {
        self.0.push(match event.action {
            PresenceAction::Enter => ENTER,
            PresenceAction::Leave => LEAVE,
            PresenceAction::Update => UPDATE,
        });
        self.option(event.id.as_ref(), |out, id| out.bytes(id.as_bytes()));
        self.bytes(event.client_id.as_str().as_bytes());
        self.payload(&event.payload);
        self.extras(event.extras.as_deref());
    }
}

/// What is left to be read; texts and data share its memory.
struct In(Bytes);

impl In {
    fn byte(&mut self) -> Option<u8> {
        let byte = *self.0.first()?;
        self.0 = self.0.slice(1..);
        Some(byte)
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn take(&mut self, count: usize) -> Option<Bytes> {
        (count <= self.0.len()).then(|| self.0.split_to(count))
    }

    fn bytes(&mut self) -> Option<Bytes> {
        let count = self.number()?;
        self.take(usize::try_from(count).ok()?)
    }

    fn text(&mut self) -> Option<ByteString> {
        ByteString::try_from(self.bytes()?).ok()
    }

    /// `Some(None)` is a value that is not there.
    #[allow(clippy::option_option, reason = "the outer one is a failure")]
    fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.byte()? {
            NOT => Some(None),
            IS => read(self).map(Some),
            _ => None,
        }
    }

    fn list<T>(&mut self, read: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.number()?;
        // Not allocated at once: the number may be anything.
        (0..count).map(|_| read(self)).collect()
    }

    fn connection(&mut self) -> Option<ConnectionId> {
        let bytes = self.take(9)?;
        let bytes: [u8; 9] = bytes[..].try_into().ok()?;
        Some(ConnectionId::from_bytes(bytes))
    }

    fn client(&mut self) -> Option<ClientId> {
        ClientId::new(self.text()?)
    }

    fn payload(&mut self) -> Option<Payload> {
        let data = match self.byte()? {
            DATA_NONE => Data::None,
            DATA_TEXT => Data::Text(self.text()?),
            DATA_BINARY => Data::Binary(self.bytes()?),
            _ => return None,
        };
        let encoding = self.text()?;
        Some(Payload { data, encoding, is_json: false })
    }

    fn extras(&mut self) -> Option<Box<Extras>> {
        serde_json::from_slice(&self.bytes()?).ok()
    }

    fn message(&mut self) -> Option<Message> {
        Some(Message {
            name: self.text()?,
            payload: self.payload()?,
            client_id: self.option(Self::client)?,
            extras: self.option(Self::extras)?,
        })
    }

    fn target(&mut self, serial: Serial) -> Option<MessageRef> {
        let (millis, counter) = (self.number()?, u16::try_from(self.number()?).ok()?);
        let index = u16::try_from(self.number()?).ok()?;
        Some(MessageRef { serial: Serial::at(serial.epoch(), (millis, counter)), index })
    }

    fn operation(&mut self, serial: Serial) -> Option<Operation> {
        let target = self.target(serial)?;
        let (change, is_whole) = match self.byte()? {
            GROWN => (Change::Append, true),
            known => (*CHANGES.get(usize::from(known))?, false),
        };
        let digest = u64::from_be_bytes(self.take(8)?[..].try_into().ok()?);
        let origin = Origin {
            id: self.text()?,
            timestamp: Timestamp::from_millis(self.number()?),
            publisher: self.option(Self::connection)?,
        };
        let version = Version {
            client_id: self.option(Self::client)?,
            description: self.option(Self::text)?,
            metadata: self.option(Self::extras)?,
        };
        let operation = Operation::stored(target, change, self.message()?, origin, version, digest);
        if !is_whole {
            return Some(operation);
        }
        let previous = (self.number()?, u16::try_from(self.number()?).ok()?);
        Some(operation.restored(Grown::restored(previous, self.payload()?.data)))
    }

    fn annotation(&mut self, serial: Serial) -> Option<Annotation> {
        Some(Annotation {
            target: self.target(serial)?,
            is_delete: self.byte()? == IS,
            kind: self.text()?,
            name: self.text()?,
            count: self.option(Self::number)?,
            client_id: self.option(Self::client)?,
            payload: self.payload()?,
            extras: self.option(Self::extras)?,
        })
    }

    fn event(&mut self) -> Option<PresenceEvent> {
        let action = match self.byte()? {
            ENTER => PresenceAction::Enter,
            LEAVE => PresenceAction::Leave,
            UPDATE => PresenceAction::Update,
            _ => return None,
        };
        Some(PresenceEvent {
            action,
            id: self.option(Self::text)?,
            client_id: self.client()?,
            payload: self.payload()?,
            extras: self.option(Self::extras)?,
        })
    }
}

#[cfg(test)]
mod tests;
