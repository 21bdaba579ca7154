//! Reading a channel's past in pages (`docs/protocols/ably.md §8`).

use std::{collections::HashSet, ops::ControlFlow, sync::Arc};

use crate::{
    core::{
        command::Rewind,
        message::Entry,
        operation::{Change, Latest, MessageRef},
        serial::{Place, Serial},
        summary::Digest,
    },
    ids::Timestamp,
    limits,
};

/// What of a channel's past is asked for.
#[derive(Clone, Debug)]
pub struct Query {
    pub kind: Kind,
    /// Not before this moment.
    pub start: Option<Timestamp>,
    /// Not after this moment.
    pub end: Option<Timestamp>,
    /// Not behind this position.
    pub until: Option<Serial>,
    pub direction: Direction,
    /// At most so many items.
    pub limit: usize,
    /// Goes on behind this item, in the direction asked for.
    pub after: Option<ItemPosition>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Each in the place where it was published, as it is now.
    Messages,
    Presence,
    /// Of one message: itself, its updates and its deletes, each as it was then.
    Versions(MessageRef),
    /// Of one message.
    Annotations(MessageRef),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Oldest first.
    Forwards,
    /// Newest first.
    Backwards,
}

/// One item of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ItemPosition {
    pub serial: Serial,
    pub index: usize,
}

/// Some items, in the order that was asked for.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// Those that are handed out at once: the first of the page. Whoever wants the others asks for them by the last of these.
    pub items: Vec<(Arc<Entry>, usize)>,
    /// Where all of them are.
    pub places: Vec<ItemPosition>,
    /// The last item, if there are more behind it.
    pub next: Option<ItemPosition>,
    /// What those cost that are handed out.
    bytes: usize,
}

impl Page {
    fn add(&mut self, entry: &Arc<Entry>, index: usize, newer: impl FnOnce() -> Option<Latest>) {
        if self.is_whole() && self.bytes < limits::PAGE_PORTION {
            match newer() {
                Some(newer) => {
                    let Latest { entry, index } = newer.whole();
                    self.bytes += entry.cost();
                    self.items.push((entry, index));
                }
                None => {
                    self.bytes += if index == 0 || self.items.is_empty() { entry.cost() } else { 0 };
                    self.items.push((Arc::clone(entry), index));
                }
            }
        }
        self.places.push(ItemPosition { serial: entry.serial, index });
    }

    /// Shows its messages as they are now, as far as `newer` knows others; with so much of that that the rest is asked for.
    pub fn renew(&mut self, mut newer: impl FnMut(MessageRef) -> Option<Latest>) {
        let (mut fitting, mut bytes) = (0, 0);
        for (entry, index) in &mut self.items {
            let target = Latest { entry: Arc::clone(entry), index: *index }.target();
            if let Some(newer) = newer(target) {
                let newer = newer.whole();
                bytes += newer.entry.cost();
                (*entry, *index) = (newer.entry, newer.index);
            }
            fitting += 1;
            if bytes > limits::PAGE_PORTION {
                break;
            }
        }
        self.items.truncate(fitting);
    }

    /// Adds what the annotations of its messages come to; with so much of that that the rest is asked for.
    pub fn summarise<E>(
        &mut self,
        mut digest_of: impl FnMut(MessageRef) -> Result<Option<Digest>, E>,
    ) -> Result<(), E> {
        let (mut fitting, mut bytes) = (0, 0);
        for (entry, index) in &mut self.items {
            let target = Latest { entry: Arc::clone(entry), index: *index }.target();
            if let Some(digest) = digest_of(target)? {
                bytes += digest.cost();
                *entry = Arc::new(entry.with_summaries(vec![(*index, digest)]));
            }
            fitting += 1;
            if bytes > limits::PAGE_PORTION {
                break;
            }
        }
        self.items.truncate(fitting);
        Ok(())
    }

    /// Everything on it is handed out.
    pub fn is_whole(&self) -> bool {
        self.items.len() == self.places.len()
    }
}

impl Query {
    /// The first and the last place in a log that the page can be of. A serial is never earlier than the time of its entry,
    /// and later by at most `skew` milliseconds.
    pub fn places(&self, skew: u64) -> (Place, Place) {
        let first = self.start.map_or((0, 0), |start| (start.millis(), 0));
        let last = self.end.map_or(u64::MAX, |end| end.millis().saturating_add(skew));
        let last = self.until.map_or((u64::MAX, u16::MAX), Serial::place).min((last, u16::MAX));
        match (self.direction, self.after) {
            (_, None) => (first, last),
            // The item may have others behind it in its entry.
            (Direction::Forwards, Some(after)) => (first.max(after.serial.place()), last),
            (Direction::Backwards, Some(after)) => (first, last.min(after.serial.place())),
        }
    }

