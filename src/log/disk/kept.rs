//! A persisted channel in use: what of it is in memory, and how that is read from the file.

use std::{ops::ControlFlow, sync::Arc, time::Duration};

use parking_lot::Mutex;

use crate::{
    core::{
        dedupe::Known,
        message::Entry,
        serial::{Epoch, Serial},
        window::Window,
    },
    ids::ChannelName,
    limits,
    log::disk::{
        DiskLog,
        rows::{self, ChannelRow, NOWHERE, Place, Slice},
    },
    store::{StoreError, engine::Order},
};

/// A persisted channel in use. It outlives the channel's actor.
pub struct Kept {
    /// As it was found, or as it is to be made.
    pub row: ChannelRow,
    /// Held for moments only: the writer's thread needs it, too.
    pub state: Mutex<State>,
}

/// What of a channel is in memory.
pub struct State {
    /// What was told to be on disk, the newest minutes of it.
    pub window: Window,
    /// The newest entry that was handed to the writer, and how many are not told yet.
    pub submitted: Option<Serial>,
    pub untold: usize,
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

impl Kept {
    /// A channel that the file does not know.
    pub(super) fn new(log: &DiskLog) -> Self {
        let epoch = Epoch::new(rand::random());
        Self {
            row: ChannelRow::new(log.next_id(), epoch, false),
            state: Mutex::new(State {
                window: Window::new(epoch),
                submitted: None,
                untold: 0,
                has_row: false,
                remembered: Vec::new(),
                older: None,
            }),
        }
    }

    /// Nothing is in memory and nothing is to be told.
    pub(super) fn is_quiet(&self) -> bool {
        let state = self.state.lock();
        state.window.is_empty() && state.untold == 0
    }
}

/// What the file has of a channel: its newest minutes, and where it stands. With `is_going` the
/// channel's row is about to be removed.
pub(super) fn read(log: &DiskLog, name: &ChannelName, is_going: bool) -> Result<Option<Kept>, StoreError> {
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
        let state = State { submitted: None, untold: 0, has_row: !is_going, remembered, older: None, window };
        Ok(Some(Kept { row, state: Mutex::new(state) }))
    })
}
