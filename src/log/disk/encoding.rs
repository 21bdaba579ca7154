//! An entry as bytes, and back. Numbers are LEB128, texts and data follow their length; the first byte is
//! the version. The serial, which is in the row's key, and the channel's name and epoch, which are in its row, are left out.

use bytes::Bytes;
use bytestring::ByteString;

use crate::{
    core::{
        annotation::{Annotation, AnnotationAction},
        message::{Body, Data, Entry, EntryId, Extras, Message, MessageRef, Payload},
        presence::{PresenceAction, PresenceEvent},
        serial::{Epoch, Serial},
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
const ANNOTATIONS: u8 = 2;

const DATA_NONE: u8 = 0;
const DATA_TEXT: u8 = 1;
const DATA_BINARY: u8 = 2;

/// All that stands before the items: a time, a connection and an id.
const HEAD_BYTES: usize = 128 + limits::MESSAGE_ID_BYTES;

const ENTER: u8 = 0;
const LEAVE: u8 = 1;
const UPDATE: u8 = 2;

const CREATE: u8 = 0;
const DELETE: u8 = 1;

/// The bytes of an entry that is no occupancy.
pub fn encode(entry: &Entry) -> Vec<u8> {
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
        Body::Annotations(annotations) => {
            out.0.push(ANNOTATIONS);
            out.number(annotations.len() as u64);
            for annotation in annotations {
                out.annotation(annotation);
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
        ANNOTATIONS => Body::Annotations(from.list(|from| from.annotation(serial.epoch()))?),
        _ => return None,
    };
    let is_whole = from.0.is_empty();
    is_whole.then(|| Entry::new(channel.clone(), serial, timestamp, publisher, id, body))
}

/// Whether the entry has presence events.
pub fn is_presence(bytes: &[u8]) -> bool {
    kind(bytes) == Some(PRESENCE)
}

/// Whether the entry has annotations.
pub fn is_annotations(bytes: &[u8]) -> bool {
    kind(bytes) == Some(ANNOTATIONS)
}

/// By what stands before its items: of a long entry the rest is not looked at.
fn kind(bytes: &[u8]) -> Option<u8> {
    let from = &mut In(Bytes::copy_from_slice(&bytes[..bytes.len().min(HEAD_BYTES)]));
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

    /// Its message is of the same log.
    fn annotation(&mut self, annotation: &Annotation) {
        self.0.push(match annotation.action {
            AnnotationAction::Create => CREATE,
            AnnotationAction::Delete => DELETE,
        });
        let ((millis, counter), index) = annotation.target.place();
        [millis, counter.into(), index.into()].into_iter().for_each(|number| self.number(number));
        self.bytes(annotation.kind.as_bytes());
        self.bytes(annotation.name.as_bytes());
        self.option(annotation.count, |out, count| out.number(count.into()));
        self.option(annotation.client_id.as_ref(), |out, id| out.bytes(id.as_str().as_bytes()));
        self.payload(&annotation.payload);
        self.extras(annotation.extras.as_deref());
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

    fn annotation(&mut self, epoch: Epoch) -> Option<Annotation> {
        let action = match self.byte()? {
            CREATE => AnnotationAction::Create,
            DELETE => AnnotationAction::Delete,
            _ => return None,
        };
        let place = (self.number()?, u16::try_from(self.number()?).ok()?);
        let index = u16::try_from(self.number()?).ok()?;
        Some(Annotation {
            target: MessageRef { serial: Serial::at(epoch, place), index },
            action,
            kind: self.text()?,
            name: self.text()?,
            count: self.option(|from| u32::try_from(from.number()?).ok())?,
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
