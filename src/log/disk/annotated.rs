//! What the annotations of a message come to, read by turns: how many they are nobody knows before.

use std::ops::ControlFlow;

use crate::{
    core::{
        operation::{MessageRef, Touch},
        serial::Place,
        summaries::Annotated,
    },
    limits,
    log::{
        AnnotatedRead,
        disk::{
            open_channel::State,
            past::{DiskPast, Question, behind},
            rows,
        },
    },
    store::{
        StoreError,
        engine::{Order, Reading as Rows},
    },
};

/// A question for a message with its summary.
pub struct AnnotatedReading {
    message: MessageRef,
    /// What was read by now, and up to where.
    begun: Option<(Annotated, Place)>,
}

impl AnnotatedReading {
    pub const fn new(message: MessageRef) -> Self {
        Self { message, begun: None }
    }
}

impl Question for AnnotatedReading {
    type Answer = AnnotatedRead;

    fn at_hand(&self, State { window, .. }: &State) -> Option<AnnotatedRead> {
        if self.message.serial.epoch() != window.epoch() {
            return Some(Ok(None));
        }
        window.reaches(self.message.serial.before()).is_ok().then(|| Ok(window.annotated(self.message)))
    }

    fn turn(&mut self, past: &DiskPast, rows: &mut Rows, newest: Place) -> Result<Option<AnnotatedRead>, StoreError> {
        let (name, row, message) = (&past.name, &past.open.row, self.message);
        let (annotated, upto) = match &mut self.begun {
            Some(begun) => begun,
            none => {
                let entry = rows::entry_at(rows, name, row, message.serial.place())?;
                match entry.and_then(|entry| Annotated::new(&entry, message.index)) {
                    Some(annotated) => none.insert((annotated, message.serial.place())),
                    None => return Ok(Some(Ok(None))),
                }
            }
        };
        let mut places = Vec::new();
        let span = (*upto, Some(behind(newest)));
        rows::touching(rows, row.id, message, Touch::Annotation, span, Order::Rising, |place| {
            places.push(place);
            if places.len() < limits::READ_ROWS { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        *upto = places.last().copied().unwrap_or(*upto);
        for place in &places {
            if let Some(entry) = rows::entry_at(rows, name, row, *place)? {
                annotated.apply(message, &entry);
            }
        }
        Ok(if places.len() < limits::READ_ROWS { self.begun.take().map(|(read, _)| Ok(Some(read))) } else { None })
    }

    fn failed(&self, _: &State, error: StoreError) -> AnnotatedRead {
        Err(error)
    }
}
