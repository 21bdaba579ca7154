//! Lists and maps as clients of all languages write them; small values stand in [`super::scalar`].

use std::{borrow::Cow, collections::BTreeMap, fmt, marker::PhantomData};

use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::scalar::{SCALAR_TEXT, Scalar, scalars, seed};
use crate::limits;

/// The visits of what counts as absent, for a visitor of lists or maps.
macro_rules! absent_is {
    ($absent:expr) => {
        fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
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

/// A visitor that reads a map into a struct: what is done with each field that is known; others are passed over.
macro_rules! fields {
    ($vis:vis $visitor:ident of $type:ty, $expected:literal, |$item:ident, $map:ident| { $($name:literal => $read:expr,)* }) => {
        $vis struct $visitor;

        impl<'de> serde::de::Visitor<'de> for $visitor {
            type Value = $type;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str($expected)
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut $map: A) -> Result<$type, A::Error> {
                let mut $item = <$type>::default();
                while let Some(key) = $map.next_key::<$crate::protocols::ably::wire::collection::Key<'_>>()? {
                    match key.as_str() {
                        $($name => $read,)*
                        _ => {
                            $map.next_value::<serde::de::IgnoredAny>()?;
                        }
                    }
                }
                Ok($item)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(item: D) -> Result<Self, D::Error> {
                item.deserialize_any($visitor)
            }
        }
    };
}
pub(super) use fields;

/// The same of a message, an annotation or a presence event: what all of them may have stands here.
macro_rules! item_fields {
    ($vis:vis $visitor:ident of $type:ty, $expected:literal, |$item:ident, $map:ident| { $($name:literal => $read:expr,)* }) => {
        $crate::protocols::ably::wire::collection::fields!($vis $visitor of $type, $expected, |$item, $map| {
            $($name => $read,)*
            "data" => $item.data = $map.next_value_seed(DataSeed)?,
            "encoding" => $item.encoding = $map.next_value_seed(TEXT)?,
            "clientId" => $item.client_id = $map.next_value_seed(TEXT)?,
            "extras" => $item.extras = $map.next_value_seed(ExtrasSeed)?,
            "id" => $item.id = $map.next_value_seed(TEXT)?,
            "timestamp" => $item.timestamp = $map.next_value_seed(MOMENT)?,
            "connectionId" => $item.connection_id = $map.next_value_seed(TEXT)?,
        });
    };
}
pub(super) use item_fields;

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

impl KeyVisitor {
    fn scalar<'de, E>(self, key: Scalar<'_>) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(match key {
            Scalar::Text(text) => text.to_owned(),
            Scalar::Binary(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            key => key.shown().unwrap_or_default(),
        }))
    }
}

impl<'de> Visitor<'de> for KeyVisitor {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field name")
    }

    fn visit_borrowed_str<E: Error>(self, key: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(key))
    }

    scalars!();
}

seed!(Params, IsThere);

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
            if let Some(value) = map.next_value_seed(SCALAR_TEXT)? {
                params.insert(key.0.into_owned(), value);
            }
        }
        Ok(params)
    }

    absent_is!(BTreeMap::new());
}

/// Whether there is an object, whatever it has.
pub struct IsThere;

impl<'de> Visitor<'de> for IsThere {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<Key<'_>, IgnoredAny>()?.is_some() {}
        Ok(true)
    }

    absent_is!(false);
}

/// A list. One more than is allowed ([`limits::FRAME_ITEMS`]) is kept, so that the caller can see it; those
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
