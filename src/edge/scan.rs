//! Follows the requests of a connection in front of the HTTP parser: whose turn it is, and where the targets are.
//!
//! Targets may have raw bytes beyond ASCII, such as `/ws?token=用户`: they are percent-encoded before the parser sees them.
//! RFC 9112 §3.2 wants targets in ASCII, and actix-http answers others with a bare 400. The servers that this one takes the
//! place of take them, and curl, Python and nginx send them as they are typed. Nothing else is changed.
//!
//! The scanner reads heads as the parser does as far as the next request goes: `Transfer-Encoding: chunked`, an upgrade to a
//! WebSocket, `Content-Length`, in this order. It judges nothing: what the parser refuses stays refused, and after a head that
//! can be read in two ways, or after an upgrade, everything passes through.

use std::mem;

use memchr::memchr;
use percent_encoding::{AsciiSet, percent_encode};

use crate::limits;

/// Longest header line that is read here; those that matter are shorter, and longer ones are none of them.
const LINE_BYTES: usize = 64;

/// Pure: bytes in, the same bytes out, or encoded ones.
pub struct RequestScan {
    at: At,
    /// The line that is being read, as far as it has come in earlier parts.
    line: Vec<u8>,
    body: Body,
    is_upgrade: bool,
    /// Requests whose head is complete.
    heads: u64,
    /// Bytes of the head that is being read, and whether one had more than it may.
    head: usize,
    is_too_long: bool,
}

/// What the client has to send next, and of which request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Nothing, until it wants something.
    Free,
    Head(u64),
    Body(u64),
    /// What it likes: the connection is a WebSocket.
    Upgraded,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Between two requests.
    Between,
    /// In a request line, before its first space.
    Method,
    /// Behind it.
    Target,
    Headers,
    /// So many bytes belong to the body still.
    Body(u64),
    ChunkSize,
    /// So many bytes of a chunk, its end of line included.
    Chunk(u64),
    /// Behind the last chunk.
    Trailers,
    Upgraded,
    /// Where the next request begins is not for this to say.
    Through,
}

/// What the headers so far say of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    None,
    Bytes(u64),
    Chunked,
    /// Said twice, or in a way that the parser refuses.
    Unclear,
}

impl RequestScan {
    pub const fn new() -> Self {
        let line = Vec::new();
        Self { at: At::Between, line, body: Body::None, is_upgrade: false, heads: 0, head: 0, is_too_long: false }
    }

    pub const fn turn(&self) -> Turn {
        match self.at {
            At::Between => Turn::Free,
            At::Method | At::Target | At::Headers => Turn::Head(self.heads),
            At::Body(_) | At::ChunkSize | At::Chunk(_) | At::Trailers | At::Through => Turn::Body(self.heads),
            At::Upgraded => Turn::Upgraded,
        }
    }

    /// Requests whose head is complete.
    pub const fn heads(&self) -> u64 {
        self.heads
    }

    /// Bytes of the head that is being read, as the parser gets it.
    pub const fn head(&self) -> usize {
        self.head
    }

    /// A head had more than [`limits::HEAD_BYTES`].
    pub const fn is_too_long(&self) -> bool {
        self.is_too_long
    }

    /// `bytes` with their targets encoded; none if there is nothing to encode.
    pub fn encode(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut encoded: Option<Vec<u8>> = None;
        let mut rest = bytes;
        while !rest.is_empty() {
            let (part, behind) = rest.split_at(self.extent(rest));
            if self.at == At::Target && !part.is_ascii() {
                let encoded = encoded.get_or_insert_with(|| bytes[..bytes.len() - rest.len()].to_vec());
                let before = encoded.len() + part.len();
                percent_encode(part, &AsciiSet::EMPTY).for_each(|text| encoded.extend_from_slice(text.as_bytes()));
                self.head += encoded.len() - before;
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
            At::Between | At::Method => upto(b' '),
            At::Target | At::Headers | At::ChunkSize | At::Trailers => upto(b'\n'),
            At::Body(left) | At::Chunk(left) => usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len())),
            At::Through | At::Upgraded => bytes.len(),
        }
    }

    fn pass(&mut self, part: &[u8]) {
        let length = part.len() as u64;
        if let At::Between | At::Method | At::Target | At::Headers = self.at {
            self.head += part.len();
            self.is_too_long |= self.head > limits::HEAD_BYTES;
        }
        match self.at {
            At::Between | At::Method => self.at = if part.ends_with(b" ") { At::Target } else { At::Method },
            At::Target if part.ends_with(b"\n") => self.at = At::Headers,
            At::Headers | At::ChunkSize | At::Trailers => self.pass_line(part),
            At::Body(left) => self.at = if left == length { At::Between } else { At::Body(left - length) },
            At::Chunk(left) => self.at = if left == length { At::ChunkSize } else { At::Chunk(left - length) },
            At::Target | At::Through | At::Upgraded => {}
        }
    }

    fn pass_line(&mut self, part: &[u8]) {
        let whole = part.strip_suffix(b"\n");
        let text = whole.unwrap_or(part);
        let room = LINE_BYTES - self.line.len();
        let text = &text[..text.len().min(room)];
        if whole.is_none() {
            self.line.extend_from_slice(text);
        } else if self.line.is_empty() {
            self.end_of_line(text.trim_ascii_end());
        } else {
            let line = [&mem::take(&mut self.line), text].concat();
            self.end_of_line(line.trim_ascii_end());
        }
    }

    fn end_of_line(&mut self, line: &[u8]) {
        match self.at {
            At::Headers => self.end_of_header(line),
            At::ChunkSize => self.end_of_size(line),
            _ if line.is_empty() => self.at = At::Between,
            _ => {}
        }
    }

    fn end_of_header(&mut self, line: &[u8]) {
        if line.is_empty() {
            let at = match self.body {
                Body::Unclear => At::Through,
                Body::Chunked => At::ChunkSize,
                _ if self.is_upgrade => At::Upgraded,
                Body::None | Body::Bytes(0) => At::Between,
                Body::Bytes(bytes) => At::Body(bytes),
            };
            *self = Self { at, heads: self.heads + 1, is_too_long: self.is_too_long, ..Self::new() };
            return;
        }
        let (name, value) = line.split_at(memchr(b':', line).unwrap_or(line.len()));
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        if is(b"upgrade") {
            self.is_upgrade |= value.eq_ignore_ascii_case(b"websocket");
        } else if is(b"transfer-encoding") {
            let is_plain = self.body == Body::None && value.eq_ignore_ascii_case(b"chunked");
            self.body = if is_plain { Body::Chunked } else { Body::Unclear };
        } else if is(b"content-length") {
            self.body = match (self.body, number(value, 10)) {
                (Body::None, Some(bytes)) => Body::Bytes(bytes),
                _ => Body::Unclear,
            };
        }
    }

    fn end_of_size(&mut self, line: &[u8]) {
        let size = line.split(|byte| *byte == b';').next().unwrap_or_default();
        self.at = match number(size.trim_ascii(), 16) {
            Some(0) => At::Trailers,
            Some(size) => size.checked_add(2).map_or(At::Through, At::Chunk),
            None => At::Through,
        };
    }
}

