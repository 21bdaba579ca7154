//! Up to where the streams were read; in the store too, if there is one, so that a restart goes on there.

use std::{collections::BTreeMap, sync::Arc};

use futures_util::future::OptionFuture;

use crate::{
    engines::redis::EntryId,
    store::{Batch, Commit, Store, StoreError},
};

/// Key: the stream; value: the id of the last entry as text.
const POSITIONS: &str = "group positions";

pub struct Positions {
    store: Option<Arc<dyn Store>>,
    known: BTreeMap<&'static str, EntryId>,
}

impl Positions {
    /// # Errors
    /// When the store cannot be read.
    pub fn load(store: Option<Arc<dyn Store>>, streams: &[&'static str]) -> Result<Self, StoreError> {
        let mut known = BTreeMap::new();
        for stream in streams {
            let Some(store) = &store else { break };
            let Some(row) = store.get(POSITIONS, stream.as_bytes())? else {
                continue;
            };
            let id = std::str::from_utf8(&row).ok();
            let id = id.and_then(|text| text.parse().ok());
            known.insert(*stream, id.ok_or_else(|| StoreError::damaged("the position in a stream"))?);
        }
        Ok(Self { store, known })
    }

    pub fn get(&self, stream: &str) -> Option<EntryId> {
        self.known.get(stream).copied()
    }

    /// Remembers positions. They may be on disk a moment later, or not at all: what is read twice has to be borne anyway.
    pub fn set(&mut self, positions: &[(&'static str, EntryId)]) {
        drop(self.write(positions));
    }

    /// The same; on disk when this returns, as far as the disk can be written.
    pub async fn set_for_good(&mut self, positions: &[(&'static str, EntryId)]) {
        if let Some(Err(error)) = OptionFuture::from(self.write(positions)).await {
            tracing::warn!(%error, "the position in the streams is not kept; a restart reads again");
        }
    }

    fn write(&mut self, positions: &[(&'static str, EntryId)]) -> Option<Commit> {
        let mut batch = Batch::new();
        for (stream, id) in positions {
            self.known.insert(stream, *id);
            batch = batch.put(POSITIONS, *stream, id.to_string());
        }
        let store = self.store.as_ref().filter(|_| !positions.is_empty())?;
        Some(store.commit(batch))
    }

    /// All of them, for a read.
    pub fn all(&self) -> Vec<(&'static str, EntryId)> {
        self.known.iter().map(|(stream, id)| (*stream, *id)).collect()
    }
}
