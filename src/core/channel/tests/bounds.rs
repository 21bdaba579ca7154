//! What the members of a channel may cost, and who pays for them.

use super::*;
use crate::{
    core::{
        budget::{Account, Kind, Level},
        message::Data,
    },
    limits,
};

fn event(action: PresenceAction, client: &str, bytes: usize) -> PresenceEvent {
    let payload = Payload { data: Data::Text("x".repeat(bytes).into()), ..Payload::default() };
    PresenceEvent { id: None, action, client_id: ClientId::new(client.to_owned()).unwrap(), payload, extras: None }
}

fn take(members: &mut Members, number: u8, events: Vec<PresenceEvent>, account: &Account) -> Result<(), Fault> {
    let events = members.judge(connection(number), events, Some(account))?;
    let serial = Mint::new(crate::core::serial::Epoch::new(1)).mint(at(1).wall);
    let body = Body::Presence(events);
    let entry = Entry::new("room".into(), serial, at(1).wall, Some(connection(number)), EntryId::Serial, body);
    members.apply(&entry);
    Ok(())
}

/// findings B7: the bytes of the members of a channel are bounded.
#[test]
fn the_members_of_a_channel_have_bounded_bytes() {
    let account = Account::server(1 << 30);
    let mut members = Members::new(200, []);
    let too_large = Err(Fault::PresenceTooLarge { limit: limits::PRESENCE_BYTES });
    let half = limits::PRESENCE_BYTES / 2 - 1_000;
    for number in [1, 2] {
        take(&mut members, number, vec![event(PresenceAction::Enter, "a", half)], &account).unwrap();
    }
    assert_eq!(take(&mut members, 3, vec![event(PresenceAction::Enter, "a", 4_000)], &account), too_large);
    assert_eq!(take(&mut members, 1, vec![event(PresenceAction::Update, "a", half + 4_000)], &account), too_large);
    // Less is taken, and makes room.
    take(&mut members, 1, vec![event(PresenceAction::Update, "a", 10)], &account).unwrap();
    take(&mut members, 3, vec![event(PresenceAction::Enter, "a", 4_000)], &account).unwrap();
    assert_eq!(members.len(), 3);
}

/// findings B7: members are charged to whoever brings them, for as long as they are there.
#[test]
fn members_are_charged_while_they_are_present() {
    let server = Account::server(1 << 30);
    let client = server.open(Level::Client, 10_000);
    let mut members = Members::new(200, []);
    take(&mut members, 1, vec![event(PresenceAction::Enter, "a", 5_000)], &client).unwrap();
    let kept = server.kept_of(Kind::Presence);
    assert!((5_000..6_000).contains(&kept), "{kept}");
    let refused = take(&mut members, 1, vec![event(PresenceAction::Enter, "b", 5_000)], &client);
    assert!(matches!(refused, Err(Fault::MemoryFull { whose: "the client", kind: "presence", .. })), "{refused:?}");
    assert_eq!((members.len(), server.kept_of(Kind::Presence)), (1, kept));
    take(&mut members, 1, vec![event(PresenceAction::Update, "a", 100)], &client).unwrap();
    assert_eq!(server.kept_of(Kind::Presence), kept - 4_900);
    // One that pays for members of another channel is not touched by those of this one.
    take(&mut members, 2, vec![event(PresenceAction::Enter, "a", 100)], &server).unwrap();
    take(&mut members, 1, vec![event(PresenceAction::Leave, "a", 0)], &client).unwrap();
    assert_eq!(server.kept_of(Kind::Presence), kept - 4_900);
    drop(members);
    assert_eq!(server.kept(), 0);
}
