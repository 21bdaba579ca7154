//! Revocations that outlive a restart: a row each in the store, for as long as a token that it concerns can
//! live (`docs/protocols/ably.md §12.7`).

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::{
    auth::ably::{Gate, Revoked},
    error::Fault,
    ids::Timestamp,
    limits,
    store::{Batch, Store, StoreError},
};

const TABLE: &str = "ably_revocations";

/// Where they are kept.
pub struct KeptRevocations(Arc<dyn Store>);

#[derive(Serialize, Deserialize)]
struct Row {
    /// `<app>.<key>`
    key_name: String,
    /// As it was asked for.
    target: String,
    issued_before: Timestamp,
    applies_at: Timestamp,
}

impl KeptRevocations {
    /// Tells `gate` what was revoked before, and forgets what no token can live for any more.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn restore(store: Arc<dyn Store>, gate: &Gate, now: Timestamp) -> Result<Self, StoreError> {
        let mut over = Batch::new();
        for row in store.list(TABLE, b"", None, limits::REVOCATIONS)? {
            let kept = serde_json::from_slice(&row.value).ok();
            let restored = kept.is_some_and(|kept: Row| {
                let revoked = Revoked { issued_before: kept.issued_before, applies_at: kept.applies_at };
                gate.restore(&kept.key_name, &kept.target, revoked, now)
            });
            if !restored {
                over = over.remove(TABLE, row.key);
            }
        }
        store.submit(over, Box::new(drop));
        Ok(Self(store))
    }

    /// Keeps what was revoked; then it is on disk.
    ///
    /// # Errors
    /// [`Fault::DiskFull`], [`Fault::Internal`]: it holds, but only until the next start.
    pub async fn keep<'a>(
        &self,
        key_name: &str,
        revoked: impl Iterator<Item = (&'a String, Revoked)>,
    ) -> Result<(), Fault> {
        let mut batch = Batch::new();
        for (target, revoked) in revoked {
            let row = Row {
                key_name: key_name.to_owned(),
                target: target.clone(),
                issued_before: revoked.issued_before,
                applies_at: revoked.applies_at,
            };
            // Cannot fail: texts and numbers are written into memory.
            let value = serde_json::to_vec(&row).unwrap_or_default();
            batch = batch.put(TABLE, format!("{key_name} {target}"), value);
        }
        let (done, told) = oneshot::channel();
        // Whoever asked may have gone.
        self.0.submit(batch, Box::new(move |outcome| drop(done.send(outcome.map(drop)))));
        match told.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(StoreError::Full)) => Err(Fault::DiskFull),
            Ok(Err(_)) | Err(_) => Err(Fault::Internal),
        }
    }
}
