//! What is answered: replies to requests, and the envelope around everything (`docs/protocols/chat.md §4, §5`).

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::{
    config::ChatCompat,
    core::{frame, message::write_json_text},
    error::Fault,
    older::chat::code::Code,
};

/// The answer to a request.
#[derive(Clone, Debug)]
pub struct Reply {
    /// None: it went well.
    pub code: Option<Code>,
    message: Cow<'static, str>,
    /// In place of that of the code.
    reason: Option<Cow<'static, str>>,
    /// JSON; none: no data at all, not even null.
    data: Option<Arc<str>>,
}

impl From<Code> for Reply {
    fn from(code: Code) -> Self {
        Self::with_text(code, code.row().text)
    }
}

impl Reply {
    pub fn done(data: &impl Serialize) -> Self {
        Self { code: None, message: "success".into(), reason: None, data: Some(written(data)) }
    }

    /// Of the source's HTTP interface: a text, and no data.
    pub fn done_with_text(text: &'static str) -> Self {
        Self { code: None, message: text.into(), reason: None, data: None }
    }

    /// An error with a text of its own.
    pub fn with_text(code: Code, text: impl Into<Cow<'static, str>>) -> Self {
        Self { code: Some(code), message: text.into(), reason: None, data: Some("null".into()) }
    }

    /// To a sender whose message the core did not take; `failed` says which kind it was.
    pub fn of_fault(fault: &Fault, failed: Code) -> Self {
        match Code::of_fault(fault, failed) {
            // The request had the form that the row tells: it is the core's own text that is true.
            code @ (Code::Unreadable | Code::BadRequest) => Self::from(code).because(fault.to_string()),
            code => code.into(),
        }
    }

    /// With a reason of its own: why, and what would be taken.
    pub fn because(mut self, reason: impl Into<Cow<'static, str>>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// With the data that the error has.
    pub fn with(mut self, data: &impl Serialize) -> Self {
        self.data = Some(written(data));
        self
    }

    /// Without any data.
    pub fn bare(mut self) -> Self {
        self.data = None;
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
        let reason = match (compat, self.code, &self.reason) {
            (ChatCompat::Source, ..) | (_, None, _) => "",
            (_, _, Some(reason)) => reason,
            (_, Some(code), None) => code.row().reason,
        };
        envelope(code, &self.message, reason, self.data.as_deref(), id)
    }
}

fn written(data: &impl Serialize) -> Arc<str> {
    // Texts and numbers always serialise.
    serde_json::to_string(data).map_or_else(|_| "null".into(), Arc::from)
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
        let text_only = Reply::done_with_text("发送成功");
        assert_eq!(text(&text_only, ChatCompat::Source), r#"{"code":200,"message":"发送成功"}"#);
        let id: Box<RawValue> = serde_json::from_str(r#"{"a": "b"}"#).unwrap();
        let json = Reply::from(Code::BadRequest).because("why").json(ChatCompat::Document, Some(&id));
        assert_eq!(
            String::from_utf8(json).unwrap(),
            r#"{"code":1001,"message":"请求参数错误","data":null,"reason":"why","id":{"a": "b"}}"#
        );
    }
}
