//! What clients send (`docs/protocols/group.md §3, §4`). Pure.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    limits,
    older::group::code::{Code, Field},
};

/// A frame whose envelope was read.
#[derive(Debug)]
pub struct Frame<'a> {
    pub kind: Kind,
    /// The client's name for it, to be told back; empty = none.
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

/// What a frame asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Request {
    Ping,
    Auth(Credentials),
    Send(Draft),
    Join { group: String },
    Leave { group: String },
    MarkRead { group: String, message: String },
}

#[derive(Debug, PartialEq, Eq)]
pub struct Credentials {
    pub token: String,
    /// The last message that the client has; what came after it is to follow.
    pub last_message: Option<String>,
}

/// A message as it is handed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    pub group: String,
    /// 1 text, 2 image.
    pub msg_type: u8,
    pub content: String,
    pub image_url: String,
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

#[derive(Deserialize)]
struct Data<'a> {
    #[serde(borrow, default)]
    token: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    last_message_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    group_id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    message_id: Option<&'a RawValue>,
    #[serde(default)]
    msg_type: Option<i64>,
    #[serde(borrow, default)]
    content: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    image_url: Option<Cow<'a, str>>,
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
        let id = envelope.message_id.map_or(Some(String::new()), identifier);
        let id = id.ok_or_else(nameless)?;
        let is_whole = |raw: &RawValue| raw.get().parse::<i64>().is_ok();
        if !envelope.timestamp.is_none_or(is_whole) {
            return Err(Unreadable { id });
        }
        let kind = envelope.kind.map(|raw| serde_json::from_str::<Cow<'_, str>>(raw.get()));
        let kind = match kind {
            None => Kind::Unknown,
            Some(Ok(kind)) => Kind::named(&kind),
            Some(Err(_)) => return Err(Unreadable { id }),
        };
        let data = envelope.data;
        Ok(Self { kind, id, data })
    }

    /// # Errors
    /// The first rule that `data` breaks.
    pub fn request(&self) -> Result<Request, Code> {
        let data = || {
            let data = self.data.map(RawValue::get).unwrap_or_default();
            if !data.starts_with('{') {
                return Err(Code::BadFormat);
            }
            serde_json::from_str::<Data<'_>>(data).map_err(|_| Code::BadFormat)
        };
        Ok(match self.kind {
            Kind::Ping => Request::Ping,
            Kind::Unknown => return Err(Code::UnknownType),
            Kind::Auth => {
                let data = data()?;
                let last = data.last_message_id.map(identifier);
                let last_message = match last {
                    None => None,
                    Some(Some(id)) => Some(id).filter(|id| !id.is_empty()),
                    Some(None) => return Err(Code::BadFormat),
                };
                let token = filled(data.token, Field::Token)?;
                Request::Auth(Credentials { token, last_message })
            }
            Kind::SendMessage => Request::Send(draft(data()?)?),
            Kind::JoinGroup => Request::Join { group: filled(data()?.group_id, Field::GroupId)? },
            Kind::LeaveGroup => Request::Leave { group: filled(data()?.group_id, Field::GroupId)? },
            Kind::MarkRead => {
                let data = data()?;
                let group = filled(data.group_id, Field::GroupId)?;
                let message = data.message_id.map_or(Some(String::new()), identifier);
                let message = message.ok_or(Code::BadFormat)?;
                if message.is_empty() {
                    return Err(Code::Missing(Field::MessageId));
                }
                Request::MarkRead { group, message }
            }
        })
    }

    /// The `data` as it was sent; empty = none.
    pub fn data(&self) -> &str {
        self.data.map(RawValue::get).unwrap_or_default()
    }
}

impl Kind {
    fn named(name: &str) -> Self {
        match name {
            "ping" => Self::Ping,
            "auth" => Self::Auth,
            "send_message" => Self::SendMessage,
            "join_group" => Self::JoinGroup,
            "leave_group" => Self::LeaveGroup,
            "mark_read" => Self::MarkRead,
            _ => Self::Unknown,
        }
    }

    /// Before the client has said who it is.
    pub const fn needs_no_user(self) -> bool {
        matches!(self, Self::Ping | Self::Auth)
    }
}

