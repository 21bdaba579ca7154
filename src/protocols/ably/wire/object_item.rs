//! Operations on objects and their state, as clients read them (`docs/protocols/ably.md §10.1-10.5`).

use base64::{display::Base64Display, prelude::BASE64_STANDARD};
use bytes::Bytes;
use bytestring::ByteString;
use serde::{Serialize, Serializer, ser::SerializeMap as _};

use super::{
    Format,
    codec::encode_value,
    items::{ItemId, ItemSerial},
    shown::Shown,
};
use crate::{
    core::{
        message::{Entry, Extras},
        objects::{Action, MapEntry, ObjectOperation, Part, SITE_CODE, Shape, Value},
        operation::MessageRef,
    },
    ids::{ClientId, ConnectionId, Timestamp},
};

/// An operation, with everything that in a frame stands around it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ObjectItem<'a> {
    id: ItemId<'a>,
    serial: ItemSerial,
    serial_timestamp: Timestamp,
    site_code: &'static str,
    timestamp: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connection_id: Option<Shown<ConnectionId>>,
    operation: OperationItem<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extras: Option<&'a Extras>,
}

impl<'a> ObjectItem<'a> {
    pub(super) fn new(entry: &'a Entry, index: usize, operation: &'a ObjectOperation, format: Format) -> Self {
        let serial = MessageRef { serial: entry.serial, index: index as u16 };
        Self {
            id: ItemId::Of(entry, index),
            serial: ItemSerial(entry.serial, index),
            serial_timestamp: entry.timestamp,
            site_code: SITE_CODE,
            timestamp: entry.timestamp,
            client_id: operation.client_id.as_ref().map(ClientId::as_str),
            connection_id: entry.publisher.map(Shown),
            operation: OperationItem::new(operation, serial, format),
            extras: operation.extras.as_deref(),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OperationItem<'a> {
    action: u8,
    object_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    map_create: Option<MapItem<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    map_set: Option<SetItem<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    map_remove: Option<KeyItem<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    map_clear: Option<Nothing>,
    #[serde(skip_serializing_if = "Option::is_none")]
    counter_create: Option<CountItem>,
    #[serde(skip_serializing_if = "Option::is_none")]
    counter_inc: Option<NumberItem>,
    #[serde(skip_serializing_if = "Option::is_none")]
    object_delete: Option<Nothing>,
}

#[derive(Serialize)]
struct Nothing {}

#[derive(Serialize)]
struct KeyItem<'a> {
    key: &'a str,
}

#[derive(Serialize)]
struct SetItem<'a> {
    key: &'a str,
    value: ValueItem<'a>,
}

#[derive(Serialize)]
struct CountItem {
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<Number>,
}

#[derive(Serialize)]
struct NumberItem {
    number: Number,
}

impl<'a> OperationItem<'a> {
    fn new(operation: &'a ObjectOperation, serial: MessageRef, format: Format) -> Self {
        let none = Self { object_id: operation.object.as_str(), ..OperationItem::nothing() };
        match &operation.action {
            Action::CreateMap(entries) => {
                let set = |(key, value): &'a (ByteString, Value)| (&**key, EntryItem::set(value, serial, format));
                let entries = entries.iter().map(set).collect();
                Self { action: 0, map_create: Some(MapItem { semantics: 0, entries, clear_timeserial: None }), ..none }
            }
            Action::Set(key, value) => {
                Self { action: 1, map_set: Some(SetItem { key, value: ValueItem(value, format) }), ..none }
            }
            Action::Remove(key) => Self { action: 2, map_remove: Some(KeyItem { key }), ..none },
            Action::CreateCounter(count) => {
                Self { action: 3, counter_create: Some(CountItem { count: count.map(Number) }), ..none }
            }
            Action::Increment(number) => {
                Self { action: 4, counter_inc: Some(NumberItem { number: Number(*number) }), ..none }
            }
            Action::Delete => Self { action: 5, object_delete: Some(Nothing {}), ..none },
            Action::Clear => Self { action: 6, map_clear: Some(Nothing {}), ..none },
        }
    }
}

/// A whole number as one: MessagePack and typed clients tell them apart.
pub(super) struct Number(pub f64);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        /// Up to here a float stands for one whole number.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        match self.0 {
            number if number.fract() == 0.0 && number.abs() < EXACT => serializer.serialize_i64(number as i64),
            number => serializer.serialize_f64(number),
        }
    }
}

/// A value of a map: the one of its fields that is there.
pub(super) struct ValueItem<'a>(pub &'a Value, pub Format);

