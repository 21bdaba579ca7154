//! Base64 as clients write it: standard or URL-safe, with or without padding, with line breaks
//! (`docs/protocols/ably.md §1.8, §3.5`).

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

const FORGIVING: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, FORGIVING);

/// The bytes that `text` stands for; None when it is no base64.
pub fn decode(text: &[u8]) -> Option<Vec<u8>> {
    if let Ok(bytes) = STANDARD.decode(text) {
        return Some(bytes);
    }
    let standard = text.iter().filter(|byte| !matches!(byte, b'\r' | b'\n')).map(|byte| match byte {
        b'-' => b'+',
        b'_' => b'/',
        other => *other,
    });
    STANDARD.decode(Vec::from_iter(standard)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_the_same_bytes() {
        for text in ["3q2+7w==", "3q2+7w", "3q2-7w==", "3q2-7w", "3q2+\r\n7w==\n"] {
            assert_eq!(decode(text.as_bytes()), Some(vec![0xde, 0xad, 0xbe, 0xef]), "{text:?}");
        }
        assert_eq!(decode(b""), Some(Vec::new()));
        for text in ["3q2+7", "!", "3q 2", "ä"] {
            assert_eq!(decode(text.as_bytes()), None, "{text:?}");
        }
    }
}
