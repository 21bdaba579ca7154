//! The past of a persisted channel, as far as the file has to be read for it.
//!
//! What is asked for is looked for in memory first, then read by turns on the reader's thread: where it begins and ends is
//! found by key, and a turn ends after [`limits::READ_ROWS`] rows.

mod attach;
mod page;
mod portion;

use std::{fmt, ops::ControlFlow, sync::Arc, task::Poll};

use parking_lot::Mutex;

use crate::{
    clock::Clock,
    core::{
        budget::Account,
        operation::{Latest, MessageRef},
        replay::{Choice, Later, Past, Portion, Read},
        serial::{Place, Serial},
    },
    ids::ChannelName,
    limits,
    log::{
        MessageRead,
        disk::{
            DiskLog,
            messages::Messages,
            open_channel::{OpenChannel, State},
            reader::Reader,
            rows::{self, ChannelRow, NOWHERE, Slice, Stored},
        },
    },
    store::{
        StoreError,
        engine::{Engine, Order, Reading as Rows},
    },
};

use portion::PortionReading;

pub use {attach::Reading, page::PageReading};

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
