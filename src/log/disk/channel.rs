//! The log of one persisted channel: the window of the newest minutes first, behind it the file.

use std::{mem, sync::Arc, task::Poll, time::Duration};

use crate::{
    core::{
        budget::{Charge, Full, Kind},
        dedupe::Known,
        history::Query,
        message::Entry,
        operation::{MessageRef, Touch},
        replay::{Choice, Found, Past, Wanted},
        serial::{Mint, Serial},
        summaries::Annotated,
        window::Bounds,
    },
    ids::ChannelName,
    limits,
    log::{
        AnnotatedRead, ChannelLog, Later, MessageRead, PageRead,
        disk::{
            DiskLog,
            annotated::AnnotatedReading,
            encoding, messages, objects,
            open_channel::OpenChannel,
            past::{DiskPast, MessageReading, PageReading, Reading},
            rows::{self, BY_MESSAGE, ChannelRow, ENTRIES, PRESENCE},
        },
    },
    store::{
        StoreError,
        engine::{Rows as _, Writing},
    },
};

/// The channel in the hands of its actor.
pub struct DiskChannel {
    past: Arc<DiskPast>,
    bounds: Bounds,
}

impl DiskChannel {
    pub(super) fn new(log: &DiskLog, name: ChannelName, open: Arc<OpenChannel>) -> Self {
        Self { past: Arc::new(DiskPast::new(log, name, open)), bounds: log.memory.bounds() }
    }

    /// What the app of the channel pays for a write of so many bytes until it is on disk.
    ///
    /// # Errors
    /// [`Full`]: as much of it waits already as may.
    fn pay_to_write(&self, bytes: usize) -> Result<Charge, Full> {
        self.past.account.charge(Kind::Store, bytes + limits::STORE_WRITE_COST)
    }

    /// Writes what nobody waits for, if there is room for it.
    fn write(&self, bytes: usize, work: impl FnMut(&mut Writing<'_>) -> Result<(), StoreError> + Send + 'static) {
        if let Ok(charge) = self.pay_to_write(bytes) {
            self.past.engine.submit(bytes, Box::new(work), Box::new(move |_| drop(charge)));
        }
    }
}

impl ChannelLog for DiskChannel {
    fn mint(&self) -> Mint {
        let open = &self.past.open;
        let state = open.state.lock();
        let last = state.window.last().into_iter().chain(state.submitted);
        last.max_by_key(|serial| serial.place()).map_or_else(|| Mint::new(open.row.epoch), Mint::resume)
    }

    fn append(
        &mut self,
        now: Duration,
        entry: Arc<Entry>,
        later: Later<'_, Result<(), StoreError>>,
    ) -> Poll<Result<(), StoreError>> {
        let open = &self.past.open;
        let value = encoding::encode(&entry);
        let key = rows::entry_key(open.row.id, entry.serial.place());
        let size = key.len() + value.len();
        let charge = match self.pay_to_write(size) {
            Ok(charge) => charge,
            Err(full) => return Poll::Ready(Err(StoreError::Memory(full))),
        };
        let mut state = open.state.lock();
        state.submitted = Some(entry.serial);
        state.pending += 1;
        let skew = entry.skew();
        state.skew = state.skew.map(|known| known.max(skew));
        // The clock is set back hardly ever.
        let is_row_due = !state.has_row || skew > 0;
        let row = is_row_due.then(|| (self.past.name.clone(), open.row));
        drop(state);

        let object_key = (!entry.objects().is_empty()).then(|| rows::channel_key(&self.past.name));
        let before = Serial::at(open.row.epoch, entry.serial.before().place());
        let is_presence = !entry.presence().is_empty();
        let touch_keys = messages::touch_keys(open.row.id, &entry);
        let work = move |rows: &mut Writing<'_>| {
            if let Some((name, row)) = &row {
                note_row(rows, name, row, skew)?;
            }
            if let Some(key) = &object_key {
                objects::begin(rows, key, before)?;
            }
            if is_presence {
                rows.put(PRESENCE, &key, &[])?;
            }
            for key in &touch_keys {
                rows.put(BY_MESSAGE, key, &[])?;
            }
            rows.put(ENTRIES, &key, &value)
        };
        let (bounds, done) = (self.bounds, later());
        let past = Arc::clone(&self.past);
        let committed = move |result: Result<(), StoreError>| {
            drop(charge);
            let mut state = past.open.state.lock();
            state.pending -= 1;
            if result.is_ok() {
                state.has_row = true;
                if !state.is_changed {
                    let mut changed = past.changed.lock();
                    // When that many are listed, all are looked at.
                    if changed.len() < limits::SWEEP_AGENDA {
                        changed.push(past.name.clone());
                        state.is_changed = true;
                    }
                }
                state.window.append_copy(now, entry, bounds);
            }
            drop(state);
            done(result);
        };
        self.past.engine.submit(size, Box::new(work), Box::new(committed));
        Poll::Pending
    }

