//! Object messages as clients send them, in frames and by HTTP (`docs/protocols/ably.md §10.1-10.3, §10.8`).

use std::{fmt, marker::PhantomData};

use bytestring::ByteString;
use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, MapAccess, Visitor, value::MapAccessDeserializer},
};

use super::{
    Format,
    codec::decode_value,
    collection::{IsThere, Key, absent_is, fields},
    data::{DataSeed, WireData, from_base64},
    extras::{ExtrasSeed, WireExtras},
    scalar::{As, Scalar, TEXT, WHOLE, Wrong},
};
use crate::{
    core::{
        message::is_json,
        objects::{Action, ObjectId, Type, Value},
    },
    error::{Fault, Found},
    ids::Timestamp,
    limits,
};

/// An object message as a client sent it; nothing of it has been judged.
#[derive(Clone, Debug, Default)]
pub struct WireObject {
    pub id: Option<ByteString>,
    pub client_id: Option<ByteString>,
    pub connection_id: Option<ByteString>,
    pub extras: WireExtras,
    pub operation: Option<WireObjectOperation>,
}

/// An operation. By HTTP it has no `action`: its one payload says it.
#[derive(Clone, Debug, Default)]
pub struct WireObjectOperation {
    pub id: Option<ByteString>,
    pub path: Option<ByteString>,
    pub action: Option<u64>,
    pub object_id: Option<ByteString>,
    map_create: Option<Initial>,
    map_create_with: Option<WithId>,
    map_set: Option<Set>,
    map_remove: Option<Set>,
    map_clear: bool,
    counter_create: Option<Initial>,
    counter_create_with: Option<WithId>,
    counter_inc: Option<Increment>,
    object_delete: bool,
    /// Version 5 of the protocol: the key of what is set or removed, and what a create is checked by.
    map_op: Option<Set>,
    initial_value: Option<ByteString>,
    nonce: Option<ByteString>,
}

/// What an object is created with: entries, or a count.
#[derive(Clone, Debug, Default)]
struct Initial {
    is_other: bool,
    entries: Vec<(ByteString, Entry)>,
    count: Option<f64>,
    /// Version 5 has the same one level deeper.
    nested: Option<Box<Self>>,
}

#[derive(Clone, Debug, Default)]
struct Entry {
    data: Option<WireValue>,
    is_removed: bool,
}

/// How a client creates an object whose id it knows.
#[derive(Clone, Debug, Default)]
struct WithId {
    initial_value: Option<ByteString>,
    nonce: Option<ByteString>,
}

#[derive(Clone, Debug, Default)]
struct Set {
    key: Option<ByteString>,
    value: Option<WireValue>,
}

#[derive(Clone, Debug, Default)]
struct Increment {
    number: Option<f64>,
}

/// A value of a map, as it came: exactly one of its fields is there.
#[derive(Clone, Debug, Default)]
struct WireValue {
    object_id: Option<ByteString>,
    boolean: Option<bool>,
    number: Option<f64>,
    string: Option<ByteString>,
    bytes: WireData,
    json: WireData,
    /// Version 5: a string is JSON.
    encoding: Option<ByteString>,
}

const FLAG: As<Option<bool>> = As {
    expected: "true or false",
    read: |scalar| match scalar {
        Scalar::Absent => Ok(None),
        Scalar::Bool(flag) => Ok(Some(flag)),
        _ => Err(Wrong::Type),
    },
};

const NUMBER: As<Option<f64>> = As {
    expected: "a number",
    read: |scalar| match scalar {
        Scalar::Absent => Ok(None),
        Scalar::Unsigned(number) => Ok(Some(number as f64)),
        Scalar::Signed(number) => Ok(Some(number as f64)),
        Scalar::Float(number) if number.is_finite() => Ok(Some(number)),
        Scalar::Float(_) => Err(Wrong::Value),
        _ => Err(Wrong::Type),
    },
};

/// Whether a map has other semantics than the one there is: the last operation on a key wins.
const IS_OTHER: As<bool> = As {
    expected: "0 (LWW)",
    read: |scalar| match scalar {
        Scalar::Absent | Scalar::Unsigned(0) | Scalar::Signed(0) => Ok(false),
        Scalar::Text(name) => Ok(!name.eq_ignore_ascii_case("lww")),
        _ => Ok(true),
    },
};

