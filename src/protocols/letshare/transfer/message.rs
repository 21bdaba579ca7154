//! The control messages of a transfer on the wire (`docs/protocols/letshare.md §3.1`).

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json, value::RawValue};

use crate::{
    core::frame,
    ids::{ChannelName, Timestamp},
    limits,
    protocols::letshare::{
        refusal::Refusal,
        transfer::{
            fault::TransferFault,
            offer::Offer,
            state::{Side, Signal},
        },
    },
};

/// What the types of all control messages begin with.
pub const PREFIX: &str = "file:transfer:";

/// A control message, read.
#[derive(Debug)]
pub enum Control<'a> {
    Request(Request),
    Signal {
        transfer_id: String,
        signal: Signal,
        data: &'a RawValue,
    },
    /// Anything but its transfer is wrong.
    Malformed {
        transfer_id: String,
    },
}

#[derive(Debug)]
pub struct Request {
    pub transfer_id: String,
    pub to_user_id: String,
    /// Where the envelope names no channel.
    pub room_name: Option<String>,
    pub offer: Offer,
    /// Everything that the sender said, for the receiver.
    data: Map<String, Value>,
}

#[derive(Deserialize)]
struct Id {
    transfer_id: String,
}

#[derive(Deserialize)]
struct RequestData {
    to_user_id: String,
    #[serde(default)]
    room_name: Option<String>,
    #[serde(flatten)]
    offer: Offer,
}

#[derive(Deserialize)]
struct AckData {
    received_chunks: u64,
}

#[derive(Deserialize)]
struct ResendData {
    chunk_indexes: Vec<u64>,
    /// May be larger than the list: the app counts everything and lists 256.
    missing_count: Option<u64>,
}

impl<'a> Control<'a> {
    /// `kind` is the type without its prefix.
    ///
    /// # Errors
    /// When the transfer is not named, or there is no such kind, or only the server sends it.
    pub fn parse(kind: &str, data: Option<&'a RawValue>) -> Result<Self, Refusal> {
        let data = data.filter(|data| data.get().starts_with('{')).ok_or(Refusal::BadData)?;
        let json = data.get();
        let id = serde_json::from_str::<Id>(json).ok().map(|id| id.transfer_id);
        let id = id.filter(|id| !id.is_empty() && id.len() <= limits::TRANSFER_ID_BYTES);
        let transfer_id = id.ok_or(Refusal::NoTransferId)?;
        if json.len() > limits::TRANSFER_CONTROL_BYTES {
            return Ok(Self::Malformed { transfer_id });
        }
        let signal = match kind {
            "request" => {
                let request = Request::parse(&transfer_id, json).map(Self::Request);
                return Ok(request.unwrap_or(Self::Malformed { transfer_id }));
            }
            "accept" => Some(Signal::Accept),
            "reject" => Some(Signal::Reject),
            "start" => Some(Signal::Start),
            "end" => Some(Signal::End),
            "complete" => Some(Signal::Complete),
            "cancel" => Some(Signal::Cancel),
            "error" => Some(Signal::Error),
            "resume-query" => Some(Signal::ResumeQuery),
            "ack" => ack(json),
            "resend" => resend(json),
            _ => return Err(Refusal::UnknownType(format!("{PREFIX}{kind}"))),
        };
        Ok(match signal {
            Some(signal) => Self::Signal { transfer_id, signal, data },
            None => Self::Malformed { transfer_id },
        })
    }
}

fn ack(data: &str) -> Option<Signal> {
    let AckData { received_chunks } = serde_json::from_str(data).ok()?;
    Some(Signal::Ack { received_chunks })
}

fn resend(data: &str) -> Option<Signal> {
    let ResendData { chunk_indexes, missing_count } = serde_json::from_str(data).ok()?;
    let listed = chunk_indexes.len();
    let missing_count = missing_count.unwrap_or(listed as u64);
    (1..=limits::RESEND_CHUNKS).contains(&listed).then_some(Signal::Resend { chunk_indexes, missing_count })
}

impl Request {
    fn parse(transfer_id: &str, json: &str) -> Option<Self> {
        let RequestData { to_user_id, room_name, offer } = serde_json::from_str(json).ok()?;
        let data = serde_json::from_str(json).ok()?;
        Some(Self { transfer_id: transfer_id.to_owned(), to_user_id, room_name, offer, data })
    }

