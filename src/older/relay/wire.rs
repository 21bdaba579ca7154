//! What clients get (`docs/protocols/relay.md §3`): `{"event":…,"data":{"subject":…,"ts":…,"token":…}}` for each push.

use bytes::Bytes;
use serde_json::{Map, Value, value::RawValue};

use crate::{
    core::{
        frame,
        message::{Entry, Message, Payload, is_json, write_json_number, write_json_text},
        wire::{Each, Slot},
    },
    ids::{ChannelName, Timestamp},
    older::relay::{push::Push, reply::RelayError, target::user_of},
};

/// The extra of a message with what its channel does not say: the token as its push gave it, and whether the push is kept.
const EXTRAS: &str = "relay";
const TOKEN: &str = "token";
const IS_KEPT: &str = "kept";

pub fn pong(ts: i64) -> Bytes {
    frame::text(format!(r#"{{"type":"pong","ts":{ts}}}"#).as_bytes())
}

/// `connections` of that user, this one included.
pub fn identified(user: &str, connections: usize) -> Bytes {
    frame::text_of(96 + user.len(), |json| {
        json.extend_from_slice(br#"{"event":"identified","data":{"token":"#);
        write_json_text(json, user);
        json.extend_from_slice(format!(r#","connections":{connections}}}}}"#).as_bytes());
    })
}

pub fn error(error: RelayError) -> Bytes {
    frame::text(format!(r#"{{"event":"error","data":{{"msg":"{}"}}}}"#, error.reply().text).as_bytes())
}

/// The message that a push becomes. `is_kept`: its user gets it later, so no relay socket hears it from the channel.
pub fn message(push: &Push, is_kept: bool) -> Message {
    let mut of_channel = Vec::new();
    write_token_of(&mut of_channel, push.user.as_deref());
    let token = push.token.as_deref().map(RawValue::get).filter(|token| token.as_bytes() != of_channel);
    let mut relay = Map::new();
    relay.extend(token.map(|token| (TOKEN.to_owned(), token.into())));
    relay.extend(is_kept.then(|| (IS_KEPT.to_owned(), true.into())));
    Message {
        name: push.event_name.as_str().into(),
        payload: Payload::json(push.subject.get().into()),
        client_id: None,
        extras: (!relay.is_empty()).then(|| Box::new(Map::from_iter([(EXTRAS.to_owned(), relay.into())]))),
    }
}

pub static RELAY_JSON: Each = Each(Slot::RelayJson, |entry, message| match extra(message, IS_KEPT) {
    // The time of sending, also after a delay (§5).
    None => write(&entry.channel, message, entry.timestamp),
    Some(_) => Bytes::new(),
});

/// Whether it is a push that its user gets later.
pub fn is_kept(entry: &Entry) -> bool {
    entry.messages().iter().any(|message| extra(message, IS_KEPT).is_some())
}

/// The frame of a push that waited for its user; `at` is when it was pushed.
pub fn missed(push: &Push, at: Timestamp) -> Bytes {
    write(&push.channel(), &message(push, false), at)
}

fn write(channel: &ChannelName, message: &Message, at: Timestamp) -> Bytes {
    frame::text_of(96 + message.name.len() + message.payload.data.len(), |json| {
        json.extend_from_slice(br#"{"event":"#);
        write_json_text(json, &message.name);
        json.extend_from_slice(br#","data":{"subject":"#);
        message.payload.write_json(json);
        json.extend_from_slice(br#","ts":"#);
        write_json_number(json, at.millis());
        json.extend_from_slice(br#","token":"#);
        // An Ably client may have written this extra.
        match extra(message, TOKEN).and_then(Value::as_str).filter(|token| is_json(token)) {
            Some(token) => json.extend_from_slice(token.as_bytes()),
            None => write_token_of(json, user_of(channel)),
        }
        json.extend_from_slice(b"}}");
    })
}

/// The token where the message carries none: the user of the channel, or null.
fn write_token_of(json: &mut Vec<u8>, user: Option<&str>) {
    match user {
        Some(user) => write_json_text(json, user),
        None => json.extend_from_slice(b"null"),
    }
}

fn extra<'a>(message: &'a Message, name: &str) -> Option<&'a Value> {
    message.extras.as_ref()?.get(EXTRAS)?.get(name)
}
