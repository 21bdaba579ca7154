//! What waits in a line, and the room that it takes.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;

use crate::engines::redis::RedisError;

/// A script to be run.
pub struct Call {
    /// Which of the line's.
    pub script: usize,
    /// All in one slot.
    pub keys: Vec<Vec<u8>>,
    /// Those behind the first.
    pub args: Vec<Bytes>,
    /// It does nothing the second time.
    pub repeats: bool,
    pub done: Done,
}

/// What a script has answered behind the time, numbers as text. Called by the line's task; must be quick.
pub type Done = Box<dyn FnOnce(Result<Vec<Bytes>, CallError>) + Send>;

/// Why a script has not answered.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum CallError {
    /// It has done nothing and will do nothing, unless the answer alone was lost.
    #[error("redis has not answered in time")]
    Late,
    #[error("too much waits for redis")]
    Full,
    /// It was done, and no replica has it yet.
    #[error("no replica of redis has it")]
    NotCopied,
    #[error(transparent)]
    Redis(#[from] RedisError),
}

pub struct Waiting {
    pub script: usize,
    pub keys: Vec<Vec<u8>>,
    pub args: Vec<Bytes>,
    pub repeats: bool,
    /// None: who has asked was told that it is too late.
    pub done: Option<Done>,
    /// By the own clock (monotonic).
    pub due: Duration,
    pub place: Place,
}

impl Waiting {
    pub fn tell(mut self, outcome: Result<Vec<Bytes>, CallError>) {
        if let Some(done) = self.done.take() {
            done(outcome);
        }
    }
}

/// Bytes that wait.
pub type Pot = Arc<AtomicUsize>;

/// What a call that waits takes: of all that may wait in its line, and, once it is filed, of [`crate::limits::REDIS_WAITING_BYTES`] of who is
/// to run it.
pub struct Place {
    pub all: Pot,
    pub own: Option<Pot>,
    pub taken: usize,
}

impl Place {
    /// Takes it of this one from now on. Gives what that has then.
    pub fn put(&mut self, pot: &Pot) -> usize {
        let has = pot.fetch_add(self.taken, Ordering::Relaxed) + self.taken;
        if let Some(before) = self.own.replace(Arc::clone(pot)) {
            before.fetch_sub(self.taken, Ordering::Relaxed);
        }
        has
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for pot in [Some(&self.all), self.own.as_ref()].into_iter().flatten() {
            pot.fetch_sub(self.taken, Ordering::Relaxed);
        }
    }
}

/// The calls of one slot.
#[derive(Default)]
pub struct Queue {
    /// Oldest first; those in flight stay until they are answered.
    pub calls: VecDeque<Waiting>,
    pub in_flight: usize,
    /// The last call was run. Otherwise one alone is sent, so that nothing is done before what was refused.
    pub is_served: bool,
    /// It is not served, or nobody has it: when to try again.
    pub again: Duration,
}
