//! JSON out of either format: as text in the order it came, and as a value.
//!
//! MessagePack knows more than JSON. Binary becomes base64, as on the way out (`docs/protocols/ably.md §3.5`);
//! extensions and numbers that are not finite become null.

use std::fmt;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::scalar::{Key, absent_is, seed};

/// Writes the next value as compact JSON.
pub struct JsonText<'a>(pub &'a mut Vec<u8>);

impl JsonText<'_> {
    fn write(self, value: impl serde::Serialize) {
        // Cannot fail: a scalar is written into memory.
        let _ = serde_json::to_writer(self.0, &value);
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

    fn visit_bool<E: Error>(self, flag: bool) -> Result<(), E> {
        self.write(flag);
        Ok(())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        self.write(number);
        Ok(())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<(), E> {
        self.write(number);
        Ok(())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<(), E> {
        self.write(number);
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.write(text);
        Ok(())
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<(), E> {
        self.write(BASE64_STANDARD.encode(bytes));
        Ok(())
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

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.0.extend_from_slice(b"null");
        Ok(())
    }

    fn visit_none<E: Error>(self) -> Result<(), E> {
        self.visit_unit()
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, extension: D) -> Result<(), D::Error> {
        <serde::de::IgnoredAny as serde::Deserialize>::deserialize(extension)?;
        self.visit_unit()
    }
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

impl<'de> Visitor<'de> for JsonValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Bool(flag))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Value, E> {
        Ok(BASE64_STANDARD.encode(bytes).into())
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

    absent_is!(Value::Null);
}

/// The rest of a map whose beginning was read.
pub fn read_object<'de, A: MapAccess<'de>>(mut map: A) -> Result<Map<String, Value>, A::Error> {
    let mut object = Map::new();
    while let Some(key) = map.next_key::<Key<'_>>()? {
        object.insert(key.as_str().to_owned(), map.next_value_seed(JsonValue)?);
    }
    Ok(object)
}
