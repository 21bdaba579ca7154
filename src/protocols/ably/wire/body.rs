//! The body of a REST publish: one message or a list of them (`docs/protocols/ably.md §6.9`).

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};

use super::{
    Format,
    codec::decode_lenient,
    collection::Items,
    item::{MessageVisitor, WireMessage},
};
use crate::{error::Fault, limits};

struct Body(Vec<WireMessage>);

/// The messages of a body.
pub fn decode_body(format: Format, body: &[u8]) -> Result<Vec<WireMessage>, Fault> {
    let Body(messages) = decode_lenient(format, body)?;
    if messages.len() > limits::FRAME_ITEMS {
        return Err(Fault::TooManyMessages { limit: limits::FRAME_ITEMS });
    }
    Ok(messages)
}

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: Deserializer<'de>>(body: D) -> Result<Self, D::Error> {
        body.deserialize_any(BodyVisitor).map(Self)
    }
}

struct BodyVisitor;

impl<'de> Visitor<'de> for BodyVisitor {
    type Value = Vec<WireMessage>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message or a list of messages")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        MessageVisitor.visit_map(map).map(|message| vec![message])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
        Items::new().visit_seq(list)
    }
}
