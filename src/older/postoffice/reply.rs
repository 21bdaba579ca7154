//! What the server says: letters as they were sent, and errors (`docs/protocols/postoffice.md §3`).

use std::borrow::Cow;

use bytes::Bytes;
use serde::Serialize;

use crate::{
    core::{
        frame,
        message::{Data, Entry, Message, is_json, write_json_text},
        wire::{self, Slot, WireFormat},
    },
    error::Fault,
    limits,
    older::postoffice::letter::Letter,
};

/// The prefix of the channels that are mailboxes (docs/architecture.md §5).
pub const PREFIX: &str = "po:";

/// Fields of a letter that name its thread; also the headers of its message.
pub const THREAD_FIELDS: [&str; 2] = ["subjectId", "references"];

/// Why a letter, or one copy of it, was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    BadJson,
    MissingTo,
    InvalidField,
    FromRefused,
    UnknownRecipient,
    MailboxFull,
    RateLimited,
    TooLarge,
    /// Ours: something that is no fault of the letter.
    Unavailable,
}

impl Code {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadJson => "bad_json",
            Self::MissingTo => "missing_to",
            Self::InvalidField => "invalid_field",
            Self::FromRefused => "from_refused",
            Self::UnknownRecipient => "unknown_recipient",
            Self::MailboxFull => "mailbox_full",
            Self::RateLimited => "rate_limited",
            Self::TooLarge => "too_large",
            Self::Unavailable => "unavailable",
        }
    }
}

/// The codes of the core's faults. Most of them no mailbox can meet.
pub const fn code_of(fault: &Fault) -> Code {
    match fault {
        Fault::RateLimited | Fault::Busy | Fault::ChannelFull { .. } => Code::RateLimited,
        Fault::DiskFull => Code::MailboxFull,
        Fault::TooLarge { .. } | Fault::FrameTooLarge { .. } => Code::TooLarge,
        Fault::ForgedSender => Code::FromRefused,
        Fault::Malformed { .. } | Fault::BodyUnreadable { .. } => Code::BadJson,
        Fault::InvalidData { .. } | Fault::BadParameter { .. } => Code::InvalidField,
        _ => Code::Unavailable,
    }
}

#[derive(Serialize)]
struct Reply<'a> {
    error: &'a str,
    code: &'a str,
    #[serde(rename = "ref")]
    about: About<'a>,
}

/// Which letter an error is about: what its sender can know it by.
#[derive(Clone, Debug, Default, Serialize)]
pub struct About<'a> {
    #[serde(rename = "subjectId", skip_serializing_if = "Option::is_none")]
    subject_id: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<Cow<'a, str>>,
}

impl<'a> About<'a> {
    pub fn letter(letter: &Letter<'a>) -> Self {
        let short = |name| letter.shown(name).filter(|text| text.len() <= limits::POST_NAME_BYTES);
        Self { subject_id: short("subjectId"), id: short("id"), to: None }
    }

    /// The copy for one recipient.
    pub fn to(&self, recipient: &str) -> About<'static> {
        let owned = |text: &Option<Cow<'a, str>>| text.as_ref().map(|text| text.to_string().into());
        About { subject_id: owned(&self.subject_id), id: owned(&self.id), to: Some(cut(recipient).into()) }
    }
}

/// An error frame.
pub fn error(code: Code, text: &str, about: About<'_>) -> Bytes {
    let reply = Reply { error: text, code: code.as_str(), about };
    // Strings always serialise.
    frame::text(&serde_json::to_vec(&reply).unwrap_or_default())
}

/// As much of a client's text as is told back to it.
pub fn cut(text: &str) -> String {
    text.chars().take(limits::ECHOED_CHARS).collect()
}

/// Letters as mailboxes get them.
pub struct PostOfficeJson;

impl WireFormat for PostOfficeJson {
    fn slot(&self) -> Slot {
        Slot::PostOfficeJson
    }

    fn encode(&self, entry: &Entry) -> Bytes {
        let mailbox = entry.channel.as_str().trim_start_matches(PREFIX);
        wire::each(entry, |message| frame::text(letter(message, mailbox).as_bytes()))
    }
}

/// The letter that a message is for a mailbox.
pub fn letter<'a>(message: &'a Message, mailbox: &str) -> Cow<'a, str> {
    let payload = &message.payload;
    match &payload.data {
        Data::Text(text)
            if payload.encoding == "json"
                && text.trim_start().starts_with('{')
                && (payload.is_json || is_json(text)) =>
        {
            Cow::Borrowed(text)
        }
        // Cannot fail: all of it is text.
        _ => Cow::Owned(String::from_utf8(foreign(message, mailbox)).unwrap_or_default()),
    }
}

/// What another protocol published to a mailbox and is no letter becomes the content of one.
fn foreign(message: &Message, mailbox: &str) -> Vec<u8> {
    let from = message.client_id.as_ref().map_or("", |id| id.as_str());
    let mut json = Vec::new();
    for (name, text) in [("{\"from\":", from), (",\"to\":", mailbox), (",\"subject\":", &message.name)] {
        json.extend_from_slice(name.as_bytes());
        write_json_text(&mut json, text);
    }
    json.extend_from_slice(b",\"content\":");
    message.payload.write_json(&mut json);
    json.extend_from_slice(b",\"type\":1}");
    json
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use bytestring::ByteString;
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        core::{
            message::{Body, EntryId, Payload},
            serial::{Epoch, Mint},
        },
        ids::{ChannelName, ClientId, Timestamp},
    };

    fn payload_of(frame: &Bytes) -> String {
        let head = if frame[1] < 126 { 2 } else { 4 };
        String::from_utf8(frame[head..].to_vec()).unwrap()
    }

    fn entry(message: Message) -> Entry {
        Entry::new(
            ChannelName::from("po:erp"),
            Mint::new(Epoch::new(1)).position(),
            Timestamp::from_millis(1),
            None,
            EntryId::Serial,
            Body::Messages(vec![message]),
        )
    }

    #[test]
    fn the_error_of_the_document() {
        let text: ByteString = r#"{"subjectId":"ord-4711","to":["audit2"]}"#.into();
        let letter = Letter::read(&text).unwrap();
        let about = About::letter(&letter).to("audit2");
        let frame = error(Code::UnknownRecipient, "no mailbox named audit2", about);
        assert_eq!(
            payload_of(&frame),
            r#"{"error":"no mailbox named audit2","code":"unknown_recipient","ref":{"subjectId":"ord-4711","to":"audit2"}}"#
        );
    }

    #[test]
    fn a_letter_is_its_own_frame() {
        let text = r#"{ "to": "erp", "n": 1.10 }"#;
        let message = Message { payload: Payload::json(text.into()), ..Message::default() };
        assert_eq!(payload_of(&PostOfficeJson.encode(&entry(message))), text);
    }

    #[test]
    fn what_is_no_letter_becomes_the_content_of_one() {
        let message = Message {
            name: "greeting".into(),
            payload: Payload { data: Data::Text("hello".into()), ..Payload::default() },
            client_id: ClientId::new("ann"),
            ..Message::default()
        };
        let letter: Value = serde_json::from_str(&payload_of(&PostOfficeJson.encode(&entry(message)))).unwrap();
        assert_eq!(letter, json!({"from": "ann", "to": "erp", "subject": "greeting", "content": "hello", "type": 1}));
    }
}
