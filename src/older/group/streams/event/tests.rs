use serde_json::{Value, json};

use super::*;

fn read(stream: &str, payload: &Value) -> Result<Event, Malformed> {
    read_with(stream, payload.to_string().as_bytes(), &[])
}

fn read_with(stream: &str, payload: &[u8], metadata: &[(&str, &str)]) -> Result<Event, Malformed> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let entry =
        Entry { uuid: "an-uuid".into(), metadata: metadata.iter().map(owned).collect(), payload: payload.to_vec() };
    Event::read(stream, &entry, 1_760_000_000)
}

#[test]
fn a_message_with_all_its_fields_as_the_document_shows_it() {
    let payload = json!({
        "message_id": "3f0c", "group_id": "g-12", "sender_id": "7", "sender_name": "Wu",
        "sender_avatar": "a.png", "msg_type": 1, "content": "hi", "image_url": "",
        "created_at": 1_760_000_123,
    });
    let Ok(Event::Message(message)) = read(MESSAGES, &payload) else {
        panic!("no message");
    };
    assert_eq!(serde_json::to_value(&message).unwrap(), payload);
}

#[test]
fn ids_are_numbers_or_text_and_numbers_keep_all_digits() {
    let payload = json!({
        "message_id": u64::MAX, "group_id": 12, "sender_id": 1_000_000, "msg_type": "2",
        "content": null, "image_url": "b.png", "more": {},
    });
    let expected = GroupMessage {
        message_id: "18446744073709551615".into(),
        group_id: "12".into(),
        sender_id: "1000000".into(),
        msg_type: 2,
        image_url: "b.png".into(),
        created_at: 1_760_000_000,
        ..GroupMessage::default()
    };
    assert_eq!(read(MESSAGES, &payload), Ok(Event::Message(expected)));
}

#[test]
fn the_user_of_a_notification_is_in_the_metadata_or_in_the_payload() {
    let payload = br#"{"notification_id":5,"type":"system","title":"t","content":"c","created_at":9}"#;
    let mut expected = Notification {
        user_id: "7".into(),
        notification_id: "5".into(),
        kind: "system".into(),
        title: "t".into(),
        content: "c".into(),
        created_at: 9,
    };
    assert_eq!(read_with(NOTIFICATIONS, payload, &[("user_id", "7")]), Ok(Event::Notification(expected.clone())));
    let pushed = json!({
        "user_id": 7, "type": "system", "title": "t", "content": "c", "timestamp": 9,
    });
    expected.notification_id = "an-uuid".into();
    assert_eq!(read(PUSHED_NOTIFICATIONS, &pushed), Ok(Event::Notification(expected)));
}

#[test]
fn members_and_progress() {
    let member = Member { group_id: "12".into(), user_id: "7".into() };
    let payload = json!({ "group_id": 12, "user_id": "7" });
    assert_eq!(read(MEMBERS_ADDED, &payload), Ok(Event::MemberAdded(member.clone())));
    assert_eq!(read(MEMBERS_REMOVED, &payload), Ok(Event::MemberRemoved(member)));
    let payload = json!({
        "user_id": 7, "verify_id": 3, "status": "done", "refresh": true, "timestamp": 5,
    });
    let expected = VerifyProgress {
        user_id: "7".into(),
        verify_id: json!(3),
        status: json!("done"),
        refresh: json!(true),
        timestamp: 5,
    };
    assert_eq!(read(VERIFY_PROGRESS, &payload), Ok(Event::VerifyProgress(expected)));
}

