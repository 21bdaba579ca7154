//! The body of an answer: what is finished, then what is made as the client takes it.
//!
//! It is paid for until the socket has taken it.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use actix_web::body::{BodySize, MessageBody};
use bytes::{Bytes, BytesMut};
use futures_util::{
    Stream, StreamExt as _,
    stream::{self, LocalBoxStream},
};

use crate::{
    actors::accounts::{Charge, Full},
    error::Fault,
    limits,
};

pub struct AnswerBody {
    ready: Bytes,
    /// What follows; an error breaks the answer off.
    rest: Option<LocalBoxStream<'static, Result<Bytes, Fault>>>,
    /// Pays for what is finished; the rest pays for itself.
    charge: Option<Charge>,
}

impl AnswerBody {
    pub fn whole(ready: Bytes) -> Self {
        Self { ready, rest: None, charge: None }
    }

    #[must_use]
    pub fn paid_by(self, charge: Charge) -> Self {
        Self { charge: Some(charge), ..self }
    }

    #[must_use]
    pub fn followed_by(self, rest: impl Stream<Item = Result<Bytes, Fault>> + 'static) -> Self {
        Self { rest: Some(Box::pin(rest)), ..self }
    }

    /// A list in JSON between `before` and `after`. `more` gives its next items, none when there are no more; `charge` pays for
    /// what they are made of, and for more where they are longer than that.
    pub fn list<M>(before: impl Into<Bytes>, more: M, after: impl Into<Bytes>, charge: Charge) -> Self
    where
        M: AsyncFnMut() -> Result<Vec<String>, Fault> + 'static,
    {
        struct Items<M> {
            more: M,
            has_some: bool,
            charge: Charge,
        }
        let items = Items { more, has_some: false, charge };
        let items = stream::try_unfold(items, async |mut items| {
            let next = (items.more)().await?;
            if next.is_empty() {
                return Ok(None);
            }
            let comma = if std::mem::replace(&mut items.has_some, true) { "," } else { "" };
            let piece = format!("{comma}{}", next.join(","));
            let paid = items.charge.bytes().max(piece.len());
            items.charge.set(paid).map_err(Full::to_fault)?;
            Ok(Some((Bytes::from(piece), items)))
        });
        Self::whole(before.into()).followed_by(items.chain(stream::iter([Ok(after.into())])))
    }

    /// The same as part of something larger.
    #[must_use]
    pub fn between(mut self, before: Vec<u8>, after: &'static [u8]) -> Self {
        let mut ready = BytesMut::from(&before[..]);
        ready.extend_from_slice(&self.ready);
        let after = Bytes::from_static(after);
        match self.rest.take() {
            None => ready.extend_from_slice(&after),
            Some(rest) => self.rest = Some(Box::pin(rest.chain(stream::iter([Ok(after)])))),
        }
        self.ready = ready.freeze();
        self
    }
}

impl MessageBody for AnswerBody {
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
        let length = self.ready.len().min(limits::ANSWER_SLICE);
        Poll::Ready(Some(Ok(self.ready.split_to(length))))
    }
}
