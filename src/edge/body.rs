//! The response body of an upgraded WebSocket: yields the frames of an outbox, where those are not written
//! straight to the socket (see [`crate::actors::fanout::outbox`]): TLS, and sockets that were full once.
//!
//! actix-http asks for the next frame until its write buffer holds 32 KiB, so whatever waits goes out in
//! one write.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use bytes::Bytes;

use crate::actors::{fanout::outbox::Outbox, transport::socket::Socket};

pub struct OutboxBody {
    outbox: Outbox,
    socket: Socket,
    /// The body of actix-ws: never read, but its end would end the inbound stream.
    _inner: BoxBody,
}

impl OutboxBody {
    pub const fn new(outbox: Outbox, socket: Socket, inner: BoxBody) -> Self {
        Self { outbox, socket, _inner: inner }
    }
}

impl MessageBody for OutboxBody {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        self.outbox.poll_frame(cx).map(|frame| frame.map(Ok))
    }
}

impl Drop for OutboxBody {
    /// actix-http drops the body before the socket.
    fn drop(&mut self) {
        self.socket.forget();
        self.outbox.end();
    }
}
