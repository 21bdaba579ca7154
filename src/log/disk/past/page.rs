//! Pages of history.

use std::{ops::ControlFlow, sync::Arc};

use super::{DiskPast, Question, Walk, ahead_of, behind};
use crate::{
    core::{
        history::{Direction, Kind, Page, Query},
        operation::{MessageRef, Touch},
        serial::Place,
        window::Gap,
    },
    limits,
    log::{
        PageRead,
        disk::{
            open_channel::State,
            rows::{self, NOWHERE, PRESENCE, Slice},
        },
    },
    store::{
        StoreError,
        engine::{Order, Reading as Rows},
    },
};

/// A page of history.
pub struct PageReading {
    query: Query,
    /// What there is by now, and where it goes on.
    begun: Option<(Page, Walk)>,
}

impl PageReading {
    pub const fn new(query: Query) -> Self {
        Self { query, begun: None }
    }

    /// One turn over the presence events of a channel that has them in their table.
    fn turn_by_table(
        query: &Query,
        page: &mut Page,
        walk: &mut Walk,
        past: &DiskPast,
        rows: &mut Rows,
    ) -> Result<bool, StoreError> {
        let most = (query.limit - page.places.len()).saturating_add(1).min(limits::READ_ROWS);
        let mut places = Vec::new();
        let (slice, order) = (walk.slice, walk.order);
        rows::raw_entries(rows, PRESENCE, past.open.row.id, slice, order, &mut |key, _| {
            places.extend(rows::entry_place(key).map(|(_, place)| place));
            Ok(if places.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        for place in &places {
            walk.pass(*place);
            let entry = rows::entry_at(rows, &past.name, &past.open.row, *place)?;
            if entry.is_some_and(|entry| query.take(page, &Arc::new(entry), |_| None).is_break()) {
                return Ok(true);
            }
        }
        Ok(places.len() < most)
    }

    /// One turn over the messages of a channel.
    fn turn_of_messages(
        query: &Query,
        page: &mut Page,
        walk: &mut Walk,
        past: &DiskPast,
        rows: &mut Rows,
    ) -> Result<bool, StoreError> {
        let mut entries = Vec::new();
        let most = (query.limit - page.places.len()).saturating_add(1);
        let is_over = walk.turn(past, rows, |stored| {
            if !stored.is_presence() && !stored.touches() {
                entries.push(Arc::new(stored.entry()?));
            }
            Ok(if entries.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        let is_full = entries.len() == most;
        let has_changes = rows::touches_any(rows, past.open.row.id)?;
        let (messages, mut fault) = (past.messages(&past.open.row), None);
        for entry in &entries {
            let newer = |target| {
                let read = if has_changes { messages.changed(rows, target) } else { Ok(None) };
                read.unwrap_or_else(|error| {
                    fault = Some(error);
                    None
                })
            };
            if query.take(page, entry, newer).is_break() {
                return fault.map_or(Ok(true), Err);
            }
        }
        fault.map_or(Ok(is_over && !is_full), Err)
    }

    /// All that concerns one message.
    fn touching(
        query: &Query,
        page: &mut Page,
        target: MessageRef,
        past: &DiskPast,
        rows: &mut Rows,
        newest: Place,
    ) -> Result<(), StoreError> {
        let is_versions = matches!(query.kind, Kind::Versions(_));
        let touch = if is_versions { Touch::Version } else { Touch::Annotation };
        let after = query.after.map(|after| after.serial.place());
        let (order, span) = match query.direction {
            Direction::Forwards => (Order::Rising, (after.map_or(NOWHERE, ahead_of), Some(behind(newest)))),
            Direction::Backwards => {
                (Order::Falling, (NOWHERE, Some(behind(after.map_or(newest, |after| after.min(newest))))))
            }
        };
        // Each entry brings one at least, but the one that the last page has ended in, and those that are too early or too late.
        let is_cut = query.start.is_some() || query.until.is_some() || (query.end.is_some() && after.is_none());
        let most = if is_cut { usize::MAX } else { query.limit + 2 };
        let mut places: Vec<Place> = Vec::new();
        rows::touching(rows, past.open.row.id, target, touch, span, order, |place| {
            places.push(place);
            if places.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        match query.direction {
            Direction::Forwards if is_versions => places.insert(0, target.serial.place()),
            Direction::Backwards if is_versions && places.len() < most => places.push(target.serial.place()),
            _ => {}
        }
        let messages = past.messages(&past.open.row);
        let is_passed = |place: Place| match query.direction {
            Direction::Forwards => after.is_some_and(|after| place < after),
            Direction::Backwards => after.is_some_and(|after| place > after),
        };
        for place in places.into_iter().filter(|place| !is_passed(*place)) {
            if let Some(entry) = messages.entry(rows, place)?
                && query.take(page, &entry, |_| None).is_break()
            {
                break;
            }
        }
        Ok(())
    }
}

impl Question for PageReading {
    type Answer = PageRead;

    fn at_hand(&self, State { window, .. }: &State) -> Option<PageRead> {
        match self.query.until.map(|until| window.reaches(until)) {
            None | Some(Ok(())) => {}
            Some(Err(Gap::OtherLog)) => return Some(Ok(None)),
            Some(Err(_)) => return None,
        }
        let page = window.page(&self.query);
        let is_newest = self.query.direction == Direction::Backwards && page.next.is_some();
        (is_newest || window.dropped().is_none()).then_some(Ok(Some(page)))
    }

    fn turn(&mut self, past: &DiskPast, rows: &mut Rows, newest: Place) -> Result<Option<PageRead>, StoreError> {
        let query = &self.query;
        if let Some(until) = query.until
            && until.place() < past.row(rows)?.dropped
        {
            return Ok(Some(Ok(None)));
        }
        if let Kind::Versions(target) | Kind::Annotations(target) = query.kind {
            let mut page = Page::default();
            if target.serial.epoch() == past.open.row.epoch {
                Self::touching(query, &mut page, target, past, rows, newest)?;
            }
            return Ok(Some(Ok(Some(page))));
        }
        let skew = past.open.state.lock().skew;
        let (page, walk) = self.begun.get_or_insert_with(|| {
            let (first, last) = query.places(skew.unwrap_or(u64::MAX));
            let slice = Slice { after: ahead_of(first), before: Some(behind(last.min(newest))) };
            let order = match query.direction {
                Direction::Forwards => Order::Rising,
                Direction::Backwards => Order::Falling,
            };
            (Page::default(), Walk { slice, order })
        });
        let is_over = match query.kind {
            Kind::Presence if skew.is_some() => Self::turn_by_table(query, page, walk, past, rows)?,
            Kind::Presence => walk.turn(past, rows, |stored| match stored.is_presence() {
                true => Ok(query.take(page, &Arc::new(stored.entry()?), |_| None)),
                false => Ok(ControlFlow::Continue(())),
            })?,
            _ => Self::turn_of_messages(query, page, walk, past, rows)?,
        };
        if is_over && query.kind == Kind::Messages && rows::touches_any(rows, past.open.row.id)? {
            let messages = past.messages(&past.open.row);
            page.summarise(|target| messages.digest(rows, target, newest))?;
        }
        Ok(if is_over { self.begun.take().map(|(page, _)| Ok(Some(page))) } else { None })
    }

    fn failed(&self, _: &State, error: StoreError) -> PageRead {
        Err(error)
    }
}
