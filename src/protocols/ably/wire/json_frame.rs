//! The two JSON frames of every publish, MESSAGE and ACK, written by hand.
//!
//! Through serde they took a third of what a publish costs: it looks at every character of keys, serials and ids, none of
//! which can need an escape. Their content is decided in [`super::entry`] and [`super::server_frame`]; a test
//! holds these two to it, byte for byte.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;

use super::{
    Action, Format,
    data::{Written, WrittenData},
};
use crate::core::{
    dedupe::Published,
    frame,
    message::{Entry, EntryId, Message, write_json_number, write_json_text},
};

/// JSON that grows. Writing into memory cannot fail, so results are not looked at.
struct Json<'a>(&'a mut Vec<u8>);

impl Json<'_> {
    /// What is JSON already.
    #[inline]
    fn raw(&mut self, json: &str) {
        self.0.extend_from_slice(json.as_bytes());
    }

    /// A text that needs no escape, as ids and serials of ours, with what stands before it.
    #[inline]
    fn plain(&mut self, before: &str, text: &[u8]) {
        self.raw(before);
        self.raw("\"");
        self.0.extend_from_slice(text);
        self.raw("\"");
    }

    fn number(&mut self, number: u64) {
        write_json_number(self.0, number);
    }

    fn text(&mut self, text: &str) {
        write_json_text(self.0, text);
    }

    /// `serial` is that of the entry.
    fn item_serial(&mut self, serial: &[u8], index: usize) {
        self.raw("\"");
        self.0.extend_from_slice(serial);
        self.raw(match index {
            0..10 => ":00",
            10..100 => ":0",
            _ => ":",
        });
        self.number(index as u64);
        self.raw("\"");
    }

    fn item(&mut self, entry: &Entry, serial: &[u8], index: usize, message: &Message) {
        self.raw("{");
        if let EntryId::Item(id) = &entry.id {
            self.raw("\"id\":");
            self.text(id);
            self.raw(",");
        }
        if !message.name.is_empty() {
            self.raw("\"name\":");
            self.text(&message.name);
            self.raw(",");
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
            self.raw(",");
        }
        if let Some(encoding) = encoding {
            self.raw("\"encoding\":");
            self.text(&encoding);
            self.raw(",");
        }
        if let Some(client_id) = &message.client_id {
            self.raw("\"clientId\":");
            self.text(client_id.as_str());
            self.raw(",");
        }
        self.raw("\"serial\":");
        self.item_serial(serial, index);
        if let Some(extras) = &message.extras {
            self.raw(",\"extras\":");
            let _ = serde_json::to_writer(&mut *self.0, extras);
        }
        self.raw("}");
    }
}

/// A MESSAGE frame for those who know the channel as `channel`; `room` is how many bytes it will take, about.
pub(super) fn messages(entry: &Entry, messages: &[Message], channel: &str, room: usize) -> Bytes {
    frame::text_of(room, |json| {
        let (mut json, serial) = (Json(json), entry.serial.text());
        json.raw("{\"action\":");
        json.number(Action::MESSAGE.0);
        match &entry.id {
            EntryId::Item(_) => {}
            EntryId::Base(id) => {
                json.raw(",\"id\":");
                json.text(id);
            }
            EntryId::Frame { connection, msg_serial } => {
                json.raw(",\"id\":\"");
                json.0.extend_from_slice(&connection.text());
                json.raw(":");
                json.number(*msg_serial);
                json.raw("\"");
            }
            EntryId::Serial => json.plain(",\"id\":", &serial),
        }
        json.raw(",\"channel\":");
        json.text(channel);
        json.plain(",\"channelSerial\":", &serial);
        if let Some(connection) = entry.publisher {
            json.plain(",\"connectionId\":", &connection.text());
        }
        json.raw(",\"timestamp\":");
        json.number(entry.timestamp.millis());
        json.raw(",\"messages\":[");
        for (index, message) in messages.iter().enumerate() {
            json.raw(if index > 0 { "," } else { "" });
            json.item(entry, &serial, index, message);
        }
        json.raw("]}");
    })
}

/// An ACK frame; `results` as from version 5 on (§1.3).
pub(super) fn ack(msg_serial: u64, count: u64, results: Option<&[Published]>) -> Bytes {
    frame::text_of(128, |json| {
        let mut json = Json(json);
        json.raw("{\"action\":");
        json.number(Action::ACK.0);
        json.raw(",\"msgSerial\":");
        json.number(msg_serial);
        json.raw(",\"count\":");
        json.number(count);
        if let Some(results) = results {
            json.raw(",\"res\":[");
            for (place, published) in results.iter().enumerate() {
                json.raw(if place > 0 { "," } else { "" });
                json.raw("{\"serials\":[");
                let serial = published.serial.text();
                for index in 0..published.len {
                    json.raw(if index > 0 { "," } else { "" });
                    json.item_serial(&serial, index);
                }
                json.raw("]}");
            }
            json.raw("]");
        }
        json.raw("}");
    })
}
