//! `data` and `encoding`: what clients write becomes a [`Payload`], and the way back
//! (`docs/protocols/ably.md §3.5`).

use std::{borrow::Cow, fmt};

use base64::{display::Base64Display, prelude::BASE64_STANDARD};
use bytes::Bytes;
use bytestring::ByteString;
use serde::{
    Serialize, Serializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};

use super::{
    Format,
    json::JsonText,
    scalar::{Scalar, scalars, seed},
};
use crate::{
    auth::base64_text,
    core::message::{Data, Payload},
    error::{Fault, Found},
};

/// The step of an encoding that belongs to the wire.
const BASE64: &str = "base64";

/// `data` as it came.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum WireData {
    #[default]
    Absent,
    Text(ByteString),
    /// A msgpack `bin`, or a `str` that is not UTF-8: old encoders know no other way to write binary.
    Binary(Bytes),
    /// An object or a list, as JSON: what people write who use no SDK.
    Json(ByteString),
    /// A number or a boolean.
    Scalar(Found),
}

pub struct DataSeed;

seed!(DataSeed);

impl DataSeed {
    fn scalar<E>(self, scalar: Scalar<'_>) -> Result<WireData, E> {
        Ok(match scalar {
            Scalar::Absent => WireData::Absent,
            Scalar::Text(text) => WireData::Text(text.into()),
            // A slice of the frame would keep the whole read buffer alive.
            Scalar::Binary(bytes) => WireData::Binary(Bytes::copy_from_slice(bytes)),
            scalar => WireData::Scalar(scalar.found()),
        })
    }
}

impl<'de> Visitor<'de> for DataSeed {
    type Value = WireData;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("data")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<WireData, A::Error> {
        let mut json = Vec::new();
        JsonText(&mut json).visit_map(map)?;
        as_json(json)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<WireData, A::Error> {
        let mut json = Vec::new();
        JsonText(&mut json).visit_seq(list)?;
        as_json(json)
    }

    scalars!();
}

fn as_json<E: Error>(json: Vec<u8>) -> Result<WireData, E> {
    ByteString::try_from(json).map(WireData::Json).map_err(E::custom)
}

impl WireData {
    /// The canonical form: base64 is gone, objects and lists are their JSON.
    pub fn into_payload(self, encoding: Option<ByteString>) -> Result<Payload, Fault> {
        let mut encoding = encoding.unwrap_or_default();
        let mut data = match self {
            Self::Absent => Data::None,
            Self::Text(text) => Data::Text(text),
            Self::Binary(bytes) => Data::Binary(bytes),
            Self::Json(json) => {
                return Ok(Payload {
                    data: Data::Text(json),
                    encoding: and(&encoding, "json").into_owned().into(),
                    is_json: true,
                });
            }
            Self::Scalar(found) => {
                let rule = "a string, binary, a JSON object or a JSON array; not a number or a boolean";
                return Err(Fault::InvalidData { found, rule });
            }
        };
        while let Some(rest) = without_base64(&encoding) {
            data = match data {
                Data::None => Data::None,
                Data::Text(text) => Data::Binary(from_base64(text.as_bytes())?),
                Data::Binary(bytes) => Data::Binary(from_base64(&bytes)?),
            };
            encoding = rest.into();
        }
        Ok(Payload { data, encoding, is_json: false })
    }
}

/// What stands before a last step `base64`; none when that is not the last step.
fn without_base64(encoding: &str) -> Option<&str> {
    let rest = encoding.strip_suffix(BASE64)?;
    if rest.is_empty() { Some(rest) } else { rest.strip_suffix('/') }
}

fn and<'a>(encoding: &str, step: &'static str) -> Cow<'a, str> {
    if encoding.is_empty() { Cow::Borrowed(step) } else { Cow::Owned(format!("{encoding}/{step}")) }
}

pub(super) fn from_base64(text: &[u8]) -> Result<Bytes, Fault> {
    let without_blanks = || Vec::from_iter(text.iter().copied().filter(|byte| !byte.is_ascii_whitespace()));
    let decoded = base64_text::decode(text).or_else(|| base64_text::decode(&without_blanks()));
    decoded.map(Bytes::from).ok_or_else(|| Fault::InvalidData {
        found: str::from_utf8(text).map_or_else(|_| Found::bytes(text.len()), Found::text),
        rule: "base64, because the encoding ends in base64",
    })
}

/// A payload as `data` and `encoding` of one format: two fields, either of which may be absent.
pub struct Written<'a> {
    pub data: Option<WrittenData<'a>>,
    pub encoding: Option<Cow<'a, str>>,
}

pub enum WrittenData<'a> {
    Text(&'a str),
    Base64(&'a [u8]),
    Binary(&'a [u8]),
}

impl<'a> Written<'a> {
    pub fn new(payload: &'a Payload, format: Format) -> Self {
        let encoding: &str = &payload.encoding;
        let as_it_is = (!encoding.is_empty()).then_some(Cow::Borrowed(encoding));
        let (data, encoding) = match (&payload.data, format) {
            (Data::None, _) => (None, as_it_is),
            (Data::Text(text), _) => (Some(WrittenData::Text(text)), as_it_is),
            (Data::Binary(bytes), Format::Json) => (Some(WrittenData::Base64(bytes)), Some(and(encoding, BASE64))),
            (Data::Binary(bytes), Format::Msgpack) => (Some(WrittenData::Binary(bytes)), as_it_is),
        };
        Self { data, encoding }
    }
}

impl Serialize for WrittenData<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Base64(bytes) => serializer.collect_str(&Base64Display::new(bytes, &BASE64_STANDARD)),
            Self::Binary(bytes) => serializer.serialize_bytes(bytes),
        }
    }
}
