//! A backlog, read a portion at a time.

use std::{ops::ControlFlow, sync::Arc};

use super::{DiskPast, Question, Walk, behind};
use crate::{
    core::{
        replay::{Choice, Portion, Read},
        serial::{Place, Serial},
        window::Gap,
    },
    limits,
    log::disk::{
        messages::Passed,
        open_channel::State,
        rows::{self, Slice},
    },
    store::{
        StoreError,
        engine::{Order, Reading as Rows},
    },
};

/// A portion of a backlog.
pub(super) struct PortionReading {
    /// None once it is handed out.
    pub portion: Option<Portion>,
    pub after: Serial,
    pub upto: Serial,
    pub choice: Arc<Choice>,
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
