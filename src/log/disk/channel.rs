//! The log of one persisted channel: the window of the newest minutes first, behind it the file.

use std::{mem, ops::ControlFlow, sync::Arc, task::Poll, time::Duration};

use parking_lot::Mutex;

use crate::{
    clock::Clock,
    core::{
        dedupe::Known,
        history::{Direction, Page, Query},
        message::Entry,
        replay::{Found, Wanted},
        serial::{Mint, Place, Serial},
        window::{Bounds, Gap},
    },
    ids::ChannelName,
    limits,
    log::{
        ChannelLog, Later, PageRead,
        disk::{
            DiskLog, encoding,
            open_channel::{Older, OpenChannel},
            reader::Reader,
            rows::{self, ChannelRow, ENTRIES, NOWHERE, Slice},
        },
        memory::Budget,
    },
    store::{
        StoreError,
        engine::{Engine, Order, Writing},
    },
};

/// The channel in the hands of its actor.
pub struct DiskChannel {
    past: Arc<Past>,
    budget: Arc<Budget>,
    bounds: Bounds,
    reader: Arc<Reader>,
}

/// What can be read of the channel; shared with the thread that reads the file.
struct Past {
    name: ChannelName,
    open: Arc<OpenChannel>,
    engine: Arc<Engine>,
    backlog_bytes: usize,
    /// Those that the next sweep looks at.
    changed: Arc<Mutex<Vec<ChannelName>>>,
    clock: Clock,
}

impl DiskChannel {
    pub(super) fn new(log: &DiskLog, name: ChannelName, open: Arc<OpenChannel>) -> Self {
        let (engine, clock) = (Arc::clone(&log.engine), log.clock.clone());
        Self {
            past: Arc::new(Past {
                name,
                open,
                engine,
                backlog_bytes: log.backlog_bytes,
                changed: Arc::clone(&log.changed),
                clock,
            }),
            budget: Arc::clone(log.memory.budget()),
            bounds: log.memory.bounds(),
            reader: Arc::clone(&log.reader),
        }
    }
}

impl Past {
    /// What is wanted, unless the file has to be read for it.
    fn at_hand(&self, wanted: Wanted) -> Option<Found> {
        let state = self.open.state.lock();
        match wanted {
            Wanted::After(position) => match state.window.after(position) {
                Err(Gap::Expired) => {}
                found => return Some(found),
            },
            Wanted::Last(now, rewind) => {
                let (found, is_enough) = state.window.rewind(now, rewind);
                if is_enough {
                    return Some(Ok(found));
                }
            }
        }
        state.older().map(|older| older.read(wanted, &state.window))
    }

    fn read(&self, wanted: Wanted) -> Found {
        // Who has asked before may have had it read.
        if let Some(found) = self.at_hand(wanted) {
            return found;
        }
        let older = self.read_older();
        let state = self.open.state.lock();
        match older {
            Ok(older) => older.read(wanted, &state.window),
            Err(error) => {
                tracing::error!(%error, "the past of a channel cannot be read");
                state.window.read(wanted)
            }
        }
    }

    /// More of the past, read at most once until it is dropped.
    fn read_older(&self) -> Result<Arc<Older>, StoreError> {
        let upto = self.newest();
        let (mut entries, mut bytes) = (Vec::new(), 0);
        let mut floor = None;
        let row = self.engine.read(|rows| {
            let row = rows::channel(rows, &self.name)?.unwrap_or_else(|| self.open.row);
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
            upto: Serial::at(self.open.row.epoch, upto),
            is_all: floor.is_none(),
            came: self.clock.uptime(),
        });
        self.open.state.lock().older = Some(Arc::clone(&older));
        Ok(older)
    }

    /// The newest entry that is on disk, as far as that is known; what is in the file behind it is not to be seen yet.
    fn newest(&self) -> Place {
        let state = self.open.state.lock();
        state.window.last().map_or(NOWHERE, Serial::place)
    }

    /// The page, unless the file has to be read for it.
    fn page_at_hand(&self, query: &Query) -> Option<Option<Page>> {
        let state = self.open.state.lock();
        match query.until.map(|until| state.window.reaches(until)) {
            None | Some(Ok(())) => {}
            Some(Err(Gap::OtherLog)) => return Some(None),
            Some(Err(_)) => return None,
        }
        let page = state.window.page(query);
        let is_newest = query.direction == Direction::Backwards && page.next.is_some();
        (is_newest || state.window.dropped().is_none()).then_some(Some(page))
    }

