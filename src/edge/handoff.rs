//! Hands what a transport has for its client to a response that another worker thread may serve: one batch at a time, so
//! that a response that stalls holds no more than that.

use std::{
    convert::Infallible,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use actix_web::body::{BodySize, MessageBody};
use bytes::Bytes;
use parking_lot::Mutex;

use crate::actors::accounts::Charge;

/// What goes out together, and who pays for it until it has gone.
pub struct Batch {
    pub bytes: Bytes,
    pub charge: Option<Charge>,
}

/// The end of the transport.
pub struct Giver(Arc<Mutex<State>>);

/// The end of the response.
pub struct Taker(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    batch: Option<Batch>,
    has_taken: bool,
    /// The giver has no more.
    has_ended: bool,
    /// The taker wants no more.
    is_gone: bool,
    giver: Option<Waker>,
    taker: Option<Waker>,
}

/// What may be done by a giver.
pub enum Turn {
    /// There is room for the next batch.
    Give,
    /// Everything was taken, and nothing follows.
    Done,
    /// The response has broken off. What it has not taken comes back; what it has taken may be lost.
    Broken { left: Option<Batch>, has_taken: bool },
}

pub fn handoff() -> (Giver, Taker) {
    let state = Arc::new(Mutex::new(State::default()));
    (Giver(Arc::clone(&state)), Taker(state))
}

impl Giver {
    pub fn poll_turn(&self, cx: &Context<'_>) -> Poll<Turn> {
        let mut state = self.0.lock();
        if state.has_ended && state.batch.is_none() {
            return Poll::Ready(Turn::Done);
        }
        if state.is_gone {
            return Poll::Ready(Turn::Broken { left: state.batch.take(), has_taken: state.has_taken });
        }
        state.giver = Some(cx.waker().clone());
        if state.batch.is_some() { Poll::Pending } else { Poll::Ready(Turn::Give) }
    }

    pub fn give(&self, batch: Batch) {
        self.change(|state| state.batch = Some(batch));
    }

    /// Nothing follows what was given.
    pub fn end(&self) {
        self.change(|state| state.has_ended = true);
    }

    /// What was given and not taken.
    pub fn take_back(&self) -> Option<Batch> {
        self.0.lock().batch.take()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.0.lock();
        change(&mut state);
        if let Some(taker) = state.taker.take() {
            taker.wake();
        }
    }
}

impl Drop for Giver {
    fn drop(&mut self) {
        self.end();
    }
}

impl Taker {
    /// The next batch; none: nothing follows.
    pub async fn batch(&self) -> Option<Batch> {
        poll_fn(|cx| self.poll_batch(cx)).await
    }

    fn poll_batch(&self, cx: &Context<'_>) -> Poll<Option<Batch>> {
        let mut state = self.0.lock();
        let batch = state.batch.take();
        if batch.is_none() && !state.has_ended {
            state.taker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        state.has_taken |= batch.is_some();
        if let Some(giver) = state.giver.take() {
            giver.wake();
        }
        Poll::Ready(batch)
    }
}

impl Drop for Taker {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.is_gone = true;
        if let Some(giver) = state.giver.take() {
            giver.wake();
        }
    }
}

/// The body of a response: a first batch, and whatever follows it.
pub struct BatchBody {
    first: Option<Batch>,
    /// None: nothing follows.
    rest: Option<Taker>,
    size: BodySize,
    /// Of what the response has and may not have written yet.
    charge: Option<Charge>,
}

impl BatchBody {
    pub const fn whole(batch: Batch) -> Self {
        let size = BodySize::Sized(batch.bytes.len() as u64);
        Self { first: Some(batch), rest: None, size, charge: None }
    }

    pub const fn streamed(first: Batch, rest: Taker) -> Self {
        Self { first: Some(first), rest: Some(rest), size: BodySize::Stream, charge: None }
    }
}

impl MessageBody for BatchBody {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        self.size
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        // Asked for more: what it had is on its way.
        self.charge = None;
        let next = match (self.first.take(), &self.rest) {
            (None, Some(rest)) => ready!(rest.poll_batch(cx)),
            (first, _) => first,
        };
        Poll::Ready(next.map(|Batch { bytes, charge }| {
            self.charge = charge;
            Ok(bytes)
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(text: &'static str) -> Batch {
        Batch { bytes: Bytes::from_static(text.as_bytes()), charge: None }
    }

    fn taken(taker: &Taker) -> Poll<Option<Bytes>> {
        taker.poll_batch(&Context::from_waker(Waker::noop())).map(|batch| batch.map(|batch| batch.bytes))
    }

    fn turn(giver: &Giver) -> Poll<Turn> {
        giver.poll_turn(&Context::from_waker(Waker::noop()))
    }

    #[test]
    fn one_batch_at_a_time_and_then_the_end() {
        let (giver, taker) = handoff();
        assert!(matches!(turn(&giver), Poll::Ready(Turn::Give)) && taken(&taker).is_pending());
        giver.give(batch("a"));
        assert!(turn(&giver).is_pending());
        giver.end();
        assert!(turn(&giver).is_pending(), "what was given may come back");
        assert_eq!(taken(&taker), Poll::Ready(Some("a".into())));
        assert!(matches!(turn(&giver), Poll::Ready(Turn::Done)));
        assert_eq!(taken(&taker), Poll::Ready(None));
    }

    #[test]
    fn what_was_not_taken_comes_back() {
        let (giver, taker) = handoff();
        giver.give(batch("a"));
        assert_eq!(taken(&taker), Poll::Ready(Some("a".into())));
        giver.give(batch("b"));
        drop(taker);
        let Poll::Ready(Turn::Broken { left: Some(left), has_taken: true }) = turn(&giver) else {
            panic!("the response has broken off");
        };
        assert_eq!(left.bytes, "b");
    }

    #[test]
    fn a_transport_that_ends_leaves_what_it_has_given() {
        let (giver, taker) = handoff();
        giver.give(batch("a"));
        drop(giver);
        assert_eq!((taken(&taker), taken(&taker)), (Poll::Ready(Some("a".into())), Poll::Ready(None)));
    }
}
