//! What is said: replies to requests, and the envelope around everything (`docs/protocols/chat.md §4, §5`).

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::{
    config::ChatCompat,
    core::{frame, message::write_json_text},
    older::chat::code::Code,
};

/// The answer to a request.
#[derive(Clone, Debug)]
pub struct Reply {
    /// None: it went well.
    pub code: Option<Code>,
    message: Cow<'static, str>,
    /// Better than that of the code.
    reason: Option<Cow<'static, str>>,
    data: Data,
}

#[derive(Clone, Debug)]
enum Data {
    Null,
    /// Not even null.
    Missing,
    /// JSON.
    Written(Arc<str>),
}

impl From<Code> for Reply {
    fn from(code: Code) -> Self {
        Self::told(code, code.row().text)
    }
}

impl Reply {
    pub fn done(data: &impl Serialize) -> Self {
        Self { code: None, message: "success".into(), reason: None, data: Data::write(data) }
    }

    /// Of the source's HTTP interface: a text, and no data.
    pub fn done_in_words(text: &'static str) -> Self {
        Self { code: None, message: text.into(), reason: None, data: Data::Missing }
    }

    /// An error with a text of its own.
    pub fn told(code: Code, text: impl Into<Cow<'static, str>>) -> Self {
        Self { code: Some(code), message: text.into(), reason: None, data: Data::Null }
    }

    /// With what only this error knows: why, and what would be taken.
    pub fn because(mut self, reason: impl Into<Cow<'static, str>>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// With the data that the error has.
    pub fn with(mut self, data: &impl Serialize) -> Self {
        self.data = Data::write(data);
        self
    }

    /// Without any data.
    pub fn bare(mut self) -> Self {
        self.data = Data::Missing;
        self
    }

    /// The code of an error.
    #[cfg(test)]
    pub fn number(&self) -> Option<u16> {
        self.code.map(|code| code.row().number)
    }

    /// As a frame for the client that asked with `id`.
    pub fn frame(&self, compat: ChatCompat, id: Option<&RawValue>) -> Bytes {
        frame::text(&self.json(compat, id))
    }

    /// As the body of an HTTP response.
    pub fn json(&self, compat: ChatCompat, id: Option<&RawValue>) -> Vec<u8> {
        let code = self.code.map_or(success_code(compat), |code| code.row().number);
        let data = match &self.data {
            Data::Null => Some("null"),
            Data::Missing => None,
            Data::Written(json) => Some(&**json),
        };
        let reason = match (compat, self.code, &self.reason) {
            (ChatCompat::Source, ..) | (_, None, _) => "",
            (_, _, Some(reason)) => reason,
            (_, Some(code), None) => code.row().reason,
        };
        envelope(code, &self.message, reason, data, id)
    }
}

impl Data {
    fn write(data: &impl Serialize) -> Self {
        // Texts and numbers always serialise.
        serde_json::to_string(data).map_or(Self::Null, |json| Self::Written(json.into()))
    }
}

/// The `code` of what went well.
const fn success_code(compat: ChatCompat) -> u16 {
    match compat {
        ChatCompat::Document => 0,
        ChatCompat::Source => 200,
    }
}

/// The envelope of a success around JSON.
pub fn success(compat: ChatCompat, data: &str) -> Vec<u8> {
    envelope(success_code(compat), "success", "", Some(data), None)
}

fn envelope(code: u16, message: &str, reason: &str, data: Option<&str>, id: Option<&RawValue>) -> Vec<u8> {
    let mut json = Vec::with_capacity(64 + message.len() + data.map_or(0, str::len));
    json.extend_from_slice(br#"{"code":"#);
    json.extend_from_slice(code.to_string().as_bytes());
    json.extend_from_slice(br#","message":"#);
    write_json_text(&mut json, message);
    if let Some(data) = data {
        json.extend_from_slice(br#","data":"#);
        json.extend_from_slice(data.as_bytes());
    }
    if !reason.is_empty() {
        json.extend_from_slice(br#","reason":"#);
        write_json_text(&mut json, reason);
    }
    if let Some(id) = id {
        json.extend_from_slice(br#","id":"#);
        json.extend_from_slice(id.get().as_bytes());
    }
    json.push(b'}');
    json
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn text(reply: &Reply, compat: ChatCompat) -> String {
        String::from_utf8(reply.json(compat, None)).unwrap()
    }

    #[test]
    fn envelopes() {
        let done = Reply::done(&[1]);
        assert_eq!(text(&done, ChatCompat::Document), r#"{"code":0,"message":"success","data":[1]}"#);
        assert_eq!(text(&done, ChatCompat::Source), r#"{"code":200,"message":"success","data":[1]}"#);
        let error = Reply::from(Code::Offline);
        assert_eq!(text(&error, ChatCompat::Source), r#"{"code":10003,"message":"目标用户不在线","data":null}"#);
        let words = Reply::done_in_words("发送成功");
        assert_eq!(text(&words, ChatCompat::Source), r#"{"code":200,"message":"发送成功"}"#);
        let id: Box<RawValue> = serde_json::from_str(r#"{"a": "b"}"#).unwrap();
        let json = Reply::from(Code::BadRequest).because("why").json(ChatCompat::Document, Some(&id));
        assert_eq!(
            String::from_utf8(json).unwrap(),
            r#"{"code":1001,"message":"请求参数错误","data":null,"reason":"why","id":{"a": "b"}}"#
        );
    }
}
