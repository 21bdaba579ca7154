//! Rows of the data folder that a request waits for, and that every start takes up again.

use tokio::sync::oneshot;

use crate::{
    error::Fault,
    limits,
    store::{Batch, Row, Store, StoreError},
};

/// Carries out `batch`; then it is on disk.
///
/// # Errors
/// [`Fault::DiskFull`], [`Fault::Busy`], [`Fault::Internal`]: nothing of it is kept.
pub async fn commit(store: &dyn Store, batch: Batch) -> Result<(), Fault> {
    let (done, told) = oneshot::channel();
    // Whoever asked may have gone.
    store.submit(batch, Box::new(move |outcome| drop(done.send(outcome.map(drop)))));
    match told.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(StoreError::Full)) => Err(Fault::DiskFull),
        Ok(Err(StoreError::Busy)) => Err(Fault::Busy),
        Ok(Err(_)) | Err(_) => Err(Fault::Internal),
    }
}

/// Hands all rows of `table` to `counts`, page by page, and removes those of which it says no.
///
/// # Errors
/// When the store cannot be read.
pub fn restore(store: &dyn Store, table: &'static str, mut counts: impl FnMut(&Row) -> bool) -> Result<(), StoreError> {
    let mut after: Option<Vec<u8>> = None;
    loop {
        let page = store.list(table, b"", after.as_deref(), limits::ABLY_ROWS)?;
        let Some(last) = page.last() else {
            return Ok(());
        };
        after = Some(last.key.clone());
        let over: Vec<Row> = page.into_iter().filter(|row| !counts(row)).collect();
        if !over.is_empty() {
            let over = over.into_iter().fold(Batch::new(), |batch, row| batch.remove(table, row.key));
            // Whatever is not removed now is found, and over, at the next start.
            store.submit(over, Box::new(drop));
        }
    }
}
