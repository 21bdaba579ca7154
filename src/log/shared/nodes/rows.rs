//! Rows that every node has: kept on Redis, changed by whoever is asked to, told to all at once.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{CHANGE, Nodes, SCAN};
use crate::{engines::redis::Heard, limits, store::StoreError};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Table {
    Revocations,
    Apps,
}

/// Rows that are put, with name and value, and the names of those that go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    pub table: Table,
    pub put: Vec<(String, String)>,
    pub gone: Vec<String>,
}

/// What a node hears of the rows.
#[derive(Debug)]
pub enum News {
    Changed(Change),
    /// Some changes may have been missed, so all rows are to be read, as they are at the start.
    Missed,
    /// Redis has lost its data.
    Lost,
}

impl Table {
    fn key(self) -> Vec<u8> {
        match self {
            Self::Revocations => b"ls:{ctl}revocations".to_vec(),
            Self::Apps => b"ls:{ctl}apps".to_vec(),
        }
    }

    /// It may have so many rows.
    const fn most(self) -> usize {
        match self {
            // Every node counts them by key, and charges their app.
            Self::Revocations => usize::MAX,
            Self::Apps => limits::APPS,
        }
    }
}

const TOPIC: &[u8] = b"ls:{ctl}";

impl Nodes {
    /// `hears` is told each change.
    pub fn follow_rows(&self, hears: impl Fn(News) + Clone + Send + Sync + 'static) {
        self.0.has_rows_to_read.store(true, Ordering::Relaxed);
        let (first, loss) = (hears.clone(), hears.clone());
        let heard = move |heard| match heard {
            Heard::Message(bytes) => hears(serde_json::from_slice(&bytes).map_or(News::Missed, News::Changed)),
            Heard::Missed => hears(News::Missed),
        };
        self.on_loss(move || loss(News::Lost));
        self.0.tail.subscribe(TOPIC.to_vec(), Box::new(heard), Box::new(move || first(News::Missed)));
    }

    /// The rows of all tables were read, and what was told meanwhile: the node may be ready.
    pub fn rows_are_read(&self) {
        self.0.has_rows_to_read.store(false, Ordering::Relaxed);
    }

    /// Changes rows at all nodes, this one among them.
    ///
    /// # Errors
    /// [`StoreError::Full`]: there are as many as there may be. Redis does not answer: it may have been done.
    pub async fn change_rows(&self, change: &Change) -> Result<(), StoreError> {
        // Cannot fail: texts are written into memory.
        let told = serde_json::to_vec(change).unwrap_or_default();
        let Change { table, put, gone } = change;
        let mut args: Vec<Bytes> = vec![table.most().to_string().into(), told.into(), put.len().to_string().into()];
        args.extend(put.iter().flat_map(|(name, value)| [name.clone().into(), value.clone().into()]));
        args.extend(gone.iter().map(|name| Bytes::from(name.clone())));
        let read = |parts: &[Bytes]| Some(&parts.first()?[..] == b"done");
        let is_done = self.ask_line(CHANGE, vec![table.key(), TOPIC.to_vec()], args, read).await?;
        if is_done { Ok(()) } else { Err(StoreError::Full) }
    }

    /// All rows of a table; some may come twice.
    ///
    /// # Errors
    /// Redis does not answer.
    pub async fn rows(&self, table: Table) -> Result<Vec<(String, String)>, StoreError> {
        let (mut rows, mut next) = (Vec::new(), "0".to_owned());
        loop {
            let args = vec![next.into(), limits::ABLY_ROWS.to_string().into()];
            let read = |parts: &[Bytes]| {
                let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).ok();
                let (next, pairs) = parts.split_first()?;
                let pairs = pairs.chunks_exact(2).filter_map(|pair| Some((text(&pair[0])?, text(&pair[1])?)));
                Some((text(next)?, pairs.collect::<Vec<_>>()))
            };
            let (goes_on, found) = self.ask_line(SCAN, vec![table.key()], args, read).await?;
            rows.extend(found);
            if goes_on == "0" {
                return Ok(rows);
            }
            next = goes_on;
        }
    }
}
