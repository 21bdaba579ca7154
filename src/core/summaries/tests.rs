use proptest::prelude::*;

use super::*;
use crate::{
    core::{
        budget::Level,
        message::{EntryId, Message},
        serial::{Epoch, Mint, Serial},
    },
    ids::ClientId,
};

fn entry(serial: Serial, body: Body) -> Entry {
    let channel = crate::ids::ChannelName::from("c");
    Entry::new(channel, serial, Timestamp::from_millis(serial.place().0), None, EntryId::Serial, body)
}

fn annotation(target: MessageRef, client: &str, is_delete: bool) -> Annotation {
    Annotation {
        target,
        is_delete,
        kind: "r:distinct.v1".into(),
        name: "x".into(),
        count: None,
        client_id: ClientId::new(client),
        payload: Default::default(),
        extras: None,
    }
}

/// Two messages in one entry, and annotations of them behind it, each in an entry of its own: `(message, client, is_delete)`.
struct Log {
    messages: [MessageRef; 2],
    first: Entry,
    entries: Vec<Entry>,
}

impl Log {
    fn new(annotations: &[(usize, u8, bool)]) -> Self {
        let mut mint = Mint::new(Epoch::new(7));
        let mut serial = || mint.mint(Timestamp::from_millis(5_000));
        let first = entry(serial(), Body::Messages(vec![Message::default(); 2]));
        let messages = [0, 1].map(|index| MessageRef { serial: first.serial, index });
        let entries = annotations.iter().map(|(message, client, is_delete)| {
            let annotation = annotation(messages[*message], &format!("client {client}"), *is_delete);
            entry(serial(), Body::Annotations(vec![annotation]))
        });
        Self { messages, entries: entries.collect(), first }
    }

    /// As it is read when the log has so many entries.
    fn read(&self, message: MessageRef, count: usize) -> Annotated {
        let mut annotated = Annotated::new(&self.first, message.index).expect("a message");
        self.entries[..count].iter().for_each(|entry| annotated.apply(message, entry));
        annotated
    }
}

proptest! {
    /// Whenever a message is read, forgotten and read again, between whichever entries: what is known of it is what all of
    /// its annotations come to, each counted once.
    #[test]
    fn what_is_read_and_what_comes_live_is_the_whole(
        annotations in prop::collection::vec((0..2_usize, 0..4_u8, any::<bool>()), 1..40),
        // When each entry comes: whether the first message is read anew, and how far the reader is ahead of what was told.
        reads in prop::collection::vec(prop::option::of(0..4_usize), 40),
    ) {
        let log = Log::new(&annotations);
        let mut summaries = Summaries::default();
        for (at, entry) in log.entries.iter().enumerate() {
            if let Some(ahead) = reads[at] {
                let read = log.read(log.messages[0], (at + ahead).min(log.entries.len()));
                summaries.learn(log.messages[0], read).expect("room");
            }
            summaries.take(Duration::ZERO, entry);
            if let Some(known) = summaries.get(log.messages[0]) {
                let upto = log.entries.iter().filter(|entry| entry.serial.place() <= known.upto).count();
                prop_assert_eq!(known.summary.digest(), log.read(log.messages[0], upto.max(at + 1)).summary.digest());
            }
        }
        prop_assert!(summaries.get(log.messages[1]).is_none());
    }
}

#[test]
fn the_owner_pays_and_is_refused_when_there_is_no_room() {
    let account = Account::server(usize::MAX).open(Level::App, 200_000);
    let mut summaries = Summaries::new(Some(account.clone()));
    let log = Log::new(&[]);
    let message = log.messages[0];
    summaries.learn(message, log.read(message, 0)).expect("room");
    let mut mint = Mint::new(Epoch::new(7));
    let mut refused = None;
    for client in 0..2_000 {
        let annotation = annotation(message, &format!("client {client}"), false);
        match summaries.judge(std::slice::from_ref(&annotation)) {
            Ok(()) => {
                let serial = mint.mint(Timestamp::from_millis(6_000));
                let entry = entry(serial, Body::Annotations(vec![annotation]));
                summaries.stamped(&entry);
                summaries.take(Duration::ZERO, &entry);
            }
            Err(fault) => refused = Some(fault),
        }
        assert!(account.kept() <= account.limit());
    }
    assert!(matches!(refused, Some(Fault::MemoryFull { kind: "summaries", limit: 200_000, .. })), "{refused:?}");
    // A message that nobody annotates now makes room for another.
    let other = log.messages[1];
    summaries.learn(other, log.read(other, 0)).expect("room");
    drop(summaries);
    assert_eq!(account.kept(), 0);
}

#[test]
fn what_is_on_its_way_is_not_forgotten() {
    let log = Log::new(&[(0, 1, false)]);
    let [message, other] = log.messages;
    let mut summaries = Summaries::default();
    summaries.learn(message, log.read(message, 0)).expect("room");
    summaries.learn(other, log.read(other, 0)).expect("room");
    summaries.stamped(&log.entries[0]);
    summaries.expire(Timestamp::from_millis(1_000_000));
    assert!(summaries.get(message).is_some());
    summaries.take(Duration::ZERO, &log.entries[0]);
    assert_eq!(summaries.take_due(limits::SUMMARY_DELAY).len(), 1);
    summaries.expire(Timestamp::from_millis(1_000_000));
    assert!(summaries.is_empty());
}

/// Who was at a place has perhaps not seen the summary of what was said shortly before it.
#[test]
fn who_comes_back_is_told_of_what_was_annotated_since() {
    let log = Log::new(&[(0, 1, false), (1, 2, false)]);
    let mut summaries = Summaries::default();
    for message in log.messages {
        summaries.learn(message, log.read(message, 2)).expect("room");
    }
    let last = log.entries[1].serial.place();
    summaries.tell_again(Duration::ZERO, (last.0 + 60_000, 0));
    assert!(summaries.next_due().is_none());
    summaries.tell_again(Duration::ZERO, last);
    assert_eq!(summaries.take_due(limits::SUMMARY_DELAY).len(), 2);
}
