#![allow(clippy::unwrap_used)]

use std::time::Duration;

use parking_lot::Mutex;

use bytes::Bytes;
use bytestring::ByteString;
use proptest::prelude::*;

use super::*;
use crate::{
    core::{
        command::AttachmentId,
        message::{Body, EntryId, Message, Payload},
        modes::Modes,
        presence::PresenceEvent,
        serial::{Epoch, Mint},
        window::{Bounds, Window},
    },
    ids::SessionId,
};

mod appends;
mod ghosts;

const EPOCH: Epoch = Epoch::new(1);
const NOW: Timestamp = Timestamp::from_millis(1);

/// Reads what is wanted, and fills it in.
fn read(attached: Attached, start: Start, log: &Shared, now: Timestamp, bytes: usize) -> Attached {
    let wanted = wanted(&start, attached.is_change, now);
    let choice = Choice::for_reader(&attached.subscription);
    let found = wanted.map_or(Ok(Vec::new()), |wanted| log.lock().read(wanted, &choice));
    let recent = || log.lock().entries().filter_map(|entry| choice.of(entry)).collect();
    let past = || -> Arc<dyn Past> { Arc::<Mutex<Window>>::clone(log) };
    fill(attached, &start, found, recent, past, Mint::new(EPOCH).position(), bytes)
}

type Shared = Arc<Mutex<Window>>;

impl Past for Mutex<Window> {
    fn portion(self: Arc<Self>, after: Serial, upto: Serial, choice: &Arc<Choice>, _: Later<'_, Read>) -> Poll<Read> {
        Poll::Ready(self.lock().portion(after, upto, choice))
    }
}

/// What a transport reads of the backlog, portion by portion.
fn backlog(attached: &Attached) -> Vec<Arc<Entry>> {
    let Some(Backlog { past, mut after, upto, choice, last: _ }) = attached.backlog.clone() else {
        return Vec::new();
    };
    let mut all = Vec::new();
    while after.place() < upto.place() {
        let Poll::Ready(read) = Arc::clone(&past).portion(after, upto, &choice, &mut || unreachable!("no disk")) else {
            unreachable!("no disk");
        };
        let portion = read.unwrap();
        assert!(portion.upto.place() > after.place());
        after = portion.upto;
        all.extend(portion.entries);
    }
    assert!(!all.is_empty());
    all
}

/// A log of messages and presence events, of which a part is kept; and everything that ever was in it.
fn log(steps: &[(usize, bool)], entries: usize) -> (Shared, Mint, Vec<Arc<Entry>>) {
    let bounds = Bounds { age: Duration::from_secs(120), entries, bytes: usize::MAX };
    let (mut mint, mut window) = (Mint::new(EPOCH), Window::new(EPOCH));
    let mut all = Vec::new();
    for (size, is_presence) in steps {
        let payload = Payload::json(ByteString::from("x".repeat(*size)));
        let body = if *is_presence {
            Body::Presence(vec![PresenceEvent {
                id: None,
                action: PresenceAction::Enter,
                client_id: ClientId::new("a").unwrap(),
                payload,
                extras: None,
            }])
        } else {
            Body::Messages(vec![Message { payload, ..Message::default() }])
        };
        let serial = mint.mint(NOW);
        let entry = Entry::new("c".into(), serial, NOW, None, EntryId::Serial, body);
        let entry = Arc::new(entry);
        window.append(Duration::ZERO, Arc::clone(&entry), bounds);
        all.push(entry);
    }
    (Arc::new(Mutex::new(window)), mint, all)
}

/// An attachment as the channel leaves it to be filled in.
fn begun(mint: &Mint, is_change: bool) -> Attached {
    let session = SessionId::from_number(1);
    Attached {
        subscription: Subscription {
            id: AttachmentId { session, alias: 0 },
            connection: ConnectionId::from_bytes([1; 9]),
            filter: Filter::new(Modes::SUBSCRIBE | Modes::PRESENCE_SUBSCRIBE, true),
            counted: false,
            since: mint.position(),
        },
        is_change,
        head: mint.position(),
        position: mint.position(),
        resumed: false,
        gap: None,
        backlog: None,
        members: Arc::default(),
        objects: None,
        context: Bytes::new(),
    }
}

fn serials(entries: &[Arc<Entry>]) -> Vec<Serial> {
    entries.iter().map(|entry| entry.serial).collect()
}

fn steps() -> impl Strategy<Value = Vec<(usize, bool)>> {
    prop::collection::vec((0usize..300, any::<bool>()), 1..40)
}