fields!(pub ObjectVisitor of WireObject, "an object message", |item, map| {
    "id" => item.id = map.next_value_seed(TEXT)?,
    "clientId" => item.client_id = map.next_value_seed(TEXT)?,
    "connectionId" => item.connection_id = map.next_value_seed(TEXT)?,
    "extras" => item.extras = map.next_value_seed(ExtrasSeed)?,
    "operation" => item.operation = map.next_value_seed(Maybe::new())?,
});

fields!(pub OperationVisitor of WireObjectOperation, "an operation on an object", |item, map| {
    "id" => item.id = map.next_value_seed(TEXT)?,
    "path" => item.path = map.next_value_seed(TEXT)?,
    "action" => item.action = map.next_value_seed(WHOLE)?,
    "objectId" => item.object_id = map.next_value_seed(TEXT)?,
    "mapCreate" => item.map_create = map.next_value_seed(Maybe::new())?,
    "map" => item.map_create = map.next_value_seed(Maybe::new())?,
    "mapCreateWithObjectId" => item.map_create_with = map.next_value_seed(Maybe::new())?,
    "mapSet" => item.map_set = map.next_value_seed(Maybe::new())?,
    "mapRemove" => item.map_remove = map.next_value_seed(Maybe::new())?,
    "mapOp" => item.map_op = map.next_value_seed(Maybe::new())?,
    "mapClear" => item.map_clear = map.next_value_seed(IsThere)?,
    "counterCreate" => item.counter_create = map.next_value_seed(Maybe::new())?,
    "counter" => item.counter_create = map.next_value_seed(Maybe::new())?,
    "counterCreateWithObjectId" => item.counter_create_with = map.next_value_seed(Maybe::new())?,
    "counterInc" => item.counter_inc = map.next_value_seed(Maybe::new())?,
    "counterOp" => item.counter_inc = map.next_value_seed(Maybe::new())?,
    "objectDelete" => item.object_delete = map.next_value_seed(IsThere)?,
    "initialValue" => item.initial_value = map.next_value_seed(TEXT)?,
    "nonce" => item.nonce = map.next_value_seed(TEXT)?,
});

fields!(InitialVisitor of Initial, "the first value of an object", |item, map| {
    "semantics" => item.is_other = map.next_value_seed(IS_OTHER)?,
    "entries" => item.entries = map.next_value_seed(Named::new())?,
    "count" => item.count = map.next_value_seed(NUMBER)?,
    "map" => item.nested = map.next_value_seed(Maybe::<Self::Value>::new())?.map(Box::new),
    "counter" => item.nested = map.next_value_seed(Maybe::<Self::Value>::new())?.map(Box::new),
});

fields!(EntryVisitor of Entry, "an entry of a map", |item, map| {
    "data" => item.data = map.next_value_seed(Maybe::new())?,
    "tombstone" => item.is_removed = map.next_value_seed(FLAG)?.unwrap_or_default(),
});

fields!(WithIdVisitor of WithId, "an object with initialValue and nonce", |item, map| {
    "initialValue" => item.initial_value = map.next_value_seed(TEXT)?,
    "nonce" => item.nonce = map.next_value_seed(TEXT)?,
});

fields!(SetVisitor of Set, "an object with a key", |item, map| {
    "key" => item.key = map.next_value_seed(TEXT)?,
    "value" => item.value = map.next_value_seed(Maybe::new())?,
    "data" => item.value = map.next_value_seed(Maybe::new())?,
});

fields!(IncrementVisitor of Increment, "an object with a number", |item, map| {
    "number" => item.number = map.next_value_seed(NUMBER)?,
    "amount" => item.number = map.next_value_seed(NUMBER)?,
});

fields!(ValueVisitor of WireValue, "a value of a map", |item, map| {
    "objectId" => item.object_id = map.next_value_seed(TEXT)?,
    "boolean" => item.boolean = map.next_value_seed(FLAG)?,
    "number" => item.number = map.next_value_seed(NUMBER)?,
    "string" => item.string = map.next_value_seed(TEXT)?,
    "bytes" => item.bytes = map.next_value_seed(DataSeed)?,
    "json" => item.json = map.next_value_seed(DataSeed)?,
    "encoding" => item.encoding = map.next_value_seed(TEXT)?,
});

/// What an operation is about.
pub struct ReadOperation {
    /// None: none is named.
    pub object: Option<ObjectId>,
    pub action: Action,
    /// The object is made by it, and its id is that of its first value.
    pub is_verified: bool,
}

