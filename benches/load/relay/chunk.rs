//! The binary frames of a transfer (docs/protocols/letshare.md §3.2), made once and changed from chunk to chunk only where
//! they differ: a client that masked 64 KiB anew for each would be measured with the server.

use serde_json::Value;

use crate::{relay::line::Message, wire};

/// What the app sends (§3.1 `request`).
pub const CHUNK_BYTES: usize = 64 << 10;
/// §3.2: JSON, padded with zeros.
const HEADER_BYTES: usize = 256;
const FRAME_BYTES: usize = HEADER_BYTES + CHUNK_BYTES;
/// Of the first and the last bytes of each payload.
const COUNTER_BYTES: usize = 8;

/// A frame as the sender writes it.
pub struct Frame {
    bytes: Vec<u8>,
    mask: [u8; 4],
    /// Where the masked part starts in `bytes`.
    start: usize,
    id: String,
    total: u32,
}

impl Frame {
    pub fn new(id: &str, total: u32) -> Self {
        let filler: Vec<u8> = (0..FRAME_BYTES).map(|at| (at * 7) as u8).collect();
        let mut bytes = Vec::new();
        wire::put_client_frame(&mut bytes, wire::BINARY, &filler, 1);
        let frame = wire::first_frame(&bytes);
        let (mask, start) =
            frame.map_or_else(Default::default, |frame| (frame.mask.unwrap_or_default(), frame.payload.start));
        Self { bytes, mask, start, id: id.to_owned(), total }
    }

    /// The whole frame of chunk `index`.
    pub fn stamped(&mut self, index: u32) -> &[u8] {
        let (id, total) = (&self.id, self.total);
        let mut header = format!(
            r#"{{"transfer_id":"{id}","chunk_index":{index},"chunk_size":{CHUNK_BYTES},"total_chunks":{total}}}"#
        )
        .into_bytes();
        header.resize(HEADER_BYTES, 0);
        self.put(0, &header);
        self.put(HEADER_BYTES, &u64::from(index).to_be_bytes());
        self.put(FRAME_BYTES - COUNTER_BYTES, &u64::from(index).to_be_bytes());
        &self.bytes
    }

    fn put(&mut self, at: usize, plain: &[u8]) {
        // Every position that is written to is a multiple of four: the mask starts at its first byte.
        let masked = self.bytes.iter_mut().skip(self.start + at);
        for ((byte, plain), key) in masked.zip(plain).zip(self.mask.iter().cycle()) {
            *byte = plain ^ key;
        }
    }
}

/// The index of the chunk in a received frame; none if it is not what [`Frame::stamped`] made.
pub fn read(message: &Message<'_>, id: &str) -> Option<u32> {
    if message.payload.len() != FRAME_BYTES {
        return None;
    }
    let plain = |at: usize, length| {
        let mut part = message.payload.get(at..at + length)?.to_vec();
        wire::unmask(&mut part, message.mask);
        Some(part)
    };
    let header = plain(0, HEADER_BYTES)?;
    let json = header.split(|byte| *byte == 0).next()?;
    let json: Value = serde_json::from_slice(json).ok()?;
    let index: u32 = json["chunk_index"].as_u64()?.try_into().ok()?;
    let counter = u64::from(index).to_be_bytes();
    let whole = json["transfer_id"] == id
        && plain(HEADER_BYTES, COUNTER_BYTES)? == counter
        && plain(FRAME_BYTES - COUNTER_BYTES, COUNTER_BYTES)? == counter;
    whole.then_some(index)
}
