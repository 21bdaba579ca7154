//! Hands a client's bytes to the decoder a little at a time.
//!
//! actix-ws decodes everything that has arrived before it returns the first message, and keeps what it
//! decoded: 128 KiB of tiny frames become nearly a MiB of messages, and the worker thread carries them
//! all out before it looks at another connection. In small portions both costs are small, too.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use actix_web::error::PayloadError;
use bytes::Bytes;
use futures_util::Stream;

use crate::limits::INBOUND_PORTION as PORTION;

pub struct Portions<S> {
    inner: S,
    rest: Bytes,
    /// Bytes passed since the last pause.
    passed: usize,
}

impl<S> Portions<S> {
    pub const fn new(inner: S) -> Self {
        Self { inner, rest: Bytes::new(), passed: 0 }
    }
}

impl<S> Stream for Portions<S>
where
    S: Stream<Item = Result<Bytes, PayloadError>> + Unpin,
{
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.passed >= PORTION {
            this.passed = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        while this.rest.is_empty() {
            let next = Pin::new(&mut this.inner).poll_next(cx);
            if next.is_pending() {
                this.passed = 0;
            }
            match ready!(next) {
                Some(Ok(chunk)) => this.rest = chunk,
                end => return Poll::Ready(end),
            }
        }
        let portion = this.rest.len().min(PORTION - this.passed);
        this.passed += portion;
        Poll::Ready(Some(Ok(this.rest.split_to(portion))))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::task::Waker;

    use futures_util::{StreamExt as _, stream};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn nothing_is_lost_and_there_is_a_pause_after_each_portion(
            sizes in prop::collection::vec(0usize..40_000, 0..10),
        ) {
            let chunks: Vec<Bytes> = sizes.iter().map(|size| (0..*size).map(|at| at as u8).collect()).collect();
            let mut portions = Portions::new(stream::iter(chunks.iter().cloned().map(Ok)));
            let mut cx = Context::from_waker(Waker::noop());
            let (mut passed, mut since_pause) = (Vec::new(), 0);
            loop {
                match portions.poll_next_unpin(&mut cx) {
                    Poll::Pending => since_pause = 0,
                    Poll::Ready(Some(portion)) => {
                        let portion = portion.unwrap();
                        since_pause += portion.len();
                        prop_assert!(!portion.is_empty() && since_pause <= PORTION);
                        passed.extend_from_slice(&portion);
                    }
                    Poll::Ready(None) => break,
                }
            }
            prop_assert_eq!(passed, chunks.concat());
        }
    }
}
