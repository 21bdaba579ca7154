#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{
    core::{
        filter::Filter,
        message::{Body, EntryId, Message, Payload},
        modes::Modes,
        presence::{PresenceAction, PresenceEvent},
        serial::{Epoch, Mint},
    },
    ids::{ClientId, ConnectionId, SessionId, Timestamp},
};

fn id(number: u8) -> AttachmentId {
    let session = SessionId::from_number(number.into());
    AttachmentId { session, alias: 0 }
}

fn subscription(number: u8, name: &str) -> Subscription {
    let mut filter = Filter::named();
    filter.add(name.into());
    Subscription {
        id: id(number),
        connection: ConnectionId::from_bytes([number; 9]),
        filter,
        counted: false,
        since: Mint::new(Epoch::new(1)).position(),
    }
}

#[test]
fn nothing_is_delivered_twice() {
    let mut subscribers = Subscribers::new(Mint::new(Epoch::new(1)).position());
    subscribers.subscribe(subscription(1, "n"), 1);
    let entry = entry(2, "n");
    assert_eq!(receivers(&mut subscribers, &entry), [1]);
    assert!(receivers(&mut subscribers, &entry).is_empty());
}

/// The handles of those who receive it.
fn receivers(subscribers: &mut Subscribers<u32>, entry: &Entry) -> Vec<u32> {
    let mut handles = Vec::new();
    subscribers.deliver(entry, |receiver| handles.push(receiver.handle));
    handles.sort_unstable();
    handles
}

/// The places of those who are looked at for it.
fn looked_at<T>(subscribers: &Subscribers<T>, entry: &Entry) -> Vec<usize> {
    let len = subscribers.list.len();
    match subscribers.interests.in_entry(entry, len) {
        Interested::Some(places) => places.collect(),
        Interested::All | Interested::Unknown => (0..len).collect(),
    }
}

fn entry(publisher: u8, name: &str) -> Entry {
    let now = Timestamp::from_millis(1);
    let serial = Mint::new(Epoch::new(1)).mint(now);
    let message = Message { name: name.into(), ..Message::default() };
    let publisher = Some(ConnectionId::from_bytes([publisher; 9]));
    let body = Body::Messages(vec![message]);
    Entry::new("c".into(), serial, now, publisher, EntryId::Serial, body)
}

proptest! {
    #[test]
    fn exactly_those_with_a_matching_filter_receive(
        steps in prop::collection::vec((any::<bool>(), 0u8..20, 0u8..3), 0..150),
    ) {
        let names = ["a", "b", "c"];
        let (mut subscribers, mut model) = (Subscribers::new(Mint::new(Epoch::new(1)).position()), BTreeMap::new());
        for (attaches, number, name) in steps {
            if attaches {
                subscribers.subscribe(subscription(number, names[name as usize]), number.into());
                model.insert(number, name);
            } else {
                subscribers.unsubscribe(id(number));
                model.remove(&number);
            }
        }
        let entry = entry(3, "b");
        let got = receivers(&mut subscribers, &entry);
        let expected: Vec<u32> =
            model.iter().filter(|(n, f)| **f == 1 && **n != 3).map(|(n, _)| u32::from(*n)).collect();
        prop_assert_eq!(got, expected);
    }
}

const SUBSCRIBERS: [u32; 2] = [100, 10_000];

fn numbered(number: u32, filter: Filter) -> Subscription {
    let [a, b, c, d] = number.to_be_bytes();
    let id = AttachmentId { session: SessionId::from_number(number.into()), alias: 0 };
    Subscription {
        id,
        connection: ConnectionId::from_bytes([0, 0, 0, 0, 0, a, b, c, d]),
        filter,
        counted: false,
        since: Mint::new(Epoch::new(1)).position(),
    }
}

/// As many as `count`, with what each wants.
fn crowd(count: u32, filter: impl Fn(u32) -> Filter) -> Subscribers<u32> {
    let mut subscribers = Subscribers::new(Mint::new(Epoch::new(1)).position());
    for number in 0..count {
        subscribers.subscribe(numbered(number, filter(number)), number);
    }
    subscribers
}

fn of_connection(number: u32, body: Body) -> Entry {
    let now = Timestamp::from_millis(1);
    let publisher = Some(numbered(number, Filter::default()).connection);
    Entry::new("c".into(), Mint::new(Epoch::new(1)).mint(now), now, publisher, EntryId::Serial, body)
}

fn presence(action: PresenceAction) -> Body {
    let client_id = ClientId::new("a").unwrap();
    Body::Presence(vec![PresenceEvent { id: None, action, client_id, payload: Payload::default(), extras: None }])
}

