//! The two JSON frames of every publish, MESSAGE and ACK, written by hand.
//!
//! Through serde they took a third of what a publish costs: it looks at every character of keys, serials and ids, none of
//! which can need an escape. Their content is decided in [`super::entry`] and [`super::server_frame`]; a test
//! holds these two to it, byte for byte.

use std::io::Write as _;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;

use super::{
    Action, Format,
    data::{Written, WrittenData},
};
use crate::core::{
    dedupe::Published,
    frame,
    message::{Entry, EntryId, Message},
    serial::Serial,
};

/// JSON that grows. Writing into memory cannot fail, so results are not looked at.
struct Json(Vec<u8>);

impl Json {
    /// Text that is JSON already.
    fn raw(&mut self, json: &str) {
        self.0.extend_from_slice(json.as_bytes());
    }

    /// Numbers, and ids that are made of characters that need no escape.
    fn plain(&mut self, shown: std::fmt::Arguments<'_>) {
        let _ = self.0.write_fmt(shown);
    }

    fn text(&mut self, text: &str) {
        self.0.push(b'"');
        let mut rest = text.as_bytes();
        let is_special = |byte: &u8| matches!(byte, 0..0x20 | b'"' | b'\\');
        while let Some(at) = rest.iter().position(is_special) {
            self.0.extend_from_slice(&rest[..at]);
            match rest[at] {
                b'"' => self.raw("\\\""),
                b'\\' => self.raw("\\\\"),
                b'\n' => self.raw("\\n"),
                b'\r' => self.raw("\\r"),
                b'\t' => self.raw("\\t"),
                0x08 => self.raw("\\b"),
                0x0c => self.raw("\\f"),
                control => self.plain(format_args!("\\u{control:04x}")),
            }
            rest = &rest[at + 1..];
        }
        self.0.extend_from_slice(rest);
        self.0.push(b'"');
    }

    fn item_serial(&mut self, serial: Serial, index: usize) {
        self.plain(format_args!("\"{serial}:{index:03}\""));
    }

    fn item(&mut self, entry: &Entry, index: usize, message: &Message) {
        self.0.push(b'{');
        if let EntryId::Item(id) = &entry.id {
            self.raw("\"id\":");
            self.text(id);
            self.0.push(b',');
        }
        if !message.name.is_empty() {
            self.raw("\"name\":");
            self.text(&message.name);
            self.0.push(b',');
        }
        let Written { data, encoding } = Written::new(&message.payload, Format::Json);
        if let Some(data) = data {
            self.raw("\"data\":");
            match data {
                WrittenData::Text(text) => self.text(text),
                WrittenData::Base64(bytes) | WrittenData::Binary(bytes) => {
                    self.text(&BASE64_STANDARD.encode(bytes));
                }
            }
            self.0.push(b',');
        }
        if let Some(encoding) = encoding {
            self.raw("\"encoding\":");
            self.text(&encoding);
            self.0.push(b',');
        }
        if let Some(client_id) = &message.client_id {
            self.raw("\"clientId\":");
            self.text(client_id.as_str());
            self.0.push(b',');
        }
        self.raw("\"serial\":");
        self.item_serial(entry.serial, index);
        if let Some(extras) = &message.extras {
            self.raw(",\"extras\":");
            let _ = serde_json::to_writer(&mut self.0, extras);
        }
        self.0.push(b'}');
    }
}

/// A MESSAGE frame for those who know the channel as `channel`; `room` is how many bytes it will take, about.
pub(super) fn messages(entry: &Entry, messages: &[Message], channel: &str, room: usize) -> Bytes {
    let mut json = Json(Vec::with_capacity(room));
    json.plain(format_args!("{{\"action\":{}", Action::MESSAGE.0));
    match &entry.id {
        EntryId::Item(_) => {}
        EntryId::Base(id) => {
            json.raw(",\"id\":");
            json.text(id);
        }
        EntryId::Frame { connection, msg_serial } => json.plain(format_args!(",\"id\":\"{connection}:{msg_serial}\"")),
        EntryId::Serial => json.plain(format_args!(",\"id\":\"{}\"", entry.serial)),
    }
    json.raw(",\"channel\":");
    json.text(channel);
    json.plain(format_args!(",\"channelSerial\":\"{}\"", entry.serial));
    if let Some(connection) = entry.publisher {
        json.plain(format_args!(",\"connectionId\":\"{connection}\""));
    }
    json.plain(format_args!(",\"timestamp\":{}", entry.timestamp));
    json.raw(",\"messages\":[");
    for (index, message) in messages.iter().enumerate() {
        if index > 0 {
            json.0.push(b',');
        }
        json.item(entry, index, message);
    }
    json.raw("]}");
    frame::text(&json.0)
}

/// An ACK frame; `results` as from version 5 on (§1.3).
pub(super) fn ack(msg_serial: u64, count: u64, results: Option<&[Published]>) -> Bytes {
    let mut json = Json(Vec::with_capacity(128));
    let action = Action::ACK.0;
    json.plain(format_args!("{{\"action\":{action},\"msgSerial\":{msg_serial},\"count\":{count}"));
    if let Some(results) = results {
        json.raw(",\"res\":[");
        for (place, published) in results.iter().enumerate() {
            json.raw(if place > 0 { "," } else { "" });
            json.raw("{\"serials\":[");
            for index in 0..published.len {
                json.raw(if index > 0 { "," } else { "" });
                json.item_serial(published.serial, index);
            }
            json.raw("]}");
        }
        json.0.push(b']');
    }
    json.0.push(b'}');
    frame::text(&json.0)
}
