//! Small values as clients of all languages write them (`docs/protocols/ably.md §1.4`): null is absent, integers
//! come in any width and as floats, and JavaScript's `undefined` as an extension of MessagePack.

use std::fmt;

use bytestring::ByteString;
use serde::de::{DeserializeSeed, Deserializer, Error, Unexpected, Visitor};

use crate::{error::Found, ids::Timestamp};

/// A value that holds no others.
#[derive(Clone, Copy)]
pub enum Scalar<'a> {
    Absent,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(&'a str),
    Binary(&'a [u8]),
}

impl<'a> Scalar<'a> {
    pub fn found(self) -> Found {
        match self {
            Self::Absent => Found::nothing(),
            Self::Bool(flag) => Found::number(flag),
            Self::Unsigned(number) => Found::number(number),
            Self::Signed(number) => Found::number(number),
            Self::Float(number) => Found::number(number),
            Self::Text(text) => Found::text(text),
            Self::Binary(bytes) => Found::bytes(bytes.len()),
        }
    }

    const fn unexpected(self) -> Unexpected<'a> {
        match self {
            Self::Absent => Unexpected::Unit,
            Self::Bool(flag) => Unexpected::Bool(flag),
            Self::Unsigned(number) => Unexpected::Unsigned(number),
            Self::Signed(number) => Unexpected::Signed(number),
            Self::Float(number) => Unexpected::Float(number),
            Self::Text(text) => Unexpected::Str(text),
            Self::Binary(bytes) => Unexpected::Bytes(bytes),
        }
    }

    /// A number or a boolean as its text.
    pub fn shown(self) -> Option<String> {
        match self {
            Self::Bool(flag) => Some(flag.to_string()),
            Self::Unsigned(number) => Some(number.to_string()),
            Self::Signed(number) => Some(number.to_string()),
            Self::Float(number) => Some(number.to_string()),
            Self::Absent | Self::Text(_) | Self::Binary(_) => None,
        }
    }
}

/// The visits of all scalars, for a visitor with a function `scalar` that takes them.
macro_rules! scalars {
    () => {
        fn visit_bool<E: serde::de::Error>(self, flag: bool) -> Result<Self::Value, E> {
            self.scalar(Scalar::Bool(flag))
        }

        fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Self::Value, E> {
            self.scalar(Scalar::Unsigned(number))
        }

        fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Self::Value, E> {
            self.scalar(Scalar::Signed(number))
        }

        fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Self::Value, E> {
            self.scalar(Scalar::Float(number))
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
            self.scalar(Scalar::Text(text))
        }

        fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
            self.scalar(Scalar::Binary(bytes))
        }

        fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
            self.scalar(Scalar::Absent)
        }

        /// An extension: how msgpack encoders of JavaScript write `undefined`.
        fn visit_newtype_struct<D: serde::Deserializer<'de>>(self, extension: D) -> Result<Self::Value, D::Error> {
            <serde::de::IgnoredAny as serde::Deserialize>::deserialize(extension)?;
            self.scalar(Scalar::Absent)
        }
    };
}
pub(super) use scalars;

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

/// Reads the next value as a scalar that `read` takes.
#[derive(Clone, Copy)]
pub struct As<T> {
    pub(super) expected: &'static str,
    pub(super) read: fn(Scalar<'_>) -> Result<T, Wrong>,
}

/// Why a scalar is not taken.
pub enum Wrong {
    Type,
    Value,
}

/// A text, or none. Half characters (see [`super::surrogates`]) come in a msgpack `str` as bytes that are
/// not UTF-8, and become U+FFFD too.
pub const TEXT: As<Option<ByteString>> = As {
    expected: "a string",
    read: |scalar| match scalar {
        Scalar::Absent => Ok(None),
        Scalar::Text(text) => Ok(Some(text.into())),
        Scalar::Binary(text) => Ok(Some(String::from_utf8_lossy(text).as_ref().into())),
        _ => Err(Wrong::Type),
    },
};

/// A whole number that is not negative, or none.
pub const WHOLE: As<Option<u64>> = As {
    expected: "a whole number from 0",
    read: |scalar| match scalar {
        Scalar::Absent => Ok(None),
        Scalar::Unsigned(number) => Ok(Some(number)),
        Scalar::Signed(number) => u64::try_from(number).map(Some).map_err(|_| Wrong::Value),
        // Beyond 2^53 a float stands for several whole numbers.
        Scalar::Float(number) if number.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(&number) => {
            Ok(Some(number as u64))
        }
        Scalar::Float(_) => Err(Wrong::Value),
        _ => Err(Wrong::Type),
    },
};

/// A client's idea of the time, or none. Nothing depends on it, so no number is wrong.
pub const MOMENT: As<Option<Timestamp>> = As {
    expected: "milliseconds since 1970",
    read: |scalar| match scalar {
        Scalar::Absent | Scalar::Text(_) => Ok(None),
        Scalar::Unsigned(millis) => Ok(Some(Timestamp::from_millis(millis))),
        Scalar::Signed(millis) => Ok(u64::try_from(millis).ok().map(Timestamp::from_millis)),
        // Out of range becomes the nearest that is in it.
        Scalar::Float(millis) => Ok(Some(Timestamp::from_millis(millis as u64))),
        _ => Err(Wrong::Type),
    },
};

/// A text, or a number or boolean as its text, or none.
pub const SCALAR_TEXT: As<Option<String>> = As {
    expected: "a string",
    read: |scalar| match scalar {
        Scalar::Absent => Ok(None),
        Scalar::Text(text) => Ok(Some(text.to_owned())),
        scalar => scalar.shown().map(Some).ok_or(Wrong::Type),
    },
};

impl<T> As<T> {
    #[inline]
    fn scalar<E: Error>(self, scalar: Scalar<'_>) -> Result<T, E> {
        (self.read)(scalar).map_err(|wrong| match wrong {
            Wrong::Type => E::invalid_type(scalar.unexpected(), &self.expected),
            Wrong::Value => E::invalid_value(scalar.unexpected(), &self.expected),
        })
    }
}

impl<'de, T> DeserializeSeed<'de> for As<T> {
    type Value = T;

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<T, D::Error> {
        value.deserialize_any(self)
    }
}

impl<'de, T> Visitor<'de> for As<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    scalars!();
}
