//! What is decoded and what is encoded, frame by frame.

use std::sync::Arc;

use bytes::Bytes;
use rmpv::Value as Pack;
use serde_json::Value;

use super::*;
use crate::{
    core::{
        message::{Body, Data, Entry, EntryId, Message, Payload},
        occupancy::Occupancy,
        presence::{Member, PresenceAction, PresenceEvent},
        serial::Serial,
    },
    error::Fault,
    ids::{ClientId, ConnectionId, Timestamp},
};

mod decoding;
mod frames;
mod payloads;
mod properties;
mod rest;
mod traps;
mod vectors;

const NOW: Timestamp = Timestamp::from_millis(1_722_945_600_123);
const SERIAL: &str = "01722945600123-000@00000000000abcf9";

fn serial() -> Serial {
    Serial::parse(SERIAL).unwrap()
}

/// Written as `2mzN0sXLqw4f`.
fn connection() -> ConnectionId {
    ConnectionId::parse("2mzN0sXLqw4f").unwrap()
}

fn client(name: &str) -> ClientId {
    ClientId::new(name).unwrap()
}

fn object(json: Value) -> Box<crate::core::message::Extras> {
    Box::new(json.as_object().unwrap().clone())
}

fn text(name: &'static str, data: &'static str) -> Message {
    Message {
        name: name.into(),
        payload: Payload { data: Data::Text(data.into()), ..Payload::default() },
        ..Message::default()
    }
}

fn binary(data: &[u8]) -> Message {
    Message {
        payload: Payload { data: Data::Binary(Bytes::copy_from_slice(data)), ..Payload::default() },
        ..Message::default()
    }
}

fn frame_id() -> EntryId {
    EntryId::Frame { connection: connection(), msg_serial: 7 }
}

fn entry(id: EntryId, body: Body) -> Entry {
    let publisher = matches!(id, EntryId::Frame { .. }).then(connection);
    Entry::new("room".into(), serial(), NOW, publisher, id, body)
}

/// What is in a frame that fits into one; its opcode has to be that of the format.
fn payload(frame: &Bytes, format: Format) -> &[u8] {
    let opcode = match format {
        Format::Json => 0x81,
        Format::Msgpack => 0x82,
    };
    assert_eq!(frame[0], opcode);
    let (start, length) = match frame[1] {
        126 => (4, usize::from(u16::from_be_bytes([frame[2], frame[3]]))),
        127 => (10, usize::try_from(u64::from_be_bytes(frame[2..10].try_into().unwrap())).unwrap()),
        short => (2, usize::from(short)),
    };
    assert_eq!(frame.len(), start + length);
    &frame[start..]
}

fn json(frame: &Bytes) -> &str {
    std::str::from_utf8(payload(frame, Format::Json)).unwrap()
}

fn unpack(mut bytes: &[u8]) -> Pack {
    let value = rmpv::decode::read_value(&mut bytes).unwrap();
    assert!(bytes.is_empty());
    value
}

fn pack(value: &Pack) -> Vec<u8> {
    let mut bytes = Vec::new();
    rmpv::encode::write_value(&mut bytes, value).unwrap();
    bytes
}

/// JSON as MessagePack.
fn packed(json: &Value) -> Pack {
    match json {
        Value::Null => Pack::Nil,
        Value::Bool(flag) => (*flag).into(),
        Value::Number(number) => match number.as_u64() {
            Some(whole) => whole.into(),
            None => number.as_f64().unwrap().into(),
        },
        Value::String(text) => text.as_str().into(),
        Value::Array(list) => Pack::Array(list.iter().map(packed).collect()),
        Value::Object(map) => {
            let entries = map.iter().map(|(key, value)| (key.as_str().into(), packed(value)));
            Pack::Map(entries.collect())
        }
    }
}

/// The same whatever the order of the keys.
fn sorted(value: Pack) -> Pack {
    match value {
        Pack::Map(mut entries) => {
            entries.sort_by_key(|(key, _)| key.to_string());
            let entries = entries.into_iter();
            Pack::Map(entries.map(|(key, value)| (key, sorted(value))).collect())
        }
        Pack::Array(list) => Pack::Array(list.into_iter().map(sorted).collect()),
        other => other,
    }
}

/// The text in both formats.
fn both(text: &str) -> [(Format, Vec<u8>); 2] {
    let msgpack = pack(&packed(&serde_json::from_str(text).unwrap()));
    [(Format::Json, text.as_bytes().to_vec()), (Format::Msgpack, msgpack)]
}

/// The one message of a publish, as the core gets it.
fn published(format: Format, item: &[u8]) -> Result<Message, Fault> {
    let mut items = decode_body(format, item)?;
    assert_eq!(items.len(), 1);
    items.remove(0).into_message(None)
}

fn member(id: &str, name: &str) -> Arc<Member> {
    Arc::new(Member {
        id: id.into(),
        connection: connection(),
        client_id: client(name),
        payload: Payload::default(),
        extras: None,
        timestamp: NOW,
    })
}
