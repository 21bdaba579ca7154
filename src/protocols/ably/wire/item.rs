//! Messages and presence events as clients send them (`docs/protocols/ably.md §3.1, §3.2`).

use bytestring::ByteString;
use secrecy::SecretString;

use super::{
    collection::item_fields,
    data::{DataSeed, WireData},
    extras::{ExtrasSeed, WireExtras},
    scalar::{MOMENT, TEXT, WHOLE},
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
    /// The id that a client that enters again claims to have had (`docs/protocols/ably.md §7.1`).
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

item_fields!(pub MessageVisitor of WireMessage, "a message", |item, map| {
    "name" => item.name = map.next_value_seed(TEXT)?,
    "connectionKey" => item.connection_key = map.next_value_seed(TEXT)?.map(|key| SecretString::from(&*key)),
    "action" => item.action = map.next_value_seed(WHOLE)?.unwrap_or_default(),
    "serial" => item.serial = map.next_value_seed(TEXT)?,
    "version" => item.version = map.next_value_seed(ExtrasSeed)?,
});

item_fields!(PresenceVisitor of WirePresence, "a presence event", |item, map| {
    "action" => item.action = map.next_value_seed(WHOLE)?.unwrap_or_default(),
});
