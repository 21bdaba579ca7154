//! Messages and presence as clients read them, in frames and in lists (`docs/protocols/ably.md §3.1, §3.2, §8.2`).
//!
//! What is written here is `Serialize`, to be written by [`super::encode_value`] in the same format that it
//! was made for.

use std::{borrow::Cow, fmt, sync::Arc};

use serde::{Serialize, Serializer};

use super::{
    Format,
    data::{Written, WrittenData},
    shown::Shown,
};
use crate::{
    core::{
        message::{Entry, Extras, Message},
        operation::{Change, Operation, Version},
        presence::{Member, PresenceAction, PresenceEvent},
        serial::Serial,
        summary::Digest,
    },
    ids::{ConnectionId, Timestamp},
};

/// The action of a member, in a SYNC and in `GET …/presence`.
const PRESENT: u8 = 1;

/// A message as it is read from history: with everything that in a frame stands around it. None when the
/// entry has no such message.
pub fn message(entry: &Entry, index: usize, format: Format) -> Option<MessageItem<'_>> {
    if let Some(operation) = entry.operation() {
        return Some(MessageItem::of_operation(entry, operation, format));
    }
    let item = MessageItem::new(entry, index, entry.messages().get(index)?, format);
    Some(MessageItem {
        id: Some(ItemId::Of(entry, index)),
        connection_id: entry.publisher.map(Shown),
        timestamp: Some(entry.timestamp),
        action: Some(0),
        ..item
    })
}

/// The same with a version, which a message that was never changed has as well (`docs/protocols/ably.md §9.3`).
pub fn version(entry: &Entry, index: usize, format: Format) -> Option<impl Serialize> {
    let own = || VersionItem::new(entry, entry.original_index(index), None);
    message(entry, index, format).map(|item| MessageItem { version: item.version.or_else(|| Some(own())), ..item })
}

/// A page of the versions of a message.
pub fn versions(items: &[(Arc<Entry>, usize)], format: Format) -> impl Serialize {
    Listed(items.iter().filter_map(move |(entry, index)| version(entry, *index, format)))
}

/// A page of message history.
pub fn messages(items: &[(Arc<Entry>, usize)], format: Format) -> impl Serialize {
    Listed(items.iter().filter_map(move |(entry, index)| message(entry, *index, format)))
}

/// A presence event as it is read from history. None when the entry has no such event.
pub fn event(entry: &Entry, index: usize, format: Format) -> Option<impl Serialize> {
    Some(PresenceItem::of_event(entry, index, entry.presence().get(index)?, format))
}

/// A page of presence history.
pub fn presence(items: &[(Arc<Entry>, usize)], format: Format) -> impl Serialize {
    Listed(items.iter().filter_map(move |(entry, index)| event(entry, *index, format)))
}

/// Everybody who is present, each with the action PRESENT.
pub fn members(members: &[Arc<Member>], format: Format) -> impl Serialize {
    Listed(members.iter().map(move |member| PresenceItem::of_member(member, format)))
}

/// The same of members that it holds.
pub struct MembersItem {
    pub members: Vec<Arc<Member>>,
    pub format: Format,
}

impl Serialize for MembersItem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        members(&self.members, self.format).serialize(serializer)
    }
}

/// The serial of one message of an entry (`docs/protocols/ably.md §3.8`).
pub fn message_serial(serial: Serial, index: usize) -> impl fmt::Display {
    fmt::from_fn(move |f| write!(f, "{serial}:{index:03}"))
}

/// A list whose elements are made while it is written.
#[derive(Clone)]
pub(super) struct Listed<I>(pub I);

impl<I: Iterator<Item: Serialize> + Clone> Serialize for Listed<I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.clone())
    }
}

pub(super) enum ItemId<'a> {
    Of(&'a Entry, usize),
    Original(&'a str),
}

impl Serialize for ItemId<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Of(entry, index) => Shown(entry.item_id(*index)).serialize(serializer),
            Self::Original(id) => id.serialize(serializer),
        }
    }
}

pub(super) struct ItemSerial(pub Serial, pub usize);

impl Serialize for ItemSerial {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Shown(message_serial(self.0, self.1)).serialize(serializer)
    }
}

/// Of a message that was changed: what its operator said, and the serial and the time of the operation.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct VersionItem<'a> {
    serial: ItemSerial,
    timestamp: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a Extras>,
}

