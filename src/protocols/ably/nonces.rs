//! Token requests that were granted outlive a restart: a row each in the store, for as long as the request would be
//! taken again (`docs/protocols/ably.md §12.2`).

use std::sync::Arc;

use crate::{
    auth::ably::{Gate, Granted, Spent, TokenDetails},
    error::Fault,
    ids::Timestamp,
    protocols::ably::rows,
    store::{Batch, Store, StoreError},
};

const TABLE: &str = "ably_nonces";

/// Where they are kept.
pub struct StoredNonces(Arc<dyn Store>);

impl StoredNonces {
    /// Hands the requests that were granted before to `gate`, and forgets those that are too old to be granted again.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn restore(store: Arc<dyn Store>, gate: &Gate, now: Timestamp) -> Result<Self, StoreError> {
        rows::restore(&*store, TABLE, |row| {
            Spent::from_bytes(&row.key).is_some_and(|spent| gate.restore_spent(spent, now))
        })?;
        Ok(Self(store))
    }

    /// The token, as soon as its request is stored as used. Otherwise it is not handed out: after a crash the same
    /// request would be granted again, to anyone who has overheard it.
    ///
    /// # Errors
    /// [`Fault::DiskFull`], [`Fault::Busy`], [`Fault::Internal`]; the request may come again.
    pub async fn keep(&self, gate: &Gate, granted: Granted) -> Result<TokenDetails, Fault> {
        let Granted { details, spent, over } = granted;
        let Some(spent) = spent else {
            return Ok(details);
        };
        let batch = Batch::new().put(TABLE, spent.to_bytes(), Vec::new());
        // Each addition sweeps: there are never more rows than requests in memory.
        let batch = over.into_iter().fold(batch, |batch, over| batch.remove(TABLE, over.to_bytes()));
        if let Err(error) = self.0.commit(batch).await {
            gate.release(&spent);
            return Err(error.to_fault());
        }
        Ok(details)
    }
}