    fn page(&self, query: &Query) -> PageRead {
        let is_lost = |until| matches!(self.read(Wanted::After(until)), Err(Gap::Expired | Gap::OtherLog));
        if query.until.is_some_and(is_lost) {
            return Ok(None);
        }
        let (mut page, slice) = (Page::default(), self.slice(query));
        let order = match query.direction {
            Direction::Forwards => Order::Rising,
            Direction::Backwards => Order::Falling,
        };
        self.engine.read(|rows| {
            let row = self.open.row;
            rows::entries(rows, &self.name, &row, slice, order, |entry, _| Ok(query.take(&mut page, &Arc::new(entry))))
        })?;
        Ok(Some(page))
    }

    /// The entries of the file that `query` may want.
    fn slice(&self, query: &Query) -> Slice {
        let newest = self.newest();
        let until = query.until.map_or(newest, |until| until.place().min(newest));
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

impl ChannelLog for DiskChannel {
    fn mint(&self) -> Mint {
        let open = &self.past.open;
        let state = open.state.lock();
        let last = state.window.last().into_iter().chain(state.submitted);
        last.max_by_key(|serial| serial.place()).map_or_else(|| Mint::new(open.row.epoch), Mint::resume)
    }

    fn append(
        &mut self,
        now: Duration,
        entry: Arc<Entry>,
        later: Later<'_, Result<(), StoreError>>,
    ) -> Poll<Result<(), StoreError>> {
        let open = &self.past.open;
        let value = encoding::encode(&entry);
        let key = rows::entry_key(open.row.id, entry.serial.place());
        let size = key.len() + value.len();
        let mut state = open.state.lock();
        state.submitted = Some(entry.serial);
        state.pending += 1;
        let row = (!state.has_row).then(|| (self.past.name.clone(), open.row));
        drop(state);

        let work = move |rows: &mut Writing<'_>| {
            if let Some((name, row)) = &row {
                make_row(rows, name, row)?;
            }
            rows.put(ENTRIES, &key, &value)
        };
        let (budget, bounds, done) = (Arc::clone(&self.budget), self.bounds, later());
        let past = Arc::clone(&self.past);
        let committed = move |result: Result<(), StoreError>| {
            let mut state = past.open.state.lock();
            state.pending -= 1;
            if result.is_ok() {
                state.has_row = true;
                if !mem::replace(&mut state.is_changed, true) {
                    past.changed.lock().push(past.name.clone());
                }
                budget.charge(&mut state.window, |window| window.append(now, entry, bounds));
            }
            drop(state);
            done(result);
        };
        self.past.engine.submit(size, Box::new(work), Box::new(committed));
        Poll::Pending
    }

    fn remembered(&mut self) -> Vec<Known> {
        let mut state = self.past.open.state.lock();
        let mut remembered = std::mem::take(&mut state.remembered);
        if remembered.is_empty() {
            // Opened again, after an actor's death.
            remembered.extend(state.window.entries().filter_map(|entry| Known::of(entry)));
        }
        remembered
    }

    fn recent(&self) -> Vec<Arc<Entry>> {
        self.past.open.state.lock().window.entries().cloned().collect()
    }

    fn read(&self, wanted: Wanted, later: Later<'_, Found>) -> Poll<Found> {
        if let Some(found) = self.past.at_hand(wanted) {
            return Poll::Ready(found);
        }
        let (past, done) = (Arc::clone(&self.past), later());
        self.reader.submit(move || done(past.read(wanted)));
        Poll::Pending
    }

    fn page(&self, query: &Query, later: Later<'_, PageRead>) -> Poll<PageRead> {
        if let Some(page) = self.past.page_at_hand(query) {
            return Poll::Ready(Ok(page));
        }
        let (past, query, done) = (Arc::clone(&self.past), query.clone(), later());
        self.reader.submit(move || done(past.page(&query)));
        Poll::Pending
    }

    fn expire(&mut self, now: Duration) -> bool {
        let mut state = self.past.open.state.lock();
        let (budget, bounds) = (&self.budget, self.bounds);
        budget.charge(&mut state.window, |window| window.trim(now, bounds));
        let older = state.older.as_ref();
        if older.is_some_and(|older| now.saturating_sub(older.came) > limits::BACKLOG_KEPT) {
            state.older = None;
        }
        state.window.is_empty() && state.pending == 0
    }
}

/// Writes the channel's row if there is none. A row that could not be read when the channel was opened is not written over.
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
