//! The newest part of a channel's log, in memory: for clients that come back.

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};

use thiserror::Error;

use crate::{
    core::{
        budget::Account,
        command::Rewind,
        history::{self, Direction, Kind, Page, Query},
        message::{Body, Entry},
        operation::{Latest, MessageRef, Operation, Touch},
        replay::{Choice, Found, Portion, Read, Wanted},
        serial::{Epoch, Place, Serial},
        summaries::Annotated,
        summary::Digest,
        touches::Touches,
    },
    ids::Timestamp,
    limits,
};

/// How much of a log a window keeps. Whichever bound is reached first counts.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub age: Duration,
    pub entries: usize,
    /// Measured by [`Entry::cost`].
    pub bytes: usize,
}

/// Why it is not known what followed a position.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Gap {
    #[error("some of the entries after this position are no longer kept")]
    Expired,
    #[error("the position belongs to another log")]
    OtherLog,
    #[error("there are more entries after this position than can be sent again")]
    TooLong,
}

/// The entries kept, oldest first, each with the moment (monotonic) when it came.
#[derive(Debug)]
pub struct Window {
    epoch: Epoch,
    entries: VecDeque<(Duration, Arc<Entry>)>,
    bytes: usize,
    /// The newest entry that ever was, and the newest that is kept no more.
    last: Option<Serial>,
    dropped: Option<Serial>,
    /// By how many milliseconds a serial was ahead of its entry's time, at most: the clock may be set back.
    skew: u64,
    /// Which of the entries concern messages that were published before.
    touches: Touches,
}

impl Window {
    pub const fn new(epoch: Epoch) -> Self {
        let touches = Touches::new();
        Self { epoch, entries: VecDeque::new(), bytes: 0, last: None, dropped: None, skew: 0, touches }
    }

    /// Goes on with a log of which nothing is at hand: its newest entry, and the newest one that will not be
    /// appended again.
    pub fn resume(epoch: Epoch, last: Option<Serial>, dropped: Option<Serial>) -> Self {
        Self { last, dropped, ..Self::new(epoch) }
    }

    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The newest entry that was and is kept no more.
    pub const fn dropped(&self) -> Option<Serial> {
        self.dropped
    }

    /// The newest serial ever appended, kept or not.
    pub const fn last(&self) -> Option<Serial> {
        self.last
    }

    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds the newest entry and drops what the bounds no longer allow.
    pub fn append(&mut self, now: Duration, entry: Arc<Entry>, bounds: Bounds) {
        let cost = entry.cost();
        self.append_of(cost, now, entry, bounds);
    }

    /// The same for whoever knows what the entry costs.
    pub fn append_of(&mut self, cost: usize, now: Duration, entry: Arc<Entry>, bounds: Bounds) {
        self.bytes += cost;
        self.last = Some(entry.serial);
        self.skew = self.skew.max(entry.skew());
        if touches_others(&entry) {
            self.touches.add(&entry);
        }
        self.entries.push_back((now, entry));
        self.trim(now, bounds);
    }

    /// Drops what the bounds no longer allow.
    pub fn trim(&mut self, now: Duration, bounds: Bounds) {
        while let Some((came, _)) = self.entries.front() {
            let too_old = now.saturating_sub(*came) > bounds.age;
            let too_many = self.entries.len() > bounds.entries || self.bytes > bounds.bytes;
            if !too_old && !too_many {
                break;
            }
            self.drop_oldest();
        }
        if self.entries.is_empty() {
            // An idle channel keeps no buffer.
            self.entries = VecDeque::new();
        }
    }

    /// Drops the oldest entry; false when there is none.
    pub fn drop_oldest(&mut self) -> bool {
        let Some((_, oldest)) = self.entries.pop_front() else {
            return false;
        };
        self.bytes -= oldest.cost();
        self.dropped = Some(oldest.serial);
        if touches_others(&oldest) {
            self.touches.remove(&oldest);
        }
        true
    }

    /// What is chosen of the entries after `position`, in order.
    ///
    /// # Errors
    /// A [`Gap`] when the window cannot promise that none is missing.
    pub fn after(&self, position: Serial, choice: &Choice) -> Found {
        self.reaches(position)?;
        Ok(self.behind(position).filter_map(|entry| choice.of(entry)).collect())
    }

