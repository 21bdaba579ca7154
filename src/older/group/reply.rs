//! What the server says (`docs/protocols/group.md §3, §5`), one envelope a frame.

use std::cell::Cell;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};

use crate::{
    core::{
        frame,
        message::{Data, Entry, EntryId, Message},
        wire::{self, Slot, WireFormat},
    },
    ids::Timestamp,
    older::group::{
        code::{Code, INVALID_TOKEN},
        groups::Missed,
        message::{GROUP, GroupMessage, NEW_MESSAGE, READ, USER},
    },
};

/// What is answered to the request `id` of the client; empty = it has none.
#[derive(Clone, Copy, Debug)]
pub struct ReplyTo<'a> {
    pub id: &'a str,
    pub now: Timestamp,
}

#[derive(Serialize)]
struct Envelope<'a, D> {
    #[serde(rename = "type")]
    kind: &'a str,
    message_id: &'a str,
    /// Unix seconds.
    timestamp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<D>,
}

impl ReplyTo<'_> {
    pub fn pong(self) -> Bytes {
        self.write::<()>("pong", None)
    }

    /// `missed`: what follows.
    pub fn auth_success(self, user: &str, missed: Option<&Missed>) -> Bytes {
        let data = match missed {
            None => json!({"user_id": user}),
            Some(Missed { messages, has_more }) => {
                json!({"user_id": user, "missed": messages.len(), "has_more": has_more})
            }
        };
        self.write("auth_success", Some(data))
    }

    /// `reason`: which claim of a token of ours is missing or wrong.
    pub fn auth_failed(self, reason: Option<&str>) -> Bytes {
        let data = match reason {
            None => json!({"message": INVALID_TOKEN}),
            Some(reason) => json!({"message": INVALID_TOKEN, "reason": reason}),
        };
        self.write("auth_failed", Some(data))
    }

    /// `message` is what the ack is about: the server's id of a message that was sent.
    pub fn ack(self, message: &str, success: bool) -> Bytes {
        let data = json!({"message_id": message, "success": success});
        self.write("ack", Some(data))
    }

    /// `name`: what the log calls it.
    pub fn error(self, code: &Code, name: Option<&str>) -> Bytes {
        let reply = code.reply();
        let text = name.map_or_else(|| reply.text.to_string(), |name| format!("{} ({name})", reply.text));
        self.write("error", Some(json!({"code": reply.code, "message": text, "reason": reply.reason})))
    }

    fn write<D: Serialize>(self, kind: &str, data: Option<D>) -> Bytes {
        let envelope = Envelope { kind, message_id: self.id, timestamp: self.now.millis() / 1_000, data };
        frame::json(&envelope)
    }
}

/// A stored message as a frame; `json` is the message.
pub fn new_message(json: &str, now: Timestamp) -> Bytes {
    let id = id_of(json);
    let data: Option<&RawValue> = serde_json::from_str(json).ok();
    ReplyTo { id: &id, now }.write(NEW_MESSAGE, data)
}

/// How far a user has read, for its other connections.
pub fn read(group: &str, message: &str, now: Timestamp) -> Bytes {
    let data = json!({"group_id": group, "message_id": message});
    ReplyTo { id: message, now }.write(READ, Some(data))
}

fn id_of(json: &str) -> String {
    #[derive(Deserialize)]
    struct Named {
        message_id: String,
    }
    let named = serde_json::from_str::<Named>(json);
    named.map(|named| named.message_id).unwrap_or_default()
}

/// Entries of `group:<id>` as `new_message`, of `group:u:<user>` as what their name says.
pub struct GroupJson;

impl WireFormat for GroupJson {
    fn slot(&self) -> Slot {
        Slot::GroupJson
    }

    fn encode(&self, entry: &Entry) -> Bytes {
        let index = Cell::new(0);
        wire::each(entry, |message| encode(entry, message, index.replace(index.get() + 1)))
    }
}

fn encode(entry: &Entry, message: &Message, index: usize) -> Bytes {
    let now = entry.timestamp;
    if let Data::Text(text) = &message.payload.data
        && message.payload.is_json
    {
        if entry.channel.as_str().starts_with(USER) {
            let data: Option<&RawValue> = serde_json::from_str(text).ok();
            return ReplyTo { id: &entry.item_id(index).to_string(), now }.write(&message.name, data);
        }
        if number_of(entry).is_some() {
            return new_message(text, now);
        }
    }
    let message = foreign(entry, message, index);
    ReplyTo { id: &message.message_id, now }.write(NEW_MESSAGE, Some(&message))
}

/// The number of a message that this server has stored; none when it was published by another protocol.
pub fn number_of(entry: &Entry) -> Option<u64> {
    match entry.id {
        // Only we publish by number without being a connection.
        EntryId::Frame { msg_serial, .. } if entry.publisher.is_none() => Some(msg_serial),
        _ => None,
    }
}

