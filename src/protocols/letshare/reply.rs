//! What the server sends (`docs/protocols/letshare.md §2.2`), in the Go server's key order.

use bytes::Bytes;
use serde::Serialize;

use crate::{
    core::{
        frame,
        message::{Entry, Message, write_json_number, write_json_text},
        wire::{self, Slot, WireFormat},
    },
    error::Reply,
    ids::Timestamp,
};

#[derive(Serialize)]
struct Envelope<'a, D> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    channel: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    event: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<D>,
    timestamp: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorBody<'a>>,
    /// Of an error, in English: what was refused, why, and what would be taken.
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: &'a str,
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    code: u16,
    message: &'a str,
}

#[derive(Serialize)]
struct Confirmation<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a str>,
    room: &'a str,
    status: &'a str,
}

/// `event` is what the client wrote, empty or not.
pub fn subscribed(channel: &str, event: &str, now: Timestamp) -> Bytes {
    confirmation("subscribed", channel, event, Some(event), now)
}

pub fn unsubscribed(channel: &str, event: &str, now: Timestamp) -> Bytes {
    confirmation("unsubscribed", channel, event, None, now)
}

fn confirmation(status: &str, channel: &str, event: &str, data_event: Option<&str>, now: Timestamp) -> Bytes {
    frame::json(&Envelope {
        kind: status,
        channel,
        event,
        data: Some(Confirmation { event: data_event, room: channel, status }),
        timestamp: now,
        error: None,
        reason: "",
    })
}

pub fn error(reply: &Reply, now: Timestamp) -> Bytes {
    frame::json(&Envelope::<()> {
        kind: "error",
        channel: "",
        event: "",
        data: None,
        timestamp: now,
        error: Some(ErrorBody { code: reply.code, message: &reply.text }),
        reason: &reply.reason,
    })
}

/// `{"type":"message",…}` with the publisher's data as it is; one frame for each message.
pub struct LetShareJson;

impl WireFormat for LetShareJson {
    fn slot(&self) -> Slot {
        Slot::LetShareJson
    }

    fn encode(&self, entry: &Entry) -> Bytes {
        wire::each(entry, |message| encode(entry, message))
    }
}

fn encode(entry: &Entry, message: &Message) -> Bytes {
    let texts = [entry.channel.as_str(), &message.name];
    let texts: usize = texts.into_iter().map(str::len).sum();
    frame::text_of(80 + texts + message.payload.data.len(), |json| {
        json.extend_from_slice(br#"{"type":"message","channel":"#);
        write_json_text(json, entry.channel.as_str());
        if !message.name.is_empty() {
            json.extend_from_slice(br#","event":"#);
            write_json_text(json, &message.name);
        }
        json.extend_from_slice(br#","data":"#);
        message.payload.write_json(json);
        json.extend_from_slice(br#","timestamp":"#);
        write_json_number(json, entry.timestamp.millis());
        json.push(b'}');
    })
}

#[cfg(test)]
mod tests;
