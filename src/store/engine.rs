//! The file: ordered tables of bytes, read at any time, written by one thread. The only file that names
//! redb.
//!
//! Every row carries a checksum over table, key and value, so that a flipped bit is found when the row is
//! read. redb itself refuses to work after a failed read or write; the file is then opened again, and
//! goes on where the last commit left it.

use std::{
    any::Any,
    borrow::Cow,
    io,
    ops::{Bound, ControlFlow},
    panic::{self, AssertUnwindSafe},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use parking_lot::RwLock;
use redb::{
    Builder, Database, DatabaseError, ReadTransaction, ReadableDatabase as _, ReadableTable as _,
    TableDefinition, TableError, WriteTransaction,
};

use crate::{
    clock::Clock,
    store::{
        Done, StoreError,
        writer::{Job, Writer},
    },
};

/// A table of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table(pub &'static str);

/// Facts about the file itself.
pub const META: Table = Table("meta");
const COMMITS: &[u8] = b"commits";

/// Opens the file. Called again after a failure; at most one database is open at a time.
pub type Opener = Box<dyn Fn() -> Result<Database, DatabaseError> + Send + Sync>;

/// In which order rows are visited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Rising,
    Falling,
}

/// The bytes between which keys lie.
pub type Span<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// Looks at one row; says whether to go on.
pub type Visitor<'a> = dyn FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, StoreError> + 'a;

/// What can be read of the tables, whether in a transaction that writes or not.
pub trait Rows {
    /// # Errors
    /// [`StoreError::Damaged`] names the row.
    fn get(&mut self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Visits the rows of a span of keys.
    ///
    /// # Errors
    /// The visitor's, and [`StoreError::Damaged`] at the first row that is not what was written.
    fn visit(
        &mut self,
        table: Table,
        span: Span<'_>,
        order: Order,
        visitor: &mut Visitor<'_>,
    ) -> Result<(), StoreError>;
}

/// One state of all tables.
pub struct Reading(ReadTransaction);

type OpenTable<'t> = redb::Table<'t, &'static [u8], &'static [u8]>;

/// A transaction of the writer.
pub struct Writing<'t> {
    transaction: &'t WriteTransaction,
    tables: Vec<(Table, OpenTable<'t>)>,
}

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
        let writer = Writer::start(Arc::clone(&file), clock)?;
        Ok(Self { file, writer })
    }

    /// Hands in `work`, which writes about `bytes`; `done` is told after the commit.
    pub fn submit(&self, bytes: usize, work: Work, done: Done<()>) {
        self.writer.submit(Job { bytes, work, done });
    }

    /// The same, and waits. Not for threads that have others to serve.
    ///
    /// # Errors
    /// The work's own, or why the commit failed.
    pub fn write(&self, bytes: usize, work: Work) -> Result<(), StoreError> {
        let (told, outcome) = std::sync::mpsc::sync_channel(1);
        let done = Box::new(move |result| drop(told.send(result)));
        self.submit(bytes, work, done);
        outcome.recv().unwrap_or(Err(StoreError::Closed))
    }

    /// Reads one state of the tables. Does not wait for the writer.
    ///
    /// # Errors
    /// The reader's own, or why the file cannot be read.
    pub fn read<T>(
        &self,
        read: impl FnOnce(&mut Reading) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
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
    fn read<T>(
        &self,
        read: impl FnOnce(&mut Reading) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        // Recursive: a reader inside a reader must not wait for a reopening that waits for the outer one.
        let database = self.database.read_recursive();
        let database = database.as_ref().ok_or(StoreError::Closed)?;
        unharmed(|| {
            let transaction = database.begin_read().map_err(told)?;
            read(&mut Reading(transaction))
        })
    }

    /// Runs all works in one transaction and commits it. A work that fails is left out and told in
    /// `failed` by its place; the others are run again.
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
            // It may have failed after the point of no return.
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
            let mut transaction = database.begin_write().map_err(told)?;
            transaction.set_quick_repair(true);
            let mut writing = Writing {
                transaction: &transaction,
                tables: Vec::new(),
            };
            for (place, work) in works.iter_mut().enumerate() {
                if failed.iter().any(|(known, _)| *known == place) {
                    continue;
                }
                match work(&mut writing) {
                    Ok(()) => {}
                    Err(error @ (StoreError::Io(_) | StoreError::Full)) => return Err(error),
                    Err(error) => {
                        failed.push((place, error));
                        drop(writing);
                        transaction.abort().map_err(told)?;
                        return Ok(false);
                    }
                }
            }
            writing.put(META, COMMITS, &number.to_be_bytes())?;
            drop(writing);
            transaction.commit().map_err(told)?;
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
        *slot = Some(unharmed(|| (self.open)().map_err(told))?);
        drop(slot);
        let number = self.number()?;
        self.commits.store(number, Ordering::Relaxed);
        Ok(())
    }

    /// The number of the last commit.
    fn number(&self) -> Result<u64, StoreError> {
        let bytes = self.read(|rows| rows.get(META, COMMITS))?;
        self.reads.fetch_sub(1, Ordering::Relaxed);
        let bytes = bytes.unwrap_or_else(|| vec![0; 8]);
        let bytes = bytes.try_into();
        bytes
            .map(u64::from_be_bytes)
            .map_err(|_| StoreError::damaged("the number of the last commit"))
    }
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
        let mut database = open().map_err(told)?;
        // A repair that goes back to an older commit would lose what was acknowledged.
        let number = number_of(&database)?;
        let is_clean = database.check_integrity().map_err(told)?;
        if !is_clean && number_of(&database)? != number {
            return Err(StoreError::damaged("its last commit cannot be read"));
        }
        Ok(())
    })
}

