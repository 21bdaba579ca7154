//! The summaries of a channel's messages, as far as they are in memory (`docs/protocols/ably.md §9.7`).
//!
//! They follow from the log, so each may go and be read again: what is here is of messages that were annotated lately.

use std::{
    collections::{BTreeSet, hash_map},
    sync::Arc,
    time::Duration,
};

use bytestring::ByteString;

use crate::{
    core::{
        budget::{Account, Full, Kind, Tab},
        hashing::FastMap,
        message::{Body, Entry, Summarised},
        operation::{Annotation, Latest, MessageRef},
        serial::Place,
        summary::{Digest, DueSummaries, Summary},
    },
    error::Fault,
    ids::Timestamp,
    limits,
};

/// A message and what its annotations come to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Annotated {
    pub name: ByteString,
    pub summary: Summary,
    /// The newest entry that is counted; before the first, the message's own.
    pub upto: Place,
    /// Annotations that are counted since the log was to keep the summary.
    since: usize,
}

impl Annotated {
    /// A message of an entry, if it has it, before anybody has annotated it.
    pub fn new(entry: &Entry, index: u16) -> Option<Self> {
        let message = entry.messages().get(usize::from(index))?;
        Some(Self { name: message.name.clone(), upto: entry.serial.place(), ..Self::default() })
    }

    /// Goes on from a summary that was kept, of all up to a place.
    pub fn goes_on_from(self, upto: Place, summary: Summary) -> Self {
        Self { summary, upto, ..self }
    }

    /// Counts what a later entry says about `message`.
    pub fn apply(&mut self, message: MessageRef, entry: &Entry) {
        if entry.serial.place() > self.upto {
            let of_message = entry.annotations().iter().filter(|annotation| annotation.target == message);
            of_message.for_each(|annotation| {
                self.summary.apply(annotation);
                self.since += 1;
                self.upto = entry.serial.place();
            });
        }
    }

    /// Whether the log is to keep the summary now: the annotations since it did last weigh as much.
    fn is_keeping_due(&self) -> bool {
        self.since >= self.summary.clients().max(limits::SUMMARY_KEPT_EACH)
    }

    /// What keeping it costs, in bytes.
    fn cost(&self) -> usize {
        limits::SUMMARY_COST + self.name.len() + self.summary.bytes()
    }
}

/// An entry with what the annotations of its messages come to, for a reader of the past; none: nobody has annotated them.
pub fn summarised<E>(
    entry: &Arc<Entry>,
    mut digest_of: impl FnMut(MessageRef) -> Result<Option<Digest>, E>,
) -> Result<Option<Arc<Entry>>, E> {
    let mut summaries = Vec::new();
    for index in 0..entry.subjects().len() {
        let target = Latest { entry: Arc::clone(entry), index }.target();
        summaries.extend(digest_of(target)?.map(|digest| (index, digest)));
    }
    Ok((!summaries.is_empty()).then(|| Arc::new(entry.with_summaries(summaries))))
}

/// Nothing is kept until a message is annotated.
#[derive(Debug, Default)]
pub struct Summaries {
    of: FastMap<MessageRef, Annotated>,
    /// How many annotations of a message are on their way into the log: until it has them, the message is not forgotten.
    untold: FastMap<MessageRef, usize>,
    /// By the newest entry that is counted.
    by_change: BTreeSet<(Place, MessageRef)>,
    due: DueSummaries<MessageRef>,
    /// Of the app of the channel.
    tab: Tab,
}

impl Summaries {
    /// `account`, that of the app, pays.
    pub fn new(account: Option<Account>) -> Self {
        let tab = account.map_or_else(Tab::default, |account| Tab::new(account, Kind::Summaries));
        Self { tab, ..Self::default() }
    }

    /// The first message of these annotations whose summary has to be read.
    pub fn unknown(&self, annotations: &[Annotation]) -> Option<MessageRef> {
        annotations.iter().map(|annotation| annotation.target).find(|message| !self.of.contains_key(message))
    }

    pub fn get(&self, message: MessageRef) -> Option<&Annotated> {
        self.of.get(&message)
    }

    /// What was read of a message.
    ///
    /// # Errors
    /// [`Full`]: there is no room for it.
    pub fn learn(&mut self, message: MessageRef, read: Annotated) -> Result<(), Full> {
        self.forget(message);
        while let Err(full) = self.tab.add(read.cost()) {
            if !self.forget_oldest() {
                return Err(full);
            }
        }
        self.by_change.insert((read.upto, message));
        self.of.insert(message, read);
        Ok(())
    }

