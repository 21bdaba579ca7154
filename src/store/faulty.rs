//! A disk that fails when it is told to, for tests: it fills up, keeps a sync waiting, and notes what it did.

#![allow(clippy::unwrap_used)]

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use parking_lot::{Condvar, Mutex};
use redb::{Builder, StorageBackend};

use super::{
    Store,
    embedded::EmbeddedStore,
    engine::{Engine, Opener},
};
use crate::clock::Clock;

/// A disk in memory.
#[derive(Clone, Debug, Default)]
pub struct FaultyDisk(Arc<Disk>);

#[derive(Debug, Default)]
struct Disk {
    bytes: Mutex<Vec<u8>>,
    /// What a power cut leaves for certain, and what was written since.
    synced: Mutex<Synced>,
    /// It takes no more bytes than that; 0 = any number.
    room: AtomicUsize,
    fails_reads: AtomicBool,
    fails_syncs: AtomicBool,
    /// Syncs wait while it is held.
    held: Mutex<bool>,
    /// So do reads, while that is set; how many wait.
    holds_reads: AtomicBool,
    waiting_reads: AtomicUsize,
    released: Condvar,
    /// What happened, in order.
    events: Mutex<Vec<String>>,
}

#[derive(Debug, Default)]
struct Synced {
    bytes: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Length(usize),
    Write(usize, Vec<u8>),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Length(length) => bytes.resize(*length, 0),
            Self::Write(offset, data) => {
                let end = offset + data.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[*offset..end].copy_from_slice(data);
            }
        }
    }
}

impl FaultyDisk {
    /// Rows on this disk, for who only needs a store.
    pub fn store(&self) -> Arc<dyn Store> {
        let engine = Engine::start(self.opener(), Clock::system()).unwrap();
        Arc::new(EmbeddedStore::new(Arc::new(engine)))
    }

    pub fn opener(&self) -> Opener {
        let disk = self.clone();
        Box::new(move || {
            let mut builder = Builder::new();
            builder.set_cache_size(1 << 20);
            builder.create_with_backend(disk.clone())
        })
    }

    /// Lets it grow by so many bytes from now on, or without bound.
    pub fn limit(&self, room: Option<usize>) {
        let length = self.0.bytes.lock().len();
        let room = room.map_or(0, |room| length + room);
        self.0.room.store(room, Ordering::SeqCst);
    }

    pub fn fail_reads(&self, fails: bool) {
        self.0.fails_reads.store(fails, Ordering::SeqCst);
    }

    pub fn fail_syncs(&self, fails: bool) {
        self.0.fails_syncs.store(fails, Ordering::SeqCst);
    }

    /// Syncs wait until they are released.
    pub fn hold(&self) {
        *self.0.held.lock() = true;
    }

    pub fn release(&self) {
        *self.0.held.lock() = false;
        self.0.released.notify_all();
    }

    /// Lets reads wait, or go on.
    pub fn hold_reads(&self, holds: bool) {
        let held = self.0.held.lock();
        self.0.holds_reads.store(holds, Ordering::SeqCst);
        drop(held);
        self.0.released.notify_all();
    }

    /// Until one read waits.
    pub fn until_a_read_waits(&self) {
        while self.0.waiting_reads.load(Ordering::SeqCst) == 0 {
            std::thread::yield_now();
        }
    }

    fn wait_to_read(&self) {
        let mut held = self.0.held.lock();
        while self.0.holds_reads.load(Ordering::SeqCst) {
            self.0.waiting_reads.fetch_add(1, Ordering::SeqCst);
            self.0.released.wait(&mut held);
            self.0.waiting_reads.fetch_sub(1, Ordering::SeqCst);
        }
    }

    pub fn note(&self, event: impl Into<String>) {
        self.0.events.lock().push(event.into());
    }

    pub fn events(&self) -> Vec<String> {
        std::mem::take(&mut self.0.events.lock())
    }

    /// What is on it now, as a killed process leaves it.
    pub fn image(&self) -> Self {
        Self::of(self.0.bytes.lock().clone())
    }

    /// What a power cut leaves: all that was synced, and of the rest what `arrives` says, write by write.
    pub fn after_power_cut(&self, mut arrives: impl FnMut() -> bool) -> Self {
        let synced = self.0.synced.lock();
        let mut bytes = synced.bytes.clone();
        for change in synced.pending.iter().filter(|_| arrives()) {
            change.apply(&mut bytes);
        }
        Self::of(bytes)
    }

    fn of(bytes: Vec<u8>) -> Self {
        let disk = Self::default();
        disk.0.synced.lock().bytes.clone_from(&bytes);
        *disk.0.bytes.lock() = bytes;
        disk
    }

    fn change(&self, change: Change) {
        let mut synced = self.0.synced.lock();
        change.apply(&mut self.0.bytes.lock());
        synced.pending.push(change);
    }

    fn check_room(&self, end: u64) -> io::Result<()> {
        let room = self.0.room.load(Ordering::SeqCst);
        if room != 0 && end as usize > room {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

impl StorageBackend for FaultyDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.bytes.lock().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if self.0.fails_reads.load(Ordering::SeqCst) {
            return Err(io::Error::other("bad sector"));
        }
        self.wait_to_read();
        let bytes = self.0.bytes.lock();
        let offset = offset as usize;
        let there = bytes.get(offset..offset + out.len());
        out.copy_from_slice(there.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.check_room(length)?;
        self.change(Change::Length(length as usize));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut held = self.0.held.lock();
        while *held {
            self.0.released.wait(&mut held);
        }
        drop(held);
        if self.0.fails_syncs.load(Ordering::SeqCst) {
            return Err(io::Error::other("sync failed"));
        }
        let mut synced = self.0.synced.lock();
        let Synced { bytes, pending } = &mut *synced;
        for change in pending.drain(..) {
            change.apply(bytes);
        }
        drop(synced);
        self.note("sync");
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let offset = offset as usize;
        if offset + data.len() > self.0.bytes.lock().len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.change(Change::Write(offset, data.to_vec()));
        self.note("write");
        Ok(())
    }
}
