//! Reading a channel's past in pages (`protocols/ably.md §8`).

use std::{ops::ControlFlow, sync::Arc};

use crate::{
    core::{command::Rewind, message::Entry, serial::Serial},
    ids::Timestamp,
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
    pub after: Option<Place>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Messages,
    Presence,
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
pub struct Place {
    pub serial: Serial,
    pub index: usize,
}

/// Some items, in the order that was asked for.
#[derive(Clone, Debug, Default)]
pub struct Page {
    pub items: Vec<(Arc<Entry>, usize)>,
    /// The last item, if there are more behind it.
    pub next: Option<Place>,
}

impl Query {
    /// The page out of `entries`, which come in the direction asked for.
    pub fn page<'a>(&self, entries: impl Iterator<Item = &'a Arc<Entry>>) -> Page {
        let mut page = Page::default();
        for entry in entries {
            if self.take(&mut page, entry).is_break() {
                break;
            }
        }
        page
    }

    /// Takes into `page` what it wants of the next entry; breaks when the page is full and there is more.
    pub fn take(&self, page: &mut Page, entry: &Arc<Entry>) -> ControlFlow<()> {
        if !self.wants(entry) {
            return ControlFlow::Continue(());
        }
        let forwards = 0..entry.len();
        let mut indices: Box<dyn Iterator<Item = usize>> = match self.direction {
            Direction::Forwards => Box::new(forwards),
            Direction::Backwards => Box::new(forwards.rev()),
        };
        while let Some(index) = indices.find(|index| self.is_behind(entry.serial, *index)) {
            if page.items.len() == self.limit {
                page.next = page.items.last().map(|(entry, index)| Place {
                    serial: entry.serial,
                    index: *index,
                });
                return ControlFlow::Break(());
            }
            page.items.push((Arc::clone(entry), index));
        }
        ControlFlow::Continue(())
    }

    fn wants(&self, entry: &Entry) -> bool {
        let is_kind = match self.kind {
            Kind::Messages => !entry.messages().is_empty(),
            Kind::Presence => !entry.presence().is_empty(),
        };
        is_kind
            && self.start.is_none_or(|start| entry.timestamp >= start)
            && self.end.is_none_or(|end| entry.timestamp <= end)
            && self
                .until
                .is_none_or(|until| entry.serial.place() <= until.place())
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

/// The newest entries with messages that `rewind` asks for, out of `entries`, newest first; they come oldest
/// first. False when `entries` ended before it had enough.
pub fn rewind<'a>(
    entries: impl Iterator<Item = &'a Arc<Entry>>,
    now: Timestamp,
    rewind: Rewind,
) -> (Vec<Arc<Entry>>, bool) {
    let oldest = rewind.age.map_or(0, |age| {
        let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        now.millis().saturating_sub(age)
    });
    let (mut messages, mut is_enough) = (0, false);
    let mut found = Vec::new();
    for entry in entries.filter(|entry| !entry.messages().is_empty()) {
        messages += entry.len();
        if entry.timestamp.millis() < oldest || messages > rewind.messages {
            is_enough = true;
            break;
        }
        found.push(Arc::clone(entry));
        if messages == rewind.messages {
            is_enough = true;
            break;
        }
    }
    found.reverse();
    (found, is_enough)
}
