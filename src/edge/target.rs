//! Requests whose target has raw bytes beyond ASCII, such as `/ws?token=用户`: the bytes are percent-encoded before the
//! HTTP parser sees them.
//!
//! RFC 9112 §3.2 wants targets in ASCII, and actix-http answers others with a bare 400. The servers that this one takes
//! the place of take them, and curl, Python and nginx send them as they are typed.
//!
//! Nothing else is changed. A scanner follows the requests of a connection as far as their heads tell plainly where the
//! next one begins: by `Content-Length`, or without a body. After an upgrade, a chunked body or a head that can be read
//! in two ways it passes everything through. It judges nothing: what the parser refuses stays refused.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use memchr::memchr;
use percent_encoding::{AsciiSet, percent_encode};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Longest header line that is read here; those that matter are shorter, and longer ones are none of them.
const LINE_BYTES: usize = 64;

/// A connection whose request targets come out in ASCII.
pub struct AsciiTargets<T> {
    inner: T,
    scan: TargetScan,
    /// Read and encoded, not yet taken: at most three times what one read brought.
    waiting: Vec<u8>,
    taken: usize,
}

impl<T> AsciiTargets<T> {
    pub const fn new(inner: T) -> Self {
        Self { inner, scan: TargetScan::new(), waiting: Vec::new(), taken: 0 }
    }

    pub const fn inner(&self) -> &T {
        &self.inner
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for AsciiTargets<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.taken == this.waiting.len() {
            let before = buf.filled().len();
            ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
            let Some(encoded) = this.scan.encode(&buf.filled()[before..]) else {
                return Poll::Ready(Ok(()));
            };
            buf.set_filled(before);
            (this.waiting, this.taken) = (encoded, 0);
        }
        let rest = &this.waiting[this.taken..];
        let fits = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..fits]);
        this.taken += fits;
        if this.taken == this.waiting.len() {
            (this.waiting, this.taken) = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for AsciiTargets<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(cx, parts)
    }
}

/// Where in the sequence of requests the client is. Pure: bytes in, the same bytes out, or encoded ones.
struct TargetScan {
    at: At,
    /// The header line that is being read, without its end.
    line: Vec<u8>,
    body: Body,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Before the first space of a request line.
    Method,
    /// Behind it.
    Target,
    Headers,
    /// So many bytes belong to the body still.
    Body(u64),
    /// Where the next request begins is not for this to say.
    Through,
}

/// What the headers so far say of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    None,
    Bytes(u64),
    /// Chunked, an upgrade, or said twice.
    Open,
}

impl TargetScan {
    const fn new() -> Self {
        Self { at: At::Method, line: Vec::new(), body: Body::None }
    }

    /// `bytes` with their targets encoded; none if there is nothing to encode.
    fn encode(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut encoded: Option<Vec<u8>> = None;
        let mut rest = bytes;
        while !rest.is_empty() {
            let (part, behind) = rest.split_at(self.extent(rest));
            if self.at == At::Target && !part.is_ascii() {
                let encoded = encoded.get_or_insert_with(|| bytes[..bytes.len() - rest.len()].to_vec());
                let part = percent_encode(part, &AsciiSet::EMPTY);
                part.for_each(|text| encoded.extend_from_slice(text.as_bytes()));
            } else if let Some(encoded) = &mut encoded {
                encoded.extend_from_slice(part);
            }
            self.pass(part);
            rest = behind;
        }
        encoded
    }