fn messages(names: &[&'static str]) -> Body {
    let message = |name: &&'static str| Message { name: (*name).into(), ..Message::default() };
    Body::Messages(names.iter().map(message).collect())
}

/// findings G9: what nobody or one among many wants costs a look at nobody or at one.
#[test]
fn only_those_who_may_want_an_entry_are_looked_at() {
    for count in SUBSCRIBERS {
        let publishers = crowd(count, |_| Filter::new(Modes::PUBLISH | Modes::PRESENCE, true));
        assert_eq!(looked_at(&publishers, &of_connection(1, messages(&["x"]))).len(), 0);

        let room = crowd(count, |number| {
            let mut filter = Filter::named();
            filter.add("signal:all".into());
            filter.add(format!("signal:{number}").into());
            filter
        });
        assert_eq!(looked_at(&room, &of_connection(1, messages(&["signal:7"]))).len(), 1);
        assert_eq!(looked_at(&room, &of_connection(1, messages(&["nobody's"]))).len(), 0);
        assert_eq!(looked_at(&room, &of_connection(1, messages(&["signal:all"]))).len(), count as usize);
    }
}

/// findings G12: one observer among many is found without a look at the others.
#[test]
fn the_occupancy_looks_at_its_observers_only() {
    for count in SUBSCRIBERS {
        let all = crowd(count, |number| {
            let mut filter = Filter::new(Modes::SUBSCRIBE, true);
            filter.occupancy = number == 50;
            filter
        });
        assert_eq!(looked_at(&all, &of_connection(1, Body::Occupancy(Box::default()))), [50]);
    }
}

/// findings G8: of a crowd that leaves at once, each leave is looked at by its own connection, as long as nobody asks for
/// the presence of others.
#[test]
fn a_crowd_that_leaves_is_looked_at_once_each() {
    for count in SUBSCRIBERS {
        let mut all = crowd(count, |_| Filter::new(Modes::SUBSCRIBE | Modes::PRESENCE, true));
        let mut looks = 0;
        for number in 0..count {
            looks += looked_at(&all, &of_connection(number, presence(PresenceAction::Leave))).len();
            all.unsubscribe(numbered(number, Filter::default()).id);
        }
        assert_eq!(looks, count as usize);
        assert!(all.is_empty());
    }
}

proptest! {
    /// Whoever comes, changes or goes: exactly those receive an entry whose filter accepts it, each once.
    #[test]
    fn nobody_who_wants_an_entry_is_overlooked(
        steps in prop::collection::vec((0u32..12, prop::option::weighted(0.7, any::<[bool; 8]>())), 0..120),
        sender in 0u32..12,
    ) {
        let mut subscribers = Subscribers::new(Mint::new(Epoch::new(1)).position());
        for (number, filter) in steps {
            let Some([echo, occupancy, subscribes, sees_members, every, a, b, c]) = filter else {
                subscribers.unsubscribe(numbered(number, Filter::default()).id);
                continue;
            };
            let mode = |is_set, mode| if is_set { mode } else { Modes::NONE };
            let modes = mode(subscribes, Modes::SUBSCRIBE) | mode(sees_members, Modes::PRESENCE_SUBSCRIBE);
            let modes = modes | mode(subscribes, Modes::OBJECT_SUBSCRIBE) | mode(a, Modes::ANNOTATION_SUBSCRIBE);
            let mut filter = Filter::named();
            (filter.modes, filter.echo, filter.occupancy) = (modes, echo, occupancy);
            for (is_listed, name) in [(a, "a"), (b, "b"), (c, "c")] {
                if is_listed {
                    filter.add(name.into());
                }
            }
            if every {
                filter.add_every_name();
            }
            subscribers.subscribe(numbered(number, filter), number);
        }
        let bodies = [
            messages(&["a"]), messages(&["x"]), messages(&["a", "b", "a"]), presence(PresenceAction::Enter),
            Body::Occupancy(Box::default()), Body::Objects(Vec::new()), Body::Annotations(Vec::new()),
        ];
        for body in bodies {
            let entry = of_connection(sender, body);
            let accepts = |Subscription { filter, connection, .. }: &Subscription| {
                filter.accepts(&entry, entry.publisher == Some(*connection))
            };
            let wanted = subscribers.list.iter().filter(|found| accepts(&found.subscription));
            let mut wanted: Vec<u32> = wanted.map(|found| found.handle).collect();
            let found = receivers(&mut subscribers, &entry);
            subscribers.delivered = Mint::new(Epoch::new(1)).position();
            wanted.sort_unstable();
            prop_assert_eq!(found, wanted);
        }
    }
}
