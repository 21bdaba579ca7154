//! The log of one persisted channel: the window of the newest minutes first, behind it the file.

use std::{ops::ControlFlow, sync::Arc, time::Duration};

use crate::{
    clock::Clock,
    core::{
        command::Rewind,
        dedupe::Known,
        history::{self, Direction, Page, Query},
        message::Entry,
        replay::Past,
        serial::{Mint, Serial},
        window::{Bounds, Gap},
    },
    ids::{ChannelName, Timestamp},
    limits,
    log::{
        Appended, ChannelLog,
        disk::{
            DiskLog, encoding,
            kept::{Kept, Older},
            rows::{self, ChannelRow, ENTRIES, NOWHERE, Place, Slice},
        },
        memory::Budget,
    },
    store::{
        Done, StoreError,
        engine::{Engine, Order, Writing},
    },
};

/// The channel in the hands of its actor.
pub struct DiskChannel {
    name: ChannelName,
    kept: Arc<Kept>,
    engine: Arc<Engine>,
    budget: Arc<Budget>,
    bounds: Bounds,
    backlog_bytes: usize,
    clock: Clock,
}

impl DiskChannel {
    pub(super) fn new(log: &DiskLog, name: ChannelName, kept: Arc<Kept>) -> Self {
        Self {
            name,
            kept,
            engine: Arc::clone(&log.engine),
            budget: Arc::clone(log.memory.budget()),
            bounds: log.memory.bounds(),
            backlog_bytes: log.backlog_bytes,
            clock: log.clock.clone(),
        }
    }

    /// Up to where everything was told; what is in the file behind it is not to be seen yet.
    fn told(&self) -> Place {
        let state = self.kept.state.lock();
        state.window.last().map_or(NOWHERE, Serial::place)
    }

    /// More of the past, read at most once until it is dropped.
    fn older(&self) -> Result<Arc<Older>, StoreError> {
        let state = self.kept.state.lock();
        if let Some(older) = &state.older
            && state.window.after(older.upto).is_ok()
        {
            return Ok(Arc::clone(older));
        }
        drop(state);
        let upto = self.told();
        let (mut entries, mut bytes) = (Vec::new(), 0);
        let mut floor = None;
        let row = self.engine.read(|rows| {
            let row = rows::channel(rows, &self.name)?.unwrap_or_else(|| self.kept.row);
            let slice = Slice { before: Some(behind(upto)), ..Slice::ALL };
            rows::entries(rows, &self.name, &row, slice, Order::Falling, |entry, _| {
                bytes += entry.cost();
                if bytes > self.backlog_bytes {
                    floor = Some(entry.serial.place());
                    return Ok(ControlFlow::Break(()));
                }
                entries.push(Arc::new(entry));
                Ok(ControlFlow::Continue(()))
            })?;
            Ok(row)
        })?;
        entries.reverse();
        let older = Arc::new(Older {
            entries,
            floor: floor.unwrap_or(row.dropped),
            upto: Serial::at(self.kept.row.epoch, upto),
            is_all: floor.is_none(),
            came: self.clock.uptime(),
        });
        self.kept.state.lock().older = Some(Arc::clone(&older));
        Ok(older)
    }

    /// What came after `older` was read.
    fn newer(&self, older: &Older) -> Vec<Arc<Entry>> {
        let state = self.kept.state.lock();
        // cannot fail: `older` was just read, or checked for it.
        state.window.after(older.upto).unwrap_or_default()
    }

    fn report(&self, error: &StoreError) {
        tracing::error!(%error, "the past of a channel cannot be read");
    }

    /// The entries of the file that `query` may want.
    fn slice(&self, query: &Query) -> Slice {
        let told = self.told();
        let until = query.until.map_or(told, |until| until.place().min(told));
        let mut slice = Slice { after: NOWHERE, before: Some(behind(until)) };
        // Its other items may follow.
        let place = query.after.map(|after| after.serial.place());
        match (query.direction, place) {
            (Direction::Forwards, Some(place)) => slice.after = ahead_of(place),
            (Direction::Backwards, Some(place)) => {
                slice.before = Some(behind(until.min(place)));
            }
            (_, None) => {}
        }
        if let Some(start) = query.start {
            // A serial is never earlier than the clock that its entry was stamped by.
            slice.after = slice.after.max(ahead_of((start.millis(), 0)));
        }
        slice
    }
}

/// The next place that may be.
const fn behind((millis, counter): Place) -> Place {
    match counter.checked_add(1) {
        Some(counter) => (millis, counter),
        None => (millis + 1, 0),
    }
}

/// The last place that may be before it.
const fn ahead_of((millis, counter): Place) -> Place {
    match (millis, counter) {
        (0, 0) => NOWHERE,
        (millis, 0) => (millis - 1, u16::MAX),
        (millis, counter) => (millis, counter - 1),
    }
}