fn draft(data: Data<'_>) -> Result<Draft, Code> {
    let group = filled(data.group_id, Field::GroupId)?;
    let (content, image_url) = (data.content, data.image_url);
    let (content, image_url, msg_type) = match data.msg_type {
        Some(1) => (filled(content, Field::Content)?, image_url.unwrap_or_default().into_owned(), 1),
        Some(2) => (content.unwrap_or_default().into_owned(), filled(image_url, Field::ImageUrl)?, 2),
        Some(_) => return Err(Code::BadFormat),
        None => return Err(Code::Missing(Field::MsgType)),
    };
    Ok(Draft { group, msg_type, content, image_url })
}

fn filled(text: Option<Cow<'_, str>>, field: Field) -> Result<String, Code> {
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

    fn request(text: &str) -> Result<Request, Code> {
        Frame::parse(text).expect("an envelope").request()
    }

    fn refused(text: &str) -> (u16, String) {
        let code = request(text).expect_err("refused");
        (code.number(), code.text().into_owned())
    }

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

    /// docs/protocols/group.md §4, field by field.
    #[test]
    fn requests() {
        assert_eq!(request(r#"{"type":"ping"}"#), Ok(Request::Ping));
        let auth = request(r#"{"type":"auth","data":{"token":"t","last_message_id":"m"}}"#);
        let expected = Credentials { token: "t".into(), last_message: Some("m".into()) };
        assert_eq!(auth, Ok(Request::Auth(expected)));
        let text = request(r#"{"type":"send_message","data":{"group_id":"g","msg_type":1,"content":"\u5c0f"}}"#);
        let expected = Draft { group: "g".into(), msg_type: 1, content: "小".into(), image_url: String::new() };
        assert_eq!(text, Ok(Request::Send(expected)));
        let image =
            request(r#"{"type":"send_message","data":{"group_id":"g","msg_type":2,"image_url":"u","content":null}}"#);
        assert!(matches!(image, Ok(Request::Send(draft)) if draft.image_url == "u"));
        let read = request(r#"{"type":"mark_read","data":{"group_id":"g","message_id":7}}"#);
        let expected = Request::MarkRead { group: "g".into(), message: "7".into() };
        assert_eq!(read, Ok(expected));
    }

    #[test]
    fn what_is_missing_or_wrong() {
        const FORMAT: &str = "消息格式错误";
        for (text, message) in [
            (r#"{"type":"auth"}"#, FORMAT),
            (r#"{"type":"auth","data":[]}"#, FORMAT),
            (r#"{"type":"auth","data":{"token":5}}"#, FORMAT),
            (r#"{"type":"auth","data":{"token":"t","last_message_id":{}}}"#, FORMAT),
            (r#"{"type":"auth","data":{}}"#, "token 不能为空"),
            (r#"{"type":"join_group","data":{}}"#, "group_id 不能为空"),
            (r#"{"type":"join_group","data":{"group_id":""}}"#, "group_id 不能为空"),
            (r#"{"type":"join_group","data":{"group_id":12}}"#, FORMAT),
            (r#"{"type":"leave_group"}"#, FORMAT),
            (r#"{"type":"mark_read","data":{"group_id":"g"}}"#, "message_id 不能为空"),
            (r#"{"type":"send_message","data":null}"#, FORMAT),
            (r#"{"type":"send_message","data":{"msg_type":1}}"#, "group_id 不能为空"),
            (r#"{"type":"send_message","data":{"group_id":"g","content":"x"}}"#, "msg_type 不能为空"),
            (r#"{"type":"send_message","data":{"group_id":"g","msg_type":3,"content":"x"}}"#, FORMAT),
            (r#"{"type":"send_message","data":{"group_id":"g","msg_type":"1"}}"#, FORMAT),
            (r#"{"type":"send_message","data":{"group_id":"g","msg_type":1}}"#, "content 不能为空"),
            (r#"{"type":"send_message","data":{"group_id":"g","msg_type":1,"content":""}}"#, "content 不能为空"),
            (r#"{"type":"send_message","data":{"group_id":"g","msg_type":2}}"#, "image_url 不能为空"),
            (r#"{"type":"shout","data":{}}"#, "未知的消息类型"),
            (r#"{"data":{}}"#, "未知的消息类型"),
        ] {
            assert_eq!(refused(text), (400, message.to_owned()), "{text}");
        }
    }
}
