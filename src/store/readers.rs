//! Reads beside the worker threads, a few at a time: what takes long must not hold up who is connected.

use std::{sync::Arc, time::Duration};

use tokio::{sync::Semaphore, time::timeout};

use crate::{limits, store::StoreError};

/// Permits to read. Clones share them.
#[derive(Clone)]
pub struct Readers {
    permits: Arc<Semaphore>,
    /// Within which whoever reads is answered, the turn among the others included; none: however long it takes.
    deadline: Option<Duration>,
}

impl Default for Readers {
    fn default() -> Self {
        Self { permits: Arc::new(Semaphore::new(limits::READERS)), deadline: None }
    }
}

impl Readers {
    /// Of a store on another machine, which may hang.
    pub fn within(deadline: Duration) -> Self {
        Self { deadline: Some(deadline), ..Self::default() }
    }

    /// Waits for a permit, then reads to the end, also when nobody waits for it any more. Whose turn has not come within the
    /// deadline does nothing later.
    ///
    /// # Errors
    /// [`StoreError::Late`]; when `read` has panicked.
    pub async fn read<T: Send + 'static>(&self, read: impl FnOnce() -> T + Send + 'static) -> Result<T, StoreError> {
        let reading = self.read_to_the_end(read);
        match self.deadline {
            Some(deadline) => timeout(deadline, reading).await.map_err(|_| StoreError::Late)?,
            None => reading.await,
        }
    }

    /// The same for what nobody is waiting for, and what may be long: without a deadline.
    ///
    /// # Errors
    /// When `read` has panicked.
    pub async fn read_to_the_end<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        // Never closed.
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let reading = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            read()
        });
        reading.await.map_err(|error| StoreError::Io(error.to_string().into()))
    }
}
