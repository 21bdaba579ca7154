//! How far what a client sends is ahead of whoever takes it.
//!
//! The HTTP parser reads a connection whether or not anybody takes the body of the request, up to 160 KiB of it, and nobody pays
//! for that. So the stream below the parser ([`crate::edge::stream`]) gives more only when what it gave has been taken: when
//! whoever reads the body has found nothing more, or does not want the rest of it.

use std::{
    cell::{Cell, RefCell},
    cmp::Ordering,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use actix_http::{Payload, Request};
use actix_web::error::PayloadError;
use bytes::Bytes;
use futures_util::Stream;

/// Of one connection: what its stream knows of those who take. Clones are the same.
#[derive(Clone, Default)]
pub struct Intake(Rc<State>);

#[derive(Default)]
struct State {
    /// Requests that have reached their handler.
    served: Cell<u64>,
    /// Of the last of them.
    taker: Cell<Taker>,
    /// The stream that waits for it.
    waiting: RefCell<Option<Waker>>,
}

/// Who takes the body of a request, or the frames of a WebSocket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Taker {
    /// Has not asked for more.
    #[default]
    Busy,
    /// Has taken all there was.
    Asks,
    /// Wants nothing more: what still comes is thrown away by the parser.
    Gone,
}

impl Intake {
    /// Has the body of `request`, which reaches its handler now, tell how far it is taken.
    pub fn follow(request: &mut Request) {
        let Some(intake) = request.conn_data::<Self>().cloned() else { return };
        let has_body = matches!(request.payload(), Payload::H1 { .. });
        let number = intake.begin(if has_body { Taker::Busy } else { Taker::Gone });
        if has_body {
            let inner = std::mem::replace(request.payload(), Payload::None);
            *request.payload() = Payload::Stream { payload: Box::pin(Taken { inner, number, intake }) };
        }
    }

    /// Another request has reached its handler; its number.
    pub(super) fn begin(&self, taker: Taker) -> u64 {
        let number = self.served() + 1;
        self.0.served.set(number);
        self.tell(number, taker);
        number
    }

    pub fn served(&self) -> u64 {
        self.0.served.get()
    }

    /// Whether what belongs to a request has been taken: no before it has reached its handler; yes once for each [`Taker::Asks`],
    /// and when another one has reached its handler, which the stream need not have noticed.
    pub fn has_taken(&self, request: u64) -> bool {
        match request.cmp(&self.served()) {
            Ordering::Less => return true,
            Ordering::Equal => {}
            Ordering::Greater => return false,
        }
        let taker = self.0.taker.get();
        if taker == Taker::Asks {
            self.0.taker.set(Taker::Busy);
        }
        taker != Taker::Busy
    }

    /// Whether nobody takes anything.
    pub fn is_gone(&self) -> bool {
        self.0.taker.get() == Taker::Gone
    }

    /// Wakes `waker` with the next change.
    pub fn wait(&self, waker: &Waker) {
        self.0.waiting.replace(Some(waker.clone()));
    }

    pub(super) fn tell(&self, request: u64, taker: Taker) {
        if request == self.served() {
            self.0.taker.set(taker);
            if let Some(waiting) = self.0.waiting.take() {
                waiting.wake();
            }
        }
    }
}

/// A body that tells how far it is taken.
struct Taken {
    inner: Payload,
    number: u64,
    intake: Intake,
}

impl Stream for Taken {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = Pin::new(&mut self.inner).poll_next(cx);
        if next.is_pending() {
            self.intake.tell(self.number, Taker::Asks);
        }
        next
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.intake.tell(self.number, Taker::Gone);
    }
}
