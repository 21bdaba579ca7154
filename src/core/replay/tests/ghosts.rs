//! Members who went with an earlier run of the server are shown to nobody.

use crate::core::replay::*;
use crate::core::{
    message::{EntryId, Message, Payload},
    presence::PresenceEvent,
    serial::{Epoch, Mint},
};

/// One word for each event: who, and whether it enters or leaves.
fn presence(mint: &mut Mint, words: &[&str]) -> Arc<Entry> {
    let events = words.iter().map(|word| PresenceEvent {
        id: Some((*word).into()),
        action: match word.chars().next() {
            Some('+') => PresenceAction::Enter,
            Some('~') => PresenceAction::Update,
            _ => PresenceAction::Leave,
        },
        client_id: client(&word[1..]),
        payload: Payload::default(),
        extras: None,
    });
    entry(mint, Body::Presence(events.collect()))
}

fn client(name: &str) -> ClientId {
    ClientId::new(name.to_owned()).unwrap_or_else(|| unreachable!("a name"))
}

fn entry(mint: &mut Mint, body: Body) -> Arc<Entry> {
    let now = Timestamp::from_millis(1);
    let publisher = Some(ConnectionId::from_bytes([1; 9]));
    let id = EntryId::Serial;
    Arc::new(Entry::new("c".into(), mint.mint(now), now, publisher, id, body))
}

fn member(name: &str) -> Arc<Member> {
    Arc::new(Member {
        id: "".into(),
        connection: ConnectionId::from_bytes([1; 9]),
        client_id: client(name),
        payload: Payload::default(),
        extras: None,
        timestamp: Timestamp::from_millis(1),
    })
}

/// What is to be seen of a backlog.
fn without_ghosts(backlog: Vec<Arc<Entry>>, members: &[Arc<Member>], unsettled: Serial) -> Vec<Arc<Entry>> {
    let ghosts = Ghosts::among(&backlog, members, unsettled);
    let choice = Choice { ghosts, ..Choice::default() };
    let told = choice.of_all(&backlog);
    assert!(backlog.iter().all(|entry| choice.ghosts.is_all_of(entry) == choice.of(entry).is_none()));
    told
}

#[test]
fn who_went_without_a_leave_is_left_out() {
    let mint = &mut Mint::new(Epoch::new(1));
    let backlog = vec![
        presence(mint, &["+ghost", "+left"]),
        presence(mint, &["+here"]),
        presence(mint, &["~ghost"]),
        entry(mint, Body::Messages(vec![Message::default()])),
        presence(mint, &["-left", "+left", "-before"]),
        presence(mint, &["~here", "+ghost"]),
    ];
    let serials: Vec<_> = backlog.iter().map(|entry| entry.serial).collect();
    let told = without_ghosts(backlog.clone(), &[member("here")], mint.position());
    let told: Vec<_> = told
        .iter()
        .map(|entry| {
            let events = entry.presence().iter();
            let events: Vec<_> = events.filter_map(|event| event.id.as_deref()).collect();
            (entry.serial, events.join(" "))
        })
        .collect();
    let expected = [
        (serials[0], "+left"),
        (serials[1], "+here"),
        (serials[3], ""),
        (serials[4], "-left -before"),
        (serials[5], "~here"),
    ];
    assert_eq!(told, expected.map(|(serial, events)| (serial, events.to_owned())));
    // Who is present, or has left, is told as it was: the entries are shared with all readers.
    let all = ["ghost", "here", "left"].map(member);
    let told = without_ghosts(backlog.clone(), &all, mint.position());
    assert!(told.iter().zip(&backlog).all(|(told, kept)| Arc::ptr_eq(told, kept)));
}

/// findings G3: what this run has written needs no look at the members.
#[test]
fn nobody_is_looked_for_in_what_this_run_has_written() {
    let mint = &mut Mint::new(Epoch::new(1));
    let unsettled = entry(mint, Body::Messages(vec![Message::default()])).serial;
    let backlog = vec![presence(mint, &["+here"]), presence(mint, &["+other"])];
    let told = without_ghosts(backlog.clone(), &[], unsettled);
    assert!(told.iter().zip(&backlog).all(|(told, kept)| Arc::ptr_eq(told, kept)));
    assert_eq!(told.len(), backlog.len());
    assert!(without_ghosts(backlog.clone(), &[], backlog[0].serial).is_empty());
}
