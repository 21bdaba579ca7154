//! [`Store`] in the data file.
//!
//! | table | key | value |
//! |---|---|---|
//! | `rows` | name of the table, NUL, key | value |
//! | `due` | name, NUL, due (8 bytes), key | value |
//! | `due_of` | name, NUL, key | due |
//! | `cursors` | name | 8 bytes |

use std::{
    ops::{Bound, ControlFlow},
    sync::Arc,
};

use parking_lot::Mutex;

use crate::{
    ids::Timestamp,
    store::{
        Batch, Committed, Done, Row, Scheduled, Step, Store, StoreError, engine,
        engine::{DUE, DUE_OF, Engine, META, Order, ROWS, Rows, Table, Writing},
    },
};

pub const CURSORS: Table = Table("cursors");
const MILLIS_BYTES: usize = 8;

/// The store of one data folder.
pub struct EmbeddedStore {
    engine: Arc<Engine>,
}

impl EmbeddedStore {
    pub const fn new(engine: Arc<Engine>) -> Self {
        Self { engine }
    }
}

impl Store for EmbeddedStore {
    fn submit(&self, batch: Batch, done: Done<Committed>) {
        let committed = Arc::new(Mutex::new(Committed::default()));
        let found = Arc::clone(&committed);
        self.engine.submit(
            batch.size(),
            Box::new(move |rows| {
                *found.lock() = carry_out(rows, &batch.steps)?;
                Ok(())
            }),
            Box::new(move |result| done(result.map(|()| std::mem::take(&mut *committed.lock())))),
        );
    }

    fn get(&self, table: &str, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.engine.read(|rows| rows.get(ROWS, &named(table, key)))
    }

