//! The `data` of replies and pushes (`docs/protocols/chat.md §4`), as clients read it and as channels carry it.
//!
//! What this protocol publishes is the finished object; the wire format puts it into its envelope. What others publish on
//! `chat:all`, a group or a room becomes the push of that channel, with what is known of the message.

use bytes::{Bytes, BytesMut};
use jiff::tz::TimeZone;
use parking_lot::Mutex;
use serde::Serialize;

use crate::{
    config::ChatCompat,
    core::{
        command::Publish,
        frame,
        message::{Data, Entry, EntryId, Message, Payload},
        serial::Serial,
        wire::{self, Slot, WireFormat},
    },
    ids::{ChannelName, ClientId, ConnectionId, Timestamp},
    older::chat::{names::Whose, reply},
    store::archive,
};

/// The publisher of what is this protocol's own: no client can publish by a connection that is not its. The bytes are
/// those of former versions, whose entries may be in a log.
const OWN: ConnectionId = ConnectionId::from_bytes(*b"chat door");

/// The name of a message whose `data` is whatever its sender says: the source's HTTP interface (§6).
const RAW: &str = "raw";

#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Push<'a> {
    Welcome {
        message: &'static str,
        user_id: u64,
        time: &'a str,
    },
    NewMessage {
        from_user_id: u64,
        to_user_id: u64,
        content: &'a str,
        room_id: &'a str,
        message_type: i64,
        message_id: &'a str,
        time: &'a str,
    },
    MessageSent {
        to_user_id: u64,
        room_id: &'a str,
        message_id: &'a str,
        message: &'static str,
        time: &'a str,
    },
    GroupMessage {
        group_id: &'a str,
        from_user_id: u64,
        content: &'a str,
        message_type: i64,
        message_id: &'a str,
        time: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        group_name: Option<&'a str>,
    },
    GroupMessageSent {
        group_id: &'a str,
        message_id: &'a str,
        sent_count: usize,
        message: &'static str,
    },
    JoinRoomSuccess {
        room_id: &'a str,
        user_id: u64,
        time: &'a str,
    },
    LeaveRoomSuccess {
        room_id: &'a str,
        user_id: u64,
        time: &'a str,
    },
    CreateGroupSuccess {
        group_id: &'a str,
        group_name: &'a str,
        member_ids: &'a [u64],
        time: &'a str,
    },
    Broadcast {
        from_user_id: u64,
        message: &'a str,
        time: &'a str,
    },
    Pong {
        time: &'a str,
    },
}

impl<'a> Push<'a> {
    pub const fn welcome(user_id: u64, time: &'a str) -> Self {
        Self::Welcome { message: "连接成功，自动上线！", user_id, time }
    }

    pub const fn new_message(message: &'a archive::Message, id: &'a str, time: &'a str) -> Self {
        Self::NewMessage {
            from_user_id: message.from,
            to_user_id: message.to,
            content: message.content.as_str(),
            room_id: message.room.as_str(),
            message_type: message.kind,
            message_id: id,
            time,
        }
    }

    /// Ably's name of the message that it is.
    const fn name(&self) -> &'static str {
        match self {
            Self::GroupMessage { .. } => "group_message",
            Self::Broadcast { .. } => "broadcast",
            _ => "new_message",
        }
    }

    /// As JSON text.
    pub fn json(&self) -> String {
        // Texts and numbers always serialise.
        serde_json::to_string(self).unwrap_or_default()
    }

    pub fn frame(&self, compat: ChatCompat) -> Bytes {
        frame::text(&reply::success(compat, &self.json()))
    }

    /// What is published of it; again with the same id, it is not published again.
    pub fn publish(&self, from: u64, id: &str) -> Publish {
        publish(self.name(), from, id, self.json())
    }
}

/// What is published of JSON that is to be the whole `data`.
pub fn publish_raw(from: u64, id: &str, json: String) -> Publish {
    publish(RAW, from, id, json)
}

fn publish(name: &'static str, from: u64, id: &str, json: String) -> Publish {
    let message = Message {
        name: name.into(),
        payload: Payload::json(json.into()),
        client_id: ClientId::new(from.to_string()),
        extras: None,
    };
    Publish { publisher: Some(OWN), ..Publish::message(EntryId::Item(id.into()), message) }
}

