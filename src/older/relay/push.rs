//! A push request (`docs/protocols/relay.md §4`). Pure.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{ids::ChannelName, limits};

/// Where everybody hears what is for all.
pub const EVERYBODY: &str = "relay:all";
/// What stands before a user's token.
pub const USER: &str = "relay:u:";

/// A push as it is carried out, at once or later.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Push {
    pub event_name: String,
    pub subject: Box<RawValue>,
    /// None = for everybody.
    pub user: Option<String>,
    /// As given.
    pub token: Option<Box<RawValue>>,
}

/// A push request that was read.
#[derive(Debug)]
pub struct Request {
    pub push: Push,
    /// Seconds, as given.
    pub delay: i64,
}

/// How lenient requests are read.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Without `subject` it is `null`.
    pub lenient: bool,
    /// A token that names nobody is refused.
    pub reject_unresolved: bool,
}

/// Why a push is refused. `Display` is what the back end reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPush {
    #[error("invalid json")]
    Json,
    #[error("缺少 event_name")]
    NoEventName,
    #[error("缺少 subject")]
    NoSubject,
    #[error("delay_seconds too large")]
    DelayTooLarge,
    #[error("token cannot be resolved")]
    Unresolved,
    #[error("token too long: it may have {limit} bytes")]
    TokenTooLong { limit: usize },
}

impl BadPush {
    /// What would be taken, where the text does not say.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Json => {
                "the body must be a JSON object; event_name is a text, delay_seconds a whole number of seconds"
            }
            Self::NoEventName => "event_name must be a text that is not empty",
            Self::NoSubject => "subject is missing; any JSON will do, null too, and relay.lenient_push allows none",
            Self::DelayTooLarge => "delay_seconds may be 2592000 (30 days)",
            Self::Unresolved => {
                "token must be a text, a number, or an object with a text id or user_id; relay.unresolved_token = \
                 broadcast sends such a push to everybody"
            }
            Self::TokenTooLong { .. } => "",
        }
    }
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow, default)]
    event_name: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "present")]
    subject: Option<&'a RawValue>,
    #[serde(default)]
    delay_seconds: Option<i64>,
    #[serde(borrow, default)]
    token: Option<&'a RawValue>,
}

/// Tells `null`, which is a value, from an absent field.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

impl Request {
    /// # Errors
    /// The first rule that the body breaks.
    pub fn parse(body: &[u8], rules: Rules) -> Result<Self, BadPush> {
        // serde takes an array for a struct's fields in order.
        if !body.trim_ascii_start().starts_with(b"{") {
            return Err(BadPush::Json);
        }
        let body: Body<'_> = serde_json::from_slice(body).map_err(|_| BadPush::Json)?;
        let event_name = body.event_name.filter(|name| !name.is_empty());
        let event_name = event_name.ok_or(BadPush::NoEventName)?;
        let subject = match body.subject {
            Some(subject) => subject,
            None if rules.lenient => RawValue::NULL,
            None => return Err(BadPush::NoSubject),
        };
        let delay = body.delay_seconds.unwrap_or_default();
        if delay > limits::RELAY_DELAY.as_secs().cast_signed() {
            return Err(BadPush::DelayTooLarge);
        }
        let user = match Target::of(body.token) {
            Target::User(user) if user.len() > limits::RELAY_TOKEN_BYTES => {
                let limit = limits::RELAY_TOKEN_BYTES;
                return Err(BadPush::TokenTooLong { limit });
            }
            Target::User(user) => Some(user),
            Target::Everybody => None,
            Target::Nobody if rules.reject_unresolved => return Err(BadPush::Unresolved),
            Target::Nobody => None,
        };
        let push = Push {
            event_name: event_name.into_owned(),
            subject: subject.to_owned(),
            user,
            token: body.token.map(ToOwned::to_owned),
        };
        Ok(Self { push, delay })
    }
}

impl Push {
    pub fn channel(&self) -> ChannelName {
        match &self.user {
            Some(user) => user_channel(user),
            None => EVERYBODY.into(),
        }
    }
}

/// The channel of a user.
pub fn user_channel(token: &str) -> ChannelName {
    ChannelName::from(&*format!("{USER}{token}"))
}

/// The user whose channel it is.
pub fn user_of(channel: &ChannelName) -> Option<&str> {
    channel.as_str().strip_prefix(USER)
}

/// Whom the token of a push means.
#[derive(Debug, PartialEq, Eq)]
enum Target {
    User(String),
    Everybody,
    /// It means somebody, and cannot be understood.
    Nobody,
}

#[derive(Deserialize)]
struct Identified<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    user_id: Option<&'a RawValue>,
}

