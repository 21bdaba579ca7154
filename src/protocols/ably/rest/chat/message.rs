//! Messages of a room as its clients read them.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    core::{
        message::{Data, Entry, Extras, USER_CLAIM},
        operation::{Change, Latest, MessageRef},
        summary::Digest,
    },
    ids::Timestamp,
};

/// The name of the messages that people write.
pub const NAME: &str = "chat.message";

/// The type of the annotations that are reactions of this type.
pub fn annotation_type(kind: &str) -> String {
    format!("reaction:{kind}.v1")
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChatMessage {
    serial: String,
    version: Version,
    text: String,
    client_id: String,
    action: &'static str,
    metadata: Value,
    headers: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_claim: Option<Value>,
    timestamp: Timestamp,
    #[serde(skip_serializing_if = "Reactions::is_empty")]
    reactions: Reactions,
    /// By its name.
    #[serde(skip)]
    is_chat: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    serial: String,
    timestamp: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Extras>,
}

/// The reactions to a message, by type and name.
#[derive(Default, Serialize)]
pub struct Reactions {
    unique: Map<String, Value>,
    distinct: Map<String, Value>,
    multiple: Map<String, Value>,
}

impl Reactions {
    pub fn new(summary: &Digest) -> Self {
        // Cannot fail: a digest is a map of texts and numbers.
        let mut types = serde_json::to_value(summary).unwrap_or_default();
        let mut take = |kind: &str| match types.get_mut(annotation_type(kind)).map(Value::take) {
            Some(Value::Object(names)) => names,
            _ => Map::new(),
        };
        Self { unique: take("unique"), distinct: take("distinct"), multiple: take("multiple") }
    }

    fn is_empty(&self) -> bool {
        self.unique.is_empty() && self.distinct.is_empty() && self.multiple.is_empty()
    }
}

impl ChatMessage {
    /// A message of an entry, or what an operation has made of it; the claim about its user is that of the operator.
    pub fn new(entry: &Arc<Entry>, index: usize) -> Option<Self> {
        let latest = Latest { entry: Arc::clone(entry), index };
        let (target, origin, payload) = (latest.target().to_string(), latest.origin(), latest.payload());
        let message = latest.message()?;
        let operation = entry.operation();
        let said = match &payload.data {
            Data::Text(text) if payload.encoding == "json" => serde_json::from_str(text).ok(),
            _ => None,
        };
        let mut said: Value = said.unwrap_or_default();
        let extra = |name: &str| message.extras.as_ref().and_then(|extras| extras.get(name)).cloned();
        let object = |value: Option<Value>| value.filter(Value::is_object).unwrap_or_else(|| Value::Object(Map::new()));
        let version = match operation {
            None => Version {
                serial: target.clone(),
                timestamp: entry.timestamp,
                client_id: None,
                description: None,
                metadata: None,
            },
            Some(operation) => Version {
                serial: MessageRef { serial: entry.serial, index: 0 }.to_string(),
                timestamp: entry.timestamp,
                client_id: operation.version.client_id.as_ref().map(|client| client.as_str().to_owned()),
                description: operation.version.description.as_ref().map(ToString::to_string),
                metadata: operation.version.metadata.as_deref().cloned(),
            },
        };
        Some(Self {
            serial: target,
            version,
            text: said.get("text").and_then(Value::as_str).unwrap_or_default().to_owned(),
            client_id: message.client_id.as_ref().map(|client| client.as_str().to_owned()).unwrap_or_default(),
            action: match operation.map(|operation| operation.change) {
                None => "message.create",
                Some(Change::Delete) => "message.delete",
                Some(Change::Update | Change::Append) => "message.update",
            },
            metadata: object(said.get_mut("metadata").map(Value::take)),
            headers: object(extra("headers")),
            user_claim: extra(USER_CLAIM),
            timestamp: origin.timestamp,
            reactions: entry.summary(index).map(Reactions::new).unwrap_or_default(),
            is_chat: message.name == NAME,
        })
    }
}

/// Some messages of the past of a room; what else was published to its channel is no message of it.
pub fn all(items: &[(Arc<Entry>, usize)]) -> Vec<ChatMessage> {
    let messages = items.iter().filter_map(|(entry, index)| ChatMessage::new(entry, *index));
    messages.filter(|message| message.is_chat).collect()
}
