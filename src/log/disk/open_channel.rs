//! A persisted channel in use: what of it is in memory, and how that is read from the file.

use std::{ops::ControlFlow, sync::Arc, time::Duration};

use parking_lot::Mutex;

use crate::{
    core::{
        dedupe::Known,
        history,
        message::Entry,
        replay::{Found, Wanted},
        serial::{Epoch, Place, Serial},
        window::{Gap, Window},
    },
    ids::ChannelName,
    limits,
    log::disk::{
        DiskLog,
        rows::{self, ChannelRow, NOWHERE, Slice},
    },
    store::{StoreError, engine::Order},
};

/// A persisted channel in use. It outlives the channel's actor.
pub struct OpenChannel {
    /// As it was found, or as it is to be made.
    pub row: ChannelRow,
    /// Held for moments only: the writer's thread needs it, too.
    pub state: Mutex<State>,
}

/// What of a channel is in memory.
pub struct State {
    /// What is on disk, the newest minutes of it.
    pub window: Window,
    /// The newest entry that was handed to the writer, and how many are not on disk yet.
    pub submitted: Option<Serial>,
    pub pending: usize,
    /// The next sweep will look at it.
    pub is_changed: bool,
    /// The file knows the channel.
    pub has_row: bool,
    pub remembered: Vec<Known>,
    pub older: Option<Arc<Older>>,
}

/// More of the past than the window has, for a crowd that comes back late.
pub struct Older {
    /// Everything after `floor`, up to `upto`.
    pub entries: Vec<Arc<Entry>>,
    pub floor: Place,
    pub upto: Serial,
    /// There is nothing before `floor`.
    pub is_all: bool,
    /// When it was read (monotonic).
    pub came: Duration,
}

impl State {
    /// What was read of the past behind the window, as long as the window goes on where that ends.
    pub fn older(&self) -> Option<&Arc<Older>> {
        self.older.as_ref().filter(|older| self.window.reaches(older.upto).is_ok())
    }
}

impl Older {
    /// What is wanted of this and of the window that goes on behind it.
    pub fn read(&self, wanted: Wanted, window: &Window) -> Found {
        let newer = window.after(self.upto)?;
        match wanted {
            Wanted::After(position) if position.place() < self.floor => {
                Err(if self.is_all { Gap::Expired } else { Gap::TooLong })
            }
            Wanted::After(position) => {
                let from = self.entries.partition_point(|entry| entry.serial.place() <= position.place());
                Ok(self.entries[from..].iter().cloned().chain(newer).collect())
            }
            Wanted::Last(now, rewind) => {
                let all = newer.iter().rev().chain(self.entries.iter().rev());
                Ok(history::rewind(all, now, rewind).0)
            }
        }
    }
}

impl OpenChannel {
    /// A channel that the file does not know.
    pub(super) fn new(log: &DiskLog) -> Self {
        let epoch = Epoch::new(rand::random());
        Self {
            row: ChannelRow::new(log.next_id(), epoch, false),
            state: Mutex::new(State {
                window: Window::new(epoch),
                submitted: None,
                pending: 0,
                is_changed: false,
                has_row: false,
                remembered: Vec::new(),
                older: None,
            }),
        }
    }

    /// Nothing is in memory and nothing is on its way to the disk.
    pub(super) fn is_quiet(&self) -> bool {
        let state = self.state.lock();
        state.window.is_empty() && state.pending == 0
    }
}

/// What the file has of a channel: its newest minutes, and where it stands. With `is_going` the
/// channel's row is about to be removed.
pub(super) fn read(log: &DiskLog, name: &ChannelName, is_going: bool) -> Result<Option<OpenChannel>, StoreError> {
    let (bounds, wall, uptime) = (log.memory.bounds(), log.clock.now(), log.clock.uptime());
    let before = |age: Duration| wall.millis().saturating_sub(u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
    let (oldest, oldest_id) = (before(bounds.age), before(limits::IDEMPOTENCY_WINDOW));
    log.engine.read(|rows| {
        let Some(row) = rows::channel(rows, name)?.filter(|row| !row.is_window) else {
            return Ok(None);
        };
        let (mut last, mut floor) = (None, None);
        let (mut recent, mut bytes) = (Vec::new(), 0);
        let mut remembered = Vec::new();
        rows::entries(rows, name, &row, Slice::ALL, Order::Falling, |entry, _| {
            last = last.or(Some(entry.serial));
            let (millis, _) = entry.serial.place();
            if millis >= oldest_id && remembered.len() < limits::IDEMPOTENCY_IDS {
                remembered.extend(Known::of(&entry));
            } else if floor.is_some() {
                return Ok(ControlFlow::Break(()));
            }
            if floor.is_none() {
                bytes += entry.cost();
                if millis < oldest || recent.len() == bounds.entries || bytes > bounds.bytes {
                    floor = Some(entry.serial);
                } else {
                    recent.push(Arc::new(entry));
                }
            }
            Ok(ControlFlow::Continue(()))
        })?;
        let place = last.map_or(NOWHERE, Serial::place).max(row.last);
        let floor = floor.or(row.serial(row.dropped));
        let mut window = Window::resume(row.epoch, row.serial(place), floor);
        log.memory.budget().charge(&mut window, |window| {
            for entry in recent.into_iter().rev() {
                let age = wall.millis().saturating_sub(entry.timestamp.millis());
                let came = uptime.saturating_sub(Duration::from_millis(age));
                window.append(came, entry, bounds);
            }
        });
        remembered.reverse();
        let state = State {
            submitted: None,
            is_changed: false,
            pending: 0,
            has_row: !is_going,
            remembered,
            older: None,
            window,
        };
        Ok(Some(OpenChannel { row, state: Mutex::new(state) }))
    })
}