    fn remembered(&mut self) -> Vec<Known> {
        let mut state = self.past.open.state.lock();
        let mut remembered = mem::take(&mut state.remembered);
        if remembered.is_empty() {
            // Opened again, after an actor's death.
            remembered.extend(state.window.entries().filter_map(|entry| Known::of(entry)));
        }
        remembered
    }

    fn recent(&self) -> Vec<Arc<Entry>> {
        self.past.open.state.lock().window.entries().cloned().collect()
    }

    fn read(&self, wanted: Wanted, choice: &Arc<Choice>, later: Later<'_, Found>) -> Poll<Found> {
        self.past.answer(Reading::new(wanted, Arc::clone(choice)), later)
    }

    fn past(&self) -> Arc<dyn Past> {
        Arc::<DiskPast>::clone(&self.past)
    }

    fn page(&self, query: &Query, later: Later<'_, PageRead>) -> Poll<PageRead> {
        self.past.answer(PageReading::new(query.clone()), later)
    }

    fn newest(&self, target: MessageRef, later: Later<'_, MessageRead>) -> Poll<MessageRead> {
        self.past.answer(MessageReading(target), later)
    }

    fn annotated_lately(&self) -> Vec<MessageRef> {
        self.past.open.state.lock().window.annotated_lately()
    }

    fn annotated(&self, target: MessageRef, later: Later<'_, AnnotatedRead>) -> Poll<AnnotatedRead> {
        self.past.answer(AnnotatedReading::new(target), later)
    }

    fn keep_summary(&mut self, target: MessageRef, annotated: &Annotated) {
        let key = rows::touch_key(self.past.open.row.id, target, Touch::Annotation, annotated.upto);
        let value = encoding::encode_summary(&annotated.summary);
        let size = value.len();
        let work = move |rows: &mut Writing<'_>| match rows.get(BY_MESSAGE, &key)? {
            Some(_) => rows.put(BY_MESSAGE, &key, &value),
            // The sweep has removed it.
            None => Ok(()),
        };
        // Nobody waits for it: without it the annotations are counted.
        self.write(size, work);
    }

    fn keep_whole(&mut self, append: &Arc<Entry>) {
        let Some(value) = encoding::encode_whole(append) else {
            return;
        };
        let (name, id, place) = (self.past.name.clone(), self.past.open.row.id, append.serial.place());
        let size = value.len();
        let work = move |rows: &mut Writing<'_>| {
            let key = rows::entry_key(id, place);
            // The sweep may have removed it.
            let Some(before) = rows.get(ENTRIES, &key)? else {
                return Ok(());
            };
            if let Some(row) = rows::channel(rows, &name)?.filter(|row| row.id == id && place <= row.counted) {
                let bytes = (row.bytes + value.len() as u64).saturating_sub(before.len() as u64);
                rows::put_channel(rows, &name, &ChannelRow { bytes, ..row })?;
            }
            rows.put(ENTRIES, &key, &value)
        };
        // Nobody waits for it: without it the message is put together.
        self.write(size, work);
    }

    fn give_up(&mut self, bytes: usize) -> bool {
        self.past.open.forget(bytes)
    }

    fn expire(&mut self, now: Duration) -> bool {
        let mut state = self.past.open.state.lock();
        state.window.trim(now, self.bounds);
        let older = state.older.as_ref();
        if older.is_some_and(|older| now.saturating_sub(older.came) > limits::BACKLOG_KEPT) {
            state.older = None;
        }
        state.window.is_empty() && state.pending == 0
    }
}

/// Writes the channel's row if there is none, or if its entry's serial is further ahead than any before. A row that could
/// not be read when the channel was opened is not written over.
fn note_row(rows: &mut Writing<'_>, name: &ChannelName, row: &ChannelRow, skew: u64) -> Result<(), StoreError> {
    let further = |known: &ChannelRow| known.skew.filter(|known| *known < skew).map(|_| skew);
    match rows::channel(rows, name)? {
        Some(known) if known.id == row.id => match further(&known) {
            Some(skew) => rows::put_channel(rows, name, &ChannelRow { skew: Some(skew), ..known }),
            None => Ok(()),
        },
        Some(known) if !known.is_window => Err(StoreError::damaged(format!(
            "channel {name} of app {} could not be read when it was opened",
            name.app()
        ))),
        _ => {
            super::note_id(rows, row.id)?;
            rows::put_channel(rows, name, &ChannelRow { skew: further(row).or(row.skew), ..*row })
        }
    }
}
