//! What was encoded reads back; anything else is refused.

use proptest::prelude::*;

use super::*;
use crate::core::{
    objects::{Action, Head, MapEntry, ObjectId, ObjectOperation, Shape, Type, Value},
    serial::{Epoch, Mint},
};

fn text() -> impl Strategy<Value = ByteString> {
    "\\PC{0,20}".prop_map(ByteString::from)
}

fn extras() -> impl Strategy<Value = Option<Box<Extras>>> {
    let object = prop::collection::btree_map("\\PC{0,5}", any::<i64>(), 0..4);
    let object = object.prop_map(|object| {
        let members = object.into_iter().map(|(key, value)| (key, value.into()));
        Box::new(members.collect())
    });
    prop::option::of(object)
}

fn payload() -> impl Strategy<Value = Payload> {
    let data = prop_oneof![
        Just(Data::None),
        text().prop_map(Data::Text),
        prop::collection::vec(any::<u8>(), 0..300).prop_map(|bytes| Data::Binary(bytes.into())),
    ];
    (data, text()).prop_map(|(data, encoding)| Payload { data, encoding, ..Payload::default() })
}

fn client() -> impl Strategy<Value = ClientId> {
    "[a-z]{1,9}".prop_map(|text| ClientId::new(text).unwrap())
}

fn connection() -> impl Strategy<Value = ConnectionId> {
    any::<[u8; 9]>().prop_map(ConnectionId::from_bytes)
}

fn id() -> impl Strategy<Value = EntryId> {
    prop_oneof![
        Just(EntryId::Serial),
        text().prop_map(EntryId::Base),
        text().prop_map(EntryId::Item),
        (connection(), any::<u64>()).prop_map(|(connection, msg_serial)| EntryId::Frame { connection, msg_serial }),
    ]
}

fn message() -> impl Strategy<Value = Message> {
    let parts = (text(), payload(), prop::option::of(client()), extras());
    parts.prop_map(|(name, payload, client_id, extras)| Message { name, payload, client_id, extras })
}

fn object_id() -> impl Strategy<Value = ObjectId> {
    let kind = prop::sample::select(&[Type::Map, Type::Counter][..]);
    let made = (kind, text(), 0..1u64 << 48)
        .prop_map(|(kind, value, millis)| ObjectId::of(kind, &value, "n", Timestamp::from_millis(millis)));
    prop_oneof![Just(ObjectId::root()), made]
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        object_id().prop_map(Value::Object),
        any::<bool>().prop_map(Value::Boolean),
        any::<i32>().prop_map(|number| Value::Number(f64::from(number) / 8.0)),
        text().prop_map(Value::Text),
        prop::collection::vec(any::<u8>(), 0..50).prop_map(|bytes| Value::Binary(bytes.into())),
        text().prop_map(Value::Json),
    ]
}

fn object_action() -> impl Strategy<Value = Action> {
    let number = || any::<i32>().prop_map(f64::from);
    prop_oneof![
        prop::collection::vec((text(), value()), 0..3).prop_map(Action::CreateMap),
        (text(), value()).prop_map(|(key, value)| Action::Set(key, value)),
        text().prop_map(Action::Remove),
        Just(Action::Clear),
        prop::option::of(number()).prop_map(Action::CreateCounter),
        number().prop_map(Action::Increment),
        Just(Action::Delete),
    ]
}

