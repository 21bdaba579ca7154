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
pub struct KeptNonces(Arc<dyn Store>);

impl KeptNonces {
    /// Tells `gate` which requests were granted before, and forgets those that nobody can send any more.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn restore(store: Arc<dyn Store>, gate: &Gate, now: Timestamp) -> Result<Self, StoreError> {
        rows::restore(&*store, TABLE, |row| {
            Spent::from_bytes(&row.key).is_some_and(|spent| gate.restore_spent(spent, now))
        })?;
        Ok(Self(store))
    }

    /// The token, as soon as what was paid for it is on disk. Without that nobody gets it: after a crash the same
    /// request would be granted to whoever overheard it.
    ///
    /// # Errors
    /// [`Fault::DiskFull`], [`Fault::Busy`], [`Fault::Internal`]; the request may come again.
    pub async fn keep(&self, gate: &Gate, granted: Granted) -> Result<TokenDetails, Fault> {
        let Granted { details, spent, over } = granted;
        let Some(spent) = spent else {
            return Ok(details);
        };
        let batch = Batch::new().put(TABLE, spent.to_bytes(), Vec::new());
        // Whoever adds sweeps: there are never more rows than requests in memory.
        let batch = over.into_iter().fold(batch, |batch, over| batch.remove(TABLE, over.to_bytes()));
        if let Err(fault) = rows::commit(&*self.0, batch).await {
            gate.release(&spent);
            return Err(fault);
        }
        Ok(details)
    }
}