    /// The page out of `entries`, which come in the direction asked for; `newer` knows the messages that have changed.
    pub fn page<'a>(
        &self,
        entries: impl Iterator<Item = &'a Arc<Entry>>,
        mut newer: impl FnMut(MessageRef) -> Option<Latest>,
    ) -> Page {
        let mut page = Page::default();
        for entry in entries {
            if self.take(&mut page, entry, &mut newer).is_break() {
                break;
            }
        }
        page
    }

    /// Takes into `page` what it wants of the next entry; breaks when the page is full and there is more.
    pub fn take(
        &self,
        page: &mut Page,
        entry: &Arc<Entry>,
        mut newer: impl FnMut(MessageRef) -> Option<Latest>,
    ) -> ControlFlow<()> {
        if !self.wants(entry) {
            return ControlFlow::Continue(());
        }
        let forwards = 0..entry.len();
        let mut indices: Box<dyn Iterator<Item = usize>> = match self.direction {
            Direction::Forwards => Box::new(forwards),
            Direction::Backwards => Box::new(forwards.rev()),
        };
        let is_wanted = |index: &usize| self.is_behind(entry.serial, *index) && self.concerns(entry, *index);
        while let Some(index) = indices.find(is_wanted) {
            if page.places.len() == self.limit {
                page.next = page.places.last().copied();
                return ControlFlow::Break(());
            }
            page.add(entry, index, || match self.kind {
                Kind::Messages => newer(MessageRef { serial: entry.serial, index: index as u16 }),
                _ => None,
            });
        }
        ControlFlow::Continue(())
    }

    /// The page when one more entry has always stood before the log that `read` is of.
    pub fn page_behind(&self, oldest: &Arc<Entry>, read: Page) -> Page {
        let before = self.page(std::iter::once(oldest), |_| None);
        let (mut page, rest) = match self.direction {
            Direction::Forwards => (before, read),
            Direction::Backwards => (read, before),
        };
        if page.next.is_some() {
            return page;
        }
        let room = self.limit - page.places.len();
        let is_more = rest.places.len() > room || rest.next.is_some();
        if page.is_whole() {
            page.items.extend(rest.items.into_iter().take(room));
        }
        page.places.extend(rest.places.into_iter().take(room));
        if is_more {
            page.next = page.places.last().copied();
        }
        page
    }

    fn wants(&self, entry: &Entry) -> bool {
        let is_kind = match self.kind {
            Kind::Messages => !entry.messages().is_empty(),
            Kind::Presence => !entry.presence().is_empty(),
            Kind::Versions(target) => match entry.operation() {
                Some(operation) => operation.target == target && operation.change != Change::Append,
                None => entry.serial == target.serial && !entry.messages().is_empty(),
            },
            Kind::Annotations(_) => !entry.annotations().is_empty(),
        };
        is_kind
            && self.start.is_none_or(|start| entry.timestamp >= start)
            && self.end.is_none_or(|end| entry.timestamp <= end)
            && self.until.is_none_or(|until| entry.serial.place() <= until.place())
    }

    /// Whether an item of an entry of the right kind is wanted.
    fn concerns(&self, entry: &Entry, index: usize) -> bool {
        match self.kind {
            Kind::Messages | Kind::Presence => true,
            Kind::Versions(target) => entry.operation().is_some() || index == usize::from(target.index),
            Kind::Annotations(target) => entry.annotations().get(index).is_some_and(|item| item.target == target),
        }
    }

    fn is_behind(&self, serial: Serial, index: usize) -> bool {
        self.after.is_none_or(|after| {
            let (place, after) = ((serial.place(), index), (after.serial.place(), after.index));
            match self.direction {
                Direction::Forwards => place > after,
                Direction::Backwards => place < after,
            }
        })
    }
}

/// The messages that entries bring which come newest first: each once, as its newest version.
#[derive(Debug, Default)]
pub struct NewestFirst(HashSet<MessageRef>);

