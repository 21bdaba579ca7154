//! Small values as clients of all languages write them (`docs/protocols/ably.md §1.4`): null is absent, integers
//! come in any width and as floats, and JavaScript's `undefined` as an extension of MessagePack.
//!
//! Each type here is a seed for serde: it reads the next value as what it is named after.

use std::{borrow::Cow, collections::BTreeMap, fmt, marker::PhantomData};

use bytestring::ByteString;
use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor},
};

use crate::{ids::Timestamp, limits};

/// The visits of what counts as absent.
macro_rules! absent_is {
    ($absent:expr) => {
        fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
            Ok($absent)
        }

        fn visit_none<E: serde::de::Error>(self) -> Result<Self::Value, E> {
            Ok($absent)
        }

        /// An extension: how msgpack encoders of JavaScript write `undefined`.
        fn visit_newtype_struct<D: serde::Deserializer<'de>>(self, extension: D) -> Result<Self::Value, D::Error> {
            <serde::de::IgnoredAny as serde::Deserialize>::deserialize(extension)?;
            Ok($absent)
        }
    };
}
pub(super) use absent_is;

/// Lets a visitor be its own seed.
macro_rules! seed {
    ($($seed:ident),*) => {$(
        impl<'de> serde::de::DeserializeSeed<'de> for $seed {
            type Value = <Self as serde::de::Visitor<'de>>::Value;

            fn deserialize<D: serde::Deserializer<'de>>(self, value: D) -> Result<Self::Value, D::Error> {
                value.deserialize_any(self)
            }
        }
    )*};
}
pub(super) use seed;

seed!(Text, Whole, Moment, ScalarText, Params, IsThere);

/// The name of a field. What is no text is the name of no field that we know.
pub struct Key<'de>(Cow<'de, str>);

impl Key<'_> {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(key: D) -> Result<Self, D::Error> {
        key.deserialize_any(KeyVisitor).map(Key)
    }
}

struct KeyVisitor;

impl<'de> Visitor<'de> for KeyVisitor {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field name")
    }

    fn visit_borrowed_str<E: Error>(self, key: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(key))
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(key.to_owned()))
    }

    fn visit_bytes<E: Error>(self, key: &[u8]) -> Result<Self::Value, E> {
        Ok(Cow::Owned(String::from_utf8_lossy(key).into_owned()))
    }

    fn visit_u64<E: Error>(self, key: u64) -> Result<Self::Value, E> {
        Ok(Cow::Owned(key.to_string()))
    }

    fn visit_i64<E: Error>(self, key: i64) -> Result<Self::Value, E> {
        Ok(Cow::Owned(key.to_string()))
    }

    fn visit_f64<E: Error>(self, key: f64) -> Result<Self::Value, E> {
        Ok(Cow::Owned(key.to_string()))
    }

    fn visit_bool<E: Error>(self, key: bool) -> Result<Self::Value, E> {
        Ok(Cow::Owned(key.to_string()))
    }

    absent_is!(Cow::Borrowed(""));
}

/// A text, or none. Half characters (see [`super::surrogates`]) come in a msgpack `str` as bytes that are
/// not UTF-8, and become U+FFFD too.
pub struct Text;

impl<'de> Visitor<'de> for Text {
    type Value = Option<ByteString>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(text.into()))
    }

    fn visit_bytes<E: Error>(self, text: &[u8]) -> Result<Self::Value, E> {
        Ok(Some(String::from_utf8_lossy(text).as_ref().into()))
    }

    absent_is!(None);
}

/// A whole number that is not negative, or none.
pub struct Whole;

impl<'de> Visitor<'de> for Whole {
    type Value = Option<u64>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number from 0")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Some(number))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        let whole = u64::try_from(number);
        whole.map(Some).map_err(|_| E::invalid_value(Unexpected::Signed(number), &self))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
        // Beyond 2^53 a float does not say which whole number it means.
        let is_exact = number.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(&number);
        match is_exact {
            true => Ok(Some(number as u64)),
            false => Err(E::invalid_value(Unexpected::Float(number), &self)),
        }
    }

    absent_is!(None);
}

/// A client's idea of the time, or none. Nothing depends on it, so no number is wrong.
pub struct Moment;

impl<'de> Visitor<'de> for Moment {
    type Value = Option<Timestamp>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("milliseconds since 1970")
    }

    fn visit_u64<E: Error>(self, millis: u64) -> Result<Self::Value, E> {
        Ok(Some(Timestamp::from_millis(millis)))
    }

    fn visit_i64<E: Error>(self, millis: i64) -> Result<Self::Value, E> {
        Ok(u64::try_from(millis).ok().map(Timestamp::from_millis))
    }

    fn visit_f64<E: Error>(self, millis: f64) -> Result<Self::Value, E> {
        // Out of range becomes the nearest that is in it.
        Ok(Some(Timestamp::from_millis(millis as u64)))
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }

    absent_is!(None);
}

/// A text, or a number or boolean as its text, or none.
struct ScalarText;

impl<'de> Visitor<'de> for ScalarText {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(text.to_owned()))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Some(number.to_string()))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Some(number.to_string()))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Some(number.to_string()))
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Self::Value, E> {
        Ok(Some(flag.to_string()))
    }

    absent_is!(None);
}

/// Texts by name; untyped JavaScript also puts numbers and booleans there (`{rewind: 5}`).
pub struct Params;

impl<'de> Visitor<'de> for Params {
    type Value = BTreeMap<String, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of strings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut params = BTreeMap::new();
        while let Some(key) = map.next_key::<Key<'_>>()? {
            if let Some(value) = map.next_value_seed(ScalarText)? {
                params.insert(key.0.into_owned(), value);
            }
        }
        Ok(params)
    }

    absent_is!(BTreeMap::new());
}

/// Whether there is a value, whatever it is.
pub struct IsThere;

impl<'de> Visitor<'de> for IsThere {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list or an object")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(true)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<Key<'_>, IgnoredAny>()?.is_some() {}
        Ok(true)
    }

    absent_is!(false);
}

/// A list. One more than is allowed ([`limits::FRAME_ITEMS`]) is kept, so that the caller can tell; those
/// behind it are passed over, because empty items are a hundred times larger here than on the wire.
pub struct Items<T>(PhantomData<T>);

impl<T> Items<T> {
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for Items<T> {
    type Value = Vec<T>;

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<Self::Value, D::Error> {
        value.deserialize_any(self)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Items<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        // Nearly always it is one; growing from nothing makes room for four at once.
        let mut items = Vec::with_capacity(1);
        while items.len() <= limits::FRAME_ITEMS {
            match list.next_element()? {
                Some(item) => items.push(item),
                None => return Ok(items),
            }
        }
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(items)
    }

    absent_is!(Vec::new());
}