#[test]
fn the_error_says_what_is_wrong() {
    let cases: [(&str, &[u8], &str); 9] = [
        (MESSAGES, b"{", "the payload is not what chat.message.new carries: EOF"),
        (
            MESSAGES,
            br#"{"group_id":1}"#,
            "the payload is not what chat.message.new carries: missing field `message_id`",
        ),
        (MESSAGES, br#"{"group_id":"","message_id":"1"}"#, "the payload has no group_id"),
        (
            MESSAGES,
            br#"{"group_id":1,"message_id":"1","msg_type":"x"}"#,
            "the payload is not what chat.message.new carries: neither a whole number",
        ),
        (NOTIFICATIONS, b"{}", "the payload has no user_id"),
        // The channel of user 7.
        (MESSAGES, br#"{"group_id":"u:7","message_id":"1"}"#, "the payload's group_id is no name that can be one"),
        (MEMBERS_REMOVED, br#"{"group_id":"u:7","user_id":1}"#, "the payload's group_id is no name that can be one"),
        (
            MEMBERS_ADDED,
            br#"{"group_id":"g","user_id":"a\u0000b"}"#,
            "the payload's user_id is no name that can be one",
        ),
        (
            MEMBERS_ADDED,
            br#"{"group_id":{},"user_id":1}"#,
            "the payload is not what chat.group.member.added carries: invalid type: map, expected text or a whole number",
        ),
    ];
    for (stream, payload, expected) in cases {
        let error = read_with(stream, payload, &[]).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

fn owned(fields: &[(&str, &[u8])]) -> Vec<(String, Vec<u8>)> {
    let owned = |(name, value): &(&str, &[u8])| ((*name).to_owned(), value.to_vec());
    fields.iter().map(owned).collect()
}

/// Byte for byte what `redisstream.DefaultMarshallerUnmarshaller` writes for this message.
#[test]
fn golden_entry_with_metadata() {
    let entry = Entry {
        uuid: "3f0c0000-0000-4000-8000-000000000001".into(),
        metadata: [("user_id".to_owned(), "7".to_owned())].into(),
        payload: br#"{"title":"hi"}"#.to_vec(),
    };
    let fields: [(&str, &[u8]); 3] = [
        ("_watermill_message_uuid", b"3f0c0000-0000-4000-8000-000000000001"),
        ("metadata", b"\x81\xa7user_id\xa17"),
        ("payload", br#"{"title":"hi"}"#),
    ];
    let encoded = entry.encode().map(|(name, value)| (name.to_owned(), value));
    assert_eq!(encoded.to_vec(), owned(&fields));
    assert_eq!(Entry::decode(owned(&fields)), Ok(entry));
}

#[test]
fn golden_entry_without_metadata() {
    let entry = Entry { uuid: "u".into(), metadata: BTreeMap::new(), payload: b"{}".to_vec() };
    assert_eq!(entry.encode()[1], ("metadata", Vec::new()));
    for metadata in [&b""[..], b"\x80", b"\xc0"] {
        let fields = [(UUID, &b"u"[..]), (METADATA, metadata), (PAYLOAD, b"{}")];
        assert_eq!(Entry::decode(owned(&fields)), Ok(entry.clone()));
    }
    let fields = [(PAYLOAD, &b"{}"[..]), ("more", b"x"), (UUID, b"u")];
    assert_eq!(Entry::decode(owned(&fields)), Ok(entry));
}

#[test]
fn the_error_says_what_is_wrong_with_an_entry() {
    type Fields = &'static [(&'static str, &'static [u8])];
    let cases: [(Fields, &str); 5] = [
        (&[(PAYLOAD, b"{}")], "the entry has no field _watermill_message_uuid"),
        (&[(UUID, b"u")], "the entry has no field payload"),
        (&[(UUID, b"\xff"), (PAYLOAD, b"{}")], "the entry's field _watermill_message_uuid is not text"),
        (
            &[(UUID, b"u"), (METADATA, b"{}"), (PAYLOAD, b"{}")],
            "the entry's metadata is not a MessagePack map of text to text",
        ),
        (
            &[(UUID, b"u"), (METADATA, b"\x81\xa1a"), (PAYLOAD, b"{}")],
            "the entry's metadata is not a MessagePack map of text to text",
        ),
    ];
    for (fields, expected) in cases {
        let error = Entry::decode(owned(fields)).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}
