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

/// For `actix_web::middleware::from_fn`.
///
/// # Errors
/// Those of the wrapped handlers.
pub async fn to_the_end<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let is_safe = request.method().is_safe();
    let answer = next.call(request);
    if is_safe { answer.await } else { ToTheEnd(Some(answer.boxed_local())).await }
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use actix_web::{App, HttpResponse, HttpServer, middleware::from_fn, web};
    use parking_lot::Mutex;
    use std::sync::Arc;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpStream,
        sync::oneshot,
    };

    use super::*;
    use crate::edge::fallback::catch_panic;

    /// findings C8: a client that is gone does not end what it has asked for half-way.
    #[actix_web::test]
    async fn a_request_whose_client_is_gone_is_carried_out() {
        type Steps = (oneshot::Sender<()>, oneshot::Receiver<()>, oneshot::Sender<()>);
        let (begun, has_begun) = oneshot::channel();
        let (go_on, going_on) = oneshot::channel();
        let (done, is_done) = oneshot::channel();
        let steps: Arc<Mutex<Option<Steps>>> = Arc::new(Mutex::new(Some((begun, going_on, done))));
        let server = HttpServer::new(move || {
            let steps = Arc::clone(&steps);
            let handler = move || {
                let steps = steps.lock().take();
                async move {
                    let Some((begun, going_on, done)) = steps else {
                        panic!("a fault in a handler");
                    };
                    begun.send(()).unwrap();
                    going_on.await.unwrap();
                    done.send(()).unwrap();
                    HttpResponse::Ok().finish()
                }
            };
            App::new().wrap(from_fn(to_the_end)).wrap(from_fn(catch_panic)).route("/", web::post().to(handler))
        })
        .workers(1)
        .bind(("127.0.0.1", 0))
        .unwrap();
        let address = server.addrs()[0];
        let server = server.disable_signals().run();
        let handle = server.handle();
        let running = rt::spawn(server);
        let request = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n";

        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.write_all(request).await.unwrap();
        has_begun.await.unwrap();
        socket.set_zero_linger().unwrap();
        drop(socket);
        // By another connection of the same worker thread: it has seen the reset of the first before it answers this one.
        // A panic is answered as everywhere.
        let mut other = TcpStream::connect(address).await.unwrap();
        other.write_all(request).await.unwrap();
        let mut answer = [0; 12];
        other.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 500");
        go_on.send(()).unwrap();
        is_done.await.unwrap();
        handle.stop(false).await;
        running.await.unwrap().unwrap();
    }
}
