//! What an ordered shutdown leaves to the next start: the windows of channels that are not persisted,
//! with their epochs, so that clients resume over a restart as if there had been none.
//!
//! They are used once. The mark that they are complete is removed before anybody sees them: a server
//! that is killed later must not find them again and leave out in silence what came since.

use std::{ops::ControlFlow, sync::Arc, time::Duration};

use crate::{
    core::{message::Entry, serial::Serial, window::Window},
    ids::ChannelName,
    limits,
    log::disk::{
        DiskLog, encoding,
        rows::{self, CHANNELS, ChannelRow, ENTRIES, NOWHERE, Slice},
    },
    store::{
        StoreError,
        engine::{META, Order, Rows as _, Writing},
    },
};

const COMPLETE: &[u8] = b"windows_complete";

/// A window as it is stored.
struct Stored {
    name: ChannelName,
    row: ChannelRow,
    entries: Vec<Arc<Entry>>,
}

impl DiskLog {
    /// Writes the windows of all channels that are not persisted. Whatever is published to them from now on is
    /// refused: it would be acknowledged and not handed over.
    /// Error: when the disk does not take them; then those channels begin anew at the next start.
    pub fn hand_over(&self) -> Result<(), StoreError> {
        self.memory.seal();
        let (mut waiting, mut bytes) = (Vec::new(), 0);
        for (name, window) in self.memory.windows() {
            let window = window.lock();
            if window.last().is_none() {
                continue;
            }
            let place = |serial: Option<Serial>| serial.map_or(NOWHERE, Serial::place);
            let mut row = ChannelRow::new(self.next_id(), window.epoch(), true);
            row.last = place(window.last());
            row.dropped = place(window.dropped());
            bytes += window.bytes();
            let entries = window.entries().cloned().collect();
            drop(window);
            waiting.push(Stored { name, row, entries });
            if bytes > limits::COMMIT_BYTES {
                self.write_windows(std::mem::take(&mut waiting), bytes)?;
                bytes = 0;
            }
        }
        self.write_windows(waiting, bytes)?;
        let work = |rows: &mut Writing<'_>| rows.put(META, COMPLETE, &[1]);
        self.engine.write(0, Box::new(work))
    }

    fn write_windows(&self, windows: Vec<Stored>, bytes: usize) -> Result<(), StoreError> {
        let work = move |rows: &mut Writing<'_>| {
            for Stored { name, row, entries } in &windows {
                // It was persisted once; what is there goes first.
                if rows::channel(rows, name)?.is_some_and(|known| !known.is_window) {
                    continue;
                }
                super::note_id(rows, row.id)?;
                rows::put_channel(rows, name, row)?;
                for entry in entries {
                    let key = rows::entry_key(row.id, entry.serial.place());
                    rows.put(ENTRIES, &key, &encoding::encode(entry))?;
                }
            }
            Ok(())
        };
        self.engine.write(bytes, Box::new(work))
    }

    /// Takes up what the last run has handed over, and removes it.
    pub(super) fn take_over(&self) -> Result<(), StoreError> {
        let (mut rows_left, mut found) = (Vec::new(), Vec::new());
        let is_complete = self.engine.read(|rows| {
            rows::channels(rows, |name, row| {
                if row.is_window {
                    rows_left.push((name, row));
                }
                Ok(())
            })?;
            let is_complete = rows.get(META, COMPLETE)?.is_some();
            for (name, row) in &rows_left {
                if !is_complete || (self.retention)(name).is_some() {
                    continue;
                }
                let mut entries = Vec::new();
                rows::entries(rows, name, row, Slice::ALL, Order::Rising, |stored| {
                    entries.push(Arc::new(stored.entry()?));
                    Ok(ControlFlow::Continue(()))
                })?;
                let (name, row) = (name.clone(), *row);
                found.push(Stored { name, row, entries });
            }
            Ok(is_complete)
        })?;
        if is_complete {
            let work = |rows: &mut Writing<'_>| rows.remove(META, COMPLETE);
            self.engine.write(0, Box::new(work))?;
        }
        let (wall, uptime) = (self.clock.now(), self.clock.uptime());
        for Stored { name, row, entries } in found {
            let window = Window::resume(row.epoch, row.serial(row.last), row.serial(row.dropped));
            let with_age = |entry: Arc<Entry>| {
                let age = wall.millis().saturating_sub(entry.timestamp.millis());
                let came = uptime.saturating_sub(Duration::from_millis(age));
                (came, entry)
            };
            let entries = entries.into_iter().map(with_age).collect();
            self.memory.restore(name, entries, window);
        }
        for (name, row) in rows_left {
            self.remove_window(&name, row.id)?;
        }
        Ok(())
    }

    fn remove_window(&self, name: &ChannelName, id: u64) -> Result<(), StoreError> {
        let name = name.clone();
        let work = move |rows: &mut Writing<'_>| {
            let mut keys = Vec::new();
            rows::raw_entries(rows, ENTRIES, id, Slice::ALL, Order::Rising, &mut |key, _| {
                keys.push(key.to_vec());
                Ok(ControlFlow::Continue(()))
            })?;
            for key in &keys {
                rows.remove(ENTRIES, key)?;
            }
            rows.remove(CHANNELS, &rows::channel_key(&name))
        };
        // Not waited for: one transaction takes many.
        self.engine.submit(0, Box::new(work), Box::new(drop));
        Ok(())
    }
}