impl Target {
    fn of(token: Option<&RawValue>) -> Self {
        let Some(token) = token.map(RawValue::get) else {
            return Self::Everybody;
        };
        match token.as_bytes().first() {
            Some(b'n') => Self::Everybody,
            Some(b'{') => {
                let Ok(identified) = serde_json::from_str::<Identified<'_>>(token) else {
                    return Self::Nobody;
                };
                let id = identified.id.or(identified.user_id);
                let id = id.and_then(|id| text_of(id.get()));
                id.filter(|id| !id.is_empty()).map_or(Self::Nobody, Self::User)
            }
            _ => match text_of(token) {
                Some(text) if text.is_empty() => Self::Everybody,
                Some(text) if token != "true" && token != "false" => Self::User(text),
                _ => Self::Nobody,
            },
        }
    }
}

/// A JSON string, number or bool as text; none for others.
fn text_of(json: &str) -> Option<String> {
    match json.as_bytes().first()? {
        b'"' => serde_json::from_str(json).ok(),
        b't' | b'f' => Some(json.to_owned()),
        b'-' | b'0'..=b'9' => decimal(json),
        _ => None,
    }
}

/// The whole part of a JSON number in decimal digits, exact for any size that an identifier can have.
pub fn decimal(json: &str) -> Option<String> {
    let (sign, digits) = match json.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", json),
    };
    let (mantissa, exponent) = digits.split_once(['e', 'E']).unwrap_or((digits, "0"));
    let exponent: i32 = exponent.parse().ok()?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_number(whole) || !is_number(fraction) {
        return None;
    }
    let places = i64::try_from(whole.len()).ok()? + i64::from(exponent);
    let places = usize::try_from(places.max(0)).ok()?;
    let all = [whole, fraction].concat();
    if all.bytes().all(|digit| digit == b'0') {
        return Some("0".into());
    }
    if places > limits::RELAY_TOKEN_BYTES {
        return None;
    }
    let mut text: String = all.chars().take(places).collect();
    text.extend(std::iter::repeat_n('0', places.saturating_sub(all.len())));
    let text = text.trim_start_matches('0');
    Some(if text.is_empty() { "0".to_owned() } else { format!("{sign}{text}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRICT: Rules = Rules { lenient: false, reject_unresolved: false };

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
            assert_eq!(target(nobody), Target::Nobody, "{nobody}");
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

    #[test]
    fn fields() {
        let parse = |body: &str| Request::parse(body.as_bytes(), STRICT);
        let good = parse(r#" {"event_name":"e","subject":{"no": 4711},"x":1}"#).expect("good");
        assert_eq!(good.delay, 0);
        assert_eq!(good.push.subject.get(), r#"{"no": 4711}"#);
        assert_eq!(good.push.user, None);
        let negative = parse(r#"{"event_name":"e","subject":null,"delay_seconds":-3}"#);
        assert_eq!(negative.expect("good").delay, -3);
        for (body, fault) in [
            ("", BadPush::Json),
            ("x", BadPush::Json),
            (r#"["e",1,0,null]"#, BadPush::Json),
            ("null", BadPush::Json),
            (r#"{"event_name":5,"subject":1}"#, BadPush::Json),
            (r#"{"event_name":"e","subject":1,"delay_seconds":"5"}"#, BadPush::Json),
            (r#"{"event_name":"e","subject":1,"delay_seconds":1.5}"#, BadPush::Json),
            (r#"{"event_name":"e","subject":1} x"#, BadPush::Json),
            (r#"{"subject":1}"#, BadPush::NoEventName),
            (r#"{"event_name":"","subject":1}"#, BadPush::NoEventName),
            (r#"{"event_name":null,"subject":1}"#, BadPush::NoEventName),
            (r#"{"event_name":"e"}"#, BadPush::NoSubject),
            (r#"{"event_name":"e","subject":1,"delay_seconds":2592001}"#, BadPush::DelayTooLarge),
        ] {
            assert_eq!(parse(body).err(), Some(fault), "{body}");
        }
    }

    #[test]
    fn options() {
        let rules = Rules { lenient: true, reject_unresolved: true };
        let parse = |body: &str| Request::parse(body.as_bytes(), rules);
        let lenient = parse(r#"{"event_name":"e"}"#).expect("good");
        assert_eq!(lenient.push.subject.get(), "null");
        let slip = parse(r#"{"event_name":"e","token":{"uid":7}}"#);
        assert_eq!(slip.err(), Some(BadPush::Unresolved));
        assert!(parse(r#"{"event_name":"e","token":""}"#).is_ok());
    }
}
