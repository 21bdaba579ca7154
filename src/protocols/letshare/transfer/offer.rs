//! What a `file:transfer:request` promises, and whether this server may carry it
//! (`docs/protocols/letshare.md §3.5` points 2 and 11).

use serde::Deserialize;

use crate::{
    limits,
    protocols::letshare::transfer::{chunk::HEADER_BYTES, fault::TransferFault},
};

/// What may be carried.
#[derive(Clone, Copy, Debug)]
pub struct Gate {
    /// Largest file without PRO, in bytes.
    pub free_bytes: u64,
    /// Largest file at all, in bytes.
    pub max_bytes: u64,
}

/// The size and the shape of a file, as its sender announced them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Offer {
    pub file_size: u64,
    pub chunk_size: u64,
    pub total_chunks: u64,
}

impl Offer {
    /// Error: why the file may not be carried.
    pub fn check(&self, gate: &Gate, is_pro: bool) -> Result<(), TransferFault> {
        if self.file_size > gate.max_bytes {
            return Err(TransferFault::FileTooLarge { limit: gate.max_bytes });
        }
        if self.file_size > gate.free_bytes && !is_pro {
            return Err(TransferFault::NeedsPro { limit: gate.free_bytes });
        }
        let chunk_sizes = 1_024..=256 * 1_024;
        if !chunk_sizes.contains(&self.chunk_size) || self.total_chunks != self.chunks() {
            return Err(TransferFault::BadRequest);
        }
        Ok(())
    }

    /// A file of no bytes is one empty chunk.
    const fn chunks(&self) -> u64 {
        match self.file_size.div_ceil(self.chunk_size) {
            0 => 1,
            chunks => chunks,
        }
    }

    /// The payload bytes of one chunk; none beyond the last.
    pub fn bytes_of(&self, chunk: u64) -> Option<u64> {
        let start = chunk.checked_mul(self.chunk_size)?;
        (chunk < self.total_chunks).then(|| self.chunk_size.min(self.file_size - start))
    }

    /// What the frames kept for a receiver who comes back cost at most, in bytes.
    pub fn ring_bytes(&self) -> usize {
        let frames = self.total_chunks.min(limits::TRANSFER_RING_FRAMES);
        (frames * (self.chunk_size + HEADER_BYTES as u64)) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const GATE: Gate = Gate { free_bytes: 50 * MIB, max_bytes: 3 << 30 };

    fn offer(file_size: u64) -> Offer {
        let total_chunks = file_size.div_ceil(65_536).max(1);
        Offer { file_size, chunk_size: 65_536, total_chunks }
    }

    #[test]
    fn the_gate_lets_50_mib_through_and_more_with_pro() {
        assert_eq!(offer(50 * MIB).check(&GATE, false), Ok(()));
        let needs_pro = Err(TransferFault::NeedsPro { limit: 50 * MIB });
        assert_eq!(offer(50 * MIB + 1).check(&GATE, false), needs_pro);
        assert_eq!(offer(50 * MIB + 1).check(&GATE, true), Ok(()));
        assert_eq!(offer(3 << 30).check(&GATE, true), Ok(()));
        let too_large = Err(TransferFault::FileTooLarge { limit: 3 << 30 });
        assert_eq!(offer((3 << 30) + 1).check(&GATE, true), too_large);
        assert_eq!(offer(u64::MAX).check(&GATE, false), too_large);
    }

    #[test]
    fn the_shape_must_fit_the_size() {
        for (file_size, chunk_size, total_chunks) in [
            (100, 0, 1),
            (100, 1_023, 1),
            (100, 262_145, 1),
            (100, 65_536, 0),
            (100, 65_536, 2),
            (65_537, 65_536, 1),
            (0, 65_536, 0),
            (0, 65_536, 2),
            (100, u64::MAX, 1),
        ] {
            let offer = Offer { file_size, chunk_size, total_chunks };
            assert_eq!(offer.check(&GATE, false), Err(TransferFault::BadRequest), "{offer:?}");
        }
    }

    #[test]
    fn every_chunk_has_its_length() {
        let three = offer(2 * 65_536 + 7);
        let lengths: Vec<_> = (0..4).map(|chunk| three.bytes_of(chunk)).collect();
        assert_eq!(lengths, [Some(65_536), Some(65_536), Some(7), None]);
        assert_eq!(offer(0).bytes_of(0), Some(0));
        assert_eq!(offer(0).bytes_of(1), None);
        assert_eq!(offer(100).bytes_of(u64::MAX), None);
    }
}
