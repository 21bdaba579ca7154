//! Updates, deletes and appends as clients ask for them (`docs/protocols/ably.md §9.1`). The same for frames and for HTTP.

use bytestring::ByteString;
use serde_json::Value;

use crate::{
    auth::ably::{Access, AllowedClient},
    core::{
        capability::Operation as Allowed,
        operation::{Change, MessageRef, Operation, Version},
    },
    error::{Fault, Found},
    ids::ChannelName,
    protocols::ably::{
        messages,
        name::Name,
        wire::{WireExtras, WireMessage},
    },
};

/// Who changes messages of a channel.
pub struct Operator<'a> {
    pub access: &'a Access,
    pub identity: &'a AllowedClient,
    pub name: &'a Name,
    pub channel: &'a ChannelName,
    pub max_message_bytes: usize,
}

/// The message that `text` names.
///
/// # Errors
/// [`Fault::BadParameter`] when it is not what the serial of a message is written as.
pub fn message_ref(text: Option<&str>) -> Result<MessageRef, Fault> {
    let target = text.and_then(MessageRef::parse);
    target.ok_or_else(|| {
        let rule = "the serial of a message, as it came with the message";
        Fault::BadParameter { name: "serial", found: Found::optional(text), rule }
    })
}

impl Operator<'_> {
    /// Whether the operator may do that to messages at all, and if to their own only.
    pub fn check_may(&self, action: u64) -> Result<bool, Fault> {
        let (any, own, what) = match change(action)? {
            Change::Delete => {
                let what = "message-delete-own or message-delete-any";
                (Allowed::MessageDeleteAny, Allowed::MessageDeleteOwn, what)
            }
            Change::Update | Change::Append => {
                let what = "message-update-own or message-update-any";
                (Allowed::MessageUpdateAny, Allowed::MessageUpdateOwn, what)
            }
        };
        let resource = self.name.resource();
        let operations = self.access.operations_on(&resource);
        if self.name.is_meta() || !(operations.has(any) || operations.has(own)) {
            return Err(self.access.not_permitted(what, &resource));
        }
        let attributes = self.access.app.attributes_of(self.channel);
        if attributes.identified_only && *self.identity == AllowedClient::Anonymous {
            return Err(Fault::NotIdentified);
        }
        if !attributes.is_mutable {
            return Err(Fault::NotMutable);
        }
        Ok(!operations.has(any))
    }

    /// The operation that a message asks for. Clients send the message that they have got, so what only its publisher or the
    /// server can say is passed over.
    pub fn check(&self, mut message: WireMessage, own_only: bool) -> Result<Operation, Fault> {
        let change = change(message.action)?;
        let target = message_ref(message.serial.as_deref())?;
        let (claimed, version) = version(std::mem::take(&mut message.version))?;
        let client_id = self.identity.attribute(claimed.as_deref())?;
        if own_only && client_id.is_none() {
            return Err(Fault::NotOwnAnonymous);
        }
        let extras = message.extras.without_what_the_server_sets();
        let mut message = WireMessage { extras, ..message }.into_message(None)?;
        // A version is kept, so it is never ephemeral.
        if let Some(extras) = &mut message.extras {
            extras.remove("ephemeral");
        }
        messages::claim(&mut message.extras, self.access.user_claim(&self.name.base));
        let operation = Operation::new(target, change, message, Version { client_id, ..version });
        let (size, limit) = (operation.size(), self.max_message_bytes);
        if size > limit {
            let what = "the operation (name, extras and data of its message, clientId, description and metadata)";
            return Err(Fault::TooLarge { what, size, limit });
        }
        Ok(operation)
    }
}

fn change(action: u64) -> Result<Change, Fault> {
    match action {
        1 => Ok(Change::Update),
        2 => Ok(Change::Delete),
        5 => Ok(Change::Append),
        other => {
            let what = format!("action: found {other}; allowed: 1 (update), 2 (delete) or 5 (append)");
            Err(Fault::Malformed { what: what.into() })
        }
    }
}

/// Who says that it is the operator, and what is said about the operation.
fn version(given: WireExtras) -> Result<(Option<ByteString>, Version), Fault> {
    let bad = |name, found, rule| Fault::BadParameter { name, found, rule };
    let mut given = match given {
        WireExtras::Absent => return Ok((None, Version::default())),
        WireExtras::Object(given) => given,
        WireExtras::Other(found) => return Err(bad("version", found, "an object")),
    };
    let mut text = |key, name| match given.remove(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(ByteString::from(text))),
        Some(other) => Err(bad(name, Found::json(&other), "a string")),
    };
    let (client, description) = (text("clientId", "version.clientId")?, text("description", "version.description")?);
    let metadata = match given.remove("metadata") {
        None | Some(Value::Null) => None,
        Some(Value::Object(metadata)) => Some(Box::new(metadata)),
        Some(other) => return Err(bad("version.metadata", Found::json(&other), "an object")),
    };
    Ok((client, Version { client_id: None, description, metadata }))
}