fn number(text: &[u8], radix: u32) -> Option<u64> {
    let is_number = text.iter().all(|digit| char::from(*digit).is_digit(radix));
    let text = str::from_utf8(text).ok().filter(|_| is_number)?;
    u64::from_str_radix(text, radix).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use proptest::prelude::*;

    use super::*;

    /// What comes out when `bytes` come in pieces of `size`.
    fn encoded(bytes: &[u8], size: usize) -> Vec<u8> {
        let mut scan = RequestScan::new();
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

    /// Behind a chunked body comes the next request, as behind any other.
    #[test]
    fn chunks_are_followed() {
        let chunked = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nC;x=\"/é\"\r\nGET /é HTTP\r\n0\r\n\r\n";
        let sent = format!("{chunked}GET /é HTTP/1.1\r\n\r\n");
        for size in [1, 2, 7, sent.len()] {
            let came = String::from_utf8(encoded(sent.as_bytes(), size)).unwrap();
            assert_eq!(came, format!("{chunked}GET /%C3%A9 HTTP/1.1\r\n\r\n"), "in pieces of {size}");
        }
    }

    /// What each piece leaves the client to send, by the order in which the parser reads what a head says of its body.
    #[test]
    fn whose_turn_it_is() {
        let upgrade = "Upgrade: websocket\r\n";
        let table: [(&str, Turn); 14] = [
            ("", Turn::Free),
            ("\r\n", Turn::Head(0)),
            ("GET", Turn::Head(0)),
            ("GET / HTTP/1.1\r\nHost: h\r\n", Turn::Head(0)),
            ("GET / HTTP/1.1\r\n\r\n", Turn::Free),
            ("GET / HTTP/1.1\r\n\r\nG", Turn::Head(1)),
            ("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nab", Turn::Body(1)),
            ("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", Turn::Free),
            ("POST / HTTP/1.1\r\nContent-Length: 3\r\nUpgrade: h2c\r\n\r\nab", Turn::Body(1)),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", Turn::Body(1)),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Turn::Free),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", Turn::Body(1)),
            ("GET / HTTP/1.1\r\nUPGRADE\r\n\r\n", Turn::Upgraded),
            ("GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nUPGRADE\r\n\r\n", Turn::Body(1)),
        ];
        for (sent, turn) in table {
            let mut scan = RequestScan::new();
            scan.encode(sent.replace("UPGRADE\r\n", upgrade).as_bytes());
            assert_eq!(scan.turn(), turn, "{sent:?}");
        }
    }

    /// However a head comes, and whatever comes before it.
    #[test]
    fn a_head_that_is_too_long_is_noticed() {
        let before = "GET / HTTP/1.1\r\n\r\n".repeat(10_000) + "POST / HTTP/1.1\r\nContent-Length: 40000\r\n\r\n";
        let before = before + &"x".repeat(40_000);
        let (target, header) = ("GET /", " HTTP/1.1\r\nX: ");
        for (extra, is_too_long) in [(0, false), (1, true)] {
            let rest = limits::HEAD_BYTES - target.len() - header.len() - 4 + extra;
            for in_target in [0, rest / 2, rest] {
                let x = |count| "x".repeat(count);
                let head = format!("{target}{}{header}{}\r\n\r\n", x(in_target), x(rest - in_target));
                for size in [1, 1_000, 1 << 20] {
                    let mut scan = RequestScan::new();
                    (before.clone() + &head).as_bytes().chunks(size).for_each(|piece| drop(scan.encode(piece)));
                    assert_eq!(scan.is_too_long(), is_too_long, "{in_target} in pieces of {size}");
                    assert_eq!(scan.head(), 0);
                }
            }
        }
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
