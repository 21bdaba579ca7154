//! Rows of a transaction: ordered tables of bytes. Every row carries a checksum over table, key and value,
//! so that a flipped bit is found when the row is read.

use std::{
    io, mem,
    ops::{Bound, ControlFlow},
};

use redb::{
    ReadOnlyTable, ReadTransaction, ReadableTable, TableDefinition, TableError, TableHandle as _, WriteTransaction,
};

use crate::store::StoreError;

/// A table of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table(pub &'static str);

/// Those that hold many tables of the store ([`Store`](crate::store::Store)): the name of that and NUL begin a key.
pub const ROWS: Table = Table("rows");
pub const DUE: Table = Table("due");
pub const DUE_OF: Table = Table("due_of");
const SHARED: [Table; 3] = [ROWS, DUE, DUE_OF];

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
pub struct Reading(pub(super) ReadTransaction);

type OpenTable<'t> = redb::Table<'t, &'static [u8], &'static [u8]>;
type ReadTable = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// A transaction of the writer.
pub struct Writing<'t> {
    transaction: &'t WriteTransaction,
    tables: Vec<(Table, OpenTable<'t>)>,
    /// By how many bytes tables have grown, or shrunk.
    grown: Vec<(String, i64)>,
}

/// What redb says, as the store says it.
pub(super) fn to_store_error(error: impl Into<redb::Error>) -> StoreError {
    match error.into() {
        redb::Error::Io(error) => match error.kind() {
            // The last: a limit of the process or the file system for one file. It may be raised, as well.
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => StoreError::Full,
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => StoreError::Damaged(error.to_string().into()),
            _ => StoreError::Io(error.to_string().into()),
        },
        redb::Error::Corrupted(what) => StoreError::Damaged(what.into()),
        error @ redb::Error::UpgradeRequired(_) => StoreError::Damaged(error.to_string().into()),
        error => StoreError::Io(error.to_string().into()),
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
        _ => Err(StoreError::Damaged(format!("row {} of table {}", hex::encode(key), table.0).into())),
    }
}

impl Table {
    /// The name by which the bytes of a row are counted: where a table of the file holds many of the store, that stands in
    /// front of the key.
    fn name_of(self, key: &[u8]) -> &[u8] {
        let end = key.iter().position(|byte| *byte == 0).filter(|_| SHARED.contains(&self));
        end.map_or(self.0.as_bytes(), |end| &key[..end])
    }

    const fn definition(self) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
        TableDefinition::new(self.0)
    }
}

/// The row with this key of a table that is open for reading or writing.
fn get_of(
    table: Table,
    rows: &impl ReadableTable<&'static [u8], &'static [u8]>,
    key: &[u8],
) -> Result<Option<Vec<u8>>, StoreError> {
    let Some(stored) = rows.get(key).map_err(to_store_error)? else {
        return Ok(None);
    };
    checked(table, key, stored.value()).map(|value| Some(value.to_vec()))
}

