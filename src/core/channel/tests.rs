#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::core::serial::Epoch;

const HUB: HubId = HubId(0);

fn channel() -> ChannelState {
    ChannelState::new("demo1".into(), Mint::new(Epoch::new(1)))
}

fn id(number: u8) -> ConnectionId {
    ConnectionId::from_bytes([number; 9])
}

fn room(cap: usize) -> Option<Arc<Rules>> {
    Some(Arc::new(Rules::letshare_room(cap)))
}

fn attach(connection: u8, rules: Option<Arc<Rules>>) -> Attach {
    Attach {
        connection: id(connection),
        hub: HubId(u32::from(connection % 3)),
        filter: Filter::everything(),
        rules,
        context: Bytes::from_static(b"ctx"),
    }
}

fn message() -> Message {
    Message {
        name: "n".into(),
        data: Bytes::from_static(b"{}"),
    }
}

fn answer(effect: &Effect) -> &Answer {
    match effect {
        Effect::Answer { answer, .. } => answer,
        other => panic!("no answer: {other:?}"),
    }
}

fn is_attached(effect: &Effect) -> bool {
    matches!(answer(effect), Answer::Attached { .. })
}

#[test]
fn the_cap_refuses_newcomers_but_not_members() {
    let mut channel = channel();
    let rules = room(2);
    assert!(is_attached(&channel.attach(attach(1, rules.clone()))));
    assert!(is_attached(&channel.attach(attach(2, rules.clone()))));
    let refused = channel.attach(attach(3, rules.clone()));
    assert_eq!(
        answer(&refused),
        &Answer::AttachRefused {
            fault: Fault::ChannelFull { cap: 2 }
        }
    );
    assert!(
        is_attached(&channel.attach(attach(1, rules.clone()))),
        "members may subscribe again"
    );
    channel.forget(id(2));
    assert!(is_attached(&channel.attach(attach(3, rules))));
}

#[test]
fn attachments_without_rules_take_no_place() {
    let mut channel = channel();
    for number in 10..20 {
        assert!(is_attached(&channel.attach(attach(number, None))));
    }
    assert!(is_attached(&channel.attach(attach(1, room(1)))));
    assert!(!is_attached(&channel.attach(attach(2, room(1)))));
}

#[test]
fn only_members_publish_and_the_answer_says_why() {
    let mut channel = channel();
    let now = Timestamp::from_millis(5);
    let refused = channel.publish(now, id(1), HUB, message());
    assert_eq!(
        answer(&refused),
        &Answer::PublishRefused {
            fault: Fault::NotAttached
        }
    );
    channel.attach(attach(1, None));
    let Effect::Append(entry) = channel.publish(now, id(1), HUB, message()) else {
        panic!("refused");
    };
    assert_eq!((entry.timestamp, entry.publisher), (now, id(1)));
}

#[test]
fn the_context_comes_back_and_detaching_is_always_confirmed() {
    let mut channel = channel();
    let context = Bytes::from_static(b"bye");
    let detach = Detach {
        connection: id(9),
        hub: HUB,
        context: context.clone(),
    };
    assert_eq!(
        answer(&channel.detach(detach)),
        &Answer::Detached { context }
    );
}

/// The successor of a channel that died knows who was in it and where each hub stood.
#[test]
fn reseating_takes_members_over_and_replays_what_the_hub_missed() {
    let mut channel = channel();
    let seat = |number| Seat {
        connection: id(number),
        counted: true,
    };
    let delivered = Mint::new(Epoch::new(1)).mint(Timestamp::from_millis(1));
    let members = vec![seat(1), seat(2)];
    let effect = channel.reseat(Reseat {
        hub: HUB,
        members,
        delivered,
    });
    assert!(matches!(effect, Effect::Replay { hub: HUB, after } if after == delivered));
    assert_eq!((channel.members(), channel.counted), (2, 2));
    assert!(
        !is_attached(&channel.attach(attach(3, room(2)))),
        "both places are taken"
    );
    channel.reseat(Reseat {
        hub: HUB,
        members: vec![seat(1)],
        delivered,
    });
    assert_eq!(
        channel.members(),
        2,
        "who is known already is not counted twice"
    );
}

proptest! {
    /// Members = attached - detached; the cap is never exceeded; a hub is listed exactly while it
    /// has attachments.
    #[test]
    fn the_books_balance(steps in prop::collection::vec((0u8..3, 0u8..12), 0..200)) {
        let mut channel = channel();
        let mut members = BTreeSet::new();
        let rules = room(5);
        for (step, connection) in steps {
            match step {
                0 | 1 => {
                    let effects = channel.attach(attach(connection, rules.clone()));
                    let expected = members.contains(&connection) || members.len() < 5;
                    prop_assert_eq!(is_attached(&effects), expected);
                    if expected {
                        members.insert(connection);
                    }
                }
                _ => {
                    channel.forget(id(connection));
                    members.remove(&connection);
                }
            }
            prop_assert_eq!(channel.members(), members.len());
            prop_assert_eq!(channel.counted, members.len());
            let hubs: BTreeSet<HubId> = channel.hubs().collect();
            let expected: BTreeSet<HubId> =
                members.iter().map(|c| HubId(u32::from(c % 3))).collect();
            prop_assert_eq!(hubs, expected);
        }
    }
}
