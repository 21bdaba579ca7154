//! The binary frame of a transfer: 256 bytes of header, then the payload
//! (`docs/protocols/letshare.md §3.2`).

use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;

use crate::limits;

/// Length of the header, in bytes: JSON in UTF-8, padded with zeros.
pub const HEADER_BYTES: usize = 256;

/// What a frame says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Header {
    pub transfer_id: String,
    pub chunk_index: u64,
    /// Length of the payload, in bytes.
    pub chunk_size: u64,
    pub total_chunks: u64,
}

/// One frame: the header read, the bytes as they came.
#[derive(Clone, Debug)]
pub struct Chunk {
    pub header: Header,
    /// The whole frame, header included: it is forwarded unchanged.
    pub frame: Bytes,
}

impl Chunk {
    /// Reads the header; whether the payload fits it, the transfer judges, which can name itself. None when the frame is
    /// no chunk: it names no transfer then, so nobody can be told which one failed.
    pub fn parse(frame: Bytes) -> Option<Self> {
        let header = serde_json::from_slice(header_json(&frame)?).ok()?;
        let frame = if frame.len() < limits::COPIED_FRAME_BYTES { Bytes::copy_from_slice(&frame) } else { frame };
        Some(Self { header, frame })
    }

    /// Which transfer a frame says that it belongs to; none when it does not say.
    pub fn transfer_id(frame: &Bytes) -> Option<Cow<'_, str>> {
        #[derive(Deserialize)]
        struct Named<'a> {
            #[serde(borrow)]
            transfer_id: Cow<'a, str>,
        }
        let named: Named<'_> = serde_json::from_slice(header_json(frame)?).ok()?;
        Some(named.transfer_id)
    }

    /// Length of the payload that is there, in bytes, whatever the header says.
    pub fn payload_bytes(&self) -> u64 {
        self.frame.len().saturating_sub(HEADER_BYTES) as u64
    }
}

/// The app cuts at the first zero byte, and so do we.
fn header_json(frame: &Bytes) -> Option<&[u8]> {
    let padded = frame.get(..HEADER_BYTES)?;
    let length = padded.iter().position(|byte| *byte == 0).unwrap_or(HEADER_BYTES);
    // serde takes an array for a struct's fields in order.
    Some(&padded[..length]).filter(|json| json.starts_with(b"{"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(header: &str, payload: &[u8]) -> Bytes {
        let mut frame = header.as_bytes().to_vec();
        frame.resize(HEADER_BYTES, 0);
        frame.extend_from_slice(payload);
        frame.into()
    }

    #[test]
    fn a_frame_is_read_and_kept_whole() {
        let header = r#"{"transfer_id":"transfer_1_abc","chunk_index":3,"chunk_size":4,"total_chunks":9}"#;
        let frame = frame(header, b"data");
        let chunk = Chunk::parse(frame.clone()).expect("valid");
        assert_eq!(chunk.frame, frame);
        assert_eq!(chunk.payload_bytes(), 4);
        let Header { transfer_id, chunk_index, chunk_size, total_chunks } = chunk.header;
        assert_eq!((&*transfer_id, chunk_index, chunk_size, total_chunks), ("transfer_1_abc", 3, 4, 9));
    }

    #[test]
    fn what_is_no_chunk_is_refused() {
        assert!(Chunk::parse(Bytes::new()).is_none());
        assert!(Chunk::parse(Bytes::from(vec![b'{'; 255])).is_none());
        for bad in [
            "",
            "x",
            "[]",
            r#"["t",0,4,1]"#,
            r#"{"transfer_id":"t"}"#,
            r#"{"transfer_id":"t","chunk_index":-1,"chunk_size":4,"total_chunks":1}"#,
            r#"{"transfer_id":7,"chunk_index":0,"chunk_size":4,"total_chunks":1}"#,
        ] {
            assert!(Chunk::parse(frame(bad, b"data")).is_none(), "{bad}");
        }
    }
}