    /// How many of the next bytes belong to what is being read, its end among them.
    fn extent(&self, bytes: &[u8]) -> usize {
        let upto = |end| memchr(end, bytes).map_or(bytes.len(), |at| at + 1);
        match self.at {
            At::Method => upto(b' '),
            At::Target | At::Headers => upto(b'\n'),
            At::Body(left) => usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len())),
            At::Through => bytes.len(),
        }
    }

    fn pass(&mut self, part: &[u8]) {
        match self.at {
            At::Method if part.ends_with(b" ") => self.at = At::Target,
            At::Target if part.ends_with(b"\n") => self.at = At::Headers,
            At::Headers => {
                let text = part.strip_suffix(b"\n");
                let read = text.unwrap_or(part);
                let room = LINE_BYTES - self.line.len();
                self.line.extend_from_slice(&read[..read.len().min(room)]);
                if text.is_some() {
                    self.end_of_line();
                }
            }
            At::Body(left) => {
                let left = left - part.len() as u64;
                self.at = if left == 0 { At::Method } else { At::Body(left) };
            }
            At::Method | At::Target | At::Through => {}
        }
    }

    fn end_of_line(&mut self) {
        let line = self.line.trim_ascii_end();
        if line.is_empty() {
            self.at = match self.body {
                Body::None | Body::Bytes(0) => At::Method,
                Body::Bytes(bytes) => At::Body(bytes),
                Body::Open => At::Through,
            };
            *self = Self { at: self.at, ..Self::new() };
            return;
        }
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let (name, value) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        if name.eq_ignore_ascii_case(b"transfer-encoding") || name.eq_ignore_ascii_case(b"upgrade") {
            self.body = Body::Open;
        } else if name.eq_ignore_ascii_case(b"content-length") {
            let value = value.trim_ascii();
            let is_number = value.iter().all(u8::is_ascii_digit);
            let bytes = str::from_utf8(value).ok().and_then(|value| value.parse().ok());
            self.body = match (self.body, bytes) {
                (Body::None, Some(bytes)) if is_number => Body::Bytes(bytes),
                _ => Body::Open,
            };
        }
        self.line.clear();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use proptest::prelude::*;
    use tokio::io::AsyncReadExt as _;

    use super::*;

    /// What comes out when `bytes` come in pieces of `size`.
    fn encoded(bytes: &[u8], size: usize) -> Vec<u8> {
        let mut scan = TargetScan::new();
        bytes.chunks(size).flat_map(|piece| scan.encode(piece).unwrap_or_else(|| piece.to_vec())).collect()
    }

    /// findings P6: of a request, the target is encoded and nothing else.
    #[test]
    fn raw_bytes_of_a_target_are_encoded_wherever_a_head_is() {
        let table: [(&str, &str); 8] = [
            ("GET /ws?token=用 HTTP/1.1\r\nHost: h\r\n\r\n", "GET /ws?token=%E7%94%A8 HTTP/1.1\r\nHost: h\r\n\r\n"),
            (
                "GET /é HTTP/1.1\r\n\r\nGET /é HTTP/1.1\r\n\r\n",
                "GET /%C3%A9 HTTP/1.1\r\n\r\nGET /%C3%A9 HTTP/1.1\r\n\r\n",
            ),
            ("\r\nGET /é HTTP/1.1\r\n\r\n", "\r\nGET /%C3%A9 HTTP/1.1\r\n\r\n"),
            ("GET / HTTP/1.1\r\nX: é\r\n\r\n", "GET / HTTP/1.1\r\nX: é\r\n\r\n"),
            // A body is what it is, also where it looks like a request; behind it comes the next one.
            (
                "POST / HTTP/1.1\r\ncontent-LENGTH: 11\r\n\r\nGET /é HTTPGET /é HTTP/1.1\r\n\r\n",
                "POST / HTTP/1.1\r\ncontent-LENGTH: 11\r\n\r\nGET /é HTTPGET /%C3%A9 HTTP/1.1\r\n\r\n",
            ),
            // After these nothing is touched.
            (
                "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nGET /é HTTP/1.1\r\n\r\n",
                "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nGET /é HTTP/1.1\r\n\r\n",
            ),
            (
                "GET /é HTTP/1.1\r\nUpgrade: websocket\r\n\r\nGET /é HTTP/1.1\r\n\r\n",
                "GET /%C3%A9 HTTP/1.1\r\nUpgrade: websocket\r\n\r\nGET /é HTTP/1.1\r\n\r\n",
            ),
            (
                "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nGET /é HTTP/1.1\r\n\r\n",
                "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nGET /é HTTP/1.1\r\n\r\n",
            ),
        ];
        for (sent, expected) in table {
            for size in [1, 2, 7, sent.len()] {
                let came = encoded(sent.as_bytes(), size);
                assert_eq!(String::from_utf8(came).unwrap(), expected, "in pieces of {size}");
            }
        }
    }

    #[tokio::test]
    async fn a_reader_with_little_room_gets_everything() {
        let sent = "GET /用户用户 HTTP/1.1\r\nHost: h\r\n\r\n";
        let mut stream = AsciiTargets::new(sent.as_bytes());
        let mut came = Vec::new();
        let mut room = [0; 5];
        loop {
            let read = stream.read(&mut room).await.unwrap();
            if read == 0 {
                break;
            }
            came.extend_from_slice(&room[..read]);
        }
        assert_eq!(came, encoded(sent.as_bytes(), sent.len()));
        assert!(came.is_ascii());
    }

    proptest! {
        #[test]
        fn ascii_stays_as_it_is(bytes in proptest::collection::vec(0..128_u8, 0..300), size in 1..40_usize) {
            prop_assert_eq!(encoded(&bytes, size), bytes);
        }

        #[test]
        fn pieces_make_no_difference(bytes in proptest::collection::vec(any::<u8>(), 0..300), size in 1..40_usize) {
            prop_assert_eq!(encoded(&bytes, size), encoded(&bytes, bytes.len().max(1)));
        }
    }
}