/// What another protocol published to a group, with what is known of it. Who sent it is what its own credentials
/// say.
fn foreign(entry: &Entry, message: &Message, index: usize) -> GroupMessage {
    let mut json = Vec::new();
    message.payload.write_json(&mut json);
    let data: Value = serde_json::from_slice(&json).unwrap_or_default();
    let text = |name: &str| data[name].as_str().unwrap_or_default().to_owned();
    let content = match &data {
        Value::Object(object) if object.contains_key("content") => text("content"),
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    let group = entry.channel.as_str().strip_prefix(GROUP);
    let sender = message.client_id.as_ref();
    GroupMessage {
        message_id: entry.item_id(index).to_string(),
        group_id: group.unwrap_or_default().to_owned(),
        sender_id: sender.map_or_else(String::new, |id| id.as_str().to_owned()),
        sender_name: text("sender_name"),
        sender_avatar: String::new(),
        msg_type: if data["msg_type"] == 2 { 2 } else { 1 },
        content,
        image_url: text("image_url"),
        created_at: entry.timestamp.millis() / 1_000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        core::{
            message::{Body, Payload},
            serial::{Epoch, Mint},
        },
        ids::{ChannelName, ClientId, ConnectionId},
    };

    const REPLY: ReplyTo<'_> = ReplyTo { id: "c-1", now: Timestamp::from_millis(1_760_000_000_999) };

    fn shown(frame: &Bytes) -> String {
        let head = match frame[1] {
            126 => 4,
            _ => 2,
        };
        String::from_utf8(frame[head..].to_vec()).expect("text")
    }

    fn entry(channel: &str, id: EntryId, publisher: Option<ConnectionId>, message: Message) -> Entry {
        Entry::new(
            ChannelName::from(channel),
            Mint::new(Epoch::new(1)).position(),
            REPLY.now,
            publisher,
            id,
            Body::Messages(vec![message]),
        )
    }

    /// docs/protocols/group.md §5, the examples and the table.
    #[test]
    fn replies() {
        let ack =
            r#"{"type":"ack","message_id":"c-1","timestamp":1760000000,"data":{"message_id":"3f0c","success":true}}"#;
        assert_eq!(shown(&REPLY.ack("3f0c", true)), ack);
        let pong = r#"{"type":"pong","message_id":"c-1","timestamp":1760000000}"#;
        assert_eq!(shown(&REPLY.pong()), pong);
        let success = r#"{"type":"auth_success","message_id":"c-1","timestamp":1760000000,"data":{"user_id":"123"}}"#;
        assert_eq!(shown(&REPLY.auth_success("123", None)), success);
        let failed = r#"{"type":"auth_failed","message_id":"c-1","timestamp":1760000000,"data":{"message":"Token 无效或已过期"}}"#;
        assert_eq!(shown(&REPLY.auth_failed(None)), failed);
        let error = r#"{"type":"error","message_id":"c-1","timestamp":1760000000,"data":{"code":404,"message":"群聊不存在","reason":"there is no group with this group_id"}}"#;
        assert_eq!(shown(&REPLY.error(&Code::NoGroup, None)), error);
    }

    #[test]
    fn a_message_is_written_as_it_is_stored() {
        let post = r#"{"message_id":"3f0c","group_id":"g-12","content":"hi"}"#;
        let message = Message { name: NEW_MESSAGE.into(), payload: Payload::json(post.into()), ..Message::default() };
        let id = EntryId::Frame { connection: ConnectionId::from_bytes([0; 9]), msg_serial: 7 };
        let entry = entry("group:g-12", id, None, message);
        let expected = format!(r#"{{"type":"new_message","message_id":"3f0c","timestamp":1760000000,"data":{post}}}"#);
        assert_eq!(shown(&GroupJson.encode(&entry)), expected);
        assert_eq!(number_of(&entry), Some(7));
    }

    /// Nobody speaks for another by what stands in a payload.
    #[test]
    fn what_another_protocol_published() {
        let forged =
            r#"{"message_id":"x","sender_id":"8","sender_name":"Wu","content":"hi","msg_type":2,"image_url":"u"}"#;
        let message =
            Message { payload: Payload::json(forged.into()), client_id: ClientId::new("ann"), ..Message::default() };
        let id = EntryId::Frame { connection: ConnectionId::from_bytes([0; 9]), msg_serial: 7 };
        let connection = Some(ConnectionId::from_bytes([0; 9]));
        let entry = entry("group:g-12", id, connection, message);
        let written: Value = serde_json::from_str(&shown(&GroupJson.encode(&entry))).expect("JSON");
        let data = &written["data"];
        assert_eq!(data["sender_id"], "ann");
        assert_eq!(data["group_id"], "g-12");
        assert_eq!((data["msg_type"].as_u64(), data["image_url"].as_str()), (Some(2), Some("u")));
        assert_eq!(data["message_id"], written["message_id"]);
        assert_ne!(data["message_id"], "x");
    }

    #[test]
    fn a_notification_has_its_own_id() {
        let message = Message {
            name: "notification".into(),
            payload: Payload::json(r#"{"notification_id":"notif_1"}"#.into()),
            ..Message::default()
        };
        let entry = entry("group:u:7", EntryId::Item("notif_1".into()), None, message);
        let expected = r#"{"type":"notification","message_id":"notif_1","timestamp":1760000000,"data":{"notification_id":"notif_1"}}"#;
        assert_eq!(shown(&GroupJson.encode(&entry)), expected);
    }
}
