//! Messages and presence events as clients send them (`docs/protocols/ably.md §3.1, §3.2`).

use std::fmt;

use bytestring::ByteString;
use secrecy::SecretString;
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};

use super::{
    data::{DataSeed, WireData},
    extras::{ExtrasSeed, WireExtras},
    scalar::{Key, Moment, Text, Whole},
};
use crate::{
    core::{
        message::Message,
        presence::{PresenceAction, PresenceEvent},
    },
    error::Fault,
    ids::{ClientId, Timestamp},
};

/// A message as a client sent it; nothing of it has been judged.
#[derive(Clone, Debug, Default)]
pub struct WireMessage {
    pub id: Option<ByteString>,
    pub name: Option<ByteString>,
    pub data: WireData,
    pub encoding: Option<ByteString>,
    pub client_id: Option<ByteString>,
    pub connection_id: Option<ByteString>,
    /// Of the connection on whose behalf it is published (`docs/protocols/ably.md §6.5`).
    pub connection_key: Option<SecretString>,
    /// The client's clock; nothing may depend on it.
    pub timestamp: Option<Timestamp>,
    pub extras: WireExtras,
    /// 0 create, 1 update, 2 delete, 5 append (`docs/protocols/ably.md §9.1`).
    pub action: u64,
    /// The message that an update, delete or append is for.
    pub serial: Option<ByteString>,
    /// `{clientId?, description?, metadata?}` of an update, delete or append.
    pub version: WireExtras,
}

/// The action of a presence event with which its member leaves.
const LEAVE: u64 = 3;

/// A presence event as a client sent it; nothing of it has been judged.
#[derive(Clone, Debug, Default)]
pub struct WirePresence {
    /// What a client that enters again says it had (`docs/protocols/ably.md §7.1`).
    pub id: Option<ByteString>,
    /// 2 enter, 3 leave, 4 update.
    pub action: u64,
    pub client_id: Option<ByteString>,
    pub connection_id: Option<ByteString>,
    pub data: WireData,
    pub encoding: Option<ByteString>,
    /// The client's clock; nothing may depend on it.
    pub timestamp: Option<Timestamp>,
    pub extras: WireExtras,
}

impl WireMessage {
    /// The core's message by `publisher`, whom the caller has found out (`docs/protocols/ably.md §6.6`).
    ///
    /// # Errors
    /// [`Fault::InvalidData`], [`Fault::InvalidExtras`]
    pub fn into_message(self, publisher: Option<ClientId>) -> Result<Message, Fault> {
        Ok(Message {
            name: self.name.unwrap_or_default(),
            payload: self.data.into_payload(self.encoding)?,
            client_id: publisher,
            extras: self.extras.check()?,
        })
    }
}

impl WirePresence {
    pub const fn is_leave(&self) -> bool {
        self.action == LEAVE
    }

    /// The core's event of `member`; `id` is its own, or `<connectionId>:<msgSerial>:<index>` of its frame.
    ///
    /// # Errors
    /// [`Fault::Malformed`] when it is no enter, leave or update; [`Fault::InvalidData`],
    /// [`Fault::InvalidExtras`]
    pub fn into_event(self, id: ByteString, member: ClientId) -> Result<PresenceEvent, Fault> {
        let action = match self.action {
            2 => PresenceAction::Enter,
            LEAVE => PresenceAction::Leave,
            4 => PresenceAction::Update,
            other => {
                let what = format!("presence.action: found {other}; allowed: 2 (enter), 3 (leave) or 4 (update)");
                return Err(Fault::Malformed { what: what.into() });
            }
        };
        Ok(PresenceEvent {
            id: Some(id),
            action,
            client_id: member,
            payload: self.data.into_payload(self.encoding)?,
            extras: self.extras.check()?,
        })
    }
}

impl<'de> Deserialize<'de> for WireMessage {
    fn deserialize<D: Deserializer<'de>>(item: D) -> Result<Self, D::Error> {
        item.deserialize_any(MessageVisitor)
    }
}

impl<'de> Deserialize<'de> for WirePresence {
    fn deserialize<D: Deserializer<'de>>(item: D) -> Result<Self, D::Error> {
        item.deserialize_any(PresenceVisitor)
    }
}

pub struct MessageVisitor;

impl<'de> Visitor<'de> for MessageVisitor {
    type Value = WireMessage;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<WireMessage, A::Error> {
        let mut item = WireMessage::default();
        while let Some(key) = map.next_key::<Key<'_>>()? {
            match key.as_str() {
                "name" => item.name = map.next_value_seed(Text)?,
                "data" => item.data = map.next_value_seed(DataSeed)?,
                "encoding" => item.encoding = map.next_value_seed(Text)?,
                "clientId" => item.client_id = map.next_value_seed(Text)?,
                "extras" => item.extras = map.next_value_seed(ExtrasSeed)?,
                "id" => item.id = map.next_value_seed(Text)?,
                "timestamp" => item.timestamp = map.next_value_seed(Moment)?,
                "connectionId" => item.connection_id = map.next_value_seed(Text)?,
                "connectionKey" => {
                    let key = map.next_value_seed(Text)?;
                    item.connection_key = key.map(|key| SecretString::from(&*key));
                }
                "action" => item.action = map.next_value_seed(Whole)?.unwrap_or_default(),
                "serial" => item.serial = map.next_value_seed(Text)?,
                "version" => item.version = map.next_value_seed(ExtrasSeed)?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(item)
    }
}

struct PresenceVisitor;

impl<'de> Visitor<'de> for PresenceVisitor {
    type Value = WirePresence;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a presence event")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<WirePresence, A::Error> {
        let mut item = WirePresence::default();
        while let Some(key) = map.next_key::<Key<'_>>()? {
            match key.as_str() {
                "action" => item.action = map.next_value_seed(Whole)?.unwrap_or_default(),
                "clientId" => item.client_id = map.next_value_seed(Text)?,
                "data" => item.data = map.next_value_seed(DataSeed)?,
                "encoding" => item.encoding = map.next_value_seed(Text)?,
                "extras" => item.extras = map.next_value_seed(ExtrasSeed)?,
                "id" => item.id = map.next_value_seed(Text)?,
                "connectionId" => item.connection_id = map.next_value_seed(Text)?,
                "timestamp" => item.timestamp = map.next_value_seed(Moment)?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(item)
    }
}
