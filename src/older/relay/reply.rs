//! What clients get (`docs/protocols/relay.md §3`).

use bytes::Bytes;

use crate::{
    core::{
        frame,
        message::{Entry, Extras, Message, Payload, is_json, write_json_text},
        wire::{self, Slot, WireFormat},
    },
    ids::{ChannelName, Timestamp},
    older::relay::push::{BadPush, Push, user_of},
};

/// Where a message carries the token as its push gave it, when its channel does not tell.
const EXTRAS: &str = "relay";
/// Below it: the push waits for its user.
const IS_KEPT: &str = "kept";

pub fn pong(ts: i64) -> Bytes {
    frame::text(format!(r#"{{"type":"pong","ts":{ts}}}"#).as_bytes())
}

/// `connections` of that token, this one included.
pub fn identified(token: &str, connections: usize) -> Bytes {
    let mut json = br#"{"event":"identified","data":{"token":"#.to_vec();
    write_json_text(&mut json, token);
    json.extend_from_slice(format!(r#","connections":{connections}}}}}"#).as_bytes());
    frame::text(&json)
}

pub fn invalid_token() -> Bytes {
    frame::text(br#"{"event":"error","data":{"msg":"invalid token"}}"#)
}

pub fn token_too_long(limit: usize) -> Bytes {
    let text = BadPush::TokenTooLong { limit };
    frame::text(format!(r#"{{"event":"error","data":{{"msg":"{text}"}}}}"#).as_bytes())
}

/// The message that a push becomes.
/// `is_kept`: its user is away and gets it later, so relay sockets do not hear it from the channel.
pub fn message(push: &Push, is_kept: bool) -> Message {
    let token = push.token.as_deref().map(serde_json::value::RawValue::get);
    let told_by_channel = push.user.as_ref().map(|user| {
        let mut json = Vec::new();
        write_json_text(&mut json, user);
        json
    });
    let told_by_channel = told_by_channel.as_deref().unwrap_or(b"null");
    let token = token.filter(|token| token.as_bytes() != told_by_channel);
    let mut relay = serde_json::Map::new();
    if let Some(token) = token {
        relay.insert("token".to_owned(), token.into());
    }
    if is_kept {
        relay.insert(IS_KEPT.to_owned(), true.into());
    }
    let extras = (!relay.is_empty()).then(|| Box::new(Extras::from_iter([(EXTRAS.to_owned(), relay.into())])));
    Message {
        name: push.event_name.as_str().into(),
        payload: Payload::json(push.subject.get().into()),
        client_id: None,
        extras,
    }
}

/// `{"event":…,"data":{"subject":…,"ts":…,"token":…}}`, one frame for each message.
pub struct RelayJson;

impl WireFormat for RelayJson {
    fn slot(&self) -> Slot {
        Slot::RelayJson
    }

    fn encode(&self, entry: &Entry) -> Bytes {
        wire::each(entry, |message| encode(entry, message))
    }
}

fn encode(entry: &Entry, message: &Message) -> Bytes {
    let extras = message.extras.as_deref();
    let relay = extras.and_then(|extras| extras.get(EXTRAS));
    if relay.is_some_and(|relay| relay.get(IS_KEPT).is_some()) {
        return Bytes::new();
    }
    // When it is sent, also after a delay (§5).
    write(&entry.channel, message, entry.timestamp)
}

/// The frame of a push that waited for its user; `at` is when it was pushed.
pub fn missed(push: &Push, at: Timestamp) -> Bytes {
    write(&push.channel(), &message(push, false), at)
}

fn write(channel: &ChannelName, message: &Message, at: Timestamp) -> Bytes {
    let mut json = Vec::with_capacity(96 + message.name.len() + message.payload.data.len());
    json.extend_from_slice(br#"{"event":"#);
    write_json_text(&mut json, &message.name);
    json.extend_from_slice(br#","data":{"subject":"#);
    message.payload.write_json(&mut json);
    json.extend_from_slice(br#","ts":"#);
    json.extend_from_slice(at.to_string().as_bytes());
    json.extend_from_slice(br#","token":"#);
    write_token(&mut json, channel, message);
    json.extend_from_slice(b"}}");
    frame::text(&json)
}

fn write_token(json: &mut Vec<u8>, channel: &ChannelName, message: &Message) {
    let extras = message.extras.as_deref();
    let given = extras.and_then(|extras| extras.get(EXTRAS)?.get("token")?.as_str());
    if let Some(given) = given.filter(|given| is_json(given)) {
        return json.extend_from_slice(given.as_bytes());
    }
    match user_of(channel) {
        Some(user) => write_json_text(json, user),
        None => json.extend_from_slice(b"null"),
    }
}
