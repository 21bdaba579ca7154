//! Why a letter, or the copy of it for one recipient, was not taken, and the error frame that says so
//! (`docs/protocols/postoffice.md §3`).

use std::borrow::Cow;

use bytes::Bytes;
use serde::Serialize;

use crate::{
    core::frame,
    error::{Fault, reply_table},
    limits,
    older::postoffice::letter::Letter,
};

reply_table! {
    /// `code` and text of each.
    #[derive(Clone, Debug)]
    pub enum Refusal {
        TooFast => ("rate_limited", "letters come faster than limits.publishes_per_second allows".into()),
        NotJson => ("bad_json", "the frame is not a JSON object".into()),
        NotUtf8 => ("bad_json", "the frame is not UTF-8".into()),
        FrameTooLarge(limit: usize) => (
            "too_large",
            format!("the frame is larger than {limit} bytes (postoffice.max_message_bytes)").into(),
        ),
        NoRecipient => ("missing_to", "the letter has no recipient in to".into()),
        NoNames(field: &'static str) => (
            "invalid_field",
            format!("field {field} must be a string or an array of strings").into(),
        ),
        NoName(place: String) => ("invalid_field", format!("field {place} must be the name of a mailbox").into()),
        TooManyRecipients { count: usize, limit: usize } => (
            "invalid_field",
            format!("to and cc have {count} recipients; postoffice.max_recipients allows {limit}").into(),
        ),
        MissingField(field: &'static str) => ("invalid_field", format!("field {field} is missing").into()),
        WrongField { field: &'static str, wanted: &'static str } => (
            "invalid_field",
            format!("field {field} must be {wanted}").into(),
        ),
        ForeignSender(from: String) => (
            "from_refused",
            format!("{from} is not the mailbox of this connection").into(),
        ),
        UnknownRecipient(name: String) => ("unknown_recipient", format!("no mailbox named {name}").into()),
        MailboxFull(letters: usize) => (
            "mailbox_full",
            format!("the mailbox holds {letters} letters, all of a higher level").into(),
        ),
        AllMailboxesFull => ("mailbox_full", "the post office holds as many bytes as it may".into()),
        NotStored => ("mailbox_full", "the letter could not be stored".into()),
        /// Of the core; most of them no mailbox can meet.
        Fault(fault: Fault) => (code_of(fault), fault.to_string().into()),
    }
    pub fn reply(&self) -> (&'static str, Cow<'static, str>);
}

const fn code_of(fault: &Fault) -> &'static str {
    match fault {
        Fault::RateLimited
        | Fault::Busy
        | Fault::AppChannels { .. }
        | Fault::MemoryFull { .. }
        | Fault::ChannelFull { .. } => "rate_limited",
        Fault::DiskFull => "mailbox_full",
        Fault::TooLarge { .. } | Fault::FrameTooLarge { .. } => "too_large",
        Fault::ForgedSender => "from_refused",
        Fault::Malformed { .. } | Fault::BodyUnreadable { .. } => "bad_json",
        Fault::InvalidData { .. } | Fault::BadParameter { .. } => "invalid_field",
        // It is no fault of the letter.
        _ => "unavailable",
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl Refusal {
    /// The error frame.
    pub fn frame(&self, about: &About<'_>) -> Bytes {
        let (code, error) = self.reply();
        frame::json(&ErrorFrame { error: &error, code, about })
    }
}

#[derive(Serialize)]
struct ErrorFrame<'a> {
    error: &'a str,
    code: &'a str,
    #[serde(rename = "ref")]
    about: &'a About<'a>,
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

/// As much of a client's text as is told back to it.
pub fn cut(text: &str) -> String {
    text.chars().take(limits::ECHOED_CHARS).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use bytestring::ByteString;

    use super::*;

    #[test]
    fn the_error_of_the_document() {
        let text: ByteString = r#"{"subjectId":"ord-4711","to":["audit2"]}"#.into();
        let letter = Letter::read(&text).unwrap();
        let about = About::letter(&letter).to("audit2");
        let frame = Refusal::UnknownRecipient("audit2".into()).frame(&about);
        assert_eq!(
            &frame[2..],
            br#"{"error":"no mailbox named audit2","code":"unknown_recipient","ref":{"subjectId":"ord-4711","to":"audit2"}}"#
        );
    }
}
