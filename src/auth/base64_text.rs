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
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let standard: String = text
        .chars()
        .filter(|symbol| !matches!(symbol, '\r' | '\n'))
        .map(|symbol| match symbol {
            '-' => '+',
            '_' => '/',
            other => other,
        })
        .collect();
    STANDARD.decode(standard).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_the_same_bytes() {
        for text in ["3q2+7w==", "3q2+7w", "3q2-7w==", "3q2-7w", "3q2+\r\n7w==\n"] {
            assert_eq!(decode(text), Some(vec![0xde, 0xad, 0xbe, 0xef]), "{text:?}");
        }
        assert_eq!(decode(""), Some(Vec::new()));
        for text in ["3q2+7", "!", "3q 2", "ä"] {
            assert_eq!(decode(text), None, "{text:?}");
        }
    }
}