    /// The next of them, up to another position.
    ///
    /// # Errors
    /// The same.
    pub fn portion(&self, after: Serial, upto: Serial, choice: &Choice) -> Read {
        self.reaches(after)?;
        let mut portion = Portion::after(after);
        let mut entries = self.behind(after).take_while(|entry| entry.serial.place() <= upto.place());
        if !entries.any(|entry| portion.take(entry, choice).is_break()) {
            portion.upto = upto;
        }
        if choice.wants_summaries() && !self.touches.is_empty() {
            let Ok(()) = portion.summarise(|target| self.digest(target));
        }
        Ok(portion)
    }

    fn behind(&self, position: Serial) -> impl Iterator<Item = &Arc<Entry>> {
        let first = self.entries.partition_point(|(_, entry)| entry.serial.place() <= position.place());
        self.entries.range(first..).map(|(_, entry)| entry)
    }

    /// Whether every entry after `position` is here.
    ///
    /// # Errors
    /// A [`Gap`] when that cannot be promised.
    pub fn reaches(&self, position: Serial) -> Result<(), Gap> {
        if position.epoch() != self.epoch {
            return Err(Gap::OtherLog);
        }
        match self.dropped {
            Some(dropped) if position.place() < dropped.place() => Err(Gap::Expired),
            _ => Ok(()),
        }
    }

    /// Everything that is kept, oldest first.
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = &Arc<Entry>> {
        self.entries.iter().map(|(_, entry)| entry)
    }

    /// What is wanted of what is kept, as far as it is chosen.
    pub fn read(&self, wanted: Wanted, choice: &Choice) -> Found {
        match wanted {
            Wanted::After(position) => self.after(position, choice),
            Wanted::Last(now, rewind) => Ok(choice.of_all(&self.rewind(now, rewind).0)),
        }
    }

    /// The entries that `rewind` asks for, oldest first; false when older ones than are kept would belong to it.
    pub fn rewind(&self, now: Timestamp, rewind: Rewind) -> (Vec<Arc<Entry>>, bool) {
        let (found, is_enough) = history::rewind(self.entries().rev(), now, rewind);
        (found, is_enough || self.dropped.is_none())
    }

    /// A page of what is kept.
    pub fn page(&self, query: &Query) -> Page {
        let newer = |target| if self.touches.is_empty() { None } else { self.changed(target) };
        if let Kind::Versions(target) | Kind::Annotations(target) = query.kind {
            let mut entries = self.page_of(target, query.kind);
            if query.direction == Direction::Backwards {
                entries.reverse();
            }
            return query.page(entries.into_iter(), newer);
        }
        let entries = self.between(query.places(self.skew));
        let mut page = match query.direction {
            Direction::Forwards => query.page(entries, newer),
            Direction::Backwards => query.page(entries.rev(), newer),
        };
        if query.kind == Kind::Messages && !self.touches.is_empty() {
            let Ok(()) = page.summarise(|target| self.digest(target));
        }
        page
    }

    /// The entries that concern a message in one way, oldest first.
    fn touching(&self, target: MessageRef, touch: Touch) -> impl Iterator<Item = &Arc<Entry>> {
        self.touches.of(target, touch).filter_map(|place| self.at(place))
    }

    /// The entries that a page of one message is made of, oldest first.
    fn page_of(&self, target: MessageRef, kind: Kind) -> Vec<&Arc<Entry>> {
        if target.serial.epoch() != self.epoch {
            return Vec::new();
        }
        let is_versions = matches!(kind, Kind::Versions(_));
        let own = is_versions.then_some(target.serial.place());
        let touch = if is_versions { Touch::Version } else { Touch::Annotation };
        own.and_then(|place| self.at(place)).into_iter().chain(self.touching(target, touch)).collect()
    }

    /// A message as it is now, as far as that is known; none: it is not here.
    pub fn newest(&self, target: MessageRef) -> Option<Latest> {
        if target.serial.epoch() != self.epoch {
            return None;
        }
        self.changed(target).or_else(|| {
            let entry = self.at(target.serial.place())?;
            let index = usize::from(target.index);
            (index < entry.messages().len()).then(|| Latest { entry: Arc::clone(entry), index })
        })
    }

