//! What all have in common that keep a connection of their own to each server that has slots: lines and tails.

use std::{
    collections::HashMap,
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use rand::RngExt as _;

use crate::limits;

/// What a connection does now, one thing at a time: it is made, or waits for answers.
pub type Job<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The connection to one server.
pub trait Works {
    type Told;

    fn job(&mut self) -> &mut Option<Job<Self::Told>>;
}

/// What the first of them tells, by addresses.
pub async fn next<L: Works>(lanes: &mut HashMap<Arc<str>, L>) -> (Arc<str>, L::Told) {
    poll_fn(|context| {
        for (address, lane) in lanes.iter_mut() {
            if let Some(job) = lane.job()
                && let Poll::Ready(told) = job.as_mut().poll(context)
            {
                return Poll::Ready((Arc::clone(address), told));
            }
        }
        Poll::Pending
    })
    .await
}

/// The pauses between attempts to reach a server, since it was last reached.
#[derive(Clone, Copy)]
pub struct Pauses(Duration);

impl Default for Pauses {
    fn default() -> Self {
        Self(limits::REDIS_PAUSE_FIRST)
    }
}

impl Pauses {
    /// Each is twice as long as the one before, and shortened by chance: not all come back in the same moment.
    pub fn next(&mut self) -> Duration {
        let pause = self.0.mul_f64(rand::rng().random_range(0.5..1.0));
        self.0 = limits::REDIS_PAUSE_LAST.min(self.0 * 2);
        pause
    }
}