    /// The request for its receiver. Who sends it is what the server knows, not what the page says.
    pub fn forwarded(mut self, room: &ChannelName, sender: &str, now: Timestamp) -> Bytes {
        self.data.insert("from_user_id".into(), sender.into());
        write("request", room.as_str(), &self.data, now)
    }

    pub fn file_name(&self) -> Option<&str> {
        self.data.get("file_name").and_then(Value::as_str)
    }
}

#[derive(Serialize)]
struct Envelope<'a, D: ?Sized> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    channel: &'a str,
    data: &'a D,
    timestamp: Timestamp,
}

/// A control message as its side said it, for the other side; `channel` filled in.
pub fn forwarded(kind: &str, room: &ChannelName, data: &RawValue, now: Timestamp) -> Bytes {
    write(kind, room.as_str(), data, now)
}

/// The end of a transfer, or of an attempt at one, always with its id: the app fails a transfer at once
/// only when the error names it (`docs/protocols/letshare.md §3.5.3`). `room` may be empty.
pub fn error(transfer_id: &str, room: &str, fault: TransferFault, now: Timestamp) -> Bytes {
    let (code, text) = fault.row();
    write("error", room, &json!({ "transfer_id": transfer_id, "error": text, "code": code, "message": text }), now)
}

/// How far a transfer is.
pub struct Progress<'a> {
    pub transfer_id: &'a str,
    pub room: &'a ChannelName,
    pub offer: &'a Offer,
    pub file_name: Option<&'a str>,
    /// What the receiver has acknowledged, never more.
    pub received_chunks: u64,
}

impl Progress<'_> {
    fn bytes_received(&self) -> u64 {
        let bytes = self.received_chunks.saturating_mul(self.offer.chunk_size);
        bytes.min(self.offer.file_size)
    }

    /// For one side. The lists of indexes stay empty: the app reads the counts.
    pub fn resume_state(&self, status: &str, side: Side, now: Timestamp) -> Bytes {
        let data = json!({
            "transfer_id": self.transfer_id,
            "status": status,
            "role": side.name(),
            "room_name": self.room.as_str(),
            "file_name": self.file_name,
            "file_size": self.offer.file_size,
            "chunk_size": self.offer.chunk_size,
            "total_chunks": self.offer.total_chunks,
            "received_chunks": [],
            "missing_chunks": [],
            "received_count": self.received_chunks,
            "missing_count": self.offer.total_chunks - self.received_chunks,
            "bytes_received": self.bytes_received(),
            "updated_at": now,
        });
        write("resume-state", self.room.as_str(), &data, now)
    }

    /// For the sender, as the receiver would have said it.
    pub fn ack(&self, now: Timestamp) -> Bytes {
        let data = json!({
            "transfer_id": self.transfer_id,
            "chunk_index": self.received_chunks.saturating_sub(1),
            "received_chunks": self.received_chunks,
            "total_chunks": self.offer.total_chunks,
            "bytes_received": self.bytes_received(),
        });
        write("ack", self.room.as_str(), &data, now)
    }

    /// For the receiver, as the sender would have said it.
    pub fn end(&self, now: Timestamp) -> Bytes {
        let data = json!({
            "transfer_id": self.transfer_id,
            "file_name": self.file_name,
            "file_size": self.offer.file_size,
        });
        write("end", self.room.as_str(), &data, now)
    }

    /// For the sender: what the ring no longer holds.
    pub fn resend(&self, chunk_indexes: &[u64], missing_count: u64, now: Timestamp) -> Bytes {
        let data = json!({
            "transfer_id": self.transfer_id,
            "chunk_indexes": chunk_indexes,
            "missing_count": missing_count,
            "total_chunks": self.offer.total_chunks,
            "room_name": self.room.as_str(),
        });
        write("resend", self.room.as_str(), &data, now)
    }
}

