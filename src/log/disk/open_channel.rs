//! A persisted channel in use: what of it is in memory, and how that is read from the file.

use std::{ops::ControlFlow, sync::Arc, time::Duration};

use parking_lot::Mutex;

use crate::{
    core::{
        budget::Charge,
        dedupe::Known,
        history,
        message::Entry,
        replay::{Choice, Found, Portion, Wanted},
        serial::{Epoch, Place, Serial},
        window::{Gap, Window},
    },
    ids::{AppId, ChannelName},
    limits,
    log::{
        disk::{
            DiskLog,
            messages::{Messages, Passed},
            rows::{self, ChannelRow, NOWHERE, Slice},
        },
        kept::KeptWindow,
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
    pub window: KeptWindow,
    /// The newest entry that was handed to the writer, and how many are not on disk yet.
    pub submitted: Option<Serial>,
    pub pending: usize,
    /// The next sweep will look at it.
    pub is_changed: bool,
    /// The file knows the channel.
    pub has_row: bool,
    pub remembered: Vec<Known>,
    pub older: Option<Older>,
    /// See [`ChannelRow::skew`].
    pub skew: Option<u64>,
}

/// More of the past than the window has, for a crowd that comes back late.
pub struct Older {
    /// Everything after `floor`, up to `upto`.
    pub entries: Vec<Arc<Entry>>,
    pub floor: Place,
    pub upto: Serial,
    /// Why it begins there.
    pub begins: Begins,
    /// When it was read (monotonic).
    pub came: Duration,
    /// Pays for it.
    pub _charge: Option<Charge>,
}

/// Why what was read of the past goes no further back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begins {
    /// Nobody has asked for more.
    AsAsked,
    /// There is no more.
    WithTheLog,
    /// More is not sent again.
    AtTheLimit,
}

impl Older {
    /// What is wanted of this and of the window that goes on behind it; none when more of the past is to be read for it.
    pub fn read(&self, wanted: Wanted, choice: &Choice, window: &Window) -> Option<Found> {
        if let Err(gap) = window.reaches(self.upto) {
            return Some(Err(gap));
        }
        match wanted {
            Wanted::After(position) if position.place() < self.floor => match self.begins {
                Begins::AsAsked => None,
                Begins::WithTheLog => Some(Err(Gap::Expired)),
                Begins::AtTheLimit => Some(Err(Gap::TooLong)),
            },
            Wanted::After(position) => {
                let mut found = choice.of_all(&self.entries[self.behind(position)..]);
                let newer = window.after(self.upto, choice);
                Some(newer.map(|newer| {
                    found.extend(newer);
                    found
                }))
            }
            Wanted::Last(now, rewind) => {
                let newer = window.entries().rev().take_while(|entry| entry.serial.place() > self.upto.place());
                let (found, is_enough) = history::rewind(newer.chain(self.entries.iter().rev()), now, rewind);
                let is_all = is_enough || self.begins == Begins::WithTheLog;
                is_all.then(|| Ok(choice.of_all(&found)))
            }
        }
    }

    /// What `choice` takes of the next entries after a position; none when they are not here.
    pub fn portion(&self, after: Serial, upto: Serial, choice: &Choice) -> Option<Portion> {
        if after.place() < self.floor || after.place() >= self.upto.place() {
            return None;
        }
        let mut portion = Portion::after(after);
        let entries = self.entries[self.behind(after)..].iter();
        for entry in entries.take_while(|entry| entry.serial.place() <= upto.place()) {
            if portion.take(entry, choice).is_break() {
                return Some(portion);
            }
        }
        // Behind it the window goes on.
        portion.upto = if upto.place() < self.upto.place() { upto } else { self.upto };
        Some(portion)
    }

    fn behind(&self, position: Serial) -> usize {
        self.entries.partition_point(|entry| entry.serial.place() <= position.place())
    }
}

impl OpenChannel {
    /// A channel that the file does not know.
    pub(super) fn new(log: &DiskLog, app: AppId) -> Self {
        let epoch = Epoch::new(rand::random());
        Self {
            row: ChannelRow::new(log.next_id(), epoch, false),
            state: Mutex::new(State {
                window: log.memory.kept(app, Window::new(epoch)),
                submitted: None,
                pending: 0,
                is_changed: false,
                has_row: false,
                remembered: Vec::new(),
                older: None,
                skew: Some(0),
            }),
        }
    }

    /// Drops the oldest entries from memory, so many bytes of them, and what was read back; false when there was nothing.
    pub(super) fn forget(&self, bytes: usize) -> bool {
        let mut state = self.state.lock();
        state.older.take().is_some() | state.window.give_up(bytes)
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
        rows::entries(rows, name, &row, Slice::ALL, Order::Falling, |stored| {
            let entry = stored.entry()?;
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
        let account = log.memory.account(name.app());
        let messages = Messages { name, row: &row, account: &account };
        let mut passed = Passed::new();
        recent.iter().rev().try_for_each(|entry| messages.pass(rows, &mut passed, entry))?;
        let mut window = log.memory.kept(name.app(), Window::resume(row.epoch, row.serial(place), floor));
        for entry in recent.into_iter().rev() {
            let age = wall.millis().saturating_sub(entry.timestamp.millis());
            let came = uptime.saturating_sub(Duration::from_millis(age));
            window.append_copy(came, entry, bounds);
        }
        remembered.reverse();
        let state = State {
            submitted: None,
            is_changed: false,
            pending: 0,
            has_row: !is_going,
            remembered,
            older: None,
            window,
            skew: row.skew,
        };
        Ok(Some(OpenChannel { row, state: Mutex::new(state) }))
    })
}
