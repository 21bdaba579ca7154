//! JSON objects of clients, read into structs.

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// An object, read into a struct. serde takes an array for the fields of a struct in their order, which no protocol does.
pub fn object<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Option<T> {
    json.trim_ascii_start().starts_with(b"{").then(|| serde_json::from_slice(json).ok())?
}

/// For `deserialize_with`: tells `null`, which is a value, from an absent field.
pub fn present<'a, D: Deserializer<'a>>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}
