//! The envelope of what clients send (`docs/protocols/group.md §3`), and the fields of its `data`. Pure.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    limits,
    older::group::{code::Code, message::GroupMessage},
};

/// A frame whose envelope was read.
#[derive(Debug)]
pub struct Frame<'a> {
    pub kind: Kind,
    /// As it was sent; empty = none.
    pub raw_data: &'a str,
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
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    message_id: Option<&'a RawValue>,
    #[serde(borrow)]
    timestamp: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

/// All fields that `data` may have. A field of a wrong type is refused also where no command looks at it.
#[derive(Deserialize)]
pub struct Data<'a> {
    token: Option<String>,
    #[serde(borrow)]
    last_message_id: Option<&'a RawValue>,
    group_id: Option<String>,
    #[serde(borrow)]
    message_id: Option<&'a RawValue>,
    msg_type: Option<i64>,
    content: Option<String>,
    image_url: Option<String>,
}

impl<'a> Frame<'a> {
    /// The client's name for a frame, which the answer repeats, empty = none; and the frame.
    ///
    /// # Errors
    /// [`Code::BadFormat`] when it is no object, or one of the envelope's fields is of another type.
    pub fn parse(text: &'a str) -> (String, Result<Self, Code>) {
        // serde takes an array for a struct's fields in order.
        let envelope: Option<Envelope<'_>> =
            if text.trim_start().starts_with('{') { serde_json::from_str(text).ok() } else { None };
        let named = envelope.and_then(|envelope| Some((identifier(envelope.message_id).ok()?, envelope)));
        let Some((id, Envelope { kind, timestamp, data, .. })) = named else {
            return (String::new(), Err(Code::BadFormat));
        };
        let is_timed = timestamp.is_none_or(|raw| raw.get().parse::<i64>().is_ok());
        let kind = match kind.map(|raw| serde_json::from_str::<Cow<'_, str>>(raw.get())) {
            Some(Ok(kind)) if is_timed => Ok(Kind::named(&kind)),
            None if is_timed => Ok(Kind::Unknown),
            _ => Err(Code::BadFormat),
        };
        (id, kind.map(|kind| Self { kind, raw_data: data.map(RawValue::get).unwrap_or_default() }))
    }

    pub fn data(&self) -> Result<Data<'a>, Code> {
        let is_object = self.raw_data.starts_with('{');
        let data = is_object.then(|| serde_json::from_str(self.raw_data).ok()).flatten();
        data.ok_or(Code::BadFormat)
    }
}

/// Each is refused by the first field that is missing or wrong.
impl Data<'_> {
    /// The token, and the last message that the client has, if it says so.
    pub fn credentials(self) -> Result<(String, Option<String>), Code> {
        let last = identifier(self.last_message_id)?;
        Ok((filled(self.token, "token")?, Some(last).filter(|last| !last.is_empty())))
    }

    pub fn group(self) -> Result<String, Code> {
        filled(self.group_id, "group_id")
    }

    /// A group, and the message of it that was read.
    pub fn marked(self) -> Result<(String, String), Code> {
        let group = filled(self.group_id, "group_id")?;
        Ok((group, filled(Some(identifier(self.message_id)?), "message_id")?))
    }

    /// The message that is to be sent.
    pub fn message(self) -> Result<GroupMessage, Code> {
        let group_id = filled(self.group_id, "group_id")?;
        let (content, image_url) = (self.content, self.image_url);
        let (msg_type, content, image_url) = match self.msg_type {
            Some(1) => (1, filled(content, "content")?, image_url.unwrap_or_default()),
            Some(2) => (2, content.unwrap_or_default(), filled(image_url, "image_url")?),
            Some(_) => return Err(Code::BadFormat),
            None => return Err(Code::Missing("msg_type")),
        };
        Ok(GroupMessage { group_id, msg_type, content, image_url, ..GroupMessage::default() })
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
}

/// A field that must be there.
fn filled(text: Option<String>, field: &'static str) -> Result<String, Code> {
    text.filter(|text| !text.is_empty()).ok_or(Code::Missing(field))
}

