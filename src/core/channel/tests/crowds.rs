//! What thousands do at once costs no more than what each of them does by itself. Whatever grew with the square would take
//! minutes here and be ended as a test that hangs.

use super::*;

const CROWD: u32 = 40_000;

fn connection(number: u32) -> ConnectionId {
    let [a, b, c, d] = number.to_be_bytes();
    ConnectionId::from_bytes([0, 0, 0, 0, 0, a, b, c, d])
}

fn id(number: u32) -> AttachmentId {
    AttachmentId { session: SessionId::from_number(number.into()), alias: 0 }
}

/// Everybody attached and present, by a connection of his own.
fn crowd(filter: &Filter) -> Shell {
    let members = Members::new(CROWD as usize, []);
    let mut channel = Shell::new("demo1".into(), members);
    for number in 0..CROWD {
        let effects = channel.attach(Attach {
            id: id(number),
            connection: connection(number),
            hub: HUB,
            filter: filter.clone(),
            rules: None,
            start: Start::Head,
            evicts: false,
            context: Bytes::new(),
            asked: Duration::ZERO,
        });
        let Some(Outcome::Effect(Effect::Attached { attached, .. })) = effects.first() else {
            panic!("{effects:?}");
        };
        assert!(attached.members.is_empty(), "nobody has asked who is present");
        let mut enter = publish(0, EntryId::Serial, presence(PresenceAction::Enter, "a", "x"));
        (enter.publisher, enter.attached) = (Some(connection(number)), Some(id(number).session));
        assert_eq!(appended(&publish_to(&mut channel, at(1), enter)).len(), 1);
    }
    channel
}

/// findings C13: whether they are lost, and leave when their time is over, or detach.
#[test]
fn a_crowd_that_leaves_at_once_costs_what_each_of_it_costs() {
    let mut observed = Filter::named();
    observed.occupancy = true;
    for (filter, is_lost) in [(Filter::named(), true), (observed, false)] {
        let mut channel = crowd(&filter);
        let mut left = 0;
        for number in 0..CROWD {
            let (id, connection) = (id(number), connection(number));
            let effects = if is_lost {
                let leave = Leave { id, connection, hold: Duration::from_secs(15) };
                let effects = channel.leave(at(2), leave);
                assert_eq!(channel.members().next_due(), Some(at(17).uptime));
                effects
            } else {
                channel.detach(at(2), Detach { id, connection, hub: HUB, context: Bytes::new() })
            };
            left += appended(&effects).len();
        }
        left += appended(&channel.expire(at(17))).len();
        assert_eq!(left, CROWD as usize);
        assert!(channel.is_idle());
        assert_eq!(channel.occupancy(), Occupancy::default());
    }
}

/// findings C13: who is attached by no plain name is found without a look at everybody.
#[test]
fn frames_of_who_is_not_attached_cost_nothing_in_a_crowd() {
    let mut channel = crowd(&Filter::named());
    let mut refused = publish(0, EntryId::Serial, presence(PresenceAction::Enter, "a", "x"));
    refused.attached = Some(SessionId::from_number(u64::from(CROWD)));
    for _ in 0..CROWD {
        assert!(matches!(channel.0.judge(at(1), refused.clone()), Err(Fault::NotAttached)));
    }
}

/// findings C13: the members are collected for those who get a sync, and the own ones for who reads the past.
#[test]
fn members_are_collected_for_those_who_asked() {
    let mut channel = channel();
    for number in [1, 2] {
        channel.attach(attach(number, None));
        publish_to(&mut channel, at(1), publish(number, EntryId::Serial, presence(PresenceAction::Enter, "a", "x")));
    }
    let mut members = |modes, start| {
        let mut attach = attach(1, None);
        (attach.filter, attach.start) = (Filter::new(modes, true), start);
        match channel.attach(attach).remove(0) {
            Outcome::Effect(Effect::Attached { attached, .. }) => attached.members.len(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(members(Modes::PRESENCE_SUBSCRIBE | Modes::SUBSCRIBE, Start::Head), 2);
    assert_eq!(members(Modes::SUBSCRIBE | Modes::PRESENCE, Start::Head), 0);
    assert_eq!(members(Modes::SUBSCRIBE | Modes::PRESENCE, Start::After(None)), 1);
}

/// findings G3: who comes in between two changes of the members gets the same list of them, not a copy of his own.
#[test]
fn a_crowd_that_comes_back_shares_one_list_of_members() {
    let mut channel = crowd(&Filter::named());
    let list = |channel: &mut Shell, number| {
        let (id, connection, filter) = (id(number), connection(number), Filter::new(Modes::PRESENCE_SUBSCRIBE, true));
        let (start, context) = (Start::After(None), Bytes::new());
        let attach = Attach {
            id,
            connection,
            hub: HUB,
            filter,
            rules: None,
            start,
            evicts: false,
            context,
            asked: Duration::ZERO,
        };
        match channel.attach(attach).remove(0) {
            Outcome::Effect(Effect::Attached { attached, .. }) => attached.members,
            other => panic!("{other:?}"),
        }
    };
    let first = list(&mut channel, 0);
    assert_eq!(first.len(), CROWD as usize);
    assert!((1..CROWD).all(|number| Arc::ptr_eq(&first, &list(&mut channel, number))));
    channel.detach(at(2), Detach { id: id(0), connection: connection(0), hub: HUB, context: Bytes::new() });
    assert_eq!(list(&mut channel, 0).len(), CROWD as usize - 1);
}

/// findings G3: up to a leave that the log has refused, enters of members that are gone are looked for.
#[test]
fn a_refused_leave_is_not_counted_on() {
    let mut channel = channel();
    let before = channel.0.unsettled();
    let mut entry = |action, id| {
        let publish = publish(1, EntryId::Serial, presence(action, "a", id));
        match channel.0.judge(at(1), Publish { attached: None, ..publish }) {
            Ok(Judged::New(draft)) => channel.0.stamp(at(1), draft),
            other => panic!("{other:?}"),
        }
    };
    let (enter, leave) = (entry(PresenceAction::Enter, "x"), entry(PresenceAction::Leave, "y"));
    channel.0.withdraw(&enter);
    assert_eq!(channel.0.unsettled(), before);
    channel.0.withdraw(&leave);
    assert_eq!(channel.0.unsettled(), leave.serial);
}
