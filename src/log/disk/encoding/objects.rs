//! Operations on objects, and what is kept of objects, as bytes and back.

use bytes::Bytes;
use bytestring::ByteString;

use super::{In, Out, VERSION};
use crate::{
    core::{
        objects::{Action, Head, MapEntry, ObjectId, ObjectOperation, Shape, Value},
        operation::MessageRef,
        serial::{Epoch, Serial},
    },
    ids::Timestamp,
};

const OBJECT: u8 = 0;
const FALSE: u8 = 1;
const TRUE: u8 = 2;
const NUMBER: u8 = 3;
const TEXT: u8 = 4;
const BINARY: u8 = 5;
const JSON: u8 = 6;

const CREATE_MAP: u8 = 0;
const SET: u8 = 1;
const REMOVE: u8 = 2;
const CREATE_COUNTER: u8 = 3;
const INCREMENT: u8 = 4;
const DELETE: u8 = 5;
const CLEAR: u8 = 6;

const MAP: u8 = 0;
const COUNTER: u8 = 1;

/// What is kept of an object beside its entries.
pub fn encode_head(head: &Head) -> Vec<u8> {
    let Head { serial, is_created, deleted, shape } = head;
    let mut out = Out(vec![VERSION]);
    out.option(*serial, Out::serial);
    out.0.push(u8::from(*is_created));
    out.option(*deleted, |out, at| out.number(at.millis()));
    match shape {
        Shape::Map { cleared } => {
            out.0.push(MAP);
            out.option(*cleared, Out::serial);
        }
        Shape::Counter { created, sum } => {
            out.0.push(COUNTER);
            out.option(*created, Out::float);
            out.float(*sum);
        }
    }
    out.0
}

/// None when the bytes are none of this version.
pub fn decode_head(bytes: Bytes) -> Option<Head> {
    let mut from = versioned(bytes)?;
    Some(Head {
        serial: from.option(In::serial)?,
        is_created: from.byte()? == 1,
        deleted: from.option(In::number)?.map(Timestamp::from_millis),
        shape: match from.byte()? {
            MAP => Shape::Map { cleared: from.option(In::serial)? },
            COUNTER => Shape::Counter { created: from.option(In::float)?, sum: from.float()? },
            _ => return None,
        },
    })
}

/// An entry of a map.
pub fn encode_map_entry(entry: &MapEntry) -> Vec<u8> {
    let mut out = Out(vec![VERSION]);
    out.serial(entry.serial);
    out.number(entry.at.millis());
    out.option(entry.value.as_ref(), Out::value);
    out.0
}

/// None when the bytes are none of this version.
pub fn decode_map_entry(bytes: Bytes) -> Option<MapEntry> {
    let mut from = versioned(bytes)?;
    let (serial, at) = (from.serial()?, Timestamp::from_millis(from.number()?));
    Some(MapEntry { serial, at, value: from.option(In::value)? })
}

/// Up to where the objects of a channel are kept.
pub fn encode_upto(upto: Serial) -> Vec<u8> {
    let mut out = Out(vec![VERSION]);
    out.serial(MessageRef { serial: upto, index: 0 });
    out.0
}

/// None when the bytes are none of this version.
pub fn decode_upto(bytes: Bytes) -> Option<Serial> {
    versioned(bytes)?.serial().map(|upto| upto.serial)
}

fn versioned(bytes: Bytes) -> Option<In> {
    let mut from = In(bytes);
    (from.byte()? == VERSION).then_some(from)
}

impl Out {
    /// With the epoch: an object may be older than the log.
    fn serial(&mut self, serial: MessageRef) {
        self.target(serial);
        self.0.extend_from_slice(&serial.serial.epoch().bits().to_be_bytes());
    }

    fn float(&mut self, number: f64) {
        self.0.extend_from_slice(&number.to_bits().to_be_bytes());
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Object(id) => self.tagged(OBJECT, id.as_str()),
            Value::Boolean(flag) => self.0.push(if *flag { TRUE } else { FALSE }),
            Value::Number(number) => {
                self.0.push(NUMBER);
                self.float(*number);
            }
            Value::Text(text) => self.tagged(TEXT, text),
            Value::Binary(bytes) => {
                self.0.push(BINARY);
                self.bytes(bytes);
            }
            Value::Json(text) => self.tagged(JSON, text),
        }
    }

    pub(super) fn object_operation(&mut self, operation: &ObjectOperation) {
        let ObjectOperation { object, action, client_id, extras } = operation;
        self.bytes(object.as_str().as_bytes());
        match action {
            Action::CreateMap(entries) => {
                self.0.push(CREATE_MAP);
                self.number(entries.len() as u64);
                for (key, value) in entries {
                    self.bytes(key.as_bytes());
                    self.value(value);
                }
            }
            Action::Set(key, value) => {
                self.tagged(SET, key);
                self.value(value);
            }
            Action::Remove(key) => self.tagged(REMOVE, key),
            Action::Clear => self.0.push(CLEAR),
            Action::CreateCounter(count) => {
                self.0.push(CREATE_COUNTER);
                self.option(*count, Self::float);
            }
            Action::Increment(number) => {
                self.0.push(INCREMENT);
                self.float(*number);
            }
            Action::Delete => self.0.push(DELETE),
        }
        self.option(client_id.as_ref(), |out, id| out.bytes(id.as_str().as_bytes()));
        self.extras(extras.as_deref());
    }
}

impl In {
    fn serial(&mut self) -> Option<MessageRef> {
        let place = self.target(Serial::at(Epoch::new(0), (0, 0)))?;
        let epoch = Epoch::new(u64::from_be_bytes(self.take(8)?[..].try_into().ok()?));
        Some(MessageRef { serial: Serial::at(epoch, place.serial.place()), index: place.index })
    }

    fn float(&mut self) -> Option<f64> {
        Some(f64::from_bits(u64::from_be_bytes(self.take(8)?[..].try_into().ok()?)))
    }

    fn object_id(&mut self) -> Option<ObjectId> {
        ObjectId::parse(&self.text()?)
    }

    fn value(&mut self) -> Option<Value> {
        Some(match self.byte()? {
            OBJECT => Value::Object(self.object_id()?),
            FALSE => Value::Boolean(false),
            TRUE => Value::Boolean(true),
            NUMBER => Value::Number(self.float()?),
            TEXT => Value::Text(self.text()?),
            BINARY => Value::Binary(self.bytes()?),
            JSON => Value::Json(self.text()?),
            _ => return None,
        })
    }

    fn set(&mut self) -> Option<(ByteString, Value)> {
        Some((self.text()?, self.value()?))
    }

    pub(super) fn object_operation(&mut self) -> Option<ObjectOperation> {
        let object = self.object_id()?;
        let action = match self.byte()? {
            CREATE_MAP => Action::CreateMap(self.list(Self::set)?),
            SET => {
                let (key, value) = self.set()?;
                Action::Set(key, value)
            }
            REMOVE => Action::Remove(self.text()?),
            CLEAR => Action::Clear,
            CREATE_COUNTER => Action::CreateCounter(self.option(Self::float)?),
            INCREMENT => Action::Increment(self.float()?),
            DELETE => Action::Delete,
            _ => return None,
        };
        let (client_id, extras) = (self.option(Self::client)?, self.option(Self::extras)?);
        Some(ObjectOperation { object, action, client_id, extras })
    }
}
