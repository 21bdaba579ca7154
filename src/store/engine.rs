//! The file: read at any time, written by one thread. Only this module and `rows` name redb, and `check` and `faulty`,
//! which are disks for it.
//!
//! redb refuses to work after a failed read or write; the file is then opened again, as the last commit left it.

use std::{
    any::Any,
    borrow::Cow,
    ops::{Bound, ControlFlow},
    panic::{self, AssertUnwindSafe},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::RwLock;
use redb::{Builder, Database, DatabaseError, ReadableDatabase as _};

use crate::{
    clock::Clock,
    store::{
        Done, StoreError, TABLES,
        rows::to_store_error,
        writer::{Job, Writer},
    },
};

pub use crate::store::rows::{DUE, DUE_OF, Order, ROWS, Reading, Rows, Span, Table, Visitor, Writing};

/// Facts about the file itself.
pub const META: Table = Table("meta");
const COMMITS: &[u8] = b"commits";
/// The commit up to which the bytes of the tables are counted; and, with the name of a table behind it, those.
const COUNTED: &[u8] = b"bytes";

/// Opens the file. Called again after a failure; at most one database is open at a time.
pub type Opener = Box<dyn Fn() -> Result<Database, DatabaseError> + Send + Sync>;

/// Writes something. It is run again, from the beginning, when another one in the same transaction
/// fails.
pub type Work = Box<dyn FnMut(&mut Writing<'_>) -> Result<(), StoreError> + Send>;

/// The open file and the thread that writes it.
pub struct Engine {
    file: Arc<DataFile>,
    writer: Writer,
}

/// The file, shared by readers and the writer.
pub struct DataFile {
    open: Opener,
    /// None while it could not be opened again. Only opening again locks out readers.
    database: RwLock<Option<Database>>,
    /// A read has failed: the writer is to open the file again.
    is_suspect: AtomicBool,
    reads: AtomicU64,
    commits: AtomicU64,
}

impl Engine {
    /// Opens the file and starts the thread.
    ///
    /// # Errors
    /// When the file cannot be opened or is damaged.
    pub fn start(open: Opener, clock: Clock) -> Result<Self, StoreError> {
        let file = Arc::new(DataFile {
            open,
            database: RwLock::new(None),
            is_suspect: AtomicBool::new(false),
            reads: AtomicU64::new(0),
            commits: AtomicU64::new(0),
        });
        file.reopen()?;
        file.count_bytes()?;
        let writer = Writer::start(Arc::clone(&file), clock)?;
        Ok(Self { file, writer })
    }

    /// Hands in `work`, which writes about `bytes`; `done` is called after the commit.
    pub fn submit(&self, bytes: usize, work: Work, done: Done<()>) {
        self.writer.submit(Job { bytes, work, done });
    }

    /// The same, and waits. Not for threads that have others to serve.
    ///
    /// # Errors
    /// The work's own, or why the commit failed.
    pub fn write(&self, bytes: usize, work: Work) -> Result<(), StoreError> {
        let (done, outcome) = std::sync::mpsc::sync_channel(1);
        self.submit(bytes, work, Box::new(move |result| drop(done.send(result))));
        outcome.recv().unwrap_or(Err(StoreError::Closed))
    }

    /// Reads one state of the tables. Does not wait for the writer.
    ///
    /// # Errors
    /// The reader's own, or why the file cannot be read.
    pub fn read<T>(&self, read: impl FnOnce(&mut Reading) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let result = self.file.read(read);
        if matches!(result, Err(StoreError::Io(_))) {
            self.file.is_suspect.store(true, Ordering::Relaxed);
            self.writer.wake();
        }
        result
    }

    /// How many reads and commits there were.
    pub fn reads(&self) -> u64 {
        self.file.reads.load(Ordering::Relaxed)
    }

    pub fn commits(&self) -> u64 {
        self.file.commits.load(Ordering::Relaxed)
    }

    /// How long the commits since the start have taken, all together.
    pub fn committing(&self) -> Duration {
        self.writer.committing()
    }

    /// The bytes of the rows of each table of [`TABLES`], as they are stored; zeros when they cannot be read.
    pub fn table_bytes(&self) -> [(&'static str, u64); TABLES.len()] {
        let mut sizes = TABLES.map(|table| (table, 0));
        let other = sizes.len() - 1;
        let span = (Bound::Excluded(COUNTED), Bound::Unbounded);
        let read = self.read(|rows| {
            rows.visit(META, span, Order::Rising, &mut |key, value| {
                let Some(table) = key.strip_prefix(COUNTED) else { return Ok(ControlFlow::Break(())) };
                let shown = table.iter().map(|byte| if *byte == b' ' { b'_' } else { *byte });
                let place = TABLES.iter().position(|known| known.bytes().eq(shown.clone())).unwrap_or(other);
                sizes[place].1 += value.try_into().map_or(0, u64::from_be_bytes);
                Ok(ControlFlow::Continue(()))
            })
        });
        self.file.reads.fetch_sub(1, Ordering::Relaxed);
        if let Err(error) = read {
            tracing::warn!(%error, "the bytes of the tables cannot be read");
        }
        sizes
    }

    /// Writes what waits, and closes the file. Whatever is handed in later is refused.
    pub fn close(&self) {
        self.writer.stop();
        *self.file.database.write() = None;
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.close();
    }
}

impl DataFile {
    fn read<T>(&self, read: impl FnOnce(&mut Reading) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        // Recursive: a reader inside a reader must not wait for a reopening that waits for the outer one.
        let database = self.database.read_recursive();
        let database = database.as_ref().ok_or(StoreError::Closed)?;
        unharmed(|| {
            let transaction = database.begin_read().map_err(to_store_error)?;
            read(&mut Reading(transaction))
        })
    }

    /// Runs all works in one transaction and commits it. A work that fails is left out and noted in
    /// `failed` by its index; the others are run again.
    ///
    /// # Errors
    /// Then nothing of any work is kept.
    pub(super) fn commit(
        &self,
        works: &mut [&mut Work],
        failed: &mut Vec<(usize, StoreError)>,
    ) -> Result<(), StoreError> {
        if self.is_suspect.swap(false, Ordering::Relaxed) || self.database.read().is_none() {
            self.reopen()?;
        }
        let number = self.commits.load(Ordering::Relaxed) + 1;
        let result = loop {
            match self.try_commit(works, number, failed) {
                Ok(true) => break Ok(()),
                Ok(false) => {}
                Err(error) => break Err(error),
            }
        };
        match result {
            Ok(()) => self.commits.store(number, Ordering::Relaxed),
            // It may have failed when the commit was on disk already.
            Err(_) if self.reopen().is_ok() && self.number() == Ok(number) => {
                // The commit slots share a page: another commit syncs this one, too.
                self.try_commit(&mut [], number + 1, failed)?;
                self.commits.store(number + 1, Ordering::Relaxed);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// False when a work has failed and was noted: to be tried again without it.
    fn try_commit(
        &self,
        works: &mut [&mut Work],
        number: u64,
        failed: &mut Vec<(usize, StoreError)>,
    ) -> Result<bool, StoreError> {
        let database = self.database.read_recursive();
        let database = database.as_ref().ok_or(StoreError::Closed)?;
        unharmed(|| {
            let mut transaction = database.begin_write().map_err(to_store_error)?;
            transaction.set_quick_repair(true);
            let mut writing = Writing::new(&transaction);
            for (place, work) in works.iter_mut().enumerate() {
                if failed.iter().any(|(known, _)| *known == place) {
                    continue;
                }
                // One that panics fails alone: the others are run again without it.
                match unharmed(|| work(&mut writing)) {
                    Ok(()) => {}
                    Err(error @ (StoreError::Io(_) | StoreError::Full)) => return Err(error),
                    Err(error) => {
                        failed.push((place, error));
                        drop(writing);
                        transaction.abort().map_err(to_store_error)?;
                        return Ok(false);
                    }
                }
            }
            note_growth(&mut writing, number)?;
            writing.put(META, COMMITS, &number.to_be_bytes())?;
            drop(writing);
            transaction.commit().map_err(to_store_error)?;
            Ok(true)
        })
    }

    /// Opens the file, again if it was open.
    fn reopen(&self) -> Result<(), StoreError> {
        let mut slot = self.database.write();
        let old = slot.take();
        unharmed(|| {
            drop(old);
            Ok(())
        })?;
        *slot = Some(unharmed(|| (self.open)().map_err(to_store_error))?);
        drop(slot);
        let number = self.number()?;
        self.commits.store(number, Ordering::Relaxed);
        Ok(())
    }

    /// Counts the bytes of the tables where that has not been done up to the last commit: by a former version.
    fn count_bytes(&self) -> Result<(), StoreError> {
        let commits = self.commits.load(Ordering::Relaxed);
        let counted = self.read(|rows| number_in(rows, COUNTED));
        self.reads.fetch_sub(1, Ordering::Relaxed);
        if counted? == commits {
            return Ok(());
        }
        let sizes = self.read(Reading::count_bytes)?;
        self.reads.fetch_sub(1, Ordering::Relaxed);
        let database = self.database.read_recursive();
        let database = database.as_ref().ok_or(StoreError::Closed)?;
        unharmed(|| {
            let transaction = database.begin_write().map_err(to_store_error)?;
            let mut writing = Writing::new(&transaction);
            for (table, size) in &sizes {
                let size = u64::try_from(*size).unwrap_or(0);
                writing.put(META, &[COUNTED, table.as_bytes()].concat(), &size.to_be_bytes())?;
            }
            writing.put(META, COUNTED, &commits.to_be_bytes())?;
            drop(writing);
            transaction.commit().map_err(to_store_error)
        })
    }

    /// The number of the last commit.
    fn number(&self) -> Result<u64, StoreError> {
        let number = self.read(|rows| number_in(rows, COMMITS));
        self.reads.fetch_sub(1, Ordering::Relaxed);
        number
    }
}

/// Adds to the bytes of the tables what this transaction has put in and taken out.
fn note_growth(writing: &mut Writing<'_>, number: u64) -> Result<(), StoreError> {
    for (table, by) in writing.take_growth() {
        if by != 0 && table != META.0 {
            let bytes = bytes_of(writing, &table)?.saturating_add_signed(by);
            writing.put(META, &[COUNTED, table.as_bytes()].concat(), &bytes.to_be_bytes())?;
        }
    }
    writing.put(META, COUNTED, &number.to_be_bytes())
}

/// The bytes of the rows of a table, as they are stored: one of the file, or one of the store.
///
/// # Errors
/// When they cannot be read.
pub fn bytes_of(rows: &mut impl Rows, table: &str) -> Result<u64, StoreError> {
    number_in(rows, &[COUNTED, table.as_bytes()].concat())
}

fn number_in(rows: &mut impl Rows, key: &[u8]) -> Result<u64, StoreError> {
    let bytes = rows.get(META, key)?.unwrap_or_else(|| vec![0; 8]);
    bytes.try_into().map(u64::from_be_bytes).map_err(|_| StoreError::damaged("a number of the file"))
}

/// Opens the file at `path`, made when absent.
pub fn opener(path: &Path, cache_bytes: usize) -> Opener {
    let path = path.to_owned();
    Box::new(move || {
        let mut builder = Builder::new();
        builder.set_cache_size(cache_bytes);
        builder.create(&path)
    })
}

/// Whether every page of the database is what was written; repairs are made to what `open` opens.
///
/// # Errors
/// [`StoreError::Damaged`] when it is not.
pub fn verify(open: impl FnOnce() -> Result<Database, DatabaseError>) -> Result<(), StoreError> {
    unharmed(|| {
        let mut database = open().map_err(to_store_error)?;
        // A repair that goes back to an older commit would lose what was acknowledged.
        let number = number_of(&database)?;
        let is_clean = database.check_integrity().map_err(to_store_error)?;
        if !is_clean && number_of(&database)? != number {
            return Err(StoreError::damaged("its last commit cannot be read"));
        }
        Ok(())
    })
}

fn number_of(database: &Database) -> Result<Option<Vec<u8>>, StoreError> {
    Reading(database.begin_read().map_err(to_store_error)?).get(META, COMMITS)
}

/// Gives the space that is not used back to the file system; true when the file has become smaller.
///
/// # Errors
/// When the file cannot be read or written.
pub fn compact(open: &Opener) -> Result<bool, StoreError> {
    unharmed(|| {
        let mut database = open().map_err(to_store_error)?;
        database.compact().map_err(to_store_error)
    })
}

/// redb checks its pages only when it is asked to; a damaged one can make it panic. So can a fault in the work of a
/// protocol: the two look the same.
fn unharmed<T>(act: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    let result = panic::catch_unwind(AssertUnwindSafe(act));
    result.unwrap_or_else(|panic| Err(StoreError::Damaged(text_of(&*panic).into())))
}

fn text_of(panic: &(dyn Any + Send)) -> Cow<'_, str> {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    format!("its structure ({})", text.unwrap_or("unknown")).into()
}