fn body() -> impl Strategy<Value = Body> {
    let action = prop_oneof![Just(PresenceAction::Enter), Just(PresenceAction::Leave), Just(PresenceAction::Update)];
    let event = (action, prop::option::of(text()), client(), payload(), extras());
    let event = event.prop_map(|(action, id, client_id, payload, extras)| PresenceEvent {
        id,
        action,
        client_id,
        payload,
        extras,
    });
    let target = (any::<u64>(), any::<u16>(), any::<u16>()).prop_map(|(millis, counter, index)| MessageRef {
        serial: Serial::at(Epoch::new(3), (millis, counter)),
        index,
    });
    let origin = (text(), any::<u64>(), prop::option::of(connection())).prop_map(|(id, millis, publisher)| Origin {
        id,
        timestamp: Timestamp::from_millis(millis),
        publisher,
    });
    let version = (prop::option::of(client()), prop::option::of(text()), extras());
    let version = version.prop_map(|(client_id, description, metadata)| Version { client_id, description, metadata });
    let change = prop::sample::select(&CHANGES[..]);
    let operation = (target.clone(), change, message(), origin, version, any::<u64>());
    let operation = operation.prop_map(|(target, change, message, origin, version, digest)| {
        Body::Operation(Box::new(Operation::stored(target, change, message, origin, version, digest)))
    });
    let whose = (target, any::<bool>(), text(), text());
    let annotation = (whose, prop::option::of(any::<u64>()), prop::option::of(client()), payload(), extras());
    let annotation = annotation.prop_map(|((target, is_delete, kind, name), count, client_id, payload, extras)| {
        Annotation { target, is_delete, kind, name, count, client_id, payload, extras }
    });
    let operated = (object_id(), object_action(), prop::option::of(client()), extras());
    let operated =
        operated.prop_map(|(object, action, client_id, extras)| ObjectOperation { object, action, client_id, extras });
    prop_oneof![
        prop::collection::vec(operated, 0..4).prop_map(Body::Objects),
        prop::collection::vec(message(), 0..4).prop_map(Body::Messages),
        prop::collection::vec(event, 0..4).prop_map(Body::Presence),
        operation,
        prop::collection::vec(annotation, 0..4).prop_map(Body::Annotations),
    ]
}

proptest! {
    #[test]
    fn entries_read_back(
        millis in any::<u64>(),
        publisher in prop::option::of(connection()),
        id in id(),
        body in body(),
    ) {
        let serial = Mint::new(Epoch::new(3)).position();
        let timestamp = Timestamp::from_millis(millis);
        let entry = Entry::new("c".into(), serial, timestamp, publisher, id, body);
        let bytes = Bytes::from(encode(&entry));
        let again = decode(&"c".into(), serial, bytes.clone()).unwrap();
        prop_assert_eq!(again.timestamp, entry.timestamp);
        prop_assert_eq!(again.publisher, entry.publisher);
        prop_assert_eq!(&again.id, &entry.id);
        prop_assert_eq!(&again.body, &entry.body);
        prop_assert_eq!(encode(&again), &bytes[..]);
        for end in 0..bytes.len() {
            prop_assert!(decode(&"c".into(), serial, bytes.slice(..end)).is_none());
        }
    }

    #[test]
    fn what_is_kept_of_objects_reads_back(
        value in prop::option::of(value()),
        (millis, counter, index) in any::<(u64, u16, u16)>(),
        epoch in any::<u64>(),
        deleted in prop::option::of(any::<u64>()),
        numbers in any::<(i32, bool)>(),
    ) {
        let serial = MessageRef { serial: Serial::at(Epoch::new(epoch), (millis, counter)), index };
        let entry = MapEntry { serial, value, at: Timestamp::from_millis(millis) };
        let bytes = Bytes::from(objects::encode_map_entry(&entry));
        prop_assert_eq!(objects::decode_map_entry(bytes), Some(entry));
        let (sum, is_created) = (f64::from(numbers.0), numbers.1);
        let head = Head {
            serial: Some(serial),
            is_created,
            deleted: deleted.map(Timestamp::from_millis),
            shape: Shape::Counter { created: is_created.then_some(sum), sum },
        };
        let map = Head { serial: None, shape: Shape::Map { cleared: Some(serial) }, ..head };
        for head in [head, map] {
            prop_assert_eq!(objects::decode_head(objects::encode_head(&head).into()), Some(head));
        }
        prop_assert_eq!(objects::decode_upto(objects::encode_upto(serial.serial).into()), Some(serial.serial));
    }

    #[test]
    fn any_bytes_are_an_entry_or_none(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let serial = Mint::new(Epoch::new(3)).position();
        let _ = (objects::decode_head(bytes.clone().into()), objects::decode_map_entry(bytes.clone().into()));
        let _ = decode(&"c".into(), serial, bytes.into());
    }
}