/// Visits the rows of a table that is open for reading or writing.
fn visit_of(
    table: Table,
    rows: &impl ReadableTable<&'static [u8], &'static [u8]>,
    span: Span<'_>,
    order: Order,
    visitor: &mut Visitor<'_>,
) -> Result<(), StoreError> {
    if is_void(span) {
        return Ok(());
    }
    let mut range = rows.range::<&[u8]>(span).map_err(to_store_error)?;
    while let Some(row) = match order {
        Order::Rising => range.next(),
        Order::Falling => range.next_back(),
    } {
        let (key, value) = row.map_err(to_store_error)?;
        let value = checked(table, key.value(), value.value())?;
        if visitor(key.value(), value)?.is_break() {
            break;
        }
    }
    Ok(())
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

impl Reading {
    /// The bytes of all rows, by table: as they are counted from commit to commit, but read.
    pub(super) fn count_bytes(&mut self) -> Result<Vec<(String, i64)>, StoreError> {
        let mut sizes: Vec<(String, i64)> = Vec::new();
        for handle in self.0.list_tables().map_err(to_store_error)? {
            let rows =
                self.0.open_table(TableDefinition::<&[u8], &[u8]>::new(handle.name())).map_err(to_store_error)?;
            for row in rows.iter().map_err(to_store_error)? {
                let (key, stored) = row.map_err(to_store_error)?;
                let size = size_of_row(key.value(), stored.value());
                let shared = SHARED.into_iter().find(|table| table.0 == handle.name());
                let name = shared.map_or(handle.name().as_bytes(), |table| table.name_of(key.value()));
                match sizes.iter_mut().find(|(known, _)| known.as_bytes() == name) {
                    Some((_, sum)) => *sum += size,
                    None => sizes.push((String::from_utf8_lossy(name).into_owned(), size)),
                }
            }
        }
        Ok(sizes)
    }

    /// None when nothing was ever written to it.
    fn table(&self, table: Table) -> Result<Option<ReadTable>, StoreError> {
        match self.0.open_table(table.definition()) {
            Ok(rows) => Ok(Some(rows)),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(to_store_error(error)),
        }
    }
}

impl Rows for Reading {
    fn get(&mut self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.table(table)?.map_or(Ok(None), |rows| get_of(table, &rows, key))
    }

    fn visit(
        &mut self,
        table: Table,
        span: Span<'_>,
        order: Order,
        visitor: &mut Visitor<'_>,
    ) -> Result<(), StoreError> {
        self.table(table)?.map_or(Ok(()), |rows| visit_of(table, &rows, span, order, visitor))
    }
}

impl<'t> Writing<'t> {
    pub(super) const fn new(transaction: &'t WriteTransaction) -> Self {
        Self { transaction, tables: Vec::new(), grown: Vec::new() }
    }

    fn table(&mut self, table: Table) -> Result<&mut OpenTable<'t>, StoreError> {
        let place = match self.tables.iter().position(|(known, _)| *known == table) {
            Some(place) => place,
            None => {
                let open = self.transaction.open_table(table.definition());
                self.tables.push((table, open.map_err(to_store_error)?));
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
        let before = self.table(table)?.insert(key, stored.as_slice()).map_err(to_store_error)?;
        let before = before.map_or(0, |before| size_of_row(key, before.value()));
        self.note_growth(table, key, size_of_row(key, &stored) - before);
        Ok(())
    }

    /// Removes a row, if there is one.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn remove(&mut self, table: Table, key: &[u8]) -> Result<(), StoreError> {
        let before = self.table(table)?.remove(key).map_err(to_store_error)?;
        if let Some(before) = before.map(|before| size_of_row(key, before.value())) {
            self.note_growth(table, key, -before);
        }
        Ok(())
    }

    fn note_growth(&mut self, table: Table, key: &[u8], by: i64) {
        let name = table.name_of(key);
        match self.grown.iter_mut().find(|(known, _)| known.as_bytes() == name) {
            Some((_, sum)) => *sum += by,
            None => self.grown.push((String::from_utf8_lossy(name).into_owned(), by)),
        }
    }

    /// By how many bytes tables have grown, or shrunk, in this transaction so far.
    pub(super) fn take_growth(&mut self) -> Vec<(String, i64)> {
        mem::take(&mut self.grown)
    }
}

/// Bytes of a row as it is stored.
fn size_of_row(key: &[u8], stored: &[u8]) -> i64 {
    (key.len() + stored.len()).cast_signed() as i64
}

impl Rows for Writing<'_> {
    fn get(&mut self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        get_of(table, self.table(table)?, key)
    }

    fn visit(
        &mut self,
        table: Table,
        span: Span<'_>,
        order: Order,
        visitor: &mut Visitor<'_>,
    ) -> Result<(), StoreError> {
        visit_of(table, self.table(table)?, span, order, visitor)
    }
}