    /// Whether these may be counted; their messages are known.
    ///
    /// # Errors
    /// [`Fault::SummaryFull`], [`Fault::MemoryFull`]
    pub fn judge(&mut self, annotations: &[Annotation]) -> Result<(), Fault> {
        let mut bytes = 0;
        for annotation in annotations {
            let unknown = Fault::NotFound { what: "a message with this serial" };
            let known = self.of.get(&annotation.target).ok_or(unknown)?;
            bytes += known.summary.make_room(annotation)?;
        }
        self.tab.reserve(bytes).map_err(Full::to_fault)
    }

    /// These are on their way into the log.
    pub fn stamped(&mut self, entry: &Entry) {
        for annotation in entry.annotations() {
            *self.untold.entry(annotation.target).or_default() += 1;
        }
    }

    /// The log has refused them.
    pub fn withdrawn(&mut self, entry: &Entry) {
        for annotation in entry.annotations() {
            if let hash_map::Entry::Occupied(mut untold) = self.untold.entry(annotation.target) {
                *untold.get_mut() -= 1;
                if *untold.get() == 0 {
                    untold.remove();
                }
            }
        }
    }

    /// The log has `entry`: counts what it says, as far as its messages are known.
    pub fn take(&mut self, now: Duration, entry: &Entry) {
        self.withdrawn(entry);
        for annotation in entry.annotations() {
            let message = annotation.target;
            let Some(known) = self.of.get_mut(&message).filter(|known| known.upto < entry.serial.place()) else {
                continue;
            };
            let (before, cost) = (known.upto, known.cost());
            known.apply(message, entry);
            let (after, upto) = (known.cost(), known.upto);
            self.by_change.remove(&(before, message));
            self.by_change.insert((upto, message));
            self.tab.add_anyway(after.saturating_sub(cost));
            self.tab.remove(cost.saturating_sub(after));
            self.due.changed(now, message);
        }
    }

    pub fn tell(&mut self, now: Duration, message: MessageRef) {
        self.due.changed(now, message);
    }

    /// What the log is to keep of a message now, if it is; told once.
    pub fn to_keep(&mut self, message: MessageRef) -> Option<&Annotated> {
        let known = self.of.get_mut(&message).filter(|known| known.is_keeping_due())?;
        known.since = 0;
        Some(known)
    }

    /// Somebody has missed what came after a place: what was annotated since is told again, also what was annotated shortly
    /// before it, whose summary may have come after it.
    pub fn tell_again(&mut self, now: Duration, (millis, _): Place) {
        let pause = u64::try_from(2 * limits::SUMMARY_PAUSE.as_millis()).unwrap_or_default();
        let since = (millis.saturating_sub(pause), 0);
        for (_, message) in self.by_change.iter().rev().take_while(|(upto, _)| *upto >= since) {
            self.due.changed(now, *message);
        }
    }

    /// When the next summary is due.
    pub fn next_due(&self) -> Option<Duration> {
        self.due.next()
    }

    /// The summaries that are to be sent now.
    pub fn take_due(&mut self, now: Duration) -> Vec<Body> {
        let due = self.due.take(now).into_iter();
        let told = due.filter_map(|message| {
            let Annotated { name, summary, .. } = self.of.get(&message)?;
            Some(Body::Summary(Box::new(Summarised { message, name: name.clone(), summary: summary.digest() })))
        });
        told.collect()
    }

    /// Forgets those that nobody can have missed who comes back in time.
    pub fn expire(&mut self, now: Timestamp) {
        let age = u64::try_from(limits::SUMMARY_AGE.as_millis()).unwrap_or_default();
        let place = (now.millis().saturating_sub(age), 0);
        while let Some((_, message)) = self.by_change.first().filter(|(upto, _)| *upto < place).copied()
            && !self.untold.contains_key(&message)
        {
            self.forget(message);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.of.is_empty()
    }

    /// False: there is none.
    fn forget_oldest(&mut self) -> bool {
        let mut oldest = self.by_change.iter().map(|(_, message)| *message);
        let oldest = oldest.find(|message| !self.untold.contains_key(message));
        oldest.is_some_and(|message| self.forget(message))
    }

    fn forget(&mut self, message: MessageRef) -> bool {
        let Some(known) = self.of.remove(&message) else {
            return false;
        };
        self.by_change.remove(&(known.upto, message));
        self.tab.remove(known.cost());
        true
    }
}

#[cfg(test)]
mod tests;
