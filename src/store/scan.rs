//! Reading many rows of a table: page by page, so that neither memory nor one read of the file grows with the table.

use std::vec;

use crate::store::{Row, Store, StoreError};

/// The rows of a table whose keys begin with a prefix, in the order of their keys. Each page is one state of the table;
/// the next one is read when it is asked for. After an error there are no more rows.
pub struct Scan<'s> {
    store: &'s dyn Store,
    table: &'s str,
    prefix: Vec<u8>,
    after: Option<Vec<u8>>,
    page: usize,
    rows: vec::IntoIter<Row>,
    is_over: bool,
}

impl dyn Store + '_ {
    /// Reads `page` rows at a time.
    pub fn scan<'s>(&'s self, table: &'s str, prefix: &[u8], page: usize) -> Scan<'s> {
        let (prefix, rows) = (prefix.to_vec(), Vec::new().into_iter());
        Scan { store: self, table, prefix, after: None, page, rows, is_over: false }
    }
}

impl Scan<'_> {
    /// Leaves out the rows up to this key.
    pub fn after(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.after = Some(key.into());
        self
    }

    /// The next rows, for whoever treats a page as a whole; none: there are no more.
    pub fn next_page(&mut self) -> Result<Vec<Row>, StoreError> {
        if self.is_over {
            return Ok(Vec::new());
        }
        let rows = self.store.list(self.table, &self.prefix, self.after.as_deref(), self.page);
        self.is_over = rows.as_ref().is_ok_and(|rows| rows.len() < self.page) || rows.is_err();
        if let Ok(rows) = &rows {
            self.after = rows.last().map(|last| last.key.clone());
        }
        rows
    }
}

impl Iterator for Scan<'_> {
    type Item = Result<Row, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(row) = self.rows.next() {
            return Some(Ok(row));
        }
        match self.next_page() {
            Ok(rows) => {
                self.rows = rows.into_iter();
                self.rows.next().map(Ok)
            }
            Err(error) => Some(Err(error)),
        }
    }
}