fn write<D: Serialize + ?Sized>(kind: &str, channel: &str, data: &D, timestamp: Timestamp) -> Bytes {
    let kind = format!("{PREFIX}{kind}");
    frame::json(&Envelope { kind, channel, data, timestamp })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse<'a>(kind: &str, data: &'a str) -> Result<Control<'a>, Refusal> {
        Control::parse(kind, Some(serde_json::from_str(data).expect("JSON")))
    }

    fn signal(kind: &str, data: &str) -> Option<Signal> {
        match parse(kind, data) {
            Ok(Control::Signal { signal, .. }) => Some(signal),
            _ => None,
        }
    }

    #[test]
    fn signals_are_read() {
        let id = r#"{"transfer_id":"t"}"#;
        for (kind, expected) in [
            ("accept", Signal::Accept),
            ("reject", Signal::Reject),
            ("start", Signal::Start),
            ("end", Signal::End),
            ("complete", Signal::Complete),
            ("cancel", Signal::Cancel),
            ("error", Signal::Error),
            ("resume-query", Signal::ResumeQuery),
        ] {
            assert_eq!(signal(kind, id), Some(expected));
        }
        assert_eq!(
            signal("ack", r#"{"transfer_id":"t","chunk_index":7,"received_chunks":8}"#),
            Some(Signal::Ack { received_chunks: 8 })
        );
        assert_eq!(
            signal("resend", r#"{"transfer_id":"t","chunk_indexes":[1,2],"missing_count":300}"#),
            Some(Signal::Resend { chunk_indexes: vec![1, 2], missing_count: 300 })
        );
        assert_eq!(
            signal("resend", r#"{"transfer_id":"t","chunk_indexes":[1,2]}"#),
            Some(Signal::Resend { chunk_indexes: vec![1, 2], missing_count: 2 })
        );
    }

    #[test]
    fn a_request_goes_on_with_the_senders_true_name() {
        let data = r#"{"transfer_id":"t","file_name":"a.txt","file_size":5,"file_type":"text/plain","chunk_size":65536,"total_chunks":1,"from_user_id":"forged","to_user_id":"b:2","room_name":"demo1","flow_control":"receiver_ack_v1"}"#;
        let Ok(Control::Request(request)) = parse("request", data) else {
            panic!("no request");
        };
        assert_eq!((&*request.to_user_id, request.offer.file_size), ("b:2", 5));
        let frame = request.forwarded(&"demo1".into(), "a:1", Timestamp::from_millis(1));
        let text = std::str::from_utf8(&frame[4..]).expect("UTF-8");
        let sent: Value = serde_json::from_str(text).expect("JSON");
        assert_eq!(sent["type"], "file:transfer:request");
        assert_eq!(sent["channel"], "demo1");
        assert_eq!(sent["data"]["from_user_id"], "a:1");
        assert_eq!(sent["data"]["flow_control"], "receiver_ack_v1");
        assert_eq!(sent["data"]["file_name"], "a.txt");
    }

    #[test]
    fn bad_messages_say_which_transfer_they_spoil() {
        for (kind, data, expected) in [
            ("accept", "{}", Refusal::NoTransferId),
            ("accept", "[]", Refusal::BadData),
            ("accept", r#"{"transfer_id":""}"#, Refusal::NoTransferId),
            ("accept", r#"{"transfer_id":7}"#, Refusal::NoTransferId),
            ("progress", r#"{"transfer_id":"t"}"#, Refusal::UnknownType("file:transfer:progress".into())),
        ] {
            assert_eq!(parse(kind, data).err(), Some(expected), "{kind} {data}");
        }
        for (kind, data) in [
            ("ack", r#"{"transfer_id":"t"}"#),
            ("ack", r#"{"transfer_id":"t","received_chunks":-1}"#),
            ("resend", r#"{"transfer_id":"t","chunk_indexes":[]}"#),
            ("resend", r#"{"transfer_id":"t","chunk_indexes":"all"}"#),
            ("request", r#"{"transfer_id":"t","to_user_id":"b"}"#),
        ] {
            let parsed = parse(kind, data);
            assert!(
                matches!(&parsed, Ok(Control::Malformed { transfer_id }) if transfer_id == "t"),
                "{kind} {data}: {parsed:?}"
            );
        }
        assert_eq!(Control::parse("accept", None).err(), Some(Refusal::BadData));
    }
}
