//! The past of a persisted channel, as far as the file has to be read for it.
//!
//! What is asked for is looked for in memory first, then read by turns on the reader's thread: where it begins and ends is
//! found by key, and a turn ends after [`limits::READ_ROWS`] rows.

use std::{fmt, ops::ControlFlow, sync::Arc, task::Poll};

use parking_lot::Mutex;

use crate::{
    clock::Clock,
    core::{
        budget::{self, Account},
        history::{self, Direction, Kind, NewestFirst, Page, Query},
        message::Entry,
        operation::{Latest, MessageRef, Touch},
        replay::{Choice, Found, Later, Past, Portion, Read, Wanted},
        serial::{Place, Serial},
        window::Gap,
    },
    ids::ChannelName,
    limits,
    log::{
        MessageRead, PageRead,
        disk::{
            DiskLog,
            messages::{Messages, Passed},
            open_channel::{Begins, Older, OpenChannel, State},
            reader::Reader,
            rows::{self, ChannelRow, NOWHERE, PRESENCE, Slice, Stored},
        },
    },
    store::{
        StoreError,
        engine::{Engine, Order, Reading as Rows},
    },
};

/// What can be read of one channel, on any thread.
pub struct DiskPast {
    pub name: ChannelName,
    pub open: Arc<OpenChannel>,
    pub engine: Arc<Engine>,
    /// Those that the next sweep looks at.
    pub changed: Arc<Mutex<Vec<ChannelName>>>,
    backlog_bytes: usize,
    clock: Clock,
    /// Pays for what is read for a crowd, and for what waits to be written.
    pub account: Account,
    reader: Arc<Reader>,
}

/// A question about the past.
pub trait Question: Send + 'static {
    type Answer: Send + 'static;

    /// The answer, unless the file has to be read for it.
    fn at_hand(&self, state: &State) -> Option<Self::Answer>;

    /// Reads on; none = there is more to read. `newest` is an entry that `rows` have, and behind which nothing is to be seen.
    fn turn(&mut self, past: &DiskPast, rows: &mut Rows, newest: Place) -> Result<Option<Self::Answer>, StoreError>;

    /// The file cannot be read.
    fn failed(&self, state: &State, error: StoreError) -> Self::Answer;
}

impl DiskPast {
    pub fn new(log: &DiskLog, name: ChannelName, open: Arc<OpenChannel>) -> Self {
        Self {
            open,
            engine: Arc::clone(&log.engine),
            changed: Arc::clone(&log.changed),
            backlog_bytes: log.backlog_bytes,
            clock: log.clock.clone(),
            account: log.memory.account(name.app()),
            reader: Arc::clone(&log.reader),
            name,
        }
    }

    /// Answers at once, or later from the reader's thread.
    pub fn answer<Q: Question>(self: &Arc<Self>, mut question: Q, later: Later<'_, Q::Answer>) -> Poll<Q::Answer> {
        if let Some(answer) = question.at_hand(&self.open.state.lock()) {
            return Poll::Ready(answer);
        }
        let (past, mut done) = (Arc::clone(self), Some(later()));
        let mut has_begun = false;
        self.reader.submit(move || {
            // Who has asked before may have had it read.
            let known = if has_begun { None } else { question.at_hand(&past.open.state.lock()) };
            has_begun = true;
            let newest = past.newest();
            let read = || past.engine.read(|rows| question.turn(&past, rows, newest));
            let answer = match known.map_or_else(read, |known| Ok(Some(known))) {
                Ok(None) => return ControlFlow::Continue(()),
                Ok(Some(answer)) => answer,
                Err(error) => question.failed(&past.open.state.lock(), error),
            };
            if let Some(done) = done.take() {
                done(answer);
            }
            ControlFlow::Break(())
        });
        Poll::Pending
    }

    pub fn messages<'a>(&'a self, row: &'a ChannelRow) -> Messages<'a> {
        Messages { name: &self.name, row, account: &self.account }
    }

