//! Looks at a data file without touching it: what redb writes while it checks or repairs stays in memory.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt,
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    path::Path,
    sync::Arc,
};

use parking_lot::Mutex;
use redb::{Builder, Database, DatabaseError, StorageBackend};

use crate::store::{
    StoreError,
    engine::{self, Opener},
};

/// Pages of a database that is only looked at.
const CACHE_BYTES: usize = 16 * 1024 * 1024;
/// Unit of what is kept apart from the file.
const BLOCK: u64 = 4_096;

/// A file that is read, and what is written meanwhile beside it.
#[derive(Clone)]
pub struct Overlay {
    file: Arc<File>,
    /// Hears of each number of bytes that is read of the file.
    hears: Option<Arc<dyn Fn(u64) + Send + Sync>>,
    /// Length of the file when it was opened.
    length: u64,
    written: Arc<Mutex<Written>>,
}

#[derive(Debug, Default)]
struct Written {
    length: u64,
    blocks: BTreeMap<u64, Box<[u8]>>,
}

impl Overlay {
    /// # Errors
    /// When the file cannot be read.
    pub fn of(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        let written = Written { length, blocks: BTreeMap::new() };
        Ok(Self { file: Arc::new(file), hears: None, length, written: Arc::new(Mutex::new(written)) })
    }

    /// The same, which tells how much is read.
    pub fn told_to(self, hears: Arc<dyn Fn(u64) + Send + Sync>) -> Self {
        Self { hears: Some(hears), ..self }
    }

    /// One of an empty file.
    ///
    /// # Errors
    /// When the system has no such file.
    pub fn of_nothing() -> io::Result<Self> {
        Self::of(Path::new("/dev/null"))
    }

    /// Opens a database on it.
    ///
    /// # Errors
    /// What redb says.
    pub fn database(self) -> Result<Database, DatabaseError> {
        let mut builder = Builder::new();
        builder.set_cache_size(CACHE_BYTES);
        builder.create_with_backend(self)
    }

    /// Opens it as often as needed.
    pub fn opener(self) -> Opener {
        Box::new(move || self.clone().database())
    }

    /// The block as it is in the file; zeros behind its end.
    fn original(&self, block: u64) -> io::Result<Box<[u8]>> {
        let mut bytes = vec![0; BLOCK as usize];
        let start = block * BLOCK;
        let there = self.length.saturating_sub(start).min(BLOCK) as usize;
        self.file.read_exact_at(&mut bytes[..there], start)?;
        if let Some(hears) = &self.hears {
            hears(there as u64);
        }
        Ok(bytes.into())
    }
}

/// The parts of `length` bytes at `offset`: block, where in it, and how many bytes.
fn parts(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let (mut at, end) = (offset, offset + length as u64);
    std::iter::from_fn(move || {
        let within = at % BLOCK;
        let count = (BLOCK - within).min(end - at);
        let part = (at / BLOCK, within as usize, count as usize);
        at += count;
        (count > 0).then_some(part)
    })
}

impl fmt::Debug for Overlay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Overlay").field("length", &self.length).finish_non_exhaustive()
    }
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.written.lock().length)
    }

    fn read(&self, offset: u64, mut out: &mut [u8]) -> io::Result<()> {
        let written = self.written.lock();
        if offset + out.len() as u64 > written.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (block, within, count) in parts(offset, out.len()) {
            let (part, rest) = out.split_at_mut(count);
            let range = within..within + count;
            match written.blocks.get(&block) {
                Some(bytes) => part.copy_from_slice(&bytes[range]),
                None => part.copy_from_slice(&self.original(block)?[range]),
            }
            out = rest;
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut written = self.written.lock();
        if length < written.length {
            for block in length.div_ceil(BLOCK)..written.length.div_ceil(BLOCK) {
                written.blocks.insert(block, vec![0; BLOCK as usize].into());
            }
        }
        written.length = length;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, mut data: &[u8]) -> io::Result<()> {
        let mut written = self.written.lock();
        for (block, within, count) in parts(offset, data.len()) {
            let (part, rest) = data.split_at(count);
            let bytes = match written.blocks.entry(block) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(vacant) => vacant.insert(self.original(block)?),
            };
            bytes[within..within + count].copy_from_slice(part);
            data = rest;
        }
        Ok(())
    }
}

/// Whether every page is what was written.
///
/// # Errors
/// [`StoreError::Damaged`] when it is not.
pub fn pages(overlay: Overlay) -> Result<(), StoreError> {
    engine::verify(|| overlay.database())
}
