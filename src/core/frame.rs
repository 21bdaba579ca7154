//! Finished WebSocket frames of a server (RFC 6455 §5.2).
//!
//! Server frames are not masked, so one frame serves every receiver: it is built once and its
//! `Bytes` are shared.

use bytes::{Buf as _, BufMut as _, Bytes};
use serde::Serialize;

use crate::error::{CloseReason, NO_CODE};

const FIN: u8 = 0x80;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;
/// The longest payload of a control frame.
const CONTROL_PAYLOAD_MAX: usize = 125;
/// The longest header.
const HEADER_BYTES: usize = 10;
/// So many bytes of memory more than a frame has cost less than another piece of memory for it.
const SLACK: usize = 64;
/// What most JSON frames take, in bytes.
const JSON_ROOM: usize = 256;

/// The text frame around `payload`.
pub fn text(payload: &[u8]) -> Bytes {
    frame(TEXT, payload)
}

/// The binary frame around `payload`.
pub fn binary(payload: &[u8]) -> Bytes {
    frame(BINARY, payload)
}

/// The text frame around what `write` appends to what it is given; it will be `room` bytes, about.
pub fn text_of(room: usize, write: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    written(TEXT, room, write)
}

/// The text frame with a value as JSON, which is made of texts, numbers and JSON: that cannot fail.
pub fn json(value: &impl Serialize) -> Bytes {
    text_of(JSON_ROOM, |json| drop(serde_json::to_writer(json, value)))
}

/// As [`text_of`], of a binary frame.
pub fn binary_of(room: usize, write: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    written(BINARY, room, write)
}

/// The header of a binary frame whose payload follows as it is, so that a large one need not be copied.
pub fn binary_header(payload: usize) -> Bytes {
    let (header, length) = header(BINARY, payload);
    Bytes::copy_from_slice(&header[..length])
}

/// An empty ping.
pub fn ping() -> Bytes {
    Bytes::from_static(&[FIN | PING, 0])
}

/// A ping whose answer brings `payload` back.
pub fn ping_with(payload: &[u8]) -> Bytes {
    frame(PING, &payload[..payload.len().min(CONTROL_PAYLOAD_MAX)])
}

/// The answer to a ping; `payload` is what the ping carried.
pub fn pong(payload: &[u8]) -> Bytes {
    frame(PONG, &payload[..payload.len().min(CONTROL_PAYLOAD_MAX)])
}

/// The close frame with `reason`.
pub fn close(reason: CloseReason) -> Bytes {
    if reason.code() == NO_CODE {
        return frame(CLOSE, &[]);
    }
    let mut payload = Vec::with_capacity(CONTROL_PAYLOAD_MAX);
    payload.put_u16(reason.code());
    payload.extend_from_slice(reason.text().as_bytes());
    frame(CLOSE, &payload)
}

fn frame(opcode: u8, payload: &[u8]) -> Bytes {
    let (header, length) = header(opcode, payload.len());
    [&header[..length], payload].concat().into()
}

/// The payload is written behind the room that the longest header takes, and is where it stays.
fn written(opcode: u8, room: usize, write: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut frame = Vec::with_capacity(HEADER_BYTES + room);
    frame.extend_from_slice(&[0; HEADER_BYTES]);
    write(&mut frame);
    let (header, length) = header(opcode, frame.len() - HEADER_BYTES);
    let start = HEADER_BYTES - length;
    frame[start..HEADER_BYTES].copy_from_slice(&header[..length]);
    // It may be kept for minutes.
    if frame.capacity() > frame.len() + SLACK {
        frame.shrink_to_fit();
    }
    let mut frame = Bytes::from(frame);
    frame.advance(start);
    frame
}

/// The header of a payload of so many bytes, and its own length.
fn header(opcode: u8, payload: usize) -> ([u8; HEADER_BYTES], usize) {
    let mut header = [0; HEADER_BYTES];
    header[0] = FIN | opcode;
    let length = match payload {
        0..=125 => {
            header[1] = payload as u8;
            2
        }
        126..=0xFFFF => {
            header[1] = 126;
            header[2..4].copy_from_slice(&(payload as u16).to_be_bytes());
            4
        }
        _ => {
            header[1] = 127;
            header[2..].copy_from_slice(&(payload as u64).to_be_bytes());
            HEADER_BYTES
        }
    };
    (header, length)
}

