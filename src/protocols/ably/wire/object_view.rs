//! Objects in answers to requests: compact, as plain values, or with ids and types (`docs/protocols/ably.md §10.8`).

use std::{cell::RefCell, collections::HashSet};

use serde::{Serialize, Serializer, ser::SerializeMap as _};

use super::{
    Format,
    object_item::{BytesItem, Number, ValueItem},
};
use crate::{
    core::objects::{Object, ObjectId, Snapshot, Type, Value, path::Place},
    limits,
};

/// How one answer shows them.
pub struct ObjectView<'a> {
    pub objects: &'a Snapshot,
    pub format: Format,
    pub is_compact: bool,
    /// Each map is shown once, then by its id: maps may be in each other, and many times in one.
    pub seen: RefCell<HashSet<&'a ObjectId>>,
}

/// What there is at a place, and how deep that is.
pub struct Node<'s, 'a>(&'s ObjectView<'a>, Place<'a>, usize);

impl<'a> ObjectView<'a> {
    pub const fn place<'s>(&'s self, place: Place<'a>) -> Node<'s, 'a> {
        Node(self, place, 0)
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ById<'a> {
    object_id: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CounterView<'a> {
    object_id: &'a str,
    counter: Data<CountView>,
}

#[derive(Serialize)]
struct CountView {
    number: Number,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MapView<'s, 'a> {
    object_id: &'a str,
    map: EntriesView<'s, 'a>,
}

#[derive(Serialize)]
struct EntriesView<'s, 'a> {
    semantics: &'static str,
    entries: Entries<'s, 'a>,
}

#[derive(Serialize)]
struct Data<T> {
    data: T,
}

impl Serialize for Node<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(view, place, depth) = *self;
        let id = match place {
            Place::Object(id) => id,
            Place::Value(value) if !view.is_compact => return ValueItem(value, view.format).serialize(serializer),
            Place::Value(value) => {
                return match value {
                    Value::Boolean(flag) => serializer.serialize_bool(*flag),
                    Value::Number(number) => Number(*number).serialize(serializer),
                    Value::Text(text) | Value::Json(text) => serializer.serialize_str(text),
                    Value::Binary(bytes) => BytesItem(bytes, view.format).serialize(serializer),
                    Value::Object(id) => ById { object_id: id.as_str() }.serialize(serializer),
                };
            }
        };
        let (object_id, object) = (id.as_str(), view.objects.get(id));
        match id.kind() {
            Type::Counter => {
                let number = Number(object.map_or(0.0, Object::count));
                match view.is_compact {
                    true => number.serialize(serializer),
                    false => {
                        CounterView { object_id, counter: Data { data: CountView { number } } }.serialize(serializer)
                    }
                }
            }
            Type::Map if depth > limits::OBJECTS_NESTED || !view.seen.borrow_mut().insert(id) => {
                ById { object_id }.serialize(serializer)
            }
            Type::Map => {
                let entries = Entries(view, object, depth);
                match view.is_compact {
                    true => entries.serialize(serializer),
                    false => {
                        MapView { object_id, map: EntriesView { semantics: "LWW", entries } }.serialize(serializer)
                    }
                }
            }
        }
    }
}

/// Those of a map that are there.
struct Entries<'s, 'a>(&'s ObjectView<'a>, Option<&'a Object>, usize);

impl Serialize for Entries<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(view, object, depth) = *self;
        let values = object.into_iter().flat_map(Object::values);
        let places = values.filter_map(|(key, value)| Some((key, view.objects.place(value)?)));
        let mut map = serializer.serialize_map(None)?;
        for (key, place) in places {
            let node = Node(view, place, depth + 1);
            match view.is_compact {
                true => map.serialize_entry(&**key, &node)?,
                false => map.serialize_entry(&**key, &Data { data: node })?,
            }
        }
        map.end()
    }
}