    /// The newest entry that is on disk, as far as that is known; what is in the file behind it is not to be seen yet.
    fn newest(&self) -> Place {
        let state = self.open.state.lock();
        state.window.last().map_or(NOWHERE, Serial::place)
    }

    /// The row as the file has it: the sweep may have removed entries since the channel was opened.
    fn row(&self, rows: &mut Rows) -> Result<ChannelRow, StoreError> {
        let row = rows::channel(rows, &self.name)?;
        Ok(row.filter(|row| row.id == self.open.row.id).unwrap_or(self.open.row))
    }
}

impl fmt::Debug for DiskPast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DiskPast").field(&self.name).finish()
    }
}

impl Past for DiskPast {
    fn portion(
        self: Arc<Self>,
        after: Serial,
        upto: Serial,
        choice: &Arc<Choice>,
        later: Later<'_, Read>,
    ) -> Poll<Read> {
        let portion = Portion::after(after);
        self.answer(PortionReading { portion: Some(portion), after, upto, choice: Arc::clone(choice) }, later)
    }
}

/// A walk over entries that goes on turn by turn.
struct Walk {
    slice: Slice,
    order: Order,
}

impl Walk {
    /// Visits the next entries, one turn of them. True when there are no more, or `visit` breaks.
    fn turn(
        &mut self,
        past: &DiskPast,
        rows: &mut Rows,
        mut visit: impl FnMut(&Stored<'_>) -> Result<ControlFlow<()>, StoreError>,
    ) -> Result<bool, StoreError> {
        let (mut left, mut bytes, mut is_over) = (limits::READ_ROWS, 0, true);
        let (slice, order) = (self.slice, self.order);
        rows::entries(rows, &past.name, &past.open.row, slice, order, |stored| {
            if left == 0 || bytes > limits::READ_BYTES {
                is_over = false;
                return Ok(ControlFlow::Break(()));
            }
            left -= 1;
            bytes += stored.value.len();
            self.pass(stored.serial.place());
            visit(&stored)
        })?;
        Ok(is_over)
    }

    /// Goes on behind this place.
    const fn pass(&mut self, place: Place) {
        match self.order {
            Order::Rising => self.slice.after = place,
            Order::Falling => self.slice.before = Some(place),
        }
    }
}

/// What an attachment has to know of the past before it begins.
pub struct Reading {
    wanted: Wanted,
    choice: Arc<Choice>,
    found: Option<Collected>,
}

/// Newest first.
struct Collected {
    walk: Walk,
    upto: Place,
    entries: Vec<Arc<Entry>>,
    /// What they cost.
    bytes: usize,
    messages: usize,
    newest: NewestFirst,
}

impl Reading {
    pub const fn new(wanted: Wanted, choice: Arc<Choice>) -> Self {
        Self { wanted, choice, found: None }
    }
}

impl Question for Reading {
    type Answer = Found;

    fn at_hand(&self, State { window, older, .. }: &State) -> Option<Found> {
        match self.wanted {
            Wanted::After(position) => match window.after(position, &self.choice) {
                Err(Gap::Expired) => {}
                found => return Some(found),
            },
            Wanted::Last(now, rewind) => {
                let (found, is_enough) = window.rewind(now, rewind);
                if is_enough {
                    return Some(Ok(self.choice.of_all(&found)));
                }
            }
        }
        // As long as the window goes on where that ends.
        let older = older.as_ref().filter(|older| window.reaches(older.upto).is_ok())?;
        older.read(self.wanted, &self.choice, window)
    }

    fn turn(&mut self, past: &DiskPast, rows: &mut Rows, newest: Place) -> Result<Option<Found>, StoreError> {
        let row = past.row(rows)?;
        if let Wanted::After(position) = self.wanted
            && position.place() < row.dropped
        {
            return Ok(Some(Err(Gap::Expired)));
        }
        let found = self.found.get_or_insert_with(|| Collected::upto(newest));
        let Some(begins) = found.turn(past, rows, self.wanted)? else {
            return Ok(None);
        };
        let Some(mut found) = self.found.take() else {
            return Ok(None);
        };
        found.complete(past, rows, &row)?;
        Ok(Some(found.into_answer(past, self.wanted, &self.choice, begins, &row)))
    }

