//! What a client sends (`docs/protocols/relay.md §3`). Pure.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{core::json::object, older::relay::target::text_of};

#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    Identify {
        token: String,
    },
    Ping {
        ts: i64,
    },
    /// JSON that nobody has a use for.
    Ignored,
}

/// Each field may be any JSON: one of the wrong type makes the frame an ignored one.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    event: Option<&'a RawValue>,
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    ts: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Identity<'a> {
    #[serde(borrow)]
    token: Option<&'a RawValue>,
}

impl Frame {
    /// None when it is not a JSON object.
    pub fn parse(text: &str) -> Option<Self> {
        let fields: Fields<'_> = object(text.as_bytes())?;
        let is = |field: Option<&RawValue>, name| {
            field.and_then(|json| text_of(json.get())).is_some_and(|text| text == name)
        };
        let frame = if is(fields.kind, "ping") {
            let ts = fields.ts.map_or(Ok(0), |ts| ts.get().parse());
            ts.ok().map(|ts| Self::Ping { ts })
        } else if is(fields.event, "identify") {
            let identity = fields.data.and_then(|data| object::<Identity<'_>>(data.get().as_bytes()));
            let token = identity.and_then(|identity| text_of(identity.token?.get()));
            token.filter(|token| !token.is_empty()).map(|token| Self::Identify { token })
        } else {
            None
        };
        Some(frame.unwrap_or(Self::Ignored))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames() {
        let identify = |token: &str| Some(Frame::Identify { token: token.to_owned() });
        for (text, expected) in [
            (r#"{"event":"identify","data":{"token":"u-208"}}"#, identify("u-208")),
            (r#"{"event":"identify","data":{"token":208}}"#, identify("208")),
            (r#"{"event":"identify","data":{"token":""}}"#, Some(Frame::Ignored)),
            (r#"{"event":"identify","data":{"token":null}}"#, Some(Frame::Ignored)),
            (r#"{"event":"identify","data":{"token":{"id":7}}}"#, Some(Frame::Ignored)),
            (r#"{"event":"identify","data":{}}"#, Some(Frame::Ignored)),
            (r#"{"event":"identify","data":"u-208"}"#, Some(Frame::Ignored)),
            (r#"{"event":"identify"}"#, Some(Frame::Ignored)),
            (r#"{"event":"other","data":{"token":"x"}}"#, Some(Frame::Ignored)),
            (r#"{"event":7}"#, Some(Frame::Ignored)),
            ("{}", Some(Frame::Ignored)),
            (r#"{"type":"ping","ts":5}"#, Some(Frame::Ping { ts: 5 })),
            (r#"{"type":"ping"}"#, Some(Frame::Ping { ts: 0 })),
            (r#"{"type":"ping","ts":"5"}"#, Some(Frame::Ignored)),
            ("", None),
            ("x", None),
            ("[]", None),
            ("null", None),
            (r#"{"event":"identify""#, None),
        ] {
            assert_eq!(Frame::parse(text), expected, "{text}");
        }
    }
}