/// What a client is to learn of a frame that has no WebSocket to go by.
#[derive(Debug, PartialEq, Eq)]
pub enum Part {
    /// The payload of a text or binary frame.
    Data(Bytes),
    /// What the ping carries.
    Ping(Bytes),
    Close,
    Pong,
}

/// What is in finished frames of this server: none of them is masked, or one of several fragments.
pub fn parts(mut frames: Bytes) -> impl Iterator<Item = Part> {
    std::iter::from_fn(move || {
        let (&[first, second], rest) = frames.split_first_chunk()?;
        let (length, header) = match second {
            126 => (u16::from_be_bytes(*rest.first_chunk()?).into(), 4),
            127 => (usize::try_from(u64::from_be_bytes(*rest.first_chunk()?)).ok()?, 10),
            short => (short.into(), 2),
        };
        let frame = frames.len().checked_sub(header)?.checked_sub(length).map(|_| frames.split_to(header + length))?;
        let payload = frame.slice(header..);
        Some(match first & !FIN {
            PING => Part::Ping(payload),
            PONG => Part::Pong,
            CLOSE => Part::Close,
            _ => Part::Data(payload),
        })
    })
}

#[cfg(test)]
mod tests {
    use actix_http::ws::{Codec, Frame};
    use bytes::BytesMut;
    use proptest::prelude::*;
    use tokio_util::codec::Decoder as _;

    use super::*;

    fn decode(frame: &Bytes) -> Frame {
        let mut bytes = BytesMut::from(&frame[..]);
        let decoded = Codec::new().max_size(1 << 20).client_mode().decode(&mut bytes).expect("valid").expect("whole");
        assert!(bytes.is_empty());
        decoded
    }

    proptest! {
        #[test]
        fn frames_read_back(length in prop_oneof![0usize..300, 65_000usize..66_000]) {
            let payload = vec![b'x'; length];
            prop_assert_eq!(decode(&text(&payload)), Frame::Text(payload.clone().into()));
            let written = text_of(length / 2, |frame| frame.extend_from_slice(&payload));
            prop_assert_eq!(written, text(&payload));
            prop_assert_eq!(decode(&binary(&payload)), Frame::Binary(payload.into()));
        }
    }

    #[test]
    fn a_binary_header_fits_its_payload() {
        for length in [0, 125, 126, 65_535, 65_792] {
            let mut bytes = BytesMut::from(&binary_header(length)[..]);
            bytes.resize(bytes.len() + length, 7);
            assert_eq!(decode(&bytes.freeze()), Frame::Binary(vec![7; length].into()));
        }
    }

    #[test]
    fn frames_come_apart_as_they_were_put_together() {
        let payloads = [0, 125, 126, 65_535, 65_536].map(|length| Bytes::from(vec![b'x'; length]));
        let mut frames: Vec<Bytes> = payloads.iter().map(|payload| text(payload)).collect();
        let mut expected: Vec<Part> = payloads.into_iter().map(Part::Data).collect();
        frames.extend([ping_with(b"hi"), pong(b""), binary(b"b"), close(CloseReason::Done)]);
        let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
        expected.extend([Part::Ping(bytes("hi")), Part::Pong, Part::Data(bytes("b")), Part::Close]);
        assert_eq!(parts(frames.concat().into()).collect::<Vec<_>>(), expected);
        assert_eq!(parts(text(b"cut")[..4].to_vec().into()).next(), None);
    }

    #[test]
    fn control_frames_read_back() {
        assert_eq!(decode(&ping()), Frame::Ping(Bytes::new()));
        assert_eq!(decode(&pong(b"hi")), Frame::Pong(Bytes::from_static(b"hi")));
        assert_eq!(decode(&close(CloseReason::Answer(1005))), Frame::Close(None));
        let Frame::Close(Some(reason)) = decode(&close(CloseReason::TooSlow)) else {
            panic!("no close frame");
        };
        assert_eq!(u16::from(reason.code), 1013);
        assert_eq!(reason.description.as_deref(), Some("reader is too slow"));
    }
}
