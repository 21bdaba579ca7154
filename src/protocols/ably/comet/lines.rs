//! What a comet client receives: lines, each a JSON array of frames (`docs/protocols/ably.md §1.6`, T66).

use bytes::Bytes;

/// One line with these frames. Everything is ASCII: a client in Node takes each piece that the network brings for whole
/// characters.
pub fn write(frames: &[Bytes], line: &mut Vec<u8>) {
    line.push(b'[');
    for (index, frame) in frames.iter().enumerate() {
        if index > 0 {
            line.push(b',');
        }
        write_ascii(frame, line);
    }
    line.extend_from_slice(b"]\n");
}

/// Beyond ASCII is only what stands in strings, where an escape means the same.
fn write_ascii(json: &[u8], line: &mut Vec<u8>) {
    if json.is_ascii() {
        return line.extend_from_slice(json);
    }
    for symbol in String::from_utf8_lossy(json).chars() {
        if symbol.is_ascii() {
            line.push(symbol as u8);
            continue;
        }
        for unit in symbol.encode_utf16(&mut [0; 2]) {
            line.extend_from_slice(format!("\\u{unit:04x}").as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_ascii_and_end() {
        let line = |frames: &[&'static str]| {
            let frames: Vec<Bytes> = frames.iter().map(|frame| Bytes::from_static(frame.as_bytes())).collect();
            let mut line = Vec::new();
            write(&frames, &mut line);
            String::from_utf8(line).expect("ASCII")
        };
        assert_eq!(line(&[]), "[]\n");
        assert_eq!(line(&[r#"{"action":0}"#]), "[{\"action\":0}]\n");
        assert_eq!(line(&[r#"{"a":"é👋"}"#, "{}"]), "[{\"a\":\"\\u00e9\\ud83d\\udc4b\"},{}]\n");
    }
}
