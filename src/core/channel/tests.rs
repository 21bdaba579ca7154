#![allow(clippy::unwrap_used, clippy::panic)]

mod bounds;
mod crowds;
mod newness;
mod nodes;

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::{
    core::{
        command::{Reply, Start},
        filter::Filter,
        message::{Message, Payload},
        presence::{PresenceAction, PresenceEvent},
        serial::Epoch,
    },
    ids::{ClientId, SessionId, Timestamp},
};
use bytes::Bytes;

const HUB: HubId = HubId(0);

/// A channel whose log has every entry at once.
struct Shell(ChannelState);

/// What came of a command.
#[derive(Debug)]
enum Outcome {
    Append(Arc<Entry>),
    Effect(Effect),
}

impl std::ops::Deref for Shell {
    type Target = ChannelState;

    fn deref(&self) -> &ChannelState {
        &self.0
    }
}

impl Shell {
    fn new(name: ChannelName, members: Members) -> Self {
        Self(ChannelState::new(name, Mint::new(Epoch::new(1)), members))
    }

    fn append(&mut self, now: Now, draft: Draft) -> (Published, Option<Outcome>) {
        let entry = self.0.stamp(now, draft);
        let published = Published::of(&entry);
        if entry.is_empty() {
            return (published, None);
        }
        self.0.take(now, &entry);
        (published, Some(Outcome::Append(entry)))
    }

    fn carry_out(&mut self, now: Now, effects: impl IntoIterator<Item = Effect>) -> Vec<Outcome> {
        let outcome = |effect| match effect {
            Effect::Append(draft) => self.append(now, draft).1,
            effect => Some(Outcome::Effect(effect)),
        };
        effects.into_iter().filter_map(outcome).collect()
    }

    fn attach(&mut self, command: Attach) -> Vec<Outcome> {
        let effects = self.0.attach(command);
        self.carry_out(at(0), effects)
    }

    fn detach(&mut self, now: Now, command: Detach) -> Vec<Outcome> {
        let effects = self.0.detach(now, command);
        self.carry_out(now, effects)
    }

    fn leave(&mut self, now: Now, command: Leave) -> Vec<Outcome> {
        let effects = self.0.leave(now, command);
        self.carry_out(now, effects)
    }

    fn expire(&mut self, now: Now) -> Vec<Outcome> {
        let effects = self.0.expire(now);
        self.carry_out(now, effects)
    }
}

fn publish_to(channel: &mut Shell, now: Now, command: Publish) -> Vec<Outcome> {
    let Reply { session, hub, .. } = command.reply.unwrap();
    let mut outcomes = Vec::new();
    let reply = command.reply.unwrap();
    let published = channel.0.judge(now, command).map(|judged| match judged {
        Judged::Known(published) => published,
        Judged::New(draft) => {
            let (published, entry) = channel.append(now, draft);
            outcomes.extend(entry);
            published
        }
    });
    let answer = reply.outcome(published);
    outcomes.extend(answer.map(|answer| Outcome::Effect(Effect::Answer { hub, session, answer })));
    outcomes
}

fn channel() -> Shell {
    Shell::new("demo1".into(), Members::new(3, []))
}

fn at(second: u64) -> Now {
    Now { wall: Timestamp::from_millis(1_000 * second), uptime: Duration::from_secs(second) }
}

fn id(number: u8) -> AttachmentId {
    let session = SessionId::from_number(number.into());
    AttachmentId { session, alias: 0 }
}

fn connection(number: u8) -> ConnectionId {
    ConnectionId::from_bytes([number; 9])
}

fn room(cap: usize) -> Option<Arc<Rules>> {
    Some(Arc::new(Rules::letshare_room(cap)))
}

fn attach(number: u8, rules: Option<Arc<Rules>>) -> Attach {
    Attach {
        id: id(number),
        connection: connection(number),
        hub: HubId(u32::from(number % 3)),
        filter: Filter::named(),
        rules,
        start: Start::Head,
        evicts: false,
        context: Bytes::from_static(b"ctx"),
        asked: Duration::ZERO,
    }
}

