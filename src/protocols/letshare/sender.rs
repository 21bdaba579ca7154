//! The `from` of a message: filled in when it is absent, checked when it is there
//! (`docs/protocols/letshare.md §2.3`).

use bytestring::ByteString;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    core::json::present,
    error::{Fault, reason},
    protocols::letshare::refusal::Refusal,
};

#[derive(Deserialize)]
struct Sender<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    from: Option<&'a RawValue>,
}

/// `data` as it is to be delivered. Its bytes stay as they are; a missing `from` is appended to the
/// text, so numbers beyond 2^53, the order of keys and escapes survive.
///
/// # Errors
/// When it is no JSON object or names `from` twice, and, if `enforce` is on, when its `from` is not `user`.
pub fn signed(data: &RawValue, user: &str, enforce: bool) -> Result<ByteString, Refusal> {
    let text = data.get();
    let Some(inside) = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) else {
        return Err(Refusal::BadData);
    };
    let sender: Result<Sender, _> = serde_json::from_str(text);
    let sender = sender.map_err(|error| Refusal::UnreadableData(reason(&error.to_string()).into()))?;
    match sender.from {
        Some(from) if enforce && !names(from, user) => Err(Fault::ForgedSender.into()),
        // A copy: a slice of the frame would keep the whole read buffer alive as long as the log
        // keeps the message.
        Some(_) => Ok(text.into()),
        None => {
            let comma = if inside.trim().is_empty() { "" } else { "," };
            let user = serde_json::Value::from(user);
            Ok(format!(r#"{{{inside}{comma}"from":{user}}}"#).into())
        }
    }
}

fn names(from: &RawValue, user: &str) -> bool {
    // As most do, without an escape.
    let text = from.get().strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    if text == Some(user) && !user.contains('\\') {
        return true;
    }
    serde_json::from_str::<std::borrow::Cow<'_, str>>(from.get()).is_ok_and(|from| from == user)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sign(data: &str, user: &str, enforce: bool) -> Result<String, Refusal> {
        let data: &RawValue = serde_json::from_str(data).expect("JSON");
        signed(data, user, enforce).map(|text| text.to_string())
    }

    #[test]
    fn from_is_appended_to_the_text_and_nothing_else_changes() {
        for (data, expected) in [
            ("{}", r#"{"from":"a:1"}"#),
            ("{ }", r#"{ "from":"a:1"}"#),
            (r#"{"b":1, "a":12345678901234567890}"#, r#"{"b":1, "a":12345678901234567890,"from":"a:1"}"#),
            (r#"{"x":{"from":"b"}}"#, r#"{"x":{"from":"b"},"from":"a:1"}"#),
            (r#"{"s":"<&>\u2028 \"from\""}"#, r#"{"s":"<&>\u2028 \"from\"","from":"a:1"}"#),
        ] {
            assert_eq!(sign(data, "a:1", true).as_deref(), Ok(expected));
        }
        assert_eq!(sign("{}", "小\"明", true).as_deref(), Ok(r#"{"from":"小\"明"}"#));
    }

    #[test]
    fn the_own_from_passes_however_it_is_written() {
        for data in [r#"{"from":"a:1","x":1e400}"#, r#"{ "x" : 1 , "from" : "\u0061:1" }"#, r#"{"\u0066rom":"a:1"}"#] {
            assert_eq!(sign(data, "a:1", true).as_deref(), Ok(data));
        }
    }

    #[test]
    fn a_forged_from_is_refused_unless_the_switch_is_off() {
        for data in [r#"{"from":"b:2"}"#, r#"{"from":null}"#, r#"{"from":1}"#, r#"{"from":""}"#, r#"{"\u0066rom":"b"}"#]
        {
            assert_eq!(sign(data, "a:1", true), Err(Fault::ForgedSender.into()), "{data}");
            assert_eq!(sign(data, "a:1", false).as_deref(), Ok(data));
        }
    }

    #[test]
    fn a_second_from_does_not_slip_through() {
        let twice = r#"{"from":"a:1","from":"b:2"}"#;
        assert_eq!(sign(twice, "a:1", true), Err(Refusal::UnreadableData("`from` stands twice".into())));
    }

    #[test]
    fn other_values_are_no_messages() {
        for data in ["null", "[]", "\"{}\"", "1", "true"] {
            assert_eq!(sign(data, "a", true), Err(Refusal::BadData), "{data}");
        }
    }

    proptest! {
        #[test]
        fn what_comes_out_is_the_object_plus_from(
            object in prop::collection::hash_map("[a-z\"\\\\]{1,4}", any::<i64>(), 0..5),
            user in ".{1,12}",
        ) {
            prop_assume!(!object.contains_key("from"));
            let data = serde_json::to_string(&object).expect("map");
            let signed = sign(&data, &user, true).expect("fine");
            let mut read: serde_json::Map<String, serde_json::Value> =
                serde_json::from_str(&signed).expect("JSON");
            prop_assert_eq!(read.remove("from"), Some(user.into()));
            prop_assert_eq!(read.len(), object.len());
        }
    }
}
