//! What the annotations of a message come to, read by turns: how many they are nobody knows before.

use std::ops::ControlFlow;

use crate::{
    core::{
        operation::{MessageRef, Touch},
        serial::Place,
        summaries::Annotated,
        summary::Digest,
    },
    limits,
    log::{
        AnnotatedRead,
        disk::{
            messages::Messages,
            open_channel::State,
            past::{DiskPast, Question, behind},
            rows,
        },
    },
    store::{
        StoreError,
        engine::{Order, Reading, Rows},
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

    fn turn(
        &mut self,
        past: &DiskPast,
        rows: &mut Reading,
        newest: Place,
    ) -> Result<Option<AnnotatedRead>, StoreError> {
        let (messages, message) = (past.messages(&past.open.row), self.message);
        let (annotated, upto) = match &mut self.begun {
            Some(begun) => begun,
            none => match messages.own(rows, message)?.and_then(|own| Annotated::new(&own.entry, message.index)) {
                Some(annotated) => {
                    let begun = messages.begin(rows, message, annotated, newest)?;
                    none.insert(begun)
                }
                None => return Ok(Some(Ok(None))),
            },
        };
        let is_all = messages.annotate(rows, message, annotated, upto, newest)?;
        Ok(if is_all { self.begun.take().map(|(read, _)| Ok(Some(read))) } else { None })
    }

    fn failed(&self, _: &State, error: StoreError) -> AnnotatedRead {
        Err(error)
    }
}

impl Messages<'_> {
    /// What the annotations of a message come to, in the entries up to `newest`; none: there are none.
    pub fn digest(
        &self,
        rows: &mut impl Rows,
        target: MessageRef,
        newest: Place,
    ) -> Result<Option<Digest>, StoreError> {
        let (mut annotated, mut upto) = self.begin(rows, target, Annotated::default(), newest)?;
        while !self.annotate(rows, target, &mut annotated, &mut upto, newest)? {}
        Ok(Some(annotated.summary.digest()).filter(|digest| !digest.is_empty()))
    }

    /// From the newest summary that was kept, and from where on annotations are to be counted.
    fn begin(
        &self,
        rows: &mut impl Rows,
        target: MessageRef,
        annotated: Annotated,
        newest: Place,
    ) -> Result<(Annotated, Place), StoreError> {
        let kept = rows::kept_summary(rows, self.row.id, target, newest)?;
        Ok(match kept {
            Some((upto, summary)) => (annotated.goes_on_from(upto, summary), upto),
            None => (annotated, target.serial.place()),
        })
    }

    /// Counts some more of the entries that annotate a message, from `upto` on, which moves on; whether those were all up to
    /// `newest`.
    fn annotate(
        &self,
        rows: &mut impl Rows,
        target: MessageRef,
        annotated: &mut Annotated,
        upto: &mut Place,
        newest: Place,
    ) -> Result<bool, StoreError> {
        let mut places = Vec::new();
        let span = (*upto, Some(behind(newest)));
        rows::touching(rows, self.row.id, target, Touch::Annotation, span, Order::Rising, |place| {
            places.push(place);
            if places.len() < limits::READ_ROWS { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        *upto = places.last().copied().unwrap_or(*upto);
        for place in &places {
            if let Some(entry) = self.entry(rows, *place)? {
                annotated.apply(target, &entry);
            }
        }
        Ok(places.len() < limits::READ_ROWS)
    }
}