fn leave(number: u8, hold: u64) -> Leave {
    Leave { id: id(number), connection: connection(number), hold: Duration::from_secs(hold) }
}

fn publish(number: u8, id: EntryId, body: Body) -> Publish {
    let session = self::id(number).session;
    Publish {
        reply: Some(Reply { session, hub: HUB, token: Some(7) }),
        attached: Some(session),
        publisher: Some(connection(number)),
        id,
        body,
        is_ephemeral: false,
        account: None,
        own_only: false,
        refusal: None,
    }
}

fn message() -> Body {
    Body::Messages(vec![Message::default()])
}

fn presence(action: PresenceAction, client: &'static str, id: &'static str) -> Body {
    Body::Presence(vec![PresenceEvent {
        id: Some(id.into()),
        action,
        client_id: ClientId::new(client).unwrap(),
        payload: Payload::default(),
        extras: None,
    }])
}

fn answer(outcomes: &[Outcome]) -> &Answer {
    let mut answers = outcomes.iter().filter_map(|outcome| match outcome {
        Outcome::Effect(Effect::Answer { answer, .. }) => Some(answer),
        _ => None,
    });
    answers.next().unwrap_or_else(|| panic!("no answer: {outcomes:?}"))
}

fn appended(outcomes: &[Outcome]) -> Vec<&Arc<Entry>> {
    let entries = outcomes.iter().filter_map(|outcome| match outcome {
        Outcome::Append(entry) => Some(entry),
        _ => None,
    });
    entries.collect()
}

fn is_attached(outcomes: &[Outcome]) -> bool {
    outcomes.iter().any(|outcome| matches!(outcome, Outcome::Effect(Effect::Attached { .. })))
}