fn number_of(database: &Database) -> Result<Option<Vec<u8>>, StoreError> {
    Reading(database.begin_read().map_err(told)?).get(META, COMMITS)
}

/// Gives the space that is not used back to the file system; true when the file has become smaller.
///
/// # Errors
/// When the file cannot be read or written.
pub fn compact(open: &Opener) -> Result<bool, StoreError> {
    unharmed(|| {
        let mut database = open().map_err(told)?;
        database.compact().map_err(told)
    })
}

/// redb checks its pages only when it is told to; a damaged one can make it panic.
fn unharmed<T>(act: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    let result = panic::catch_unwind(AssertUnwindSafe(act));
    result.unwrap_or_else(|panic| Err(StoreError::Damaged(words_of(&*panic).into())))
}

fn words_of(panic: &(dyn Any + Send)) -> Cow<'_, str> {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    format!("its structure ({})", text.unwrap_or("unknown")).into()
}

fn told(error: impl Into<redb::Error>) -> StoreError {
    match error.into() {
        redb::Error::Io(error) => told_io(&error),
        redb::Error::Corrupted(what) => StoreError::Damaged(what.into()),
        error @ redb::Error::UpgradeRequired(_) => StoreError::Damaged(error.to_string().into()),
        error => StoreError::Io(error.to_string().into()),
    }
}

fn told_io(error: &io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full,
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
            StoreError::Damaged(error.to_string().into())
        }
        _ => StoreError::Io(error.to_string().into()),
    }
}

const CHECKSUM_BYTES: usize = 4;

fn checksum(table: Table, key: &[u8], value: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(table.0.as_bytes());
    hasher.update(&(key.len() as u64).to_be_bytes());
    hasher.update(key);
    hasher.update(value);
    hasher.finalize().to_be_bytes()
}

/// The value of a stored row, without its checksum.
fn checked<'a>(table: Table, key: &[u8], stored: &'a [u8]) -> Result<&'a [u8], StoreError> {
    let parts = stored.split_last_chunk::<CHECKSUM_BYTES>();
    match parts {
        Some((value, sum)) if *sum == checksum(table, key, value) => Ok(value),
        _ => Err(StoreError::Damaged(
            format!("row {} of table {}", hex::encode(key), table.0).into(),
        )),
    }
}

impl Table {
    const fn definition(self) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
        TableDefinition::new(self.0)
    }
}

/// Visits rows as redb gives them.
macro_rules! visit_rows {
    ($table:expr, $rows:expr, $span:expr, $order:expr, $visitor:expr) => {{
        if is_void($span) {
            return Ok(());
        }
        let mut range = $rows.range::<&[u8]>($span).map_err(told)?;
        while let Some(row) = match $order {
            Order::Rising => range.next(),
            Order::Falling => range.next_back(),
        } {
            let (key, value) = row.map_err(told)?;
            let value = checked($table, key.value(), value.value())?;
            if $visitor(key.value(), value)?.is_break() {
                break;
            }
        }
        Ok(())
    }};
}

/// redb panics at a span that ends before it begins.
fn is_void((from, to): Span<'_>) -> bool {
    match (from, to) {
        (Bound::Included(from), Bound::Included(to)) => from > to,
        (Bound::Included(from) | Bound::Excluded(from), Bound::Excluded(to))
        | (Bound::Excluded(from), Bound::Included(to)) => from >= to,
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
    }
}

impl Rows for Reading {
    fn get(&mut self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let rows = match self.0.open_table(table.definition()) {
            Ok(rows) => rows,
            Err(TableError::TableDoesNotExist(_)) => return Ok(None),
            Err(error) => return Err(told(error)),
        };
        let Some(stored) = rows.get(key).map_err(told)? else {
            return Ok(None);
        };
        checked(table, key, stored.value()).map(|value| Some(value.to_vec()))
    }

    fn visit(
        &mut self,
        table: Table,
        span: Span<'_>,
        order: Order,
        visitor: &mut Visitor<'_>,
    ) -> Result<(), StoreError> {
        let rows = match self.0.open_table(table.definition()) {
            Ok(rows) => rows,
            Err(TableError::TableDoesNotExist(_)) => return Ok(()),
            Err(error) => return Err(told(error)),
        };
        visit_rows!(table, rows, span, order, visitor)
    }
}

impl<'t> Writing<'t> {
    fn table(&mut self, table: Table) -> Result<&mut OpenTable<'t>, StoreError> {
        let place = match self.tables.iter().position(|(known, _)| *known == table) {
            Some(place) => place,
            None => {
                let open = self.transaction.open_table(table.definition());
                self.tables.push((table, open.map_err(told)?));
                self.tables.len() - 1
            }
        };
        Ok(&mut self.tables[place].1)
    }

    /// Writes a row, over the one there is.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let stored = [value, &checksum(table, key, value)].concat();
        self.table(table)?
            .insert(key, stored.as_slice())
            .map_err(told)?;
        Ok(())
    }

    /// Removes a row, if there is one.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn remove(&mut self, table: Table, key: &[u8]) -> Result<(), StoreError> {
        self.table(table)?.remove(key).map_err(told)?;
        Ok(())
    }
}

impl Rows for Writing<'_> {
    fn get(&mut self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(stored) = self.table(table)?.get(key).map_err(told)? else {
            return Ok(None);
        };
        checked(table, key, stored.value()).map(|value| Some(value.to_vec()))
    }

    fn visit(
        &mut self,
        table: Table,
        span: Span<'_>,
        order: Order,
        visitor: &mut Visitor<'_>,
    ) -> Result<(), StoreError> {
        let rows = self.table(table)?;
        visit_rows!(table, rows, span, order, visitor)
    }
}