proptest! {
    /// Whatever was kept: who comes back gets exactly what it has missed, or is told that it may lack
    /// something; and then what it gets is the newest of the messages, without a hole.
    #[test]
    fn a_resume_gives_the_missing_slice_or_says_what_is_wrong(
        steps in steps(), entries in 1usize..40, at in any::<prop::sample::Index>(),
        bytes in 500usize..20_000, is_change in any::<bool>(),
    ) {
        let (window, mint, all) = log(&steps, entries);
        let place = at.index(all.len() + 1);
        // The place before the first entry is one, too.
        let position = match place.checked_sub(1) {
            Some(last) => all[last].serial,
            None => Mint::new(EPOCH).position(),
        };
        let missed = serials(&all[place..]);
        let start = Start::After(Some(position));
        let attached = read(begun(&mint, is_change), start, &window, NOW, bytes);
        let entries = super::tests::backlog(&attached);
        let backlog = serials(&entries);
        prop_assert!(entries.iter().map(|entry| entry.cost()).sum::<usize>() <= bytes);
        prop_assert_eq!(attached.resumed, attached.gap.is_none());
        match attached.gap {
            None => {
                prop_assert_eq!(&backlog, &missed);
                prop_assert_eq!(attached.position, position);
            }
            Some(gap) => {
                prop_assert_ne!(gap, Gap::OtherLog);
                let messages = all.iter().filter(|entry| !entry.messages().is_empty());
                let messages: Vec<Serial> = messages.map(|entry| entry.serial).collect();
                prop_assert!(messages.ends_with(&backlog));
                // The position is one to come back by: before what is sent, behind what is not.
                let sent = backlog.first().copied().unwrap_or(attached.head);
                prop_assert!(attached.position.place() <= sent.place());
                let before = messages.iter().rev().nth(backlog.len());
                let is_behind = |before: &Serial| before.place() <= attached.position.place();
                prop_assert!(backlog.is_empty() || before.is_none_or(is_behind));
                prop_assert!(!missed.is_empty(), "nothing was missed");
            }
        }
    }

    /// Without a position nothing is claimed and nothing is missed: the head, or the last messages.
    #[test]
    fn a_rewind_gives_the_last_messages(
        steps in steps(), entries in 1usize..40, messages in 0usize..50, is_change in any::<bool>(),
    ) {
        let (window, mint, all) = log(&steps, entries);
        let start = Start::Rewind(Rewind { messages, age: None });
        let attached = read(begun(&mint, is_change), start, &window, NOW, usize::MAX);
        prop_assert_eq!(attached.gap, None);
        prop_assert_eq!(attached.resumed, is_change);
        if is_change {
            prop_assert!(attached.backlog.is_none(), "T26b");
            return Ok(());
        }
        let kept = all[all.len().saturating_sub(entries)..].iter();
        let kept = kept.filter(|entry| !entry.messages().is_empty());
        let kept: Vec<Serial> = kept.map(|entry| entry.serial).collect();
        let expected = &kept[kept.len().saturating_sub(messages)..];
        prop_assert_eq!(&serials(&backlog(&attached))[..], expected);
    }

    #[test]
    fn a_position_of_another_log_starts_at_the_head(steps in steps()) {
        let (window, mint, _) = log(&steps, 40);
        let foreign = Mint::new(Epoch::new(2)).mint(NOW);
        for position in [None, Some(foreign)] {
            let start = Start::After(position);
            let attached = read(begun(&mint, false), start, &window, NOW, usize::MAX);
            prop_assert_eq!(attached.gap, Some(Gap::OtherLog));
            prop_assert!(!attached.resumed && attached.backlog.is_none());
            prop_assert_eq!(attached.position, mint.position());
        }
    }
}

/// findings G3: who does not ask for presence gets the messages alone, and a backlog of presence events that no client
/// wants is not too long for him.
#[test]
fn a_backlog_is_what_the_attachment_wants() {
    for count in [100, 10_000] {
        let (window, mut mint, _) = log(&vec![(10, true); count], usize::MAX);
        let start = Start::After(Some(Mint::new(EPOCH).position()));
        let bounds = Bounds { age: Duration::from_secs(120), entries: usize::MAX, bytes: usize::MAX };
        let body = Body::Messages(vec![Message::default()]);
        let message = Arc::new(Entry::new("c".into(), mint.mint(NOW), NOW, None, EntryId::Serial, body));
        window.lock().append(Duration::ZERO, Arc::clone(&message), bounds);
        let mut begun = begun(&mint, false);
        begun.subscription.filter = Filter::new(Modes::SUBSCRIBE, true);
        let attached = read(begun, start, &window, NOW, message.cost());
        assert!(attached.resumed);
        assert_eq!(serials(&backlog(&attached)), [message.serial]);
    }
}
