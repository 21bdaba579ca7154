//! Publishes that a channel has seen: a client that did not hear the answer sends again, and must not
//! publish twice (`docs/protocols/ably.md §4.5, §6.4`).

use std::{
    collections::VecDeque,
    hash::{BuildHasher as _, Hash as _, Hasher},
    time::Duration,
};

use foldhash::quality::FixedState;

use crate::{
    core::{
        budget::{Account, Kind, Tab},
        hashing::FastMap,
        message::{Body, Data, Entry, EntryId, Extras, Payload, USER_CLAIM},
        serial::Serial,
    },
    error::Fault,
    ids::ClientId,
    limits,
};

/// What was published with which id, of the last minutes.
#[derive(Debug, Default)]
pub struct Seen {
    published: FastMap<EntryId, (Content, Published)>,
    /// Oldest first, with the moment (monotonic) when each came.
    order: VecDeque<(Duration, EntryId)>,
    /// Of the app of the channel.
    tab: Tab,
}

/// What came of a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    pub serial: Serial,
    /// Its items.
    pub len: usize,
}

impl Published {
    pub fn of(entry: &Entry) -> Self {
        Self { serial: entry.serial, len: entry.len() }
    }
}

/// A publish that is known when it comes again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    pub id: EntryId,
    pub content: Content,
    pub published: Published,
}

impl Known {
    /// What a log remembers for a channel that begins anew. Not presence: its members went with the channel that was, so
    /// what is sent again is new.
    pub fn of(entry: &Entry) -> Option<Self> {
        let is_known = entry.id != EntryId::Serial && entry.presence().is_empty();
        is_known.then(|| Self {
            id: entry.id.clone(),
            content: Content::of(&entry.id, &entry.body),
            published: Published::of(entry),
        })
    }
}

/// A digest of what a client published by the number of a frame. A client that goes on by an old recovery key counts from
/// where it was then, so the number alone does not identify a publish. Ids that clients choose themselves do, of messages
/// (there the digest is 0) as of what is done to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content(u64);

/// What a channel knows of a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    New,
    /// The same was published.
    Known(Published),
    /// Something else was published with this id.
    Other,
}

impl Content {
    pub fn of(id: &EntryId, body: &Body) -> Self {
        if !matches!(id, EntryId::Frame { .. }) {
            return Self::of_chosen(body);
        }
        // Not a cryptographic digest: a client that finds two contents with the same one loses its own message only.
        let mut hash = FixedState::default().build_hasher();
        match body {
            Body::Messages(messages) => {
                for message in messages {
                    message.name.hash(&mut hash);
                    write(&message.payload, message.client_id.as_ref(), message.extras.as_deref(), &mut hash);
                }
            }
            Body::Presence(events) => {
                for event in events {
                    (event.action as u8, &event.id).hash(&mut hash);
                    write(&event.payload, Some(&event.client_id), event.extras.as_deref(), &mut hash);
                }
            }
            Body::Operation(operation) => return Self(operation.digest),
            Body::Annotations(annotations) => {
                for annotation in annotations {
                    (annotation.target, annotation.is_delete, &annotation.kind).hash(&mut hash);
                    (&annotation.name, annotation.count).hash(&mut hash);
                    write(&annotation.payload, annotation.client_id.as_ref(), annotation.extras.as_deref(), &mut hash);
                }
            }
            Body::Objects(operations) => operations.iter().for_each(|operation| operation.digest(&mut hash)),
            Body::Occupancy(_) | Body::Summary(_) => {}
        }
        Self(hash.finish())
    }

    /// An id that a client has chosen names one message, or one thing that is done to one message: the same id for something
    /// else is another.
    fn of_chosen(body: &Body) -> Self {
        let mut hash = FixedState::default().build_hasher();
        match body {
            Body::Messages(_) | Body::Presence(_) | Body::Occupancy(_) | Body::Summary(_) => return Self(0),
            // Paths may lead to other objects when it comes again.
            Body::Objects(_) => return Self(1),
            Body::Operation(operation) => (operation.target, operation.change).hash(&mut hash),
            Body::Annotations(annotations) => {
                for annotation in annotations {
                    (annotation.target, annotation.is_delete, &annotation.kind).hash(&mut hash);
                }
            }
        }
        Self(hash.finish())
    }

    pub const fn to_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }

    /// What a publish is known by that has the id of another: the same when it comes again.
    pub fn id(self, frame: &EntryId) -> EntryId {
        match frame {
            EntryId::Frame { connection, msg_serial } => {
                EntryId::Base(format!("{connection}:{msg_serial}:{:016x}", self.0).into())
            }
            EntryId::Base(chosen) => EntryId::Base(format!("{chosen}:{:016x}", self.0).into()),
            EntryId::Item(chosen) => EntryId::Item(format!("{chosen}:{:016x}", self.0).into()),
            EntryId::Serial => EntryId::Serial,
        }
    }
}

