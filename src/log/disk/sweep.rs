//! Retention: what is too old or too much goes, in small transactions, oldest first.

use std::{
    mem,
    ops::ControlFlow,
    panic::{self, AssertUnwindSafe},
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{RecvTimeoutError, Sender, channel},
    },
    thread::{self, JoinHandle},
};

use crate::{
    core::serial::{Place, Serial},
    ids::ChannelName,
    limits,
    log::disk::{
        DiskLog, Retention,
        agenda::Agenda,
        encoding, messages,
        rows::{self, BY_MESSAGE, CHANNELS, ChannelRow, ENTRIES, PRESENCE, Slice, Stored},
    },
    store::{
        StoreError,
        engine::{Order, Writing},
    },
};

/// What one sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Entries removed.
    pub entries: u64,
    /// Channels of which nothing is left.
    pub channels: u64,
}

/// What one look at a channel found.
struct Look {
    name: ChannelName,
    row: ChannelRow,
    oldest: Option<Place>,
    /// The bytes that were counted before.
    known: u64,
}

impl DiskLog {
    /// Removes what is kept no longer. Takes its time; not for a thread that serves others.
    ///
    /// # Errors
    /// When the data file cannot be read or written; a full one cannot be swept.
    pub fn sweep(&self) -> Result<Swept, StoreError> {
        let uptime = self.clock.uptime();
        // Until then clients of the last run may come back to what was handed over.
        if uptime.saturating_sub(self.opened) > self.memory.bounds().age {
            self.memory.expire_unopened(uptime);
        }
        let (mut swept, mut agenda) = (Swept::default(), self.agenda.lock());
        let now = self.clock.now();
        let mut names = self.changed();
        if names.len() >= limits::SWEEP_AGENDA {
            // Others may have changed that are not listed.
            *agenda = Agenda::default();
        }
        let is_all = agenda.begins_anew(now);
        if is_all {
            self.forget_unused_objects(now)?;
            names = self.page_of_all(None)?;
        } else {
            names.extend(agenda.take_due(now));
        }
        let mut stored = if is_all { 0 } else { self.stored_bytes.load(Ordering::Relaxed) };
        while let Some(last) = names.last().cloned() {
            for name in names {
                match self.sweep_channel(name, &mut agenda, &mut swept) {
                    Ok((known, left)) if !is_all => stored = (stored + left).saturating_sub(known),
                    Ok((_, left)) => stored += left,
                    // The others are swept all the same.
                    Err(error @ StoreError::Damaged(_)) => {
                        tracing::error!(%error, "a channel cannot be swept");
                    }
                    Err(error) => return Err(error),
                }
            }
            names = if is_all { self.page_of_all(Some(&last))? } else { Vec::new() };
        }
        self.stored_bytes.store(stored, Ordering::Relaxed);
        Ok(swept)
    }

    /// Those with entries that no sweep has seen.
    fn changed(&self) -> Vec<ChannelName> {
        let names = mem::take(&mut *self.changed.lock());
        for open in names.iter().filter_map(|name| self.at_hand(name)) {
            // What comes from now on is seen by the next one.
            open.state.lock().is_changed = false;
        }
        names
    }