    fn failed(&self, state: &State, error: StoreError) -> Found {
        tracing::error!(%error, "the past of a channel cannot be read");
        state.window.read(self.wanted, &self.choice)
    }
}

impl Collected {
    fn upto(upto: Place) -> Self {
        let slice = Slice { before: Some(behind(upto)), ..Slice::ALL };
        Self {
            walk: Walk { slice, order: Order::Falling },
            upto,
            entries: Vec::new(),
            bytes: 0,
            messages: 0,
            newest: NewestFirst::default(),
        }
    }

    /// None: there is more to read.
    fn turn(&mut self, past: &DiskPast, rows: &mut Rows, wanted: Wanted) -> Result<Option<Begins>, StoreError> {
        let Self { walk, entries, bytes, messages, newest, .. } = self;
        let mut begins = Begins::WithTheLog;
        let is_over = walk.turn(past, rows, |stored| {
            let stop = match wanted {
                Wanted::After(position) => stored.serial.place() <= position.place() && *bytes >= limits::BACKLOG_AHEAD,
                Wanted::Last(_, rewind) => *messages >= rewind.messages,
            };
            if stop {
                begins = Begins::AsAsked;
                return Ok(ControlFlow::Break(()));
            }
            if matches!(wanted, Wanted::Last(..)) && stored.is_presence() {
                return Ok(ControlFlow::Continue(()));
            }
            let mut entry = Arc::new(stored.entry()?);
            if matches!(wanted, Wanted::Last(..)) {
                match newest.of(&entry) {
                    Some(shown) => entry = shown,
                    None => return Ok(ControlFlow::Continue(())),
                }
                *messages += entry.len();
            }
            *bytes += entry.cost();
            if *bytes > past.backlog_bytes {
                begins = Begins::AtTheLimit;
                return Ok(ControlFlow::Break(()));
            }
            let is_too_old = matches!(wanted, Wanted::Last(now, rewind) if entry.timestamp < rewind.oldest(now));
            if is_too_old {
                begins = Begins::AsAsked;
                return Ok(ControlFlow::Break(()));
            }
            entries.push(entry);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(is_over.then_some(begins))
    }

    /// Finds out what the appends among them have made of their messages.
    fn complete(&mut self, past: &DiskPast, rows: &mut Rows, row: &ChannelRow) -> Result<(), StoreError> {
        let (messages, mut passed) = (past.messages(row), Passed::new());
        self.entries.iter().rev().try_for_each(|entry| messages.pass(rows, &mut passed, entry))
    }

    fn into_answer(
        mut self,
        past: &DiskPast,
        wanted: Wanted,
        choice: &Arc<Choice>,
        begins: Begins,
        row: &ChannelRow,
    ) -> Found {
        if let Wanted::Last(now, rewind) = wanted {
            let (found, _) = history::rewind(self.entries.iter(), now, rewind);
            return Ok(choice.of_all(&found));
        }
        self.entries.reverse();
        // The walk has passed the entry that it stopped at, which is not among these.
        let floor = match begins {
            Begins::WithTheLog => row.dropped,
            Begins::AsAsked | Begins::AtTheLimit => self.walk.slice.before.unwrap_or(row.dropped),
        };
        let upto = Serial::at(past.open.row.epoch, self.upto);
        let entries = self.entries;
        let charge = past.account.charge(budget::Kind::Window, self.bytes);
        let state = &mut *past.open.state.lock();
        let older = |charge| Older { entries, floor, upto, begins, came: past.clock.uptime(), _charge: charge };
        let found = match charge {
            Ok(charge) => {
                // For others who come back for it.
                let older = state.older.insert(older(Some(charge)));
                older.read(wanted, choice, &state.window)
            }
            Err(_) => older(None).read(wanted, choice, &state.window),
        };
        found.unwrap_or(Err(Gap::TooLong))
    }
}

/// A portion of a backlog.
struct PortionReading {
    /// None once it is handed out.
    portion: Option<Portion>,
    after: Serial,
    upto: Serial,
    choice: Arc<Choice>,
}

impl Question for PortionReading {
    type Answer = Read;

    fn at_hand(&self, State { window, older, .. }: &State) -> Option<Read> {
        match window.portion(self.after, self.upto, &self.choice) {
            // What is in memory beside the window does not know what annotates what.
            Err(Gap::Expired) if self.choice.wants_summaries() => None,
            Err(Gap::Expired) => older.as_ref()?.portion(self.after, self.upto, &self.choice).map(Ok),
            portion => Some(portion),
        }
    }

    fn turn(&mut self, past: &DiskPast, rows: &mut Rows, newest: Place) -> Result<Option<Read>, StoreError> {
        let Some(portion) = &mut self.portion else {
            return Ok(Some(Err(Gap::Expired)));
        };
        let row = past.row(rows)?;
        if portion.upto.place() < row.dropped {
            return Ok(Some(Err(Gap::Expired)));
        }
        let slice = Slice { after: portion.upto.place(), before: Some(behind(self.upto.place())) };
        let mut walk = Walk { slice, order: Order::Rising };
        let (mut is_enough, mut bytes, mut entries) = (false, 0, Vec::new());
        let is_over = walk.turn(past, rows, |stored| {
            if self.choice.passes_over_presence() && stored.is_presence() {
                return Ok(ControlFlow::Continue(()));
            }
            let entry = Arc::new(stored.entry()?);
            bytes += entry.cost();
            entries.push(entry);
            is_enough = bytes >= limits::BACKLOG_PORTION;
            Ok(if is_enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        let (messages, mut passed, mut is_full) = (past.messages(&row), Passed::new(), false);
        for entry in &entries {
            if let Some(operation) = entry.operation().filter(|_| !self.choice.passes_over(entry)) {
                let previous = messages.previous(rows, operation.target, entry.serial.place())?;
                if self.choice.needs_whole(previous) {
                    messages.pass(rows, &mut passed, entry)?;
                }
            }
            if portion.take(entry, &self.choice).is_break() {
                is_full = true;
                break;
            }
        }
        match (is_full, is_over && !is_enough) {
            (true, _) => {}
            (false, true) => portion.upto = self.upto,
            (false, false) => {
                portion.upto = Serial::at(self.upto.epoch(), walk.slice.after);
                return Ok(None);
            }
        }
        if self.choice.wants_summaries() && rows::touches_any(rows, row.id)? {
            portion.summarise(|target| messages.digest(rows, target, newest))?;
        }
        Ok(self.portion.take().map(Ok))
    }

    fn failed(&self, _: &State, error: StoreError) -> Read {
        tracing::error!(%error, "the past of a channel cannot be read");
        Err(Gap::Expired)
    }
}

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

/// A message as it is.
pub struct MessageReading(pub MessageRef);

impl Question for MessageReading {
    type Answer = MessageRead;

    fn at_hand(&self, State { window, .. }: &State) -> Option<MessageRead> {
        let is_elsewhere = window.reaches(self.0.serial.before()).is_err();
        match window.newest(self.0) {
            None if is_elsewhere && self.0.serial.epoch() == window.epoch() => None,
            latest => Some(Ok(latest)),
        }
    }

    fn turn(&mut self, past: &DiskPast, rows: &mut Rows, _: Place) -> Result<Option<MessageRead>, StoreError> {
        let latest: Option<Latest> = past.messages(&past.open.row).newest(rows, self.0)?;
        Ok(Some(Ok(latest)))
    }

    fn failed(&self, _: &State, error: StoreError) -> MessageRead {
        Err(error)
    }
}

/// The next place that may be.
pub const fn behind((millis, counter): Place) -> Place {
    match counter.checked_add(1) {
        Some(counter) => (millis, counter),
        None => (millis.saturating_add(1), 0),
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
