//! The rows of mailboxes and their letters.
//!
//! | table | key | value |
//! |---|---|---|
//! | `po_mailboxes` | name | empty |
//! | `po_letters` | name, NUL, number (8 bytes) | the letter |
//! | `po_waiting` | the same | when it came (8 bytes), level (8), length (8) |
//!
//! The last is what is read at the start, so that the letters themselves stay where they are.

use std::sync::Arc;

use crate::{
    ids::Timestamp,
    limits,
    older::postoffice::mailbox::{Row, Waiting},
    store::{Batch, Committed, Done, Store, StoreError},
};

const MAILBOXES: &str = "po_mailboxes";
const LETTERS: &str = "po_letters";
const WAITING: &str = "po_waiting";
const NUMBER_BYTES: usize = 8;

/// Where mailboxes are kept.
pub struct Shelf(Arc<dyn Store>);

impl Shelf {
    pub const fn new(store: Arc<dyn Store>) -> Self {
        Self(store)
    }

    /// Remembers a mailbox.
    pub fn keep(&self, name: &str, done: Done<Committed>) {
        self.0.submit(Batch::new().put(MAILBOXES, name, ""), done);
    }

    /// Writes letters; all or none.
    pub fn put(&self, name: &str, letters: Vec<(u64, Waiting)>, done: Done<Committed>) {
        let mut batch = Batch::new();
        for (number, letter) in letters {
            let Some(text) = letter.text else { continue };
            let facts = [letter.came.millis(), letter.level.cast_unsigned(), letter.bytes as u64];
            batch = batch.put(WAITING, key(name, number), facts.map(u64::to_be_bytes).concat()).put(
                LETTERS,
                key(name, number),
                text.as_bytes().as_ref(),
            );
        }
        self.0.submit(batch, done);
    }

    pub fn remove(&self, name: &str, numbers: impl IntoIterator<Item = u64>, done: Done<Committed>) {
        let batch = numbers.into_iter().fold(Batch::new(), |batch, number| {
            let key = key(name, number);
            batch.remove(WAITING, key.clone()).remove(LETTERS, key)
        });
        self.0.submit(batch, done);
    }

    /// One letter.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] also when it is not text.
    pub fn letter(&self, name: &str, number: u64) -> Result<Option<String>, StoreError> {
        let bytes = self.0.get(LETTERS, &key(name, number))?;
        let text = bytes.map(String::from_utf8).transpose();
        text.map_err(|_| StoreError::damaged("a stored letter"))
    }

    /// All mailboxes.
    ///
    /// # Errors
    /// As [`Store::list`].
    pub fn mailboxes(&self, mut found: impl FnMut(&str)) -> Result<(), StoreError> {
        self.each(MAILBOXES, |key, _| {
            found(std::str::from_utf8(key).ok()?);
            Some(())
        })
    }

    /// What waits, without the letters' text.
    ///
    /// # Errors
    /// As [`Store::list`].
    pub fn waiting(&self, mut found: impl FnMut(&str, u64, Waiting)) -> Result<(), StoreError> {
        self.each(WAITING, |key, value| {
            let (name, number) = key.split_last_chunk::<NUMBER_BYTES>()?;
            let name = std::str::from_utf8(name).ok()?.strip_suffix('\0')?;
            let (facts, _) = value.as_chunks::<NUMBER_BYTES>();
            let [came, level, bytes] = facts else {
                return None;
            };
            let waiting = Waiting {
                level: i64::from_be_bytes(*level),
                came: Timestamp::from_millis(u64::from_be_bytes(*came)),
                bytes: usize::try_from(u64::from_be_bytes(*bytes)).ok()?,
                text: None,
                row: Row::Written,
            };
            found(name, u64::from_be_bytes(*number), waiting);
            Some(())
        })
    }

    /// Every row of a table; `read` says none when it cannot be read.
    fn each(&self, table: &'static str, mut read: impl FnMut(&[u8], &[u8]) -> Option<()>) -> Result<(), StoreError> {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let rows = self.0.list(table, b"", after.as_deref(), limits::POST_ROWS)?;
            for row in &rows {
                read(&row.key, &row.value).ok_or_else(|| StoreError::damaged("a row of a mailbox"))?;
            }
            match rows.into_iter().next_back() {
                Some(last) => after = Some(last.key),
                None => return Ok(()),
            }
        }
    }
}

fn key(name: &str, number: u64) -> Vec<u8> {
    [name.as_bytes(), &[0], &number.to_be_bytes()].concat()
}