impl WireObjectOperation {
    /// # Errors
    /// [`Fault::InvalidObject`]: what is wrong with it.
    pub fn read(self, now: Timestamp) -> Result<ReadOperation, Fault> {
        let named = self.object_id.as_ref().filter(|id| !id.is_empty());
        let object = named.map(|id| {
            let rule = "root, or <map or counter>:<hash>@<milliseconds>";
            ObjectId::parse(id).ok_or_else(|| Fault::invalid_object("objectId", id, rule))
        });
        let object = object.transpose()?;
        let action = self.action.map_or_else(|| self.action_of_payload(), Ok)?;
        let with = |with: Option<WithId>| match (with, self.initial_value, self.nonce) {
            (None, Some(initial_value), Some(nonce)) => {
                Some(WithId { initial_value: Some(initial_value), nonce: Some(nonce) })
            }
            (with, ..) => with,
        };
        let (action, is_verified) = match action {
            0 => create(Type::Map, self.map_create, with(self.map_create_with), object.as_ref(), now)?,
            1 => (self.map_set.or(self.map_op).ok_or_else(|| missing("mapSet"))?.into_set()?, false),
            2 => (Action::Remove(self.map_remove.or(self.map_op).ok_or_else(|| missing("mapRemove"))?.key()?), false),
            3 => create(Type::Counter, self.counter_create, with(self.counter_create_with), object.as_ref(), now)?,
            4 => {
                let number = self.counter_inc.ok_or_else(|| missing("counterInc"))?.number;
                (Action::Increment(number.ok_or_else(|| missing("counterInc.number"))?), false)
            }
            5 => {
                return Err(invalid(
                    "action",
                    Found::number(5),
                    "an operation for clients; only the server deletes objects",
                ));
            }
            6 => (Action::Clear, false),
            other => return Err(invalid("action", Found::number(other), "a number from 0 to 6")),
        };
        Ok(ReadOperation { object, action, is_verified })
    }

    fn action_of_payload(&self) -> Result<u64, Fault> {
        let payloads = [
            (0, self.map_create.is_some() || self.map_create_with.is_some()),
            (1, self.map_set.is_some()),
            (2, self.map_remove.is_some()),
            (3, self.counter_create.is_some() || self.counter_create_with.is_some()),
            (4, self.counter_inc.is_some()),
            (5, self.object_delete),
            (6, self.map_clear),
        ];
        let mut there = payloads.iter().filter(|(_, is_there)| *is_there).map(|(action, _)| *action);
        match (there.next(), there.count()) {
            (Some(action), 0) => Ok(action),
            (first, others) => {
                let found = Found::number(usize::from(first.is_some()) + others);
                let rule = "exactly one of mapCreate, mapCreateWithObjectId, mapSet, mapRemove, mapClear, counterCreate, \
                            counterCreateWithObjectId and counterInc";
                Err(invalid("payload", found, rule))
            }
        }
    }
}

/// A create with the id that its client has given the object, or without one.
fn create(
    kind: Type,
    plain: Option<Initial>,
    with: Option<WithId>,
    object: Option<&ObjectId>,
    now: Timestamp,
) -> Result<(Action, bool), Fault> {
    let Some(WithId { initial_value, nonce }) = with else {
        let plain = plain.ok_or_else(|| missing(if kind == Type::Map { "mapCreate" } else { "counterCreate" }))?;
        return Ok((plain.into_action(kind)?, false));
    };
    let (initial_value, nonce) = (initial_value.unwrap_or_default(), nonce.unwrap_or_default());
    if nonce.chars().count() < limits::OBJECT_NONCE {
        return Err(Fault::invalid_object("nonce", &nonce, "at least 16 characters"));
    }
    let object = object.ok_or_else(|| missing("objectId"))?;
    if *object != ObjectId::of(kind, &initial_value, &nonce, object.created()) {
        let rule = "<map or counter>:<base64url of SHA-256 of initialValue:nonce>@<milliseconds>, for what is created";
        return Err(Fault::invalid_object("objectId", object.as_str(), rule));
    }
    if !object.is_recent(now) {
        let rule = "an id whose time is at most a day from the server's";
        return Err(Fault::invalid_object("objectId", object.as_str(), rule));
    }
    let initial: Initial = decode_value(Format::Json, initial_value.as_bytes())
        .map_err(|_| Fault::invalid_object("initialValue", &initial_value, "the JSON of what is created"))?;
    Ok((initial.into_action(kind)?, true))
}