fn write(payload: &Payload, client_id: Option<&ClientId>, extras: Option<&Extras>, hash: &mut impl Hasher) {
    match &payload.data {
        Data::None => hash.write_u8(0),
        Data::Text(text) => (1u8, text).hash(hash),
        Data::Binary(bytes) => (2u8, bytes).hash(hash),
    }
    (&payload.encoding, client_id.map(ClientId::as_str)).hash(hash);
    // What the server adds, by a token that may have been renewed since, is no part of what the client has sent.
    for item in extras.into_iter().flatten().filter(|(name, _)| *name != USER_CLAIM) {
        item.hash(hash);
    }
    hash.write_u8(u8::MAX);
}

/// What it costs to remember an id.
fn cost(id: &EntryId) -> usize {
    match id {
        EntryId::Serial => 0,
        EntryId::Frame { .. } => limits::SEEN_ID_COST,
        EntryId::Base(text) | EntryId::Item(text) => limits::SEEN_ID_COST + text.len(),
    }
}

impl Seen {
    /// From now on `account` pays.
    pub fn charge_to(&mut self, account: Account) {
        self.tab = Tab::new(account, Kind::SeenIds);
    }

    /// Pays for an id that is about to be remembered.
    ///
    /// # Errors
    /// The account has no room for it.
    pub fn make_room(&mut self, id: &EntryId) -> Result<(), Fault> {
        self.tab.reserve(cost(id)).map_err(|full| full.to_fault())
    }

    /// What is known of a publish of `content` as `id`.
    pub fn judge(&self, id: &EntryId, content: Content) -> Verdict {
        match self.published.get(id) {
            None => Verdict::New,
            Some((known, published)) if *known == content => Verdict::Known(*published),
            Some(_) => Verdict::Other,
        }
    }

    /// Remembers a publish, if its id names it.
    pub fn note(&mut self, now: Duration, known: Known) {
        let Known { id, content, published } = known;
        if id == EntryId::Serial {
            return;
        }
        self.tab.add_anyway(cost(&id));
        self.published.insert(id.clone(), (content, published));
        self.order.push_back((now, id));
        self.forget(now);
    }

    /// Forgets a publish that came to nothing after all.
    pub fn withdraw(&mut self, id: &EntryId) {
        self.published.remove(id);
        if let Some(at) = self.order.iter().rposition(|(_, known)| known == id) {
            self.order.remove(at);
            self.tab.remove(cost(id));
        }
    }

    /// Forgets what is too old or too much.
    pub fn forget(&mut self, now: Duration) {
        while let Some((came, _)) = self.order.front() {
            let is_old = now.saturating_sub(*came) > limits::IDEMPOTENCY_WINDOW;
            if !is_old && self.order.len() <= limits::IDEMPOTENCY_IDS {
                break;
            }
            if let Some((_, id)) = self.order.pop_front() {
                self.tab.remove(cost(&id));
                self.published.remove(&id);
            }
        }
        if self.order.is_empty() {
            // An idle channel keeps no memory.
            (self.published, self.order) = Default::default();
            self.tab.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        core::serial::{Epoch, Mint},
        ids::Timestamp,
    };

    /// Each id is charged to the app of the channel for as long as it is known; without room the next one is refused.
    #[test]
    fn ids_are_charged_while_they_are_known() {
        let account = Account::server(10 * limits::SEEN_ID_COST);
        let mut seen = Seen::default();
        seen.charge_to(account.clone());
        let mut mint = Mint::new(Epoch::new(1));
        let mut known = |number: usize| {
            let published = Published { serial: mint.mint(Timestamp::from_millis(1)), len: 1 };
            Known { id: EntryId::Base(format!("{number}").into()), content: Content(0), published }
        };
        let mut count = 0;
        while seen.make_room(&known(count).id).is_ok() {
            seen.note(Duration::ZERO, known(count));
            count += 1;
        }
        assert!((5..=9).contains(&count), "{count}");
        let fault = seen.make_room(&known(count).id).expect_err("no room");
        assert!(matches!(fault, Fault::MemoryFull { kind: "seen_ids", .. }), "{fault}");
        seen.withdraw(&known(0).id);
        assert!(account.kept() >= (count - 1) * limits::SEEN_ID_COST);
        seen.forget(limits::IDEMPOTENCY_WINDOW + Duration::from_secs(1));
        assert_eq!((account.kept(), seen.published.len()), (0, 0));
    }

    #[test]
    fn what_was_withdrawn_may_come_again_and_is_known_from_then_on() {
        let (mut seen, id) = (Seen::default(), EntryId::Base("a".into()));
        let serial = Mint::new(Epoch::new(1)).mint(Timestamp::from_millis(1));
        let content = Content(0);
        let published = Published { serial, len: 1 };
        let known = Known { id: id.clone(), content, published };
        seen.note(Duration::ZERO, known.clone());
        seen.withdraw(&id);
        assert_eq!(seen.judge(&id, content), Verdict::New);

        let later = Duration::from_secs(60);
        seen.note(later, known);
        seen.forget(limits::IDEMPOTENCY_WINDOW + Duration::from_secs(1));
        assert_eq!(seen.judge(&id, content), Verdict::Known(published));
        assert_eq!(seen.judge(&id, Content(1)), Verdict::Other);
        seen.forget(later + limits::IDEMPOTENCY_WINDOW + Duration::from_secs(1));
        assert_eq!(seen.judge(&id, content), Verdict::New);
    }
}