impl Past for DiskChannel {
    fn after(&self, position: Serial) -> Result<Vec<Arc<Entry>>, Gap> {
        let found = self.kept.state.lock().window.after(position);
        if found.as_ref().err() != Some(&Gap::Expired) {
            return found;
        }
        let older = self.older().map_err(|error| {
            self.report(&error);
            Gap::Expired
        })?;
        if position.place() < older.floor {
            return Err(if older.is_all { Gap::Expired } else { Gap::TooLong });
        }
        let from = older.entries.partition_point(|entry| entry.serial.place() <= position.place());
        let mut found = older.entries[from..].to_vec();
        found.extend(self.newer(&older));
        Ok(found)
    }

    fn rewind(&self, now: Timestamp, rewind: Rewind) -> Vec<Arc<Entry>> {
        let (found, is_enough) = self.kept.state.lock().window.rewind_or_less(now, rewind);
        if is_enough {
            return found;
        }
        match self.older() {
            Ok(older) => {
                let newer = self.newer(&older);
                let all = newer.iter().rev().chain(older.entries.iter().rev());
                history::rewind(all, now, rewind).0
            }
            Err(error) => {
                self.report(&error);
                found
            }
        }
    }

    fn recent(&self) -> Vec<Arc<Entry>> {
        self.kept.state.lock().window.entries().cloned().collect()
    }
}

impl ChannelLog for DiskChannel {
    fn mint(&self) -> Mint {
        let state = self.kept.state.lock();
        let last = state.window.last().into_iter().chain(state.submitted);
        last.max_by_key(|serial| serial.place()).map_or_else(|| Mint::new(self.kept.row.epoch), Mint::resume)
    }

    fn append(&mut self, now: Duration, entry: Arc<Entry>, whom: &mut dyn FnMut() -> Done<()>) -> Appended {
        let value = encoding::encode(&entry);
        let key = rows::entry_key(self.kept.row.id, entry.serial.place());
        let size = key.len() + value.len();
        let mut state = self.kept.state.lock();
        state.submitted = Some(entry.serial);
        state.untold += 1;
        let row = (!state.has_row).then(|| (self.name.clone(), self.kept.row));
        drop(state);

        let work = move |rows: &mut Writing<'_>| {
            if let Some((name, row)) = &row {
                make_row(rows, name, row)?;
            }
            rows.put(ENTRIES, &key, &value)
        };
        let (kept, budget) = (Arc::clone(&self.kept), Arc::clone(&self.budget));
        let (bounds, done) = (self.bounds, whom());
        let told = move |result: Result<(), StoreError>| {
            let mut state = kept.state.lock();
            state.untold -= 1;
            if result.is_ok() {
                state.has_row = true;
                budget.charge(&mut state.window, |window| window.append(now, entry, bounds));
            }
            drop(state);
            done(result);
        };
        self.engine.submit(size, Box::new(work), Box::new(told));
        Appended::Later
    }

    fn remembered(&mut self) -> Vec<Known> {
        let mut state = self.kept.state.lock();
        let mut remembered = std::mem::take(&mut state.remembered);
        if remembered.is_empty() {
            // Opened again, after an actor's death.
            remembered.extend(state.window.entries().filter_map(|entry| Known::of(entry)));
        }
        remembered
    }

    fn page(&self, query: &Query) -> Result<Page, StoreError> {
        let state = self.kept.state.lock();
        let page = state.window.page(query);
        let is_newest = query.direction == Direction::Backwards && page.next.is_some();
        if is_newest || state.window.dropped().is_none() {
            return Ok(page);
        }
        drop(state);
        let (mut page, slice) = (Page::default(), self.slice(query));
        let order = match query.direction {
            Direction::Forwards => Order::Rising,
            Direction::Backwards => Order::Falling,
        };
        self.engine.read(|rows| {
            let row = self.kept.row;
            rows::entries(rows, &self.name, &row, slice, order, |entry, _| Ok(query.take(&mut page, &Arc::new(entry))))
        })?;
        Ok(page)
    }

    fn expire(&mut self, now: Duration) -> bool {
        let mut state = self.kept.state.lock();
        let (budget, bounds) = (&self.budget, self.bounds);
        budget.charge(&mut state.window, |window| window.trim(now, bounds));
        let older = state.older.as_ref();
        if older.is_some_and(|older| now.saturating_sub(older.came) > limits::BACKLOG_KEPT) {
            state.older = None;
        }
        state.window.is_empty() && state.untold == 0
    }
}

/// Makes the channel known to the file. Whoever could not read its row must not write over it.
fn make_row(rows: &mut Writing<'_>, name: &ChannelName, row: &ChannelRow) -> Result<(), StoreError> {
    match rows::channel(rows, name)? {
        Some(known) if known.id == row.id => Ok(()),
        Some(known) if !known.is_window => Err(StoreError::damaged(format!(
            "channel {name} of app {} could not be read when it was opened",
            name.app()
        ))),
        _ => {
            super::note_id(rows, row.id)?;
            rows::put_channel(rows, name, row)
        }
    }
}
