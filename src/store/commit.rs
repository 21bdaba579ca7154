//! A write that can be awaited.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use tokio::sync::oneshot;

use crate::{
    error::Fault,
    store::{Batch, Committed, Store, StoreError},
};

/// What comes of a batch that was handed in. The batch is carried out whether this is awaited or dropped.
pub struct Commit(oneshot::Receiver<Result<Committed, StoreError>>);

impl Future for Commit {
    type Output = Result<Committed, StoreError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|outcome| outcome.unwrap_or(Err(StoreError::Closed)))
    }
}

impl Commit {
    /// What is to be called with the outcome, and what then gives it.
    pub fn pair() -> (impl FnOnce(Result<Committed, StoreError>) + Send + 'static, Self) {
        let (done, outcome) = oneshot::channel();
        // Nobody may be waiting any more.
        (move |result| drop(done.send(result)), Self(outcome))
    }
}

impl dyn Store + '_ {
    /// Hands `batch` in at once, so that batches are committed in the order of these calls; the answer is awaited.
    pub fn commit(&self, batch: Batch) -> Commit {
        self.commit_holding(batch, ())
    }

    /// The same; `held` is dropped when the batch is on disk or has failed.
    pub fn commit_holding(&self, batch: Batch, held: impl Send + 'static) -> Commit {
        self.commit_then(batch, move |_| drop(held))
    }

    /// The same; before the outcome is given, `then` is called with it on the store's thread, or on this one when the store
    /// refuses at once.
    pub fn commit_then(
        &self,
        batch: Batch,
        then: impl FnOnce(&Result<Committed, StoreError>) + Send + 'static,
    ) -> Commit {
        let (done, outcome) = Commit::pair();
        let committed = move |result| {
            then(&result);
            done(result);
        };
        self.submit(batch, Box::new(committed));
        outcome
    }
}

impl StoreError {
    /// What a client is told. Why the store cannot be read or written is for the operator.
    pub const fn to_fault(&self) -> Fault {
        match self {
            Self::Full | Self::NoRoom { .. } => Fault::DiskFull,
            // What is away is found again.
            Self::Busy | Self::Late | Self::Changed | Self::Unreachable(_) => Fault::Busy,
            Self::Memory(full) => full.to_fault(),
            Self::Closed => Fault::ShuttingDown,
            Self::Io(_) | Self::Damaged(_) => Fault::Internal,
        }
    }
}