/// Whether this protocol has published it.
pub fn is_own(entry: &Entry) -> bool {
    entry.publisher == Some(OWN)
}

/// Whether it is a message of `user` to a group or a room, whom it is not sent to (§7). A broadcast is.
pub fn is_from(entry: &Entry, user: &str) -> bool {
    let is_theirs = |message: &Message| {
        let sender = message.client_id.as_ref();
        matches!(&*message.name, "group_message" | "new_message")
            && sender.is_some_and(|sender| sender.as_str() == user)
    };
    entry.messages().iter().any(is_theirs)
}

/// The messages of this protocol in the envelope of the document or of the source.
pub struct ChatJson(pub ChatCompat);

impl ChatJson {
    pub const fn of(compat: ChatCompat) -> &'static Self {
        match compat {
            ChatCompat::Document => &Self(ChatCompat::Document),
            ChatCompat::Source => &Self(ChatCompat::Source),
        }
    }
}

impl WireFormat for ChatJson {
    fn slot(&self) -> Slot {
        match self.0 {
            ChatCompat::Document => Slot::ChatJson,
            ChatCompat::Source => Slot::ChatSourceJson,
        }
    }

    fn encode(&self, entry: &Entry) -> Bytes {
        wire::each(entry, |message| match &message.payload.data {
            Data::Text(json) => frame::text(&reply::success(self.0, json)),
            _ => Bytes::new(),
        })
    }
}

/// What somebody else has published on a channel of this protocol, as frames; none where nobody may.
pub fn foreign(entry: &Entry, compat: ChatCompat, zone: &TimeZone) -> Option<Bytes> {
    let whose = Whose::of(&entry.channel)?;
    let time = local_time(entry.timestamp, zone);
    let mut frames = BytesMut::new();
    for (index, message) in entry.messages().iter().enumerate() {
        let sender = message.client_id.as_ref().map(ClientId::as_str);
        let from_user_id = sender.and_then(|id| id.parse().ok()).unwrap_or_default();
        let content = content(&message.payload);
        let id = entry.item_id(index).to_string();
        let push = match whose {
            Whose::Everybody => Push::Broadcast { from_user_id, message: &content, time: &time },
            Whose::Group(group_id) => Push::GroupMessage {
                group_id,
                from_user_id,
                content: &content,
                message_type: 1,
                message_id: &id,
                time: &time,
                group_name: None,
            },
            Whose::Room(room_id) => Push::NewMessage {
                from_user_id,
                to_user_id: 0,
                content: &content,
                room_id,
                message_type: 1,
                message_id: &id,
                time: &time,
            },
            Whose::User => return None,
        };
        frames.extend_from_slice(&push.frame(compat));
    }
    Some(frames.freeze())
}

/// The frames of the last entry that somebody else has published: all sockets get it one after the other.
#[derive(Default)]
pub struct Foreign(Mutex<Option<(ChannelName, Serial, Bytes)>>);

impl Foreign {
    /// As [`foreign`], written once.
    pub fn frames(&self, entry: &Entry, compat: ChatCompat, zone: &TimeZone) -> Option<Bytes> {
        let mut last = self.0.lock();
        if let Some((channel, serial, frames)) = &*last
            && *channel == entry.channel
            && *serial == entry.serial
        {
            return Some(frames.clone());
        }
        let frames = foreign(entry, compat, zone).filter(|frames| !frames.is_empty())?;
        *last = Some((entry.channel.clone(), entry.serial, frames.clone()));
        Some(frames)
    }
}

/// Clients take texts only: JSON becomes its text, unless it is one.
fn content(payload: &Payload) -> String {
    let mut json = Vec::new();
    payload.write_json(&mut json);
    serde_json::from_slice(&json).unwrap_or_else(|_| String::from_utf8_lossy(&json).into_owned())
}

/// `2026-01-05 09:30:00` (§4).
pub fn local_time(time: Timestamp, zone: &TimeZone) -> String {
    let millis = i64::try_from(time.millis()).unwrap_or(i64::MAX);
    // Out of jiff's range only after the year 9999.
    let time = jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX);
    time.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

#[cfg(test)]
mod tests;
