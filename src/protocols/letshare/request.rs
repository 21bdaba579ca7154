//! What a client sends (`docs/protocols/letshare.md §2.1`).

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{core::json::present, error};

/// One text frame, read. Texts are borrowed from the frame where JSON allows it.
#[derive(Debug, Deserialize)]
pub struct Request<'a> {
    #[serde(rename = "type", borrow, default)]
    pub kind: Cow<'a, str>,
    #[serde(borrow, default)]
    pub channel: Cow<'a, str>,
    /// Empty means `signal:all`.
    #[serde(borrow, default)]
    pub event: Cow<'a, str>,
    /// The JSON text of the payload, byte for byte. `null` is a value; absent is none.
    #[serde(borrow, default, deserialize_with = "present")]
    pub data: Option<&'a RawValue>,
}

impl<'a> Request<'a> {
    /// None when the frame is not one JSON object with fields of the right types.
    pub fn parse(frame: &'a str) -> Option<Self> {
        // As `core::json::object`, of what is known to be UTF-8: every publish comes this way.
        frame.trim_ascii_start().starts_with('{').then(|| serde_json::from_str(frame).ok())?
    }

    /// Why [`Request::parse`] has refused a frame; with the position, unless it is JSON of another kind.
    pub fn fault(frame: &str) -> String {
        const RULE: &str = "a request must be a JSON object whose type, channel and event are texts";
        let is_json = serde_json::from_str::<&RawValue>(frame).is_ok();
        match serde_json::from_str::<Request<'_>>(frame) {
            Err(error) if !is_json || frame.trim_ascii_start().starts_with('{') => {
                format!("{RULE}: {}", error::reason(&error.to_string()))
            }
            _ => RULE.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_optional_and_data_keeps_its_bytes() {
        let frame =
            r#"{"type":"publish","channel":"\u5c0f明","data": {"n":12345678901234567890, "s":"<&\u2028"} ,"x":1}"#;
        let request = Request::parse(frame).expect("valid");
        assert_eq!(request.kind, "publish");
        assert_eq!(request.channel, "小明");
        assert_eq!(request.event, "");
        assert!(matches!((request.kind, request.channel), (Cow::Borrowed(_), Cow::Owned(_))), "without a copy");
        let data = request.data.expect("present").get();
        assert_eq!(data, r#"{"n":12345678901234567890, "s":"<&\u2028"}"#);
    }

    #[test]
    fn null_data_is_not_absent_data() {
        let null = Request::parse(r#"{"data":null}"#).expect("valid");
        assert_eq!(null.data.map(RawValue::get), Some("null"));
        assert!(Request::parse("{}").expect("valid").data.is_none());
    }

    #[test]
    fn what_is_no_object_or_has_wrong_types_is_refused() {
        for frame in [
            "",
            "x",
            "[]",
            "1",
            "null",
            "{",
            r#"{"type":1}"#,
            r#"{"type":"a"} x"#,
            r#"{"type":"a","type":"b"}"#,
            r#"{"channel":["a"]}"#,
            r#"{"event":null}"#,
            r#"{"event":{}}"#,
            r#"{"data":}"#,
        ] {
            assert!(Request::parse(frame).is_none(), "{frame}");
        }
    }

    #[test]
    fn deep_nesting_does_not_touch_the_stack() {
        let depth = 100_000;
        let bomb = format!(r#"{{"data":{}1{}}}"#, "[".repeat(depth), "]".repeat(depth));
        assert!(Request::parse(&bomb).is_some_and(|request| request.data.is_some()));
    }
}
