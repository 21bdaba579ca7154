//! The letters of the mailboxes on disk: written when nobody reads them, removed when they were read or are too
//! old.
//!
//! The store tells from its own thread when something is written. By then the letter may be gone from its mailbox: its
//! row is removed behind it.

use std::sync::{Arc, atomic::Ordering};

use bytestring::ByteString;

use crate::{
    ids::Timestamp,
    older::postoffice::{
        mailbox::{Gone, Row, Waiting},
        office::{Office, Room, Sender},
    },
    store::StoreError,
};

impl Office {
    /// Writes to disk what a mailbox has in memory only, if nobody reads it now.
    pub fn spill(self: &Arc<Self>, room: &Arc<Room>) {
        let mut mailbox = room.mailbox.lock();
        let is_read = mailbox.readers.iter().any(|reader| !reader.is_behind);
        if is_read || !mailbox.is_kept || !self.settings.bounds.stores {
            return;
        }
        let letters = mailbox.spill();
        drop(mailbox);
        if !letters.is_empty() {
            self.write(room, letters, None);
        }
    }

    /// The text of a letter that is on disk; none when it cannot be read.
    pub fn text(&self, room: &Room, number: u64) -> Option<ByteString> {
        match self.shelf.letter(&room.name, number) {
            Ok(text) => text.map(ByteString::from),
            Err(error) => {
                self.warn(&error, "a stored letter cannot be read and is not delivered");
                None
            }
        }
    }

    /// Removes what has waited too long: of one mailbox.
    pub fn expire(self: &Arc<Self>, room: &Arc<Room>) {
        let age = self.settings.age.as_millis() as u64;
        let until = Timestamp::from_millis(self.clock.now().millis().saturating_sub(age));
        let gone = room.mailbox.lock().expire(until);
        self.discard(room, gone);
    }

    /// The same of all. Also gives those a second chance whose letters could not be written.
    pub fn sweep(self: &Arc<Self>) {
        let rooms: Vec<_> = self.rooms.lock().values().cloned().collect();
        for room in rooms {
            self.expire(&room);
            self.spill(&room);
        }
    }

    pub(super) fn discard(self: &Arc<Self>, room: &Arc<Room>, gone: Vec<Gone>) {
        let bytes: usize = gone.iter().map(|gone| gone.bytes).sum();
        self.bytes.fetch_sub(bytes as u64, Ordering::Relaxed);
        // What is being written is removed when that is done.
        let written = gone.iter().filter(|gone| gone.row == Row::Written);
        let written: Vec<u64> = written.map(|gone| gone.number).collect();
        if !written.is_empty() {
            self.stored.fetch_sub(written.len() as u64, Ordering::Relaxed);
            self.remove_rows(room, written);
        }
    }

    pub(super) fn remove_rows(self: &Arc<Self>, room: &Arc<Room>, numbers: Vec<u64>) {
        let office = Arc::clone(self);
        let done = Box::new(move |outcome: Result<_, StoreError>| {
            if let Err(error) = outcome {
                office.warn(&error, "letters that were delivered will come again after a restart");
            }
        });
        self.shelf.remove(&room.name, numbers, done);
    }

    pub(super) fn write(self: &Arc<Self>, room: &Arc<Room>, letters: Vec<(u64, Waiting)>, sender: Option<Sender>) {
        let numbers: Vec<u64> = letters.iter().map(|(number, _)| *number).collect();
        let (office, known) = (Arc::clone(self), Arc::clone(room));
        let done = Box::new(move |outcome: Result<_, StoreError>| match outcome {
            Ok(_) => office.written(&known, numbers),
            Err(error) => office.not_written(&known, numbers, &error, sender),
        });
        self.shelf.put(&room.name, letters, done);
    }

    fn written(self: &Arc<Self>, room: &Arc<Room>, numbers: Vec<u64>) {
        let mut mailbox = room.mailbox.lock();
        let (here, gone): (Vec<u64>, Vec<u64>) = numbers.into_iter().partition(|number| mailbox.written(*number));
        self.stored.fetch_add(here.len() as u64, Ordering::Relaxed);
        drop(mailbox);
        if !gone.is_empty() {
            self.remove_rows(room, gone);
        }
    }

    fn not_written(self: &Arc<Self>, room: &Arc<Room>, numbers: Vec<u64>, error: &StoreError, sender: Option<Sender>) {
        self.warn(error, "a letter could not be written to disk");
        let mut mailbox = room.mailbox.lock();
        let Some(Sender { handle, error }) = sender else {
            // Nobody is there to be told: it stays in memory, and is tried again.
            return numbers.into_iter().for_each(|number| mailbox.unwritten(number));
        };
        let gone: Vec<Gone> = numbers.into_iter().filter_map(|number| mailbox.withdraw(number)).collect();
        drop(mailbox);
        self.dropped.fetch_add(gone.len() as u64, Ordering::Relaxed);
        self.discard(room, gone);
        if let Some(error) = error {
            handle.send(vec![error]);
        }
    }

    pub(super) fn warn(&self, error: &StoreError, what: &'static str) {
        if let Some(more) = self.warning.allows(&self.clock) {
            tracing::error!(%error, more, "{what}");
        }
    }
}