    /// A message as it is now, if all that was done to it is known here.
    pub fn settled(&self, target: MessageRef) -> Option<Latest> {
        let newest = |touch| self.touches.of(target, touch).rev().find_map(|place| self.at(place));
        let newest = [Touch::Version, Touch::Append].into_iter().filter_map(newest);
        match newest.max_by_key(|entry| entry.serial.place()) {
            Some(newest) if !newest.operation().is_some_and(Operation::is_complete) => None,
            _ => self.newest(target),
        }
    }

    /// A message and what its annotations come to; none: it is not here.
    pub fn annotated(&self, target: MessageRef) -> Option<Annotated> {
        let entry = self.at(target.serial.place()).filter(|entry| entry.serial == target.serial)?;
        let mut annotated = Annotated::new(entry, target.index)?;
        self.touching(target, Touch::Annotation).for_each(|entry| annotated.apply(target, entry));
        Some(annotated)
    }

    /// The messages that were annotated lately, the newest of them.
    pub fn annotated_lately(&self) -> Vec<MessageRef> {
        let reference = |(place, index)| MessageRef { serial: Serial::at(self.epoch, place), index };
        let mut messages: Vec<_> = self.touches.annotated().map(reference).collect();
        messages.drain(..messages.len().saturating_sub(limits::SUMMARIES_RECALLED));
        messages
    }

    /// What the annotations of a message come to, as far as they are here; none: there are none.
    fn digest(&self, target: MessageRef) -> Result<Option<Digest>, Infallible> {
        let mut annotated = Annotated::default();
        self.touching(target, Touch::Annotation).for_each(|entry| annotated.apply(target, entry));
        Ok(Some(annotated.summary.digest()).filter(|digest| !digest.is_empty()))
    }

    /// The newest operation on a message whose outcome is known.
    fn changed(&self, target: MessageRef) -> Option<Latest> {
        let newest = |touch| {
            let entries = self.touches.of(target, touch).rev().filter_map(|place| self.at(place));
            let mut entries = entries.filter(|entry| entry.operation().is_some_and(Operation::is_complete));
            entries.next()
        };
        let newest = [Touch::Version, Touch::Append].into_iter().filter_map(newest);
        let newest = newest.max_by_key(|entry| entry.serial.place())?;
        Some(Latest { entry: Arc::clone(newest), index: 0 })
    }

    /// Finds out what appends have made of their messages that were appended by another run, or by a channel that died;
    /// `older` knows the versions before them that are not here.
    pub fn complete(&self, account: &Account, mut older: impl FnMut(&Entry) -> Option<Latest>) {
        if self.touches.is_empty() {
            return;
        }
        for entry in self.entries() {
            if let Some(operation) = entry.operation().filter(|operation| !operation.is_complete())
                && let Some(latest) = self.newest(operation.target).or_else(|| older(entry))
            {
                operation.grow(&latest, Some(account));
            }
        }
    }

    fn at(&self, place: Place) -> Option<&Arc<Entry>> {
        let at = self.entries.binary_search_by_key(&place, |(_, entry)| entry.serial.place()).ok()?;
        self.entries.get(at).map(|(_, entry)| entry)
    }

    /// The entries from one place to another, both included, oldest first.
    fn between(&self, (first, last): (Place, Place)) -> impl DoubleEndedIterator<Item = &Arc<Entry>> {
        let first = self.entries.partition_point(|(_, entry)| entry.serial.place() < first);
        let end = self.entries.partition_point(|(_, entry)| entry.serial.place() <= last);
        self.entries.range(first.min(end)..end).map(|(_, entry)| entry)
    }
}

const fn touches_others(entry: &Entry) -> bool {
    matches!(entry.body, Body::Operation(_) | Body::Annotations(_))
}

#[cfg(test)]
mod tests {
    use bytestring::ByteString;
    use proptest::prelude::*;

    use super::*;
    use crate::{
        core::{
            history::{ItemPosition, Kind},
            message::{Body, EntryId, Message, Payload},
            serial::Mint,
        },
        ids::Timestamp,
    };

    const EPOCH: Epoch = Epoch::new(1);

    fn entry(mint: &mut Mint, size: usize) -> Arc<Entry> {
        let message = Message { payload: Payload::json(ByteString::from("x".repeat(size))), ..Message::default() };
        let now = Timestamp::from_millis(1);
        Arc::new(Entry::new("c".into(), mint.mint(now), now, None, EntryId::Serial, Body::Messages(vec![message])))
    }

