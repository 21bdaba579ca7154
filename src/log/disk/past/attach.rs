//! What an attachment has to know of the past before it begins.

use std::{ops::ControlFlow, sync::Arc};

use super::{DiskPast, Question, Walk, behind};
use crate::{
    core::{
        budget,
        history::{self, NewestFirst},
        message::Entry,
        replay::{Choice, Found, Wanted},
        serial::{Place, Serial},
        window::Gap,
    },
    limits,
    log::disk::{
        messages::Passed,
        open_channel::{Begins, Older, State},
        rows::{ChannelRow, Slice},
    },
    store::{
        StoreError,
        engine::{Order, Reading as Rows},
    },
};

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
