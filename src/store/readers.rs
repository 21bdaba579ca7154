//! Reads beside the worker threads, a few at a time: what takes long must not hold up who is connected.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::{limits, store::StoreError};

/// Permits to read. Clones share them.
#[derive(Clone)]
pub struct Readers(Arc<Semaphore>);

impl Default for Readers {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(limits::READERS)))
    }
}

impl Readers {
    /// Waits for a permit, then reads to the end, also when nobody waits for it any more.
    ///
    /// # Errors
    /// When `read` has panicked.
    pub async fn read<T: Send + 'static>(&self, read: impl FnOnce() -> T + Send + 'static) -> Result<T, StoreError> {
        // Never closed.
        let permit = Arc::clone(&self.0).acquire_owned().await;
        let reading = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            read()
        });
        reading.await.map_err(|error| StoreError::Io(error.to_string().into()))
    }
}