impl Serialize for ValueItem<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        match self.0 {
            Value::Object(id) => map.serialize_entry("objectId", id.as_str())?,
            Value::Boolean(flag) => map.serialize_entry("boolean", flag)?,
            Value::Number(number) => map.serialize_entry("number", &Number(*number))?,
            Value::Text(text) => map.serialize_entry("string", &**text)?,
            Value::Binary(bytes) => map.serialize_entry("bytes", &BytesItem(bytes, self.1))?,
            Value::Json(text) => map.serialize_entry("json", &**text)?,
        }
        map.end()
    }
}

/// Binary, in JSON as base64.
pub(super) struct BytesItem<'a>(pub &'a Bytes, pub Format);

impl Serialize for BytesItem<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.1 {
            Format::Json => serializer.collect_str(&Base64Display::new(self.0, &BASE64_STANDARD)),
            Format::Msgpack => serializer.serialize_bytes(self.0),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MapItem<'a> {
    semantics: u8,
    #[serde(serialize_with = "as_map")]
    entries: Vec<(&'a str, EntryItem<'a>)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    clear_timeserial: Option<Shown<MessageRef>>,
}

fn as_map<S: Serializer>(entries: &[(&str, EntryItem<'_>)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(entries.iter().map(|(key, entry)| (key, entry)))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EntryItem<'a> {
    timeserial: Shown<MessageRef>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<ValueItem<'a>>,
    /// Of one that was removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    tombstone: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    serial_timestamp: Option<Timestamp>,
}

impl<'a> EntryItem<'a> {
    const fn set(value: &'a Value, serial: MessageRef, format: Format) -> Self {
        let data = Some(ValueItem(value, format));
        Self { timeserial: Shown(serial), data, tombstone: None, serial_timestamp: None }
    }

    fn of(entry: &'a MapEntry, format: Format) -> Self {
        match &entry.value {
            Some(value) => Self::set(value, entry.serial, format),
            None => Self {
                timeserial: Shown(entry.serial),
                data: None,
                tombstone: Some(true),
                serial_timestamp: Some(entry.at),
            },
        }
    }
}

/// An object as it is, or of a map some of its entries.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StateItem<'a> {
    object: ObjectState<'a>,
    /// Of one that was deleted: when.
    #[serde(skip_serializing_if = "Option::is_none")]
    serial_timestamp: Option<Timestamp>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ObjectState<'a> {
    object_id: &'a str,
    site_timeserials: Serials,
    tombstone: bool,
    /// A map has merged it, a counter has not.
    #[serde(skip_serializing_if = "Option::is_none")]
    create_op: Option<OperationItem<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    map: Option<MapItem<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    counter: Option<CountItem>,
}

struct Serials(Option<MessageRef>);

impl Serialize for Serials {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.map(|serial| (SITE_CODE, Shown(serial))))
    }
}

impl<'a> StateItem<'a> {
    fn of(Part { id, head, entries }: Part<'a>, format: Format) -> Self {
        let created = |action| {
            let none = OperationItem { action, object_id: id.as_str(), ..OperationItem::nothing() };
            head.is_created.then_some(none)
        };
        let (create_op, map, counter) = match head.shape {
            Shape::Map { cleared } => {
                let entries = entries.map(|(key, entry)| (&**key, EntryItem::of(entry, format))).collect();
                let map = MapItem { semantics: 0, entries, clear_timeserial: cleared.map(Shown) };
                let empty = MapItem { semantics: 0, entries: Vec::new(), clear_timeserial: None };
                (created(0).map(|none| OperationItem { map_create: Some(empty), ..none }), Some(map), None)
            }
            Shape::Counter { created: count, sum } => {
                let counter_create = Some(CountItem { count: count.map(Number) });
                let create_op = created(3).map(|none| OperationItem { counter_create, ..none });
                (create_op, None, Some(CountItem { count: Some(Number(sum)) }))
            }
        };
        let object = ObjectState {
            object_id: id.as_str(),
            site_timeserials: Serials(head.serial),
            tombstone: head.deleted.is_some(),
            create_op,
            map,
            counter,
        };
        Self { object, serial_timestamp: head.deleted }
    }
}

impl OperationItem<'_> {
    const fn nothing() -> Self {
        Self {
            action: 0,
            object_id: "",
            map_create: None,
            map_set: None,
            map_remove: None,
            map_clear: None,
            counter_create: None,
            counter_inc: None,
            object_delete: None,
        }
    }
}

/// The `state` of an OBJECT_SYNC.
pub fn object_page(parts: &mut dyn Iterator<Item = Part<'_>>, format: Format) -> Bytes {
    encode_value(format, &parts.map(|part| StateItem::of(part, format)).collect::<Vec<_>>())
}
