use proptest::prelude::*;

use super::*;
use crate::core::dedupe::Published;

fn data() -> impl Strategy<Value = Data> {
    prop_oneof![
        Just(Data::None),
        ".{0,40}".prop_map(|text: String| Data::Text(text.into())),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| Data::Binary(bytes.into())),
        // Binary that could be text.
        "[a-z]{0,40}".prop_map(|text: String| Data::Binary(text.into())),
    ]
}

fn message() -> impl Strategy<Value = Message> {
    let encoding = prop_oneof![Just(""), Just("json"), Just("utf-8/cipher+aes-256-cbc")];
    let extras = prop::option::of(("[a-c]", ".{0,9}"));
    (".{0,9}", data(), encoding, extras).prop_map(|(name, data, encoding, extras)| Message {
        name: name.into(),
        payload: Payload { data, encoding: encoding.into(), ..Payload::default() },
        client_id: None,
        extras: extras.map(|(key, value)| object(serde_json::json!({ "headers": { key: value } }))),
    })
}

fn format() -> impl Strategy<Value = Format> {
    prop_oneof![Just(Format::Json), Just(Format::Msgpack)]
}

proptest! {
    #[test]
    fn messages_read_back(messages in prop::collection::vec(message(), 1..4), format in format()) {
        let entry = entry(frame_id(), Body::Messages(messages.clone()));
        let frame = encode_as(&entry, format, "room", None);
        let frame = decode(format, payload(&frame, format)).unwrap();
        prop_assert_eq!(frame.action, Action::MESSAGE);
        let again: Vec<Message> = frame
            .messages
            .into_iter()
            .map(|item| item.into_message(None).unwrap())
            .collect();
        prop_assert_eq!(again, messages);
    }

    #[test]
    fn frames_written_by_hand_are_what_serde_writes(
        messages in prop::collection::vec(message(), 1..4),
        base in "[a-z\"]{1,4}",
        kind in 0..4,
        client_id in prop::option::of(".{1,9}"),
    ) {
        let id = match kind {
            0 => frame_id(),
            1 => EntryId::Base(base.into()),
            2 => EntryId::Item(base.into()),
            _ => EntryId::Serial,
        };
        let client_id = client_id.and_then(ClientId::new);
        let mut messages: Vec<Message> = messages
            .into_iter()
            .map(|message| Message { client_id: client_id.clone(), ..message })
            .collect();
        messages.truncate(if kind == 2 { 1 } else { 4 });
        let entry = entry(id, Body::Messages(messages));
        let by_hand = encode_as(&entry, Format::Json, "a\u{1}\"b", None);
        let by_serde = entry::encode_by_serde(&entry, Format::Json, "a\u{1}\"b", None, 0);
        prop_assert_eq!(by_hand, by_serde);

        let published = [Published { serial: entry.serial, len: entry.len() }];
        for res in [None, Some(&published[..]), Some(&[published[0]; 2][..])] {
            let ack = ServerFrame::Ack { msg_serial: 7, count: 2, res };
            prop_assert_eq!(ack.encode(Format::Json), ack.encode_by_serde(Format::Json));
        }
    }

    #[test]
    fn nothing_that_is_received_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), format in format()) {
        read(format, &bytes);
    }

    /// Frames that were valid before something happened to them.
    #[test]
    fn no_damaged_frame_panics(message in message(), at in any::<prop::sample::Index>(), byte in any::<u8>(), format in format()) {
        let entry = entry(frame_id(), Body::Messages(vec![message]));
        let frame = encode_as(&entry, format, "room", None);
        let mut bytes = payload(&frame, format).to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        read(format, &bytes);
        read(format, &bytes[..at]);
    }
}

fn read(format: Format, bytes: &[u8]) {
    if let Ok(frame) = decode(format, bytes) {
        for item in frame.messages {
            let _ = item.into_message(None);
        }
        for item in frame.presence {
            let _ = item.into_event("x".into(), client("x"));
        }
    }
    for item in decode_body(format, bytes).unwrap_or_default() {
        let _ = item.into_message(None);
    }
}
