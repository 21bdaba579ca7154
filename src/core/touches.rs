//! Which entries of a log concern which of its messages.

use std::collections::BTreeSet;

use crate::core::{
    message::Entry,
    operation::{MessageRef, Touch},
    serial::Place,
};

/// Sorted by message, by kind, by place. Of plain messages it has nothing.
#[derive(Debug)]
pub struct Touches(BTreeSet<((Place, u16), Touch, Place)>);

impl Touches {
    pub const fn new() -> Self {
        Self(BTreeSet::new())
    }

    pub fn add(&mut self, entry: &Entry) {
        let place = entry.serial.place();
        self.0.extend(entry.touches().map(|(target, touch)| (target.place(), touch, place)));
    }

    pub fn remove(&mut self, entry: &Entry) {
        for (target, touch) in entry.touches() {
            self.0.remove(&(target.place(), touch, entry.serial.place()));
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The messages that are annotated, by their places.
    pub fn annotated(&self) -> impl Iterator<Item = (Place, u16)> + '_ {
        let mut last = None;
        let annotations = self.0.iter().filter(|(_, touch, _)| *touch == Touch::Annotation);
        annotations.map(|(message, _, _)| *message).filter(move |message| last.replace(*message) != Some(*message))
    }

    /// The places of those that concern a message in one way, oldest first.
    pub fn of(&self, target: MessageRef, touch: Touch) -> impl DoubleEndedIterator<Item = Place> + '_ {
        let key = |place| (target.place(), touch, place);
        self.0.range(key((0, 0))..=key((u64::MAX, u16::MAX))).map(|(_, _, place)| *place)
    }
}