impl<'a> VersionItem<'a> {
    fn new(entry: &Entry, index: usize, said: Option<&'a Version>) -> Self {
        Self {
            serial: ItemSerial(entry.serial, index),
            timestamp: entry.timestamp,
            client_id: said.and_then(|said| said.client_id.as_ref()).map(|id| id.as_str()),
            description: said.and_then(|said| said.description.as_deref()),
            metadata: said.and_then(|said| said.metadata.as_deref()),
        }
    }
}

/// The `annotations` of a message (`docs/protocols/ably.md §9.7`).
#[derive(Serialize)]
pub(super) struct Summarising<'a> {
    pub summary: &'a Digest,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageItem<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<ItemId<'a>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<WrittenData<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connection_id: Option<Shown<ConnectionId>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<Timestamp>,
    serial: ItemSerial,
    /// Absent = 0, a create.
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<u8>,
    /// Absent on a create: clients take `serial` and `timestamp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<VersionItem<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<Summarising<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extras: Option<&'a Extras>,
}

impl<'a> MessageItem<'a> {
    /// As in a frame, which has the common fields of its items. Only an id of its own stands here.
    pub(super) fn new(entry: &'a Entry, index: usize, message: &'a Message, format: Format) -> Self {
        let Written { data, encoding } = Written::new(&message.payload, format);
        Self {
            id: entry.base_id().is_none().then_some(ItemId::Of(entry, index)),
            name: &message.name,
            data,
            encoding,
            client_id: message.client_id.as_ref().map(|id| id.as_str()),
            connection_id: None,
            timestamp: None,
            serial: ItemSerial(entry.serial, entry.original_index(index)),
            action: None,
            version: None,
            annotations: entry.summary(index).map(|summary| Summarising { summary }),
            extras: message.extras.as_deref(),
        }
    }

    /// A version of a message, with everything that stays the original's: nothing of its frame may be taken for it (T49).
    pub(super) fn of_operation(entry: &'a Entry, operation: &'a Operation, format: Format) -> Self {
        let Operation { target, change, origin, .. } = operation;
        Self {
            id: Some(ItemId::Original(&origin.id)),
            connection_id: origin.publisher.map(Shown),
            timestamp: Some(origin.timestamp),
            serial: ItemSerial(target.serial, usize::from(target.index)),
            action: Some(match change {
                Change::Update => 1,
                Change::Delete => 2,
                Change::Append => 5,
            }),
            version: Some(VersionItem::new(entry, 0, Some(&operation.version))),
            ..Self::new(entry, 0, &operation.message, format)
        }
    }
}

/// Id, client, connection and time are always there: clients judge by them which of two events is newer
/// (`docs/protocols/ably.md §7.2`).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PresenceItem<'a> {
    id: Cow<'a, str>,
    action: u8,
    client_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    connection_id: Option<Shown<ConnectionId>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<WrittenData<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<Cow<'a, str>>,
    timestamp: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    extras: Option<&'a Extras>,
}

impl<'a> PresenceItem<'a> {
    pub(super) fn of_event(entry: &'a Entry, index: usize, event: &'a PresenceEvent, format: Format) -> Self {
        let Written { data, encoding } = Written::new(&event.payload, format);
        let id: Cow<'_, str> = match &event.id {
            Some(id) => Cow::Borrowed(id),
            None => Cow::Owned(entry.item_id(index).to_string()),
        };
        Self {
            connection_id: entry.publisher.map(Shown),
            id,
            action: match event.action {
                PresenceAction::Enter => 2,
                PresenceAction::Leave => 3,
                PresenceAction::Update => 4,
            },
            client_id: event.client_id.as_str(),
            data,
            encoding,
            timestamp: entry.timestamp,
            extras: event.extras.as_deref(),
        }
    }

    pub(super) fn of_member(member: &'a Member, format: Format) -> Self {
        let Written { data, encoding } = Written::new(&member.payload, format);
        let id = Cow::Borrowed(&*member.id);
        Self {
            connection_id: Some(Shown(member.connection)),
            id,
            action: PRESENT,
            client_id: member.client_id.as_str(),
            data,
            encoding,
            timestamp: member.timestamp,
            extras: member.extras.as_deref(),
        }
    }
}
