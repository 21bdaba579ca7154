//! A head of a request that is not taken: it is too long, or nobody pays for it.
//!
//! The HTTP parser knows no such limit, so the stream in front of it ends ([`crate::edge::stream`]), and when the parser has
//! answered what came before, and ends the connection, the client is told why.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use actix_web::rt::time::{Sleep, sleep};
use tokio::io::{self, AsyncRead, AsyncWrite, ReadBuf};

use crate::{actors::accounts::Full, limits};

pub struct RefusedHead {
    answer: Vec<u8>,
    said: usize,
    /// Thrown away behind it: who ends a connection that still sends resets it, and the answer may be lost.
    heard: usize,
    until: Option<Pin<Box<Sleep>>>,
}

/// What a head of so many bytes has to pay.
pub const fn due(head: usize) -> usize {
    head.saturating_sub(limits::HEAD_FREE).div_ceil(limits::HEAD_STEP) * limits::HEAD_STEP
}

impl RefusedHead {
    pub fn too_long() -> Self {
        let limit = limits::HEAD_BYTES;
        let why = format!("the head of a request, its URL and its headers, may have {limit} bytes");
        Self::new("431 Request Header Fields Too Large", &why)
    }

    pub fn no_room(full: Full) -> Self {
        Self::new("503 Service Unavailable", &full.to_string())
    }

    fn new(status: &str, why: &str) -> Self {
        let length = why.len() + 1;
        let head = format!("HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {length}");
        let answer = format!("{head}\r\nconnection: close\r\n\r\n{why}\n").into_bytes();
        Self { answer, said: 0, heard: 0, until: None }
    }

    /// Writes the answer.
    pub fn poll_said<T: AsyncWrite + Unpin>(&mut self, inner: &mut T, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.said < self.answer.len() {
            match ready!(Pin::new(&mut *inner).poll_write(cx, &self.answer[self.said..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                bytes => self.said += bytes,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Ready when the client has ended its side, or goes on for too long.
    pub fn poll_heard<T: AsyncRead + Unpin>(&mut self, inner: &mut T, cx: &mut Context<'_>) -> Poll<()> {
        let until = self.until.get_or_insert_with(|| Box::pin(sleep(limits::DISCONNECT_TIMEOUT)));
        if until.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let mut room = [0; limits::READ_TURN];
        while self.heard < limits::REFUSED_READ {
            let mut buf = ReadBuf::new(&mut room);
            let read = ready!(Pin::new(&mut *inner).poll_read(cx, &mut buf));
            if read.is_err() || buf.filled().is_empty() {
                break;
            }
            self.heard += buf.filled().len();
        }
        Poll::Ready(())
    }
}
