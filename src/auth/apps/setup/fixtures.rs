//! The members that a set-up places on channels for good (`docs/protocols/ably.md §7.8, §11.13`).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use serde_json::Value;

use super::{ChannelSetup, Faults};
use crate::{
    auth::base64_text,
    core::{
        message::{Data, Payload},
        presence::Member,
    },
    error::{Fault, Found},
    ids::{ClientId, ConnectionId, Timestamp},
    limits,
};

/// By the name of the channel.
pub(super) fn place(
    setups: Vec<ChannelSetup>,
    now: Timestamp,
    faults: &mut Faults,
) -> BTreeMap<String, Vec<Arc<Member>>> {
    let mut channels = BTreeMap::new();
    for (index, setup) in setups.into_iter().enumerate() {
        let place = |field: &str| format!("channels[{index}].{field}");
        if setup.name.is_empty() || channels.contains_key(&setup.name) {
            faults.add(place("name"), "a channel needs a name that no other here has");
        }
        if setup.presence.len() > limits::APP_PARTS {
            faults.add(place("presence"), "more members than a set-up may place");
            continue;
        }
        let mut seen = BTreeSet::new();
        // They have entered by one connection, which no client has and which never ends.
        let connection = ConnectionId::random();
        let mut members = Vec::with_capacity(setup.presence.len());
        for (index, fixture) in setup.presence.into_iter().enumerate() {
            let place = |field| format!("{}[{index}].{field}", place("presence"));
            let found = Found::text(&fixture.client_id);
            let Some(client_id) = ClientId::new(fixture.client_id) else {
                let rule = "a text that is neither empty nor the wildcard *";
                faults.tell(place("clientId"), Fault::InvalidClientId { found, rule });
                continue;
            };
            if !seen.insert(client_id.clone()) {
                faults.add(place("clientId"), "the clientId of another member here");
            }
            match payload(fixture.data, fixture.encoding.unwrap_or_default()) {
                Ok(payload) => members.push(Arc::new(Member {
                    id: format!("{connection}:0:{index}").into(),
                    connection,
                    client_id,
                    payload,
                    extras: None,
                    timestamp: now,
                })),
                Err(fault) => faults.tell(place("data"), fault),
            }
        }
        channels.insert(setup.name, members);
    }
    channels
}

/// Data as JSON brings it (`docs/protocols/ably.md §3.5`): a last step `base64` is undone, an object or a list
/// becomes its text.
fn payload(data: Value, encoding: String) -> Result<Payload, Fault> {
    let (data, encoding) = match data {
        Value::Null => (Data::None, encoding),
        Value::String(text) => {
            let rest = match encoding.rsplit_once('/') {
                Some((rest, "base64")) => Some(rest),
                None if encoding == "base64" => Some(""),
                _ => None,
            };
            match rest {
                None => (Data::Text(text.into()), encoding),
                Some(rest) => match base64_text::decode(text.as_bytes()) {
                    Some(bytes) => (Data::Binary(Bytes::from(bytes)), rest.to_owned()),
                    None => {
                        let rule = "base64, as its encoding says";
                        return Err(Fault::InvalidData { found: Found::text(&text), rule });
                    }
                },
            }
        }
        Value::Object(_) | Value::Array(_) => {
            let slash = if encoding.is_empty() { "" } else { "/" };
            let encoding = format!("{encoding}{slash}json");
            (Data::Text(data.to_string().into()), encoding)
        }
        Value::Bool(_) | Value::Number(_) => {
            return Err(Fault::InvalidData { found: Found::json(&data), rule: "a text, an object or a list" });
        }
    };
    Ok(Payload { data, encoding: encoding.into(), is_json: false })
}
