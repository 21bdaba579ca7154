//! What clients get (`protocols/relay.md §3`).

use bytes::Bytes;
use serde_json::json;

use crate::{
    core::{
        frame,
        message::{Entry, Extras, Message, Payload, is_json, write_json_text},
        wire::{self, Slot, WireFormat},
    },
    protocols::relay::push::{Push, USER},
};

/// Where a message carries the token as its push gave it, when its channel does not tell.
const EXTRAS: &str = "relay";

pub fn pong(ts: i64) -> Bytes {
    frame::text(format!(r#"{{"type":"pong","ts":{ts}}}"#).as_bytes())
}

/// `connections` of that token, this one included.
pub fn identified(token: &str, connections: usize) -> Bytes {
    let data = json!({"token": token, "connections": connections});
    frame::text(
        json!({"event": "identified", "data": data})
            .to_string()
            .as_bytes(),
    )
}

pub fn invalid_token() -> Bytes {
    let data = json!({"msg": "invalid token"});
    frame::text(
        json!({"event": "error", "data": data})
            .to_string()
            .as_bytes(),
    )
}

/// The message that a push becomes.
pub fn message(push: &Push) -> Message {
    let token = push.token.as_deref().map(serde_json::value::RawValue::get);
    let told_by_channel = push.user.as_ref().map(|user| {
        let mut json = Vec::new();
        write_json_text(&mut json, user);
        json
    });
    let told_by_channel = told_by_channel.as_deref().unwrap_or(b"null");
    let extras = token
        .filter(|token| token.as_bytes() != told_by_channel)
        .map(|token| {
            let relay = json!({"token": token});
            Box::new(Extras::from_iter([(EXTRAS.to_owned(), relay)]))
        });
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
    let mut json = Vec::with_capacity(96 + message.name.len() + message.payload.data.len());
    json.extend_from_slice(br#"{"event":"#);
    write_json_text(&mut json, &message.name);
    json.extend_from_slice(br#","data":{"subject":"#);
    message.payload.write_json(&mut json);
    json.extend_from_slice(br#","ts":"#);
    // When it is sent, also after a delay (§5).
    json.extend_from_slice(entry.timestamp.to_string().as_bytes());
    json.extend_from_slice(br#","token":"#);
    write_token(&mut json, entry, message);
    json.extend_from_slice(b"}}");
    frame::text(&json)
}

fn write_token(json: &mut Vec<u8>, entry: &Entry, message: &Message) {
    let extras = message.extras.as_deref();
    let given = extras.and_then(|extras| extras.get(EXTRAS)?.get("token")?.as_str());
    if let Some(given) = given.filter(|given| is_json(given)) {
        return json.extend_from_slice(given.as_bytes());
    }
    match entry.channel.as_str().strip_prefix(USER) {
        Some(user) => write_json_text(json, user),
        None => json.extend_from_slice(b"null"),
    }
}