    /// The next of all channels, by name.
    fn page_of_all(&self, after: Option<&ChannelName>) -> Result<Vec<ChannelName>, StoreError> {
        let mut names = Vec::new();
        self.engine.read(|rows| {
            rows::channels_after(rows, after, |name, row| {
                if !row.is_window {
                    names.push(name);
                }
                let is_page = names.len() >= limits::SWEEP_AGENDA;
                Ok(if is_page { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            })
        })?;
        Ok(names)
    }

    /// The bytes of it that were known before, and those that are left.
    fn sweep_channel(
        &self,
        name: ChannelName,
        agenda: &mut Agenda,
        swept: &mut Swept,
    ) -> Result<(u64, u64), StoreError> {
        let Some(mut look) = self.look_at(name)? else {
            return Ok((0, 0));
        };
        let known = look.known;
        // No longer persisted: what is there goes like what is old.
        let retention = (self.retention)(&look.name).unwrap_or(Retention { age: self.memory.bounds().age, bytes: 0 });
        let age = u64::try_from(retention.age.as_millis()).unwrap_or(u64::MAX);
        let cutoff = self.clock.now().millis().saturating_sub(age);
        let is_over = |row: &ChannelRow, oldest: Option<Place>| {
            oldest.is_some_and(|(millis, _)| millis < cutoff || row.bytes > retention.bytes)
        };
        while is_over(&look.row, look.oldest) {
            let before = look.row;
            let removed = self.trim(&look.name, before, cutoff, retention.bytes)?;
            swept.entries += removed;
            match self.look_at(look.name)? {
                Some(again) => look = again,
                None => return Ok((known, 0)),
            }
            if removed == 0 {
                break;
            }
        }
        let is_gone = look.oldest.is_none() && look.row.last.0 < cutoff;
        if is_gone && self.forget(&look.name)? {
            swept.channels += 1;
            return Ok((known, 0));
        }
        let oldest = look.oldest.unwrap_or(look.row.last).0;
        agenda.add(look.name, oldest, retention.age);
        Ok((known, look.row.bytes))
    }

    /// Counts the entries that are new since the last look.
    fn look_at(&self, name: ChannelName) -> Result<Option<Look>, StoreError> {
        let look = self.engine.read(|rows| {
            let Some(mut row) = rows::channel(rows, &name)? else {
                return Ok(None);
            };
            let known = row.bytes;
            let (mut oldest, mut newest) = (None, None);
            let first = &mut |key: &[u8], _: &[u8]| {
                oldest = rows::entry_place(key).map(|(_, place)| place);
                Ok(ControlFlow::Break(()))
            };
            rows::raw_entries(rows, ENTRIES, row.id, Slice::ALL, Order::Rising, first)?;
            let uncounted = Slice { after: row.counted, before: None };
            let count = &mut |key: &[u8], value: &[u8]| {
                newest = rows::entry_place(key).map(|(_, place)| place);
                row.bytes += (key.len() + value.len()) as u64;
                Ok(ControlFlow::Continue(()))
            };
            rows::raw_entries(rows, ENTRIES, row.id, uncounted, Order::Rising, count)?;
            row.counted = newest.unwrap_or(row.counted);
            let name = name.clone();
            Ok(Some((Look { name, row, oldest, known }, newest.is_some())))
        })?;
        Ok(look.map(|(look, is_news)| {
            if is_news {
                self.note_count(&look);
            }
            look
        }))
    }

    /// Stores the count, so that these entries are not counted again.
    fn note_count(&self, look: &Look) {
        let (name, counted) = (look.name.clone(), look.row);
        let work = move |rows: &mut Writing<'_>| {
            if let Some(mut row) = rows::channel(rows, &name)? {
                (row.bytes, row.counted) = (counted.bytes, counted.counted);
                rows::put_channel(rows, &name, &row)?;
            }
            Ok(())
        };
        // Not waited for: later transactions see it.
        self.engine.submit(0, Box::new(work), Box::new(drop));
    }

    /// Removes the oldest entries, some at a time; returns how many.
    fn trim(&self, name: &ChannelName, counted: ChannelRow, cutoff: u64, bytes: u64) -> Result<u64, StoreError> {
        let name = name.clone();
        let (told, removed) = channel();
        let work = move |rows: &mut Writing<'_>| {
            let Some(mut row) = rows::channel(rows, &name)? else {
                return Ok(());
            };
            let (mut old, mut touch_keys) = (Vec::new(), Vec::new());
            let upto = Slice { before: Some((counted.counted.0, counted.counted.1 + 1)), ..Slice::ALL };
            rows::raw_entries(rows, ENTRIES, row.id, upto, Order::Rising, &mut |key, value| {
                let Some((_, place)) = rows::entry_place(key) else {
                    return Err(StoreError::damaged("the key of an entry"));
                };
                let is_over = place.0 < cutoff || row.bytes > bytes;
                if !is_over || old.len() == limits::SWEEP_ENTRIES {
                    return Ok(ControlFlow::Break(()));
                }
                row.bytes = row.bytes.saturating_sub((key.len() + value.len()) as u64);
                row.dropped = place;
                let stored = Stored { name: &name, serial: Serial::at(row.epoch, place), value };
                // What cannot be read concerns nothing, and goes like the rest.
                touch_keys.extend(messages::touch_keys_of(row.id, &stored).unwrap_or_default());
                old.push((key.to_vec(), encoding::is_presence(value)));
                Ok(ControlFlow::Continue(()))
            })?;
            row.last = row.last.max(row.dropped);
            for (key, is_presence) in &old {
                rows.remove(ENTRIES, key)?;
                if *is_presence {
                    rows.remove(PRESENCE, key)?;
                }
            }
            for key in &touch_keys {
                rows.remove(BY_MESSAGE, key)?;
            }
            let _ = told.send(old.len() as u64);
            rows::put_channel(rows, &name, &row)
        };
        self.engine.write(limits::COMMIT_BYTES / 8, Box::new(work))?;
        // The last run counts.
        Ok(removed.try_iter().last().unwrap_or_default())
    }

    /// Removes the row of a channel that has no entries and is not in use.
    fn forget(&self, name: &ChannelName) -> Result<bool, StoreError> {
        let (channels, going) = (Arc::clone(&self.channels), name.clone());
        let (told, is_forgotten) = channel();
        let work = move |rows: &mut Writing<'_>| {
            let mut channels = channels.lock();
            let is_free = !channels.open.contains_key(&going);
            if is_free {
                // Who opens it before the commit still finds the row, and has to write it again.
                channels.going.insert(going.clone());
                drop(channels);
                rows.remove(CHANNELS, &rows::channel_key(&going))?;
            }
            let _ = told.send(is_free);
            Ok(())
        };
        let result = self.engine.write(0, Box::new(work));
        self.channels.lock().going.remove(name);
        result?;
        Ok(is_forgotten.try_iter().last().unwrap_or_default())
    }
}

/// Sweeps from time to time, on a thread of its own, until it is dropped.
pub struct Sweeper {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Sweeper {
    /// # Errors
    /// When there is no thread to be had.
    pub fn start(log: Arc<DiskLog>) -> std::io::Result<Self> {
        let (stop, stopped) = channel::<()>();
        let sweep = move || {
            while stopped.recv_timeout(limits::SWEEP_PAUSE) == Err(RecvTimeoutError::Timeout) {
                // A panic costs this sweep, not all later ones: there is only this thread.
                let swept = panic::catch_unwind(AssertUnwindSafe(|| log.sweep()));
                match swept.unwrap_or_else(|_| Err(StoreError::damaged("a sweep has panicked"))) {
                    Ok(swept) if swept == Swept::default() => {}
                    Ok(swept) => {
                        tracing::debug!(entries = swept.entries, channels = swept.channels, "swept the data file")
                    }
                    Err(error) => tracing::warn!(%error, "the data file cannot be swept"),
                }
            }
        };
        let thread = thread::Builder::new().name("store-sweeper".into()).spawn(sweep)?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