#[test]
fn the_cap_refuses_newcomers_but_not_members() {
    let mut channel = channel();
    let rules = room(2);
    assert!(is_attached(&channel.attach(attach(1, rules.clone()))));
    assert!(is_attached(&channel.attach(attach(2, rules.clone()))));
    let refused = channel.attach(attach(3, rules.clone()));
    assert!(matches!(answer(&refused), Answer::AttachRefused { fault: Fault::ChannelFull { cap: 2 }, .. }));
    assert!(is_attached(&channel.attach(attach(1, rules.clone()))), "members may subscribe again");
    channel.leave(at(1), leave(2, 0));
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
fn who_must_be_attached_to_publish_is_told_so() {
    let mut channel = channel();
    let refused = publish_to(&mut channel, at(5), publish(1, EntryId::Serial, message()));
    assert!(matches!(answer(&refused), Answer::PublishRefused { token: Some(7), fault: Fault::NotAttached }));
    channel.attach(attach(1, None));
    let effects = publish_to(&mut channel, at(5), publish(1, EntryId::Serial, message()));
    let entry = appended(&effects)[0];
    assert_eq!(entry.timestamp, at(5).wall);
    assert_eq!(entry.publisher, Some(connection(1)));
    assert!(matches!(answer(&effects), Answer::Published { token: 7, published } if published.serial == entry.serial));
}

#[test]
fn the_context_comes_back_and_detaching_is_always_confirmed() {
    let mut channel = channel();
    let bye = Bytes::from_static(b"bye");
    let detach = Detach { id: id(9), connection: connection(9), hub: HUB, context: bye.clone() };
    let effects = channel.detach(at(1), detach);
    assert!(matches!(answer(&effects), Answer::Detached { context, .. } if *context == bye));
}

/// docs/protocols/ably.md §4.5, T40.
#[test]
fn what_comes_again_is_answered_again_and_published_once() {
    let mut channel = channel();
    channel.attach(attach(1, None));
    let id = EntryId::Frame { connection: connection(1), msg_serial: 3 };
    let first = publish_to(&mut channel, at(1), publish(1, id.clone(), message()));
    let again = publish_to(&mut channel, at(100), publish(1, id.clone(), message()));
    assert_eq!((appended(&first).len(), appended(&again).len()), (1, 0));
    let serial = |outcomes: &[Outcome]| match answer(outcomes) {
        Answer::Published { published, .. } => published.serial,
        other => panic!("{other:?}"),
    };
    assert_eq!(serial(&first), serial(&again));
    let late = publish_to(&mut channel, at(300), publish(1, id, message()));
    assert_eq!(appended(&late).len(), 1, "the window is over");
}

/// docs/protocols/ably.md §7.6.
#[test]
fn members_leave_at_once_or_when_their_time_to_come_back_is_over() {
    let mut channel = channel();
    for number in [1, 2] {
        channel.attach(attach(number, None));
        let body = presence(PresenceAction::Enter, "a", "x:0:0");
        let effects = publish_to(&mut channel, at(1), publish(number, EntryId::Serial, body));
        assert_eq!(appended(&effects).len(), 1);
    }
    assert_eq!(channel.members().len(), 2);

    let effects = channel.leave(at(2), leave(1, 0));
    let left = appended(&effects)[0];
    assert_eq!(left.publisher, Some(connection(1)));
    assert!(!left.item_id(0).to_string().starts_with(&connection(1).to_string()), "T44");
    assert!(appended(&channel.leave(at(2), leave(2, 15))).is_empty());
    assert!(channel.expire(at(16)).is_empty());
    assert_eq!(channel.members().next_due(), Some(at(17).uptime));

    let mut back = attach(3, None);
    back.connection = connection(2);
    channel.attach(back);
    assert!(channel.expire(at(100)).is_empty(), "it came back in time");
    let mut gone = leave(3, 15);
    gone.connection = connection(2);
    channel.leave(at(100), gone);
    assert_eq!(appended(&channel.expire(at(115))).len(), 1);
    assert!(channel.is_idle());
}

#[test]
fn presence_events_that_change_nothing_are_not_told() {
    let mut channel = channel();
    channel.attach(attach(1, None));
    let mut told = |action, client, id| {
        let body = presence(action, client, id);
        let effects = publish_to(&mut channel, at(1), publish(1, EntryId::Serial, body));
        assert!(effects.iter().any(|outcome| matches!(outcome, Outcome::Effect(Effect::Answer { .. }))));
        let told = appended(&effects).first().copied().cloned();
        told.map(|entry| entry.presence()[0].action)
    };
    assert_eq!(told(PresenceAction::Leave, "a", "c:1:0"), None);
    let enter = Some(PresenceAction::Enter);
    assert_eq!(told(PresenceAction::Update, "a", "c:2:0"), enter);
    assert_eq!(told(PresenceAction::Enter, "a", "c:2:0"), None, "T48");
    assert_eq!(told(PresenceAction::Enter, "a", "c:3:0"), enter);
    for client in ["b", "c"] {
        assert_eq!(told(PresenceAction::Enter, client, "c:4:0"), enter);
    }
    let body = presence(PresenceAction::Enter, "d", "c:5:0");
    let refused = publish_to(&mut channel, at(1), publish(1, EntryId::Serial, body));
    let full = Fault::TooManyMembers { limit: 3 };
    assert!(matches!(answer(&refused), Answer::PublishRefused { fault, .. } if *fault == full));
}

/// The successor of a channel that died knows who was in it and where each hub stood.
#[test]
fn a_hub_that_subscribes_anew_gets_what_it_has_missed() {
    let mut channel = channel();
    let subscription = |number| Subscription {
        id: id(number),
        connection: connection(number),
        filter: Filter::named(),
        counted: true,
        since: Serial::at(Epoch::new(1), (0, 0)),
    };
    let delivered = Mint::new(Epoch::new(1)).mint(Timestamp::from_millis(1));
    let effect = channel.0.resubscribe(Resubscribe {
        hub: HUB,
        subscriptions: vec![subscription(1), subscription(2)],
        delivered,
    });
    assert!(matches!(effect, Effect::Replay { hub: HUB, after } if after == delivered));
    assert_eq!((channel.subscriptions.len(), channel.subscriptions.counted()), (2, 2));
    assert!(!is_attached(&channel.attach(attach(3, room(2)))), "both places are taken");
    channel.0.resubscribe(Resubscribe { hub: HUB, subscriptions: vec![subscription(1)], delivered });
    assert_eq!(channel.subscriptions.len(), 2, "who is known already is not counted twice");
}

proptest! {
    /// Members = enters - leaves, as anybody counts who only sees the entries.
    #[test]
    fn who_follows_the_entries_knows_the_members(
        steps in prop::collection::vec((0u8..6, 0u8..4, 0usize..3), 0..120),
    ) {
        let clients = ["a", "b", "c"];
        let mut channel = channel();
        let (mut model, mut second) = (BTreeSet::new(), 0);
        for (step, number, client) in steps {
            second += 4;
            let now = at(second);
            let act = |action| publish(number, EntryId::Serial, presence(action, clients[client], "i"));
            let effects = match step {
                0 => channel.attach(attach(number, None)),
                1 => publish_to(&mut channel, now, act(PresenceAction::Enter)),
                2 => publish_to(&mut channel, now, act(PresenceAction::Update)),
                3 => publish_to(&mut channel, now, act(PresenceAction::Leave)),
                4 => channel.leave(now, leave(number, 15)),
                _ => channel.expire(now),
            };
            for entry in appended(&effects) {
                for event in entry.presence() {
                    let key = (event.client_id.clone(), entry.publisher.unwrap());
                    if event.action == PresenceAction::Leave {
                        prop_assert!(model.remove(&key), "only members leave");
                    } else {
                        model.insert(key);
                    }
                }
            }
            let members = channel.members().all();
            let members = members.iter().map(|member| (member.client_id.clone(), member.connection));
            prop_assert_eq!(members.collect::<BTreeSet<_>>(), model.clone());
            prop_assert!(model.len() <= 3);
        }
    }

    /// The events of one frame see each other: what is published fits together, and the limit holds.
    #[test]
    fn frames_of_several_events_are_told_as_they_change_the_members(
        frames in prop::collection::vec(prop::collection::vec((0u8..3, 0usize..5), 1..6), 1..30),
    ) {
        let clients = ["a", "b", "c", "d", "e"];
        let mut channel = channel();
        channel.attach(attach(1, None));
        let mut model = BTreeSet::new();
        for frame in frames {
            let mut events = Vec::new();
            for (action, client) in &frame {
                let action = match action {
                    0 => PresenceAction::Enter,
                    1 => PresenceAction::Update,
                    _ => PresenceAction::Leave,
                };
                let id = ["c:0", "c:1", "c:2", "c:3", "c:4"][events.len()];
                if let Body::Presence(event) = presence(action, clients[*client], id) {
                    events.extend(event);
                }
            }
            let command = publish(1, EntryId::Serial, Body::Presence(events));
            let effects = publish_to(&mut channel, at(1), command);
            for entry in appended(&effects) {
                for event in entry.presence() {
                    let client = event.client_id.clone();
                    match event.action {
                        PresenceAction::Leave => prop_assert!(model.remove(&client)),
                        PresenceAction::Update => prop_assert!(model.contains(&client)),
                        PresenceAction::Enter => {
                            model.insert(client);
                        }
                    }
                }
                prop_assert!(model.len() <= 3);
            }
            let members = channel.members().all();
            let members = members.iter().map(|member| member.client_id.clone());
            prop_assert_eq!(members.collect::<BTreeSet<_>>(), model.clone());
        }
    }

    /// Members = attached - detached; the cap is never exceeded; a hub is listed exactly while it
    /// has attachments.
    #[test]
    fn the_counts_are_those_of_who_is_attached(steps in prop::collection::vec((0u8..3, 0u8..12), 0..200)) {
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
                    channel.leave(at(1), leave(connection, 0));
                    members.remove(&connection);
                }
            }
            prop_assert_eq!(channel.subscriptions.len(), members.len());
            prop_assert_eq!(channel.subscriptions.counted(), members.len());
            let hubs: BTreeSet<HubId> = channel.hubs().collect();
            let expected: BTreeSet<HubId> =
                members.iter().map(|c| HubId(u32::from(c % 3))).collect();
            prop_assert_eq!(hubs, expected);
        }
    }
}
