//! Reading several things at once, without waiting for the answer.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use tokio::sync::oneshot;

use crate::{
    ids::Timestamp,
    store::{Row, Scheduled, Store, StoreError},
};

/// Something to read; see the calls of [`Store`] of these names.
#[derive(Clone, Debug)]
pub enum Read {
    Get {
        table: String,
        key: Vec<u8>,
    },
    List {
        table: String,
        prefix: Vec<u8>,
        after: Option<Vec<u8>>,
        limit: usize,
    },
    Due {
        table: String,
        until: Timestamp,
        limit: usize,
    },
    /// The same without the values.
    DueKeys {
        table: String,
        until: Timestamp,
        limit: usize,
    },
    Scheduled {
        table: String,
        key: Vec<u8>,
    },
    Cursor {
        name: String,
    },
    Bytes {
        table: String,
    },
    /// How many rows there are whose key begins so. Quick on Redis alone.
    Count {
        table: String,
        prefix: Vec<u8>,
    },
}

/// What was found, in the form of what was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    Value(Option<Vec<u8>>),
    Rows(Vec<Row>),
    Due(Vec<Scheduled>),
    Number(u64),
}

impl Read {
    pub fn get(table: &str, key: impl Into<Vec<u8>>) -> Self {
        Self::Get { table: table.to_owned(), key: key.into() }
    }

    pub fn list(table: &str, prefix: impl Into<Vec<u8>>, limit: usize) -> Self {
        Self::List { table: table.to_owned(), prefix: prefix.into(), after: None, limit }
    }

    pub fn due(table: &str, until: Timestamp, limit: usize) -> Self {
        Self::Due { table: table.to_owned(), until, limit }
    }

    pub fn due_keys(table: &str, until: Timestamp, limit: usize) -> Self {
        Self::DueKeys { table: table.to_owned(), until, limit }
    }

    pub fn scheduled(table: &str, key: impl Into<Vec<u8>>) -> Self {
        Self::Scheduled { table: table.to_owned(), key: key.into() }
    }

    pub fn bytes(table: &str) -> Self {
        Self::Bytes { table: table.to_owned() }
    }

    pub fn count(table: &str, prefix: impl Into<Vec<u8>>) -> Self {
        Self::Count { table: table.to_owned(), prefix: prefix.into() }
    }

    /// Reads it on this thread.
    pub(super) fn now<S: Store + ?Sized>(&self, store: &S) -> Result<Found, StoreError> {
        Ok(match self {
            Self::Get { table, key } => Found::Value(store.get(table, key)?),
            Self::List { table, prefix, after, limit } => {
                Found::Rows(store.list(table, prefix, after.as_deref(), *limit)?)
            }
            Self::Due { table, until, limit } => Found::Due(store.due(table, *until, *limit)?),
            Self::DueKeys { table, until, limit } => {
                let mut rows = store.due(table, *until, *limit)?;
                rows.iter_mut().for_each(|row| row.value = Vec::new());
                Found::Due(rows)
            }
            Self::Scheduled { table, key } => Found::Value(store.scheduled(table, key)?),
            Self::Cursor { name } => Found::Number(store.cursor(name)?),
            Self::Bytes { table } => Found::Number(store.bytes(table)?),
            Self::Count { table, prefix } => Found::Number(store.list(table, prefix, None, usize::MAX)?.len() as u64),
        })
    }
}

/// What was asked for does not have that form; no store does that.
fn other() -> StoreError {
    StoreError::damaged("an answer of the store")
}

impl Found {
    pub fn value(self) -> Result<Option<Vec<u8>>, StoreError> {
        if let Self::Value(value) = self { Ok(value) } else { Err(other()) }
    }

    pub fn rows(self) -> Result<Vec<Row>, StoreError> {
        if let Self::Rows(rows) = self { Ok(rows) } else { Err(other()) }
    }

    pub fn due(self) -> Result<Vec<Scheduled>, StoreError> {
        if let Self::Due(rows) = self { Ok(rows) } else { Err(other()) }
    }

    pub fn number(self) -> Result<u64, StoreError> {
        if let Self::Number(number) = self { Ok(number) } else { Err(other()) }
    }
}

/// What comes of [`Store::look`], awaited.
pub struct Looked(oneshot::Receiver<Result<Vec<Found>, StoreError>>);

impl Future for Looked {
    type Output = Result<Vec<Found>, StoreError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|outcome| outcome.unwrap_or(Err(StoreError::Closed)))
    }
}

impl dyn Store + '_ {
    /// Reads one state of several things; what was asked for at once is read behind all that was handed in before.
    pub fn read(&self, reads: Vec<Read>) -> Looked {
        let (done, outcome) = oneshot::channel();
        self.look(reads, Box::new(move |found| drop(done.send(found))));
        Looked(outcome)
    }

    /// The same of one thing.
    pub async fn read_one(&self, read: Read) -> Result<Found, StoreError> {
        self.read(vec![read]).await?.pop().ok_or_else(other)
    }
}
