//! A request that changes something is carried out to its end, also when its client is gone.
//!
//! actix drops the future of a handler when the connection breaks. Between a commit and what follows it that would leave
//! something stored that is never delivered. So what is dropped before its end goes on as a task of its own. What only
//! reads, upgrades included, is dropped as before: nobody is there for its answer. How long such a task may run is bounded by
//! what it waits for: the body, the store and every outside service have a time limit.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use actix_web::{
    Error,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    middleware::Next,
    rt,
};
use futures_util::{FutureExt as _, future::LocalBoxFuture};

/// Calls the wrapped handler.
///
/// # Errors
/// Its own.
pub async fn to_the_end<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let is_safe = request.method().is_safe();
    let answer = next.call(request);
    if is_safe { answer.await } else { ToTheEnd(Some(answer)).await }
}

/// Goes on as a task of this thread when it is dropped half-way.
struct ToTheEnd<T: 'static>(Option<LocalBoxFuture<'static, T>>);

impl<T> Future for ToTheEnd<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        // Not there any more when it has panicked: it must not be polled again, here or by a task.
        let Some(mut running) = self.0.take() else {
            return Poll::Pending;
        };
        let polled = running.as_mut().poll(cx);
        if polled.is_pending() {
            self.0 = Some(running);
        }
        polled
    }
}

impl<T> Drop for ToTheEnd<T> {
    fn drop(&mut self) {
        if let Some(running) = self.0.take() {
            rt::spawn(running.map(drop));
        }
    }
}
