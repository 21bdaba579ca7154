//! JSON out of either format: as text in the order it came, and as a value.
//!
//! MessagePack knows more than JSON. Binary becomes base64, as on the way out (`docs/protocols/ably.md §3.5`);
//! extensions and numbers that are not finite become null.

use std::fmt;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::{
    collection::Key,
    scalar::{Scalar, scalars, seed},
};

/// Writes the next value as compact JSON.
pub struct JsonText<'a>(pub &'a mut Vec<u8>);

impl JsonText<'_> {
    fn write(self, value: impl serde::Serialize) {
        // Cannot fail: a scalar is written into memory.
        let _ = serde_json::to_writer(self.0, &value);
    }

    fn scalar<E>(self, scalar: Scalar<'_>) -> Result<(), E> {
        match scalar {
            Scalar::Absent => self.write(()),
            Scalar::Bool(flag) => self.write(flag),
            Scalar::Unsigned(number) => self.write(number),
            Scalar::Signed(number) => self.write(number),
            Scalar::Float(number) => self.write(number),
            Scalar::Text(text) => self.write(text),
            Scalar::Binary(bytes) => self.write(BASE64_STANDARD.encode(bytes)),
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for JsonText<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        value.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for JsonText<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let mut before = b'[';
        self.0.push(before);
        while let Some(()) = list.next_element_seed(Element(self.0, before))? {
            before = b',';
        }
        self.0.push(b']');
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.0.push(b'{');
        let mut is_first = true;
        while let Some(key) = map.next_key::<Key<'_>>()? {
            if !is_first {
                self.0.push(b',');
            }
            is_first = false;
            JsonText(self.0).write(key.as_str());
            self.0.push(b':');
            map.next_value_seed(JsonText(self.0))?;
        }
        self.0.push(b'}');
        Ok(())
    }

    scalars!();
}

/// An element of a list, with the comma before it.
struct Element<'a>(&'a mut Vec<u8>, u8);

impl<'de> DeserializeSeed<'de> for Element<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        if self.1 == b',' {
            self.0.push(b',');
        }
        JsonText(self.0).deserialize(value)
    }
}

/// The next value as a [`Value`].
pub struct JsonValue;

seed!(JsonValue);

impl JsonValue {
    fn scalar<E>(self, scalar: Scalar<'_>) -> Result<Value, E> {
        Ok(match scalar {
            Scalar::Absent => Value::Null,
            Scalar::Bool(flag) => flag.into(),
            Scalar::Unsigned(number) => number.into(),
            Scalar::Signed(number) => number.into(),
            Scalar::Float(number) => number.into(),
            Scalar::Text(text) => text.into(),
            Scalar::Binary(bytes) => BASE64_STANDARD.encode(bytes).into(),
        })
    }
}

impl<'de> Visitor<'de> for JsonValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(Self)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Value, A::Error> {
        read_object(map).map(Value::Object)
    }

    scalars!();
}

/// The rest of a map whose beginning was read.
pub fn read_object<'de, A: MapAccess<'de>>(mut map: A) -> Result<Map<String, Value>, A::Error> {
    let mut object = Map::new();
    while let Some(key) = map.next_key::<Key<'_>>()? {
        object.insert(key.as_str().to_owned(), map.next_value_seed(JsonValue)?);
    }
    Ok(object)
}
