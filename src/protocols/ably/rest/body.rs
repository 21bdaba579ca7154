//! The body of an answer: what is finished, then what is made as the client takes it.
//!
//! It is paid for until the socket has taken it, and a client that takes nothing is cut.

use std::{
    cell::Cell,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use actix_web::{
    body::{BodySize, MessageBody},
    rt,
};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, stream::LocalBoxStream};

use crate::{
    actors::{accounts::Charge, transport::Socket},
    error::Fault,
    limits,
};

/// See the module.
pub struct Body {
    ready: Bytes,
    /// What follows; an error breaks the answer off.
    rest: Option<LocalBoxStream<'static, Result<Bytes, Fault>>>,
    /// Pays for what is finished; the rest pays for itself.
    charge: Option<Charge>,
    /// Slices that the socket took.
    taken: Rc<Cell<u64>>,
}

impl Body {
    pub fn whole(ready: Bytes) -> Self {
        Self { ready, rest: None, charge: None, taken: Rc::default() }
    }

    #[must_use]
    pub fn paid_by(self, charge: Charge) -> Self {
        Self { charge: Some(charge), ..self }
    }

    #[must_use]
    pub fn followed_by(self, rest: impl Stream<Item = Result<Bytes, Fault>> + 'static) -> Self {
        Self { rest: Some(Box::pin(rest)), ..self }
    }

    /// The same as part of something larger.
    #[must_use]
    pub fn between(mut self, before: Vec<u8>, after: &'static [u8]) -> Self {
        let mut ready = BytesMut::from(&before[..]);
        ready.extend_from_slice(&self.ready);
        let after = Bytes::from_static(after);
        match self.rest.take() {
            None => ready.extend_from_slice(&after),
            Some(rest) => {
                use futures_util::{StreamExt as _, stream};
                self.rest = Some(Box::pin(rest.chain(stream::iter([Ok(after)]))));
            }
        }
        self.ready = ready.freeze();
        self
    }

    /// Cuts `socket` when the client takes nothing of a long answer for [`limits::ANSWER_STALL`].
    #[must_use]
    pub fn watched(self, socket: Socket) -> Self {
        if self.rest.is_some() || self.ready.len() > limits::ANSWER_SLICE {
            let taken = Rc::downgrade(&self.taken);
            rt::spawn(async move {
                let mut before = 0;
                loop {
                    rt::time::sleep(limits::ANSWER_STALL).await;
                    // The answer is through, or its connection is gone.
                    let Some(taken) = taken.upgrade() else { return };
                    if taken.get() == before {
                        return socket.cut();
                    }
                    before = taken.get();
                }
            });
        }
        self
    }
}

impl MessageBody for Body {
    type Error = Fault;

    fn size(&self) -> BodySize {
        if self.rest.is_some() { BodySize::Stream } else { BodySize::Sized(self.ready.len() as u64) }
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Fault>>> {
        while self.ready.is_empty() {
            self.charge = None;
            let Some(rest) = &mut self.rest else { return Poll::Ready(None) };
            match ready!(rest.as_mut().poll_next(cx)) {
                Some(Ok(more)) => self.ready = more,
                end => return Poll::Ready(end),
            }
        }
        self.taken.set(self.taken.get() + 1);
        let length = self.ready.len().min(limits::ANSWER_SLICE);
        Poll::Ready(Some(Ok(self.ready.split_to(length))))
    }
}
