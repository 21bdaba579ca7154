//! The envelope of what clients send (`docs/protocols/group.md §3`), and the fields of its `data`. Pure.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{limits, older::group::code::Code};

/// A frame whose envelope was read.
#[derive(Debug)]
pub struct Frame<'a> {
    pub kind: Kind,
    /// The client's name for it, which the answer repeats; empty = none.
    pub id: String,
    data: Option<&'a RawValue>,
}

/// A frame that has no envelope, and by what name to answer it.
#[derive(Debug, PartialEq, Eq)]
pub struct Unreadable {
    pub id: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Ping,
    Auth,
    SendMessage,
    JoinGroup,
    LeaveGroup,
    MarkRead,
    Unknown,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow, default)]
    message_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    timestamp: Option<&'a RawValue>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

/// All fields that `data` may have. A field of a wrong type is refused also where no command looks at it.
#[derive(Deserialize)]
pub struct Data<'a> {
    #[serde(borrow, default)]
    pub token: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    last_message_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub group_id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    message_id: Option<&'a RawValue>,
    #[serde(default)]
    pub msg_type: Option<i64>,
    #[serde(borrow, default)]
    pub content: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub image_url: Option<Cow<'a, str>>,
}

impl<'a> Frame<'a> {
    /// # Errors
    /// [`Unreadable`] when it is no object, or one of the envelope's fields is of another type.
    pub fn parse(text: &'a str) -> Result<Self, Unreadable> {
        let nameless = || Unreadable { id: String::new() };
        // serde takes an array for a struct's fields in order.
        if !text.trim_start().starts_with('{') {
            return Err(nameless());
        }
        let envelope: Envelope<'_> = serde_json::from_str(text).map_err(|_| nameless())?;
        let id = envelope.message_id.map_or(Some(String::new()), identifier).ok_or_else(nameless)?;
        let is_whole = |raw: &RawValue| raw.get().parse::<i64>().is_ok();
        if !envelope.timestamp.is_none_or(is_whole) {
            return Err(Unreadable { id });
        }
        let kind = match envelope.kind.map(|raw| serde_json::from_str::<Cow<'_, str>>(raw.get())) {
            None => Kind::Unknown,
            Some(Ok(kind)) => Kind::named(&kind),
            Some(Err(_)) => return Err(Unreadable { id }),
        };
        Ok(Self { kind, id, data: envelope.data })
    }

    /// By what name to answer a frame that is not carried out; empty = none.
    pub fn id_in(text: &str) -> String {
        match Frame::parse(text) {
            Ok(Frame { id, .. }) | Err(Unreadable { id }) => id,
        }
    }

    pub fn data(&self) -> Result<Data<'a>, Code> {
        let data = self.raw_data();
        if !data.starts_with('{') {
            return Err(Code::BadFormat);
        }
        serde_json::from_str(data).map_err(|_| Code::BadFormat)
    }

    /// The `data` as it was sent; empty = none.
    pub fn raw_data(&self) -> &'a str {
        self.data.map(RawValue::get).unwrap_or_default()
    }
}

impl Data<'_> {
    /// The last message that the client has, if it says so.
    pub fn last_message(&self) -> Result<Option<String>, Code> {
        let last = self.last_message_id.map(identifier);
        last.map_or(Ok(None), |last| last.ok_or(Code::BadFormat).map(|id| Some(id).filter(|id| !id.is_empty())))
    }

    pub fn message(&self) -> Result<String, Code> {
        let id = self.message_id.map_or(Some(String::new()), identifier).ok_or(Code::BadFormat)?;
        if id.is_empty() { Err(Code::Missing("message_id")) } else { Ok(id) }
    }
}

impl Kind {
    /// All of them by name.
    pub const NAMES: [(Self, &str); 7] = [
        (Self::Ping, "ping"),
        (Self::Auth, "auth"),
        (Self::SendMessage, "send_message"),
        (Self::JoinGroup, "join_group"),
        (Self::LeaveGroup, "leave_group"),
        (Self::MarkRead, "mark_read"),
        (Self::Unknown, "unknown"),
    ];

    fn named(name: &str) -> Self {
        Self::NAMES.into_iter().find(|(_, known)| *known == name).map_or(Self::Unknown, |(kind, _)| kind)
    }

    /// Before the client has said who it is.
    pub const fn needs_no_user(self) -> bool {
        matches!(self, Self::Ping | Self::Auth)
    }
}

/// A field that must be there.
pub fn filled(text: Option<Cow<'_, str>>, field: &'static str) -> Result<String, Code> {
    let text = text.filter(|text| !text.is_empty());
    Ok(text.ok_or(Code::Missing(field))?.into_owned())
}

/// A string, or a number as its text (§3: the document's own Go client sends one).
fn identifier(raw: &RawValue) -> Option<String> {
    let json = raw.get();
    let text = match json.as_bytes().first()? {
        b'"' => serde_json::from_str(json).ok()?,
        b'-' | b'0'..=b'9' => json.to_owned(),
        _ => return None,
    };
    Some(text).filter(|text| text.len() <= limits::MESSAGE_ID_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// docs/protocols/group.md §3.
    #[test]
    fn envelopes() {
        let id = |text| Frame::parse(text).expect("an envelope").id;
        assert_eq!(id(r#"{"type":"ping"}"#), "");
        assert_eq!(id(r#"{"type":"ping","message_id":null}"#), "");
        assert_eq!(id(r#"{"type":"ping","message_id":"c-1","timestamp":1760000000}"#), "c-1");
        assert_eq!(id(r#"{"type":"ping","message_id":1760000000123,"x":[]}"#), "1760000000123");
        assert_eq!(id(r#"{"type":"ping","message_id":"c","timestamp":1760000000123}"#), "c");
        for (text, id) in [
            ("", ""),
            ("x", ""),
            ("[]", ""),
            (r#"["ping","c-1",1,{}]"#, ""),
            ("null", ""),
            (r#"{"type":"ping"} x"#, ""),
            (r#"{"type":5,"message_id":"c-1"}"#, "c-1"),
            (r#"{"type":"ping","message_id":true}"#, ""),
            (r#"{"type":"ping","message_id":{}}"#, ""),
            (r#"{"type":"ping","message_id":"c-1","timestamp":"1"}"#, "c-1"),
            (r#"{"type":"ping","message_id":"c-1","timestamp":1.5}"#, "c-1"),
        ] {
            let fault = Frame::parse(text).expect_err("unreadable");
            assert_eq!(fault.id, id, "{text}");
        }
        let long = format!(r#"{{"type":"ping","message_id":"{}"}}"#, "x".repeat(513));
        assert!(Frame::parse(&long).is_err());
    }
}