    proptest! {
        /// Whatever was kept or dropped: a reader that stood at any place either gets exactly what
        /// followed it, or is told that it cannot.
        #[test]
        fn after_gives_exactly_the_missing_slice_or_says_so(
            steps in prop::collection::vec((0u64..40, 0usize..200), 1..80),
            entries in 1usize..40,
            bytes in 500usize..20_000,
        ) {
            let bounds = Bounds { age: Duration::from_secs(120), entries, bytes };
            let (mut mint, mut window) = (Mint::new(EPOCH), Window::new(EPOCH));
            let (mut now, mut all) = (Duration::ZERO, Vec::new());
            for (wait, size) in steps {
                now += Duration::from_secs(wait);
                let entry = entry(&mut mint, size);
                all.push(entry.serial);
                window.append(now, entry, bounds);
                prop_assert!(window.entries.len() <= entries);
                prop_assert!(window.bytes <= bytes);
                prop_assert_eq!(window.bytes, window.entries.iter().map(|(_, e)| e.cost()).sum::<usize>());
            }
            for (place, position) in all.iter().enumerate() {
                match window.after(*position, &Choice::all()) {
                    Ok(found) => {
                        let found: Vec<Serial> = found.iter().map(|e| e.serial).collect();
                        prop_assert_eq!(&found[..], &all[place + 1..]);
                    }
                    Err(gap) => {
                        prop_assert_eq!(gap, Gap::Expired);
                        prop_assert!(all.len() - place - 1 > window.entries.len());
                    }
                }
            }
        }
    }

    /// findings G10: a page begins where the one before has ended, or where the attachment stood, however deep that is.
    #[test]
    fn a_deep_page_looks_at_its_own_entries_only() {
        const LIMIT: usize = 10;
        let bounds = Bounds { age: Duration::from_secs(120), entries: usize::MAX, bytes: usize::MAX };
        for depth in [100, 10_000] {
            let (mut mint, mut window) = (Mint::new(EPOCH), Window::new(EPOCH));
            for _ in 0..depth {
                window.append(Duration::ZERO, entry(&mut mint, 1), bounds);
            }
            let serial = |at: usize| window.entries[at].1.serial;
            let after = |at| Some(ItemPosition { serial: serial(at), index: 0 });
            let middle = depth / 2;
            for (direction, until, after, expected) in [
                (Direction::Forwards, None, after(middle), middle + 1),
                (Direction::Backwards, None, after(middle), middle - 1),
                (Direction::Backwards, Some(serial(middle)), None, middle),
            ] {
                let query =
                    Query { kind: Kind::Messages, start: None, end: None, until, direction, limit: LIMIT, after };
                let page = window.page(&query);
                assert_eq!(page.items.len(), LIMIT);
                assert_eq!(page.items[0].0.serial, serial(expected));
                // Where the walk begins: at the item after which the page goes on, and so next to its first entry.
                let mut entries = window.between(query.places(window.skew));
                let first = if direction == Direction::Forwards { entries.next() } else { entries.next_back() };
                assert_eq!(first.map(|first| first.serial), Some(serial(middle)));
            }
        }
    }

    #[test]
    fn a_position_of_another_log_is_refused() {
        let window = Window::new(EPOCH);
        let foreign = Mint::new(Epoch::new(2)).mint(Timestamp::from_millis(1));
        assert_eq!(window.after(foreign, &Choice::all()).err(), Some(Gap::OtherLog));
    }

    #[test]
    fn age_empties_the_window_but_not_its_memory_of_the_last_serial() {
        let bounds = Bounds { age: Duration::from_secs(120), entries: 10, bytes: 10_000 };
        let (mut mint, mut window) = (Mint::new(EPOCH), Window::new(EPOCH));
        window.append(Duration::ZERO, entry(&mut mint, 1), bounds);
        window.trim(Duration::from_secs(120), bounds);
        assert!(!window.is_empty());
        window.trim(Duration::from_secs(121), bounds);
        assert!(window.is_empty());
        assert_eq!(window.bytes(), 0);
        assert!(window.last().is_some());
    }
}
