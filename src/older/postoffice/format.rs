//! Letters as they are sent: the frame of each is what its sender wrote (`docs/protocols/postoffice.md §3`).

use std::borrow::Cow;

use crate::core::{
    frame,
    message::{Data, Message, is_json, write_json_text},
    wire::{Each, Slot},
};

/// What the channels of mailboxes begin with (docs/architecture.md §5).
pub const PREFIX: &str = "po:";

/// Letters as mailboxes get them.
pub static POST_OFFICE_JSON: Each = Each(Slot::PostOfficeJson, |entry, message| {
    let mailbox = entry.channel.as_str().trim_start_matches(PREFIX);
    frame::text(letter(message, mailbox).as_bytes())
});

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

    use serde_json::{Value, json};

    use bytes::Bytes;

    use super::*;
    use crate::{
        core::{
            message::{Body, Entry, EntryId, Payload},
            serial::{Epoch, Mint},
            wire::WireFormat as _,
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
    fn a_letter_is_its_own_frame() {
        let text = r#"{ "to": "erp", "n": 1.10 }"#;
        let message = Message { payload: Payload::json(text.into()), ..Message::default() };
        assert_eq!(payload_of(&POST_OFFICE_JSON.encode(&entry(message))), text);
    }

    #[test]
    fn what_is_no_letter_becomes_the_content_of_one() {
        let message = Message {
            name: "greeting".into(),
            payload: Payload { data: Data::Text("hello".into()), ..Payload::default() },
            client_id: ClientId::new("ann"),
            ..Message::default()
        };
        let letter: Value = serde_json::from_str(&payload_of(&POST_OFFICE_JSON.encode(&entry(message)))).unwrap();
        assert_eq!(letter, json!({"from": "ann", "to": "erp", "subject": "greeting", "content": "hello", "type": 1}));
    }
}