impl NewestFirst {
    /// What of the next entry is the newest version of its messages, if there is any.
    pub fn of(&mut self, entry: &Arc<Entry>) -> Option<Arc<Entry>> {
        if let Some(operation) = entry.operation() {
            return self.0.insert(operation.target).then(|| Arc::clone(entry));
        }
        let messages = entry.messages();
        let is_newest = |index: usize| !self.0.contains(&MessageRef { serial: entry.serial, index: index as u16 });
        if self.0.is_empty() || (0..messages.len()).all(is_newest) {
            return (!messages.is_empty()).then(|| Arc::clone(entry));
        }
        (0..messages.len()).any(is_newest).then(|| Arc::new(entry.only(is_newest)))
    }
}

/// The newest messages that `rewind` asks for, out of `entries`, newest first; they come oldest
/// first. False when `entries` ended before it had enough.
pub fn rewind<'a>(
    entries: impl Iterator<Item = &'a Arc<Entry>>,
    now: Timestamp,
    rewind: Rewind,
) -> (Vec<Arc<Entry>>, bool) {
    let oldest = rewind.oldest(now);
    let (mut messages, mut is_enough) = (0, false);
    let (mut found, mut newest) = (Vec::new(), NewestFirst::default());
    for entry in entries.filter_map(|entry| newest.of(entry)) {
        messages += entry.len();
        // What was published together stays together, so the newest publish comes even when it is more than is asked for.
        let is_too_much = messages > rewind.messages && (rewind.messages == 0 || !found.is_empty());
        if entry.timestamp < oldest || is_too_much {
            is_enough = true;
            break;
        }
        found.push(entry);
        if messages >= rewind.messages {
            is_enough = true;
            break;
        }
    }
    found.reverse();
    (found, is_enough)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::core::{
        message::{Body, EntryId, Message},
        serial::{Epoch, Mint},
    };

    fn entries(sizes: &[usize]) -> Vec<Arc<Entry>> {
        let mut mint = Mint::new(Epoch::new(1));
        let sizes = sizes.iter().enumerate();
        let entry = |(second, size): (usize, &usize)| {
            let now = Timestamp::from_millis(1_000 * second as u64);
            let body = Body::Messages(vec![Message::default(); *size]);
            let serial = mint.mint(now);
            Arc::new(Entry::new("c".into(), serial, now, None, EntryId::Serial, body))
        };
        sizes.map(entry).collect()
    }

    /// Messages that were published together stay together, and the newest publish is never too much.
    #[test]
    fn a_rewind_counts_messages() {
        let all = entries(&[1, 3, 2]);
        let now = Timestamp::from_millis(10_000);
        for (messages, expected) in
            [(0, vec![]), (1, vec![2]), (2, vec![2]), (4, vec![2]), (5, vec![3, 2]), (6, vec![1, 3, 2])]
        {
            let (found, is_enough) = rewind(all.iter().rev(), now, Rewind { messages, age: None });
            assert_eq!(found.iter().map(|entry| entry.len()).collect::<Vec<_>>(), expected, "{messages}");
            assert!(is_enough, "{messages}");
        }
        let (found, is_enough) = rewind(all.iter().rev(), now, Rewind { messages: 7, age: None });
        assert!(found.len() == 3 && !is_enough);
    }

    proptest! {
        /// The pages together are the whole, in order, whatever their size; also when the oldest entry
        /// stands before the log.
        #[test]
        fn pages_are_the_whole(
            sizes in prop::collection::vec(1usize..4, 1..12),
            limit in 1usize..6,
            is_forwards in any::<bool>(),
            is_split in any::<bool>(),
        ) {
            let entries = entries(&sizes);
            let direction = if is_forwards { Direction::Forwards } else { Direction::Backwards };
            let mut query = Query {
                kind: Kind::Messages, start: None, end: None, until: None, direction, limit, after: None,
            };
            let read = |query: &Query, entries: &[Arc<Entry>]| match direction {
                Direction::Forwards => query.page(entries.iter(), |_| None),
                Direction::Backwards => query.page(entries.iter().rev(), |_| None),
            };
            let mut found = Vec::new();
            loop {
                let page = if is_split {
                    query.page_behind(&entries[0], read(&query, &entries[1..]))
                } else {
                    read(&query, &entries)
                };
                prop_assert!(page.items.len() <= limit);
                found.extend(page.items.iter().map(|(entry, index)| (entry.serial.place(), *index)));
                query.after = page.next;
                if page.next.is_none() {
                    break;
                }
            }
            let mut expected: Vec<_> = entries
                .iter()
                .flat_map(|entry| (0..entry.len()).map(|index| (entry.serial.place(), index)))
                .collect();
            if !is_forwards {
                expected.reverse();
            }
            prop_assert_eq!(found, expected);
        }
    }
}
