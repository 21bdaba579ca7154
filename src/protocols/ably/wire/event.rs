//! Events of a stream: what those read who only listen (`docs/protocols/ably.md §1.7`).
//!
//! As frames, as everything that waits in an outbox; their payloads are what goes into the body.

use std::borrow::Cow;

use bytes::Bytes;

use super::{
    ErrorInfo, Format,
    annotation::AnnotationItem,
    codec::encode_value,
    data::{Written, WrittenData},
    entry::{OccupancyItem, SummaryItem},
    items,
};
use crate::core::{
    frame,
    message::{Body, Entry, Payload},
};

/// How the events of one stream are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventForm {
    /// Server-sent events; else lines of JSON.
    pub is_sse: bool,
    /// With everything about a message, not its payload alone.
    pub is_enveloped: bool,
    /// Heartbeats are events.
    pub has_heartbeats: bool,
}

impl EventForm {
    /// One event for each item of an entry. `id`: what a client has that has got them all; so only the last event says it,
    /// and who breaks off between them gets them again. `occupancy_category`: see [`encode_as`](super::encode_as).
    pub fn entry(
        self,
        entry: &Entry,
        channel: &str,
        id: Option<&str>,
        occupancy_category: Option<&str>,
    ) -> Option<Bytes> {
        let count = entry.len();
        let mut events = Vec::new();
        for index in 0..count {
            let id = id.filter(|_| index + 1 == count);
            let (kind, payload, item) = match &entry.body {
                Body::Messages(_) | Body::Operation(_) => {
                    let item = items::message(entry, index, Format::Json)?;
                    ("message", Cow::Borrowed(&entry.subjects().get(index)?.payload), encode_value(Format::Json, &item))
                }
                Body::Presence(members) => {
                    let item = items::event(entry, index, Format::Json)?;
                    ("presence", Cow::Borrowed(&members.get(index)?.payload), encode_value(Format::Json, &item))
                }
                Body::Occupancy(occupancy) => {
                    let item = OccupancyItem::new(occupancy, occupancy_category).with_envelope(entry);
                    ("message", Cow::Owned(item.payload()), encode_value(Format::Json, &item))
                }
                Body::Annotations(annotations) => {
                    let annotation = annotations.get(index)?;
                    let item = AnnotationItem::new(entry, index, annotation, Format::Json);
                    ("annotation", Cow::Borrowed(&annotation.payload), encode_value(Format::Json, &item))
                }
                // It has no payload: there is nothing to send without an envelope.
                Body::Summary(summarised) if self.is_enveloped => {
                    let item = SummaryItem::new(entry, summarised);
                    ("message", Cow::Owned(Payload::default()), encode_value(Format::Json, &item))
                }
                Body::Objects(_) | Body::Summary(_) => return None,
            };
            let data = if self.is_enveloped { Some(in_channel(&item, channel)) } else { self.bare(&payload) };
            self.event(&mut events, kind, data.as_deref(), id);
        }
        (!events.is_empty()).then(|| frame::text(&events))
    }

    /// Why the stream ends.
    pub fn error(self, error: &ErrorInfo, id: Option<&str>) -> Bytes {
        let mut event = Vec::new();
        self.event(&mut event, "error", Some(&encode_value(Format::Json, error)), id);
        frame::text(&event)
    }

    /// Where the stream is, without an event: a browser that comes back says it.
    pub fn position(self, id: &str) -> Bytes {
        if self.is_sse { frame::text(format!("id: {id}\n\n").as_bytes()) } else { frame::text(b"\n") }
    }

    /// The sign of life of the server, with a ping: what carries it off is a sign of life of the client.
    pub fn keepalive(self) -> Bytes {
        let mut alive = Vec::new();
        match (self.has_heartbeats, self.is_sse) {
            (true, true) => alive.extend_from_slice(b"event: heartbeat\ndata:\n\n"),
            (true, false) => self.event(&mut alive, "heartbeat", None, None),
            (false, true) => alive.extend_from_slice(b":keepalive\n\n"),
            (false, false) => alive.push(b'\n'),
        }
        [frame::text(&alive), frame::ping()].concat().into()
    }

    /// The payload alone: text as it is, binary as base64.
    fn bare(self, payload: &Payload) -> Option<Vec<u8>> {
        let data = Written::new(payload, Format::Json).data;
        match data {
            Some(WrittenData::Text(text)) if self.is_sse => Some(text.as_bytes().to_vec()),
            Some(data) if self.is_sse => {
                let quoted = encode_value(Format::Json, &data);
                Some(quoted[1..quoted.len() - 1].to_vec())
            }
            Some(data) => Some(encode_value(Format::Json, &data).into()),
            None => None,
        }
    }

    fn event(self, events: &mut Vec<u8>, kind: &str, data: Option<&[u8]>, id: Option<&str>) {
        let mut put = |text: &str| events.extend_from_slice(text.as_bytes());
        if self.is_sse {
            if let Some(id) = id {
                put(&format!("id: {id}\n"));
            }
            put(&format!("event: {kind}\n"));
            // A line that ends within the data begins another one of them.
            let data = String::from_utf8_lossy(data.unwrap_or_default()).replace("\r\n", "\n");
            for line in data.split(['\n', '\r']) {
                put(&format!("data: {line}\n"));
            }
            put("\n");
            return;
        }
        put("{");
        if let Some(id) = id {
            put(&format!("\"id\":\"{id}\","));
        }
        put(&format!("\"event\":\"{kind}\""));
        if let Some(data) = data {
            put(",\"data\":");
            events.extend_from_slice(data);
        }
        events.extend_from_slice(b"}\n");
    }
}

/// An item, which is an object with fields, with one more: its channel.
fn in_channel(item: &[u8], channel: &str) -> Vec<u8> {
    let channel = encode_value(Format::Json, &channel);
    let open = item.strip_suffix(b"}").unwrap_or(item);
    [open, b",\"channel\":", &channel, b"}"].concat()
}
