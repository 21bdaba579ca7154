//! Rows that are brought along from another server: files ([`files`]) and databases are read as [`Row`]s, and a protocol puts
//! them into its tables by the code that its server has for them ([`Importer`]).

use std::{fmt, sync::Arc};

use futures_util::future::BoxFuture;

use crate::store::StoreError;

pub mod files;
mod record;
#[cfg(test)]
mod tests;

pub use record::{Names, Record, needed};

/// What rows are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Groups,
    Members,
    Messages,
    Participants,
}

/// A row of a source.
#[derive(Debug)]
pub struct Row {
    pub place: Place,
    /// Or why it cannot be read.
    pub record: Result<Record, String>,
    /// How far its source is read with it, in the unit of [`Source::total`].
    pub done: u64,
}

/// Where a row comes from: a file and its line, a collection and the id of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub source: Arc<str>,
    pub at: String,
}

/// Rows of one kind, in their order.
pub struct Source {
    pub kind: Kind,
    /// Bytes or documents, about.
    pub total: u64,
    /// Ends with an error when the source cannot be read any further.
    pub rows: Box<dyn Iterator<Item = Result<Row, String>>>,
}

/// What became of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    New,
    /// It is there: nothing was written.
    Known,
    /// The server would remove it at once, by the setting that says how long messages are kept.
    TooOld,
    /// Why it cannot be kept.
    Bad(String),
}

/// Puts rows into the tables of a protocol.
pub trait Importer {
    /// The columns that it reads; none of a kind that it does not have.
    fn columns(&self, kind: Kind) -> &'static [Names];

    /// Puts records of one kind; what became of each. All of it is safe when this is done.
    fn put<'i>(&'i mut self, kind: Kind, records: &'i [Record]) -> BoxFuture<'i, Result<Vec<Outcome>, StoreError>>;
}

impl Kind {
    /// In the order in which they have to come.
    pub const ALL: [Self; 4] = [Self::Groups, Self::Members, Self::Participants, Self::Messages];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Groups => "groups",
            Self::Members => "members",
            Self::Messages => "messages",
            Self::Participants => "participants",
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.source, self.at)
    }
}
