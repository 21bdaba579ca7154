//! What a client sends (`docs/protocols/relay.md §3`). Pure.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::older::relay::push;

/// One frame, understood.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    Identify {
        token: String,
    },
    Ping {
        ts: i64,
    },
    /// Something that nobody has a use for.
    Ignored,
}

#[derive(Deserialize)]
struct Written<'a> {
    #[serde(borrow, default)]
    event: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    ts: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Identity<'a> {
    #[serde(borrow, default)]
    token: Option<&'a RawValue>,
}

impl Frame {
    /// None when it is not a JSON object.
    pub fn parse(text: &str) -> Option<Self> {
        // serde takes an array for a struct's fields in order.
        if !text.trim_ascii_start().starts_with('{') {
            return None;
        }
        let written: Written<'_> = serde_json::from_str(text).ok()?;
        if is_text(written.kind, "ping") {
            let ts = written.ts.map_or(Ok(0), |ts| ts.get().parse());
            return Some(ts.map_or(Self::Ignored, |ts| Self::Ping { ts }));
        }
        if is_text(written.event, "identify") {
            let token = written.data.and_then(|data| token_of(data.get()));
            return Some(token.map_or(Self::Ignored, |token| Self::Identify { token }));
        }
        Some(Self::Ignored)
    }
}

fn is_text(json: Option<&RawValue>, expected: &str) -> bool {
    let text = json.and_then(|json| serde_json::from_str::<String>(json.get()).ok());
    text.is_some_and(|text| text == expected)
}

/// A string, or a number as its decimal text; none for others and the empty one.
fn token_of(data: &str) -> Option<String> {
    if !data.starts_with('{') {
        return None;
    }
    let identity: Identity<'_> = serde_json::from_str(data).ok()?;
    let token = identity.token?.get();
    let text = match token.as_bytes().first()? {
        b'"' => serde_json::from_str(token).ok(),
        b'-' | b'0'..=b'9' => push::decimal(token),
        _ => None,
    };
    text.filter(|text| !text.is_empty())
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
