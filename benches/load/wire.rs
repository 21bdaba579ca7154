//! Bytes on the wire: WebSocket frames (RFC 6455 §5.2) and the few LetShare texts that the tool and the
//! floor exchange (docs/protocols/letshare.md §2). What the texts mean is not decided here.

use std::ops::Range;

pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

/// Every request carries the same key: the answer is known beforehand, so checking it costs nothing.
pub const UPGRADE_KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// RFC 6455 §1.3 computes this answer to that very key.
pub const UPGRADE_ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
/// The one event that everybody subscribes to.
pub const EVENT: &str = "signal:all";

/// One frame at the front of a buffer.
pub struct Frame {
    pub opcode: u8,
    /// The last (here: only) fragment of its message.
    pub fin: bool,
    pub mask: Option<[u8; 4]>,
    pub payload: Range<usize>,
}

/// The first frame of `buffer` once it is there as a whole.
pub fn first_frame(buffer: &[u8]) -> Option<Frame> {
    let [first, second, rest @ ..] = buffer else {
        return None;
    };
    let (length, mut at) = match second & 0x7f {
        126 => (u64::from(u16::from_be_bytes(*rest.first_chunk()?)), 4),
        127 => (u64::from_be_bytes(*rest.first_chunk()?), 10),
        short => (u64::from(short), 2),
    };
    let mask = if second & 0x80 == 0 {
        None
    } else {
        let key = *buffer.get(at..)?.first_chunk()?;
        at += 4;
        Some(key)
    };
    let end = at.checked_add(usize::try_from(length).ok()?)?;
    (end <= buffer.len()).then_some(Frame { opcode: first & 0x0f, fin: first & 0x80 != 0, mask, payload: at..end })
}

/// XORs `payload` with the mask, eight bytes at a time.
pub fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = payload.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}

fn put_header(out: &mut Vec<u8>, opcode: u8, length: usize, masked: u8) {
    out.push(0x80 | opcode);
    if length < 126 {
        out.push(masked | length as u8);
    } else if let Ok(length) = u16::try_from(length) {
        out.push(masked | 126);
        out.extend_from_slice(&length.to_be_bytes());
    } else {
        out.push(masked | 127);
        out.extend_from_slice(&(length as u64).to_be_bytes());
    }
}

/// Appends a frame as servers send it.
pub fn put_server_frame(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    put_header(out, opcode, payload.len(), 0);
    out.extend_from_slice(payload);
}

/// Appends a frame as clients send it: masked, with a key that is never zero.
pub fn put_client_frame(out: &mut Vec<u8>, opcode: u8, payload: &[u8], seed: u32) {
    let mask = (seed.wrapping_mul(0x9e37_79b9) | 0x0101_0101).to_be_bytes();
    put_header(out, opcode, payload.len(), 0x80);
    out.extend_from_slice(&mask);
    let start = out.len();
    out.extend_from_slice(payload);
    if let Some(payload) = out.get_mut(start..) {
        unmask(payload, mask);
    }
}

/// The upgrade request of LetShare (docs/protocols/letshare.md §1.1).
pub fn upgrade_request(host: &str, token: &str, user: &str) -> String {
    upgrade(host, &format!("/ws?token={token}&userId={user}"))
}

/// Asks for a WebSocket at `target`.
pub fn upgrade(host: &str, target: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {UPGRADE_KEY}\r\n\r\n"
    )
}

pub fn subscribe_text(room: &str) -> String {
    format!(r#"{{"type":"subscribe","channel":"{room}","event":"{EVENT}"}}"#)
}

/// `data` is a JSON object; the server passes it on byte for byte (docs/protocols/letshare.md §2.3).
pub fn publish_text(room: &str, data: &str) -> String {
    format!(r#"{{"type":"publish","channel":"{room}","event":"{EVENT}","data":{data}}}"#)
}
