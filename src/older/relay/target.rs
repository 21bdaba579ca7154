//! Whom a push is for: the token of a push, read as a user (`docs/protocols/relay.md §4`), and the channels of the relay.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{ids::ChannelName, limits};

/// The channel of pushes to everybody.
pub const EVERYBODY: &str = "relay:all";
/// The channels of users begin with it.
const USER: &str = "relay:u:";

pub fn user_channel(user: &str) -> ChannelName {
    ChannelName::from(&*format!("{USER}{user}"))
}

pub fn user_of(channel: &ChannelName) -> Option<&str> {
    channel.as_str().strip_prefix(USER)
}

/// Whom the token of a push means.
#[derive(Debug, PartialEq, Eq)]
pub enum Target {
    User(String),
    Everybody,
    /// It means somebody, and cannot be understood.
    Unresolved,
}

#[derive(Deserialize)]
struct Identified<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    user_id: Option<&'a RawValue>,
}

impl Target {
    pub fn of(token: Option<&RawValue>) -> Self {
        let Some(token) = token.map(RawValue::get) else {
            return Self::Everybody;
        };
        if token == "null" {
            return Self::Everybody;
        }
        if !token.starts_with('{') {
            return match text_of(token) {
                Some(text) if text.is_empty() => Self::Everybody,
                Some(text) => Self::User(text),
                None => Self::Unresolved,
            };
        }
        let named = serde_json::from_str::<Identified<'_>>(token).ok();
        let id = named.and_then(|named| named.id.or(named.user_id)).map(RawValue::get);
        let user = id.and_then(|id| match id {
            "true" | "false" => Some(id.to_owned()),
            _ => text_of(id),
        });
        user.filter(|user| !user.is_empty()).map_or(Self::Unresolved, Self::User)
    }
}

/// A JSON string, or a JSON number as decimal text.
pub fn text_of(json: &str) -> Option<String> {
    match json.as_bytes().first()? {
        b'"' => serde_json::from_str(json).ok(),
        b'-' | b'0'..=b'9' => decimal(json),
        _ => None,
    }
}

/// The whole part of a JSON number in decimal digits, exact for any size that an identifier can have.
fn decimal(json: &str) -> Option<String> {
    let (sign, digits) = match json.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", json),
    };
    // Nearly all are their own text.
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    if is_plain && (1..=limits::RELAY_TOKEN_BYTES).contains(&digits.len()) {
        return Some(json.to_owned());
    }
    let (mantissa, exponent) = digits.split_once(['e', 'E']).unwrap_or((digits, "0"));
    let exponent: i32 = exponent.parse().ok()?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = [whole, fraction].concat();
    if whole.is_empty() || !all.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    if all.bytes().all(|digit| digit == b'0') {
        return Some("0".to_owned());
    }
    // Where the decimal point stands once the exponent is applied.
    let places = i64::try_from(whole.len()).ok()? + i64::from(exponent);
    let places = usize::try_from(places.max(0)).ok()?;
    if places > limits::RELAY_TOKEN_BYTES {
        return None;
    }
    let padded = all.bytes().chain(std::iter::repeat(b'0')).take(places);
    let significant: String = padded.map(char::from).skip_while(|digit| *digit == '0').collect();
    Some(if significant.is_empty() { "0".to_owned() } else { format!("{sign}{significant}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(token: &str) -> Target {
        let raw = RawValue::from_string(token.to_owned()).expect("JSON");
        Target::of(Some(&raw))
    }

    fn user(name: &str) -> Target {
        Target::User(name.to_owned())
    }

    /// docs/protocols/relay.md §4 "Token to user", §7.
    #[test]
    fn tokens() {
        assert_eq!(Target::of(None), Target::Everybody);
        for everybody in ["null", r#""""#] {
            assert_eq!(target(everybody), Target::Everybody, "{everybody}");
        }
        for nobody in [
            "true",
            "false",
            "[]",
            "[1]",
            "{}",
            r#"{"id":""}"#,
            r#"{"id":"","user_id":7}"#,
            r#"{"id":null,"user_id":null}"#,
            r#"{"id":[1]}"#,
            r#"{"name":"x"}"#,
            "1e999999",
        ] {
            assert_eq!(target(nobody), Target::Unresolved, "{nobody}");
        }
        for (token, name) in [
            (r#""u-208""#, "u-208"),
            (r#""\u5c0f\u660e""#, "小明"),
            (r#"" ""#, " "),
            (r#""null""#, "null"),
            ("0", "0"),
            ("-0", "0"),
            ("123", "123"),
            ("-5", "-5"),
            ("1.9", "1"),
            ("-0.5", "0"),
            ("1e3", "1000"),
            ("1.25E1", "12"),
            ("125e-1", "12"),
            ("123456789012345678901234567890", "123456789012345678901234567890"),
            (r#"{"id":1234567}"#, "1234567"),
            (r#"{"id":0}"#, "0"),
            (r#"{"id":"a","user_id":"b"}"#, "a"),
            (r#"{"id":null,"user_id":7}"#, "7"),
            (r#"{"user_id":"b","x":[]}"#, "b"),
            (r#"{"id":true}"#, "true"),
        ] {
            assert_eq!(target(token), user(name), "{token}");
        }
    }
}