/// A string, or a number as its text (§3: the document's own Go client sends one); empty = none.
fn identifier(raw: Option<&RawValue>) -> Result<String, Code> {
    let json = raw.map(RawValue::get).unwrap_or_default();
    let text = match json.as_bytes().first() {
        None => return Ok(String::new()),
        Some(b'"') => serde_json::from_str(json).ok(),
        Some(b'-' | b'0'..=b'9') => Some(json.to_owned()),
        Some(_) => None,
    };
    text.filter(|text: &String| text.len() <= limits::MESSAGE_ID_BYTES).ok_or(Code::BadFormat)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// docs/protocols/group.md §3.
    #[test]
    fn envelopes() {
        let id = |text| {
            let (id, frame) = Frame::parse(text);
            assert!(frame.is_ok(), "{text}");
            id
        };
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
            let (named, frame) = Frame::parse(text);
            assert_eq!((&*named, frame.err()), (id, Some(Code::BadFormat)), "{text}");
        }
        let long = format!(r#"{{"type":"ping","message_id":"{}"}}"#, "x".repeat(513));
        assert!(Frame::parse(&long).1.is_err());
    }

    fn data(text: &str) -> Result<Data<'_>, Code> {
        Frame { kind: Kind::Unknown, raw_data: text }.data()
    }

    /// docs/protocols/group.md §4, field by field.
    #[test]
    fn fields() {
        let credentials = |text| data(text).and_then(Data::credentials);
        assert_eq!(credentials(r#"{"token":"t","last_message_id":"m"}"#), Ok(("t".into(), Some("m".into()))));
        assert_eq!(credentials(r#"{"token":"t"}"#), Ok(("t".into(), None)));
        let marked = |text| data(text).and_then(Data::marked);
        assert_eq!(marked(r#"{"group_id":"g","message_id":7}"#), Ok(("g".into(), "7".into())));
        let message = |text| data(text).and_then(Data::message);
        let text = GroupMessage { group_id: "g".into(), msg_type: 1, content: "小".into(), ..GroupMessage::default() };
        assert_eq!(message(r#"{"group_id":"g","msg_type":1,"content":"\u5c0f"}"#), Ok(text));
        let image =
            GroupMessage { group_id: "g".into(), msg_type: 2, image_url: "u".into(), ..GroupMessage::default() };
        assert_eq!(message(r#"{"group_id":"g","msg_type":2,"image_url":"u","content":null}"#), Ok(image));
    }

    #[test]
    fn what_is_missing_or_wrong() {
        let credentials = |text| data(text).and_then(Data::credentials).map(drop);
        let group = |text| data(text).and_then(Data::group).map(drop);
        let marked = |text| data(text).and_then(Data::marked).map(drop);
        let message = |text| data(text).and_then(Data::message).map(drop);
        for (found, code) in [
            (credentials(""), Code::BadFormat),
            (credentials("[]"), Code::BadFormat),
            (credentials(r#"{"token":5}"#), Code::BadFormat),
            (credentials(r#"{"token":"t","last_message_id":{}}"#), Code::BadFormat),
            (credentials("{}"), Code::Missing("token")),
            (group("{}"), Code::Missing("group_id")),
            (group(r#"{"group_id":""}"#), Code::Missing("group_id")),
            (group(r#"{"group_id":12}"#), Code::BadFormat),
            (group(r#"{"group_id":"g","content":5}"#), Code::BadFormat),
            (marked(r#"{"group_id":"g"}"#), Code::Missing("message_id")),
            (message("null"), Code::BadFormat),
            (message(r#"{"msg_type":1}"#), Code::Missing("group_id")),
            (message(r#"{"group_id":"g","content":"x"}"#), Code::Missing("msg_type")),
            (message(r#"{"group_id":"g","msg_type":3,"content":"x"}"#), Code::BadFormat),
            (message(r#"{"group_id":"g","msg_type":"1"}"#), Code::BadFormat),
            (message(r#"{"group_id":"g","msg_type":1}"#), Code::Missing("content")),
            (message(r#"{"group_id":"g","msg_type":1,"content":""}"#), Code::Missing("content")),
            (message(r#"{"group_id":"g","msg_type":2}"#), Code::Missing("image_url")),
        ] {
            assert_eq!(found, Err(code));
        }
    }
}
