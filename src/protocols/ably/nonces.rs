//! Token requests that were granted outlive a restart: a row each in the store, for as long as the request would be
//! taken again (`docs/protocols/ably.md §12.2`).

use std::sync::Arc;

use crate::{
    actors::broker::Broker,
    auth::ably::{Gate, Granted, Spent, TokenDetails},
    error::Fault,
    ids::Timestamp,
    limits,
    protocols::ably::rows,
    store::{Batch, Store, StoreError},
};

const TABLE: &str = "ably_nonces";

/// Where they are kept.
pub struct StoredNonces(Arc<dyn Store>);

impl StoredNonces {
    /// Hands the requests that were granted before to `gate`, and forgets those that are too old to be granted again.
    pub fn restore(store: Arc<dyn Store>, gate: &Gate, now: Timestamp) -> Result<Self, StoreError> {
        rows::restore(&*store, TABLE, |row| {
            let key_name = str::from_utf8(&row.value).unwrap_or_default();
            Spent::from_bytes(&row.key).is_some_and(|spent| gate.restore_spent(spent, key_name, now))
        })?;
        Ok(Self(store))
    }

    /// The token, as soon as its request is stored as used. Otherwise it is not handed out: after a crash the same
    /// request would be granted again, to anyone who has overheard it.
    ///
    /// # Errors
    /// [`Fault::NonceReplayed`]: another node has granted it. [`Fault::DiskFull`], [`Fault::Busy`], [`Fault::Internal`]; the request
    /// may come again.
    pub async fn keep(&self, gate: &Gate, broker: &Broker, granted: Granted) -> Result<TokenDetails, Fault> {
        let Granted { details, spent } = granted;
        let Some(spent) = spent else {
            return Ok(details);
        };
        if let Err(fault) = broker.spend(&spent.to_bytes()).await {
            gate.release(&spent);
            return Err(fault);
        }
        let batch = Batch::new().put(TABLE, spent.to_bytes(), details.key_name.as_str());
        if let Err(error) = self.0.commit(batch).await {
            gate.release(&spent);
            return Err(error.to_fault());
        }
        Ok(details)
    }

    /// Forgets, here and in `gate`, the requests that would be refused for their age.
    pub fn sweep(&self, gate: &Gate, now: Timestamp) {
        for over in gate.forget_spent(now).chunks(limits::ABLY_ROWS) {
            let batch = over.iter().fold(Batch::new(), |batch, over| batch.remove(TABLE, over.to_bytes()));
            // What is not removed now is found, and over, at the next start.
            self.0.submit(batch, Box::new(drop));
        }
    }
}
