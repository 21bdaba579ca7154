//! What has become of the messages of a persisted channel, by the table of what concerns them.

use std::{collections::HashMap, ops::ControlFlow, sync::Arc};

use crate::{
    core::{
        budget::Account,
        message::Entry,
        operation::{Latest, MessageRef, Operation, Touch},
        serial::Place,
    },
    ids::ChannelName,
    limits,
    log::disk::rows::{self, ChannelRow, Stored},
    store::{
        StoreError,
        engine::{Order, Rows},
    },
};

/// Reads one channel, as its file has it.
pub struct Messages<'a> {
    pub name: &'a ChannelName,
    pub row: &'a ChannelRow,
    /// Pays for messages that have grown.
    pub account: &'a Account,
}

/// Appends to one message, newest first, and the one before them that has the whole message, if there is one.
struct Appends {
    entries: Vec<Arc<Entry>>,
    whole: Option<Arc<Entry>>,
}

/// The newest version of each message that a walk over entries, oldest first, has come by.
pub type Passed = HashMap<MessageRef, Latest>;

impl Messages<'_> {
    /// A message as it is; none: the file has it not.
    pub fn newest(&self, rows: &mut impl Rows, target: MessageRef) -> Result<Option<Latest>, StoreError> {
        match self.last(rows, target, None)? {
            Some((Touch::Append, place)) => {
                let Some(entry) = self.entry(rows, place)? else {
                    return Ok(None);
                };
                self.complete(rows, &entry)?;
                let is_known = entry.operation().is_some_and(|operation| operation.is_complete());
                Ok(is_known.then_some(Latest { entry, index: 0 }))
            }
            Some((_, place)) => Ok(self.entry(rows, place)?.map(|entry| Latest { entry, index: 0 })),
            None => self.own(rows, target),
        }
    }

    /// The same if it has changed.
    pub fn changed(&self, rows: &mut impl Rows, target: MessageRef) -> Result<Option<Latest>, StoreError> {
        Ok(self.newest(rows, target)?.filter(|latest| latest.entry.operation().is_some()))
    }

    /// Finds out what an append has made of its message.
    pub fn complete(&self, rows: &mut impl Rows, entry: &Entry) -> Result<(), StoreError> {
        let Some(operation) = entry.operation().filter(|operation| !operation.is_complete()) else {
            return Ok(());
        };
        let (target, upto) = (operation.target, entry.serial.place());
        let begin = self.last_of(rows, target, Touch::Version, Some(upto))?;
        let span = (begin.unwrap_or(rows::NOWHERE), upto);
        let Appends { mut entries, whole } = self.appends_before(rows, target, span)?;
        let latest = match (whole, begin) {
            (Some(entry), _) => Some(Latest { entry, index: 0 }),
            (None, Some(place)) => self.entry(rows, place)?.map(|entry| Latest { entry, index: 0 }),
            (None, None) => self.own(rows, target)?,
        };
        let Some(mut latest) = latest else {
            return Ok(());
        };
        while let Some(entry) = entries.pop() {
            if let Some(operation) = entry.operation() {
                operation.grow(&latest, Some(self.account));
            }
            latest = Latest { entry, index: 0 };
        }
        operation.grow(&latest, Some(self.account));
        Ok(())
    }

    /// Those between two places.
    fn appends_before(
        &self,
        rows: &mut impl Rows,
        target: MessageRef,
        (after, mut upto): (Place, Place),
    ) -> Result<Appends, StoreError> {
        let mut entries = Vec::new();
        loop {
            let mut places = Vec::new();
            rows::touching(rows, self.row.id, target, Touch::Append, (after, Some(upto)), Order::Falling, |place| {
                places.push(place);
                if places.len() < limits::APPENDS_READ { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
            for place in &places {
                match self.entry(rows, *place)? {
                    Some(entry) if entry.operation().is_some_and(|append| append.is_complete()) => {
                        return Ok(Appends { entries, whole: Some(entry) });
                    }
                    entry => entries.extend(entry),
                }
            }
            match places.last() {
                Some(last) if places.len() == limits::APPENDS_READ => upto = *last,
                _ => return Ok(Appends { entries, whole: None }),
            }
        }
    }

    /// The same of the next entry of a walk.
    pub fn pass(&self, rows: &mut impl Rows, passed: &mut Passed, entry: &Arc<Entry>) -> Result<(), StoreError> {
        let Some(operation) = entry.operation() else {
            return Ok(());
        };
        match (operation.grown(), passed.get(&operation.target)) {
            (Some(grown), _) => grown.charge_to(self.account),
            (None, Some(before)) if !operation.is_complete() => operation.grow(before, Some(self.account)),
            (None, _) => self.complete(rows, entry)?,
        }
        passed.insert(operation.target, Latest { entry: Arc::clone(entry), index: 0 });
        Ok(())
    }

    /// Where the version before a place is.
    pub fn previous(&self, rows: &mut impl Rows, target: MessageRef, upto: Place) -> Result<Place, StoreError> {
        Ok(self.last(rows, target, Some(upto))?.map_or(target.serial.place(), |(_, place)| place))
    }

    fn last(
        &self,
        rows: &mut impl Rows,
        target: MessageRef,
        upto: Option<Place>,
    ) -> Result<Option<(Touch, Place)>, StoreError> {
        let version = self.last_of(rows, target, Touch::Version, upto)?.map(|place| (Touch::Version, place));
        let append = self.last_of(rows, target, Touch::Append, upto)?.map(|place| (Touch::Append, place));
        Ok(version.into_iter().chain(append).max_by_key(|(_, place)| *place))
    }

    fn last_of(
        &self,
        rows: &mut impl Rows,
        target: MessageRef,
        touch: Touch,
        upto: Option<Place>,
    ) -> Result<Option<Place>, StoreError> {
        let mut last = None;
        rows::touching(rows, self.row.id, target, touch, (rows::NOWHERE, upto), Order::Falling, |place| {
            last = Some(place);
            ControlFlow::Break(())
        })?;
        Ok(last)
    }

    /// As it was published.
    pub fn own(&self, rows: &mut impl Rows, target: MessageRef) -> Result<Option<Latest>, StoreError> {
        let index = usize::from(target.index);
        let entry = self.entry(rows, target.serial.place())?;
        Ok(entry.filter(|entry| index < entry.messages().len()).map(|entry| Latest { entry, index }))
    }

    pub fn entry(&self, rows: &mut impl Rows, place: Place) -> Result<Option<Arc<Entry>>, StoreError> {
        let entry = rows::entry_at(rows, self.name, self.row, place)?.map(Arc::new);
        if let Some(grown) = entry.as_ref().and_then(|entry| entry.operation()).and_then(Operation::grown) {
            grown.charge_to(self.account);
        }
        Ok(entry)
    }
}

/// The keys of what is known of an entry in other tables than that of entries.
pub fn touch_keys(id: u64, entry: &Entry) -> Vec<Vec<u8>> {
    let place = entry.serial.place();
    entry.touches().map(|(target, touch)| rows::touch_key(id, target, touch, place)).collect()
}

/// The same of one that is stored.
pub fn touch_keys_of(id: u64, stored: &Stored<'_>) -> Result<Vec<Vec<u8>>, StoreError> {
    if stored.touches() { Ok(touch_keys(id, &stored.entry()?)) } else { Ok(Vec::new()) }
}
