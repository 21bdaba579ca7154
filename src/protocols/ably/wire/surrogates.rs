//! Half characters in JSON. JavaScript cuts texts in the middle of an emoji, and its `JSON.stringify` writes
//! what is left as a lone surrogate (`"\ud83d"`), which no UTF-8 text can hold.
//!
//! Refusing the frame would not do: the client would come back, resume, and send it again, for ever. So the
//! half becomes U+FFFD, as it does on every other way from JavaScript to UTF-8.

const REPLACEMENT: &[u8] = br"\ufffd";

/// The JSON without lone surrogates; none when it has no such thing.
pub fn mend(json: &[u8]) -> Option<Vec<u8>> {
    let mut mended = Vec::with_capacity(json.len());
    let mut is_changed = false;
    let mut rest = json;
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        let (before, escape) = rest.split_at(at);
        mended.extend_from_slice(before);
        let (length, is_lone) = match escaped_unit(escape) {
            Some(0xD800..=0xDBFF) => match escape.get(6..).and_then(escaped_unit) {
                Some(0xDC00..=0xDFFF) => (12, false),
                _ => (6, true),
            },
            Some(0xDC00..=0xDFFF) => (6, true),
            Some(_) => (6, false),
            None => (2, false),
        };
        let (escape, behind) = escape.split_at(length.min(escape.len()));
        mended.extend_from_slice(if is_lone { REPLACEMENT } else { escape });
        is_changed |= is_lone;
        rest = behind;
    }
    mended.extend_from_slice(rest);
    is_changed.then_some(mended)
}

/// The UTF-16 unit of a `\uXXXX` that stands first.
fn escaped_unit(text: &[u8]) -> Option<u16> {
    let digits = text.strip_prefix(br"\u")?.get(..4)?;
    // Not a plain parse: it takes `+` for a digit.
    digits.iter().try_fold(0, |unit, digit| {
        let digit = char::from(*digit).to_digit(16)?;
        Some(unit << 4 | u16::try_from(digit).ok()?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_replaced_and_all_else_stays() {
        for (json, expected) in [
            (r#"["\ud83d"]"#, Some(r#"["\ufffd"]"#)),
            (r#"["\uDE00\ud83dx"]"#, Some(r#"["\ufffd\ufffdx"]"#)),
            (r#"["\ud83d\ud83d\ude00"]"#, Some(r#"["\ufffd\ud83d\ude00"]"#)),
            (r#"["\ud83d\ude00", "é\n\u00e9"]"#, None),
            (r#"["\\ud83d"]"#, None),
            (r#"["\ud8"#, None),
            (r#"["\u+d83"]"#, None),
            ("\\", None),
        ] {
            let mended = mend(json.as_bytes()).map(|json| String::from_utf8(json).unwrap());
            assert_eq!(mended.as_deref(), expected, "{json}");
        }
    }
}
