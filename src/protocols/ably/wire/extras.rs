//! The `extras` of messages and presence events (`docs/protocols/ably.md §3.6, §6.7`).

use std::fmt;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::{
    json::read_object,
    scalar::{Scalar, scalars, seed},
};
use crate::{
    core::message::{Extras, Message, USER_CLAIM},
    error::{Fault, Found},
};

const SERVER_KEYS: [&str; 2] = [USER_CLAIM, "delta"];

/// `extras` as they came.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum WireExtras {
    #[default]
    Absent,
    Object(Box<Extras>),
    /// Anything but an object.
    Other(Found),
}

pub struct ExtrasSeed;

seed!(ExtrasSeed);

impl ExtrasSeed {
    fn scalar<E>(self, scalar: Scalar<'_>) -> Result<WireExtras, E> {
        Ok(match scalar {
            Scalar::Absent => WireExtras::Absent,
            scalar => WireExtras::Other(scalar.found()),
        })
    }
}

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
        Ok(WireExtras::Other(Found::json(&Value::Array(Vec::new()))))
    }

    scalars!();
}

impl WireExtras {
    /// The same without the keys that no client can set.
    pub fn without_what_the_server_sets(mut self) -> Self {
        if let Self::Object(extras) = &mut self {
            extras.retain(|key, _| !SERVER_KEYS.contains(&key.as_str()));
        }
        self
    }

    /// What the core keeps.
    pub fn check(self) -> Result<Option<Box<Extras>>, Fault> {
        let refuse = |field, found, rule| Err(Fault::InvalidExtras { field, found, rule });
        let extras = match self {
            Self::Absent => return Ok(None),
            Self::Object(extras) => extras,
            Self::Other(found) => return refuse("extras", found, "an object"),
        };
        for field in SERVER_KEYS {
            if let Some(value) = extras.get(field) {
                let name = if field == "delta" { "extras.delta" } else { "extras.userClaim" };
                return refuse(name, Found::json(value), "nothing, because the server sets it");
            }
        }
        let rule = "a flat object of strings, numbers and booleans";
        match extras.get("headers") {
            None | Some(Value::Null) => {}
            Some(Value::Object(headers)) => {
                if let Some(deep) = headers.values().find(|value| !is_scalar(value)) {
                    return refuse("extras.headers", Found::json(deep), rule);
                }
            }
            Some(other) => return refuse("extras.headers", Found::json(other), rule),
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