impl Initial {
    fn into_action(self, kind: Type) -> Result<Action, Fault> {
        if let Some(nested) = self.nested {
            return nested.into_action(kind);
        }
        if self.is_other {
            return Err(invalid("mapCreate.semantics", Found::nothing(), "0 (LWW)"));
        }
        if kind == Type::Counter {
            return Ok(Action::CreateCounter(self.count));
        }
        let entries = self.entries.into_iter().filter(|(_, entry)| !entry.is_removed);
        let entries = entries.map(|(key, entry)| {
            let data = entry.data.ok_or_else(|| missing("mapCreate.entries[].data"))?;
            Ok((key, data.into_value()?))
        });
        Ok(Action::CreateMap(entries.collect::<Result<_, Fault>>()?))
    }
}

impl Set {
    fn key(&self) -> Result<ByteString, Fault> {
        self.key.clone().ok_or_else(|| missing("key"))
    }

    fn into_set(self) -> Result<Action, Fault> {
        let key = self.key()?;
        Ok(Action::Set(key, self.value.ok_or_else(|| missing("mapSet.value"))?.into_value()?))
    }
}

impl WireValue {
    fn into_value(self) -> Result<Value, Fault> {
        let Self { object_id, boolean, number, string, bytes, json, encoding } = self;
        let object = object_id.filter(|id| !id.is_empty()).map(|id| {
            let parsed = ObjectId::parse(&id);
            parsed.map(Value::Object).ok_or_else(|| Fault::invalid_object("value.objectId", &id, "the id of an object"))
        });
        let string = string
            .map(|text| if encoding.as_deref() == Some("json") { checked_json(text) } else { Ok(Value::Text(text)) });
        let bytes = match bytes {
            WireData::Absent => None,
            WireData::Text(text) => Some(from_base64(text.as_bytes()).map(Value::Binary)),
            WireData::Binary(bytes) => Some(Ok(Value::Binary(bytes))),
            WireData::Json(_) => {
                Some(Err(invalid("value.bytes", Found::nothing(), "base64, or binary in MessagePack")))
            }
            WireData::Scalar(found) => Some(Err(invalid("value.bytes", found, "base64, or binary in MessagePack"))),
        };
        let json = match json {
            WireData::Absent => None,
            WireData::Text(text) => Some(checked_json(text)),
            WireData::Json(text) => Some(Ok(Value::Json(text))),
            WireData::Binary(bytes) => {
                Some(Err(invalid("value.json", Found::bytes(bytes.len()), "the text of a JSON value")))
            }
            WireData::Scalar(found) => Some(Err(invalid("value.json", found, "the text of a JSON value"))),
        };
        let (boolean, number) =
            (boolean.map(|flag| Ok(Value::Boolean(flag))), number.map(|number| Ok(Value::Number(number))));
        let mut there = [object, boolean, number, string, bytes, json].into_iter().flatten();
        match (there.next(), there.count()) {
            (Some(value), 0) => value,
            (first, others) => {
                let found = Found::number(usize::from(first.is_some()) + others);
                Err(invalid("value", found, "exactly one of objectId, boolean, number, string, bytes and json"))
            }
        }
    }
}

fn checked_json(text: ByteString) -> Result<Value, Fault> {
    match is_json(&text) {
        true => Ok(Value::Json(text)),
        false => Err(Fault::invalid_object("value.json", &text, "the text of a JSON value")),
    }
}

const fn invalid(field: &'static str, found: Found, rule: &'static str) -> Fault {
    Fault::InvalidObject { field, found, rule }
}

fn missing(field: &'static str) -> Fault {
    invalid(field, Found::nothing(), "a value, which this operation needs")
}

/// A map that is read into a struct, or nothing.
struct Maybe<T>(PhantomData<T>);

impl<T> Maybe<T> {
    const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for Maybe<T> {
    type Value = Option<T>;

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<Option<T>, D::Error> {
        value.deserialize_any(self)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Maybe<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Option<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Some)
    }

    absent_is!(None);
}

/// Structs by name.
struct Named<T>(PhantomData<T>);

impl<T> Named<T> {
    const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for Named<T> {
    type Value = Vec<(ByteString, T)>;

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<Self::Value, D::Error> {
        value.deserialize_any(self)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Named<T> {
    type Value = Vec<(ByteString, T)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of entries")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(key) = map.next_key::<Key<'_>>()? {
            items.push((key.as_str().into(), map.next_value()?));
        }
        Ok(items)
    }

    absent_is!(Vec::new());
}