    fn list(&self, table: &str, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, StoreError> {
        let (name, first) = (named(table, &[]), named(table, prefix));
        let after = after.map(|after| named(table, after));
        let from = match &after {
            Some(after) if *after >= first => Bound::Excluded(&after[..]),
            _ => Bound::Included(&first[..]),
        };
        let mut found = Vec::new();
        self.engine.read(|rows| {
            rows.visit(ROWS, (from, Bound::Unbounded), Order::Rising, &mut |key, value| {
                if !key.starts_with(&first) || found.len() == limit {
                    return Ok(ControlFlow::Break(()));
                }
                found.push(Row { key: key[name.len()..].to_vec(), value: value.to_vec() });
                Ok(ControlFlow::Continue(()))
            })
        })?;
        Ok(found)
    }

    fn due(&self, table: &str, until: Timestamp, limit: usize) -> Result<Vec<Scheduled>, StoreError> {
        self.engine.read(|rows| due(rows, table, until, limit))
    }

    fn scheduled(&self, table: &str, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.engine.read(|rows| match due_time(rows, table, key)? {
            Some(due) => rows.get(DUE, &timed(table, due, key)),
            None => Ok(None),
        })
    }

    fn cursor(&self, name: &str) -> Result<u64, StoreError> {
        self.engine.read(|rows| cursor(rows, name))
    }

    fn bytes(&self, table: &str) -> Result<u64, StoreError> {
        self.engine.read(|rows| engine::bytes_of(rows, table))
    }
}

fn named(table: &str, key: &[u8]) -> Vec<u8> {
    [table.as_bytes(), &[0], key].concat()
}

fn timed(table: &str, due: Timestamp, key: &[u8]) -> Vec<u8> {
    named(table, &[&due.millis().to_be_bytes()[..], key].concat())
}

fn carry_out(rows: &mut Writing<'_>, steps: &[Step]) -> Result<Committed, StoreError> {
    for step in steps {
        if let Step::Expect { table, key, value } = step
            && rows.get(ROWS, &named(table, key))? != *value
        {
            return Err(StoreError::Changed);
        }
    }
    let mut committed = Committed::default();
    for step in steps {
        match step {
            Step::Expect { .. } => {}
            Step::Put { table, key, value } => rows.put(ROWS, &named(table, key), value)?,
            Step::Remove { table, key } => rows.remove(ROWS, &named(table, key))?,
            Step::Schedule { table, row } => {
                cancel(rows, table, &row.key)?;
                rows.put(DUE, &timed(table, row.due, &row.key), &row.value)?;
                let due = row.due.millis().to_be_bytes();
                rows.put(DUE_OF, &named(table, &row.key), &due)?;
            }
            Step::Cancel { table, key } => cancel(rows, table, key)?,
            Step::TakeDue { table, until, limit } => {
                let taken = due(rows, table, *until, *limit)?;
                for row in &taken {
                    cancel(rows, table, &row.key)?;
                }
                committed.taken.push(taken);
            }
            Step::SetCursor { name, value } => {
                rows.put(CURSORS, name.as_bytes(), &value.to_be_bytes())?;
            }
            Step::Add { name, by } => {
                let value = cursor(rows, name)?.saturating_add(*by);
                rows.put(CURSORS, name.as_bytes(), &value.to_be_bytes())?;
                committed.counters.push(value);
            }
            Step::Append { .. } | Step::PutPlaced { .. } => {
                return Err(StoreError::Io("a data folder has no streams".into()));
            }
        }
    }
    Ok(committed)
}

fn cancel(rows: &mut Writing<'_>, table: &str, key: &[u8]) -> Result<(), StoreError> {
    if let Some(due) = due_time(rows, table, key)? {
        rows.remove(DUE, &timed(table, due, key))?;
        rows.remove(DUE_OF, &named(table, key))?;
    }
    Ok(())
}

fn due_time(rows: &mut impl Rows, table: &str, key: &[u8]) -> Result<Option<Timestamp>, StoreError> {
    let due = rows.get(DUE_OF, &named(table, key))?;
    due.map(|due| Ok(Timestamp::from_millis(number(&due, "the due time of a row")?))).transpose()
}

fn due(rows: &mut impl Rows, table: &str, until: Timestamp, limit: usize) -> Result<Vec<Scheduled>, StoreError> {
    let first = named(table, &[]);
    let end = timed(table, Timestamp::from_millis(until.millis().saturating_add(1)), &[]);
    let span = (Bound::Included(&first[..]), Bound::Excluded(&end[..]));
    let mut found = Vec::new();
    rows.visit(DUE, span, Order::Rising, &mut |key, value| {
        if found.len() == limit {
            return Ok(ControlFlow::Break(()));
        }
        let (due, key) = key[first.len()..]
            .split_at_checked(MILLIS_BYTES)
            .ok_or_else(|| StoreError::damaged("the key of a scheduled row"))?;
        found.push(Scheduled {
            due: Timestamp::from_millis(number(due, "the due time of a row")?),
            key: key.to_vec(),
            value: value.to_vec(),
        });
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(found)
}

fn cursor(rows: &mut impl Rows, name: &str) -> Result<u64, StoreError> {
    let value = rows.get(CURSORS, name.as_bytes())?;
    value.map_or(Ok(0), |value| number(&value, "a cursor"))
}

fn number(bytes: &[u8], what: &str) -> Result<u64, StoreError> {
    let bytes = bytes.try_into().map_err(|_| StoreError::damaged(what))?;
    Ok(u64::from_be_bytes(bytes))
}

/// Reads every row; says how many there are.
///
/// # Errors
/// At the first damaged one.
pub fn read_all(rows: &mut impl Rows) -> Result<u64, StoreError> {
    let mut count = 0;
    for table in [ROWS, DUE, DUE_OF, CURSORS, META] {
        let everything = (Bound::Unbounded, Bound::Unbounded);
        rows.visit(table, everything, Order::Rising, &mut |_, _| {
            count += u64::from(table != META);
            Ok(ControlFlow::Continue(()))
        })?;
    }
    Ok(count)
}
