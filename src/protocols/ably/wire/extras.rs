//! The `extras` of messages and presence events (`docs/protocols/ably.md §3.6, §6.7`).

use std::fmt;

use serde::de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::{
    json::read_object,
    scalar::{absent_is, seed},
};
use crate::{
    core::message::{Extras, Message},
    error::Fault,
};

/// `extras` as they came.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum WireExtras {
    #[default]
    Absent,
    Object(Box<Extras>),
    /// Anything but an object.
    Other,
}

/// Reads `extras`.
pub struct ExtrasSeed;

seed!(ExtrasSeed);

impl<'de> Visitor<'de> for ExtrasSeed {
    type Value = WireExtras;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("extras")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<WireExtras, A::Error> {
        read_object(map).map(Box::new).map(WireExtras::Object)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<WireExtras, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(WireExtras::Other)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<WireExtras, E> {
        Ok(WireExtras::Other)
    }

    fn visit_bytes<E: Error>(self, _: &[u8]) -> Result<WireExtras, E> {
        Ok(WireExtras::Other)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<WireExtras, E> {
        Ok(WireExtras::Other)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<WireExtras, E> {
        Ok(WireExtras::Other)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<WireExtras, E> {
        Ok(WireExtras::Other)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<WireExtras, E> {
        Ok(WireExtras::Other)
    }

    absent_is!(WireExtras::Absent);
}

impl WireExtras {
    /// What the core keeps.
    ///
    /// # Errors
    /// [`Fault::InvalidExtras`]
    pub fn check(self) -> Result<Option<Box<Extras>>, Fault> {
        let refuse = |rule| Err(Fault::InvalidExtras { rule });
        let extras = match self {
            Self::Absent => return Ok(None),
            Self::Object(extras) => extras,
            Self::Other => return refuse("extras must be an object"),
        };
        if ["userClaim", "delta"].iter().any(|key| extras.contains_key(*key)) {
            return refuse("userClaim and delta are set by the server");
        }
        match extras.get("headers") {
            None | Some(Value::Null) => {}
            Some(Value::Object(headers)) if headers.values().all(is_scalar) => {}
            Some(_) => {
                return refuse("headers must be a flat object of strings, numbers and booleans");
            }
        }
        Ok(Some(extras))
    }
}

const fn is_scalar(value: &Value) -> bool {
    !matches!(value, Value::Object(_) | Value::Array(_))
}

/// Whether its publisher wants it delivered and forgotten (`docs/protocols/ably.md §6.7`).
pub fn is_ephemeral(message: &Message) -> bool {
    let flag = message.extras.as_ref().and_then(|extras| extras.get("ephemeral"));
    flag == Some(&Value::Bool(true))
}
