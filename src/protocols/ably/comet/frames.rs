//! The frames that one request brings: a JSON array of them.

use bytestring::ByteString;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::{
    edge::http::body::Body,
    error::Fault,
    protocols::ably::wire::{Format, decode_value},
};

/// The frames of a body, each cut out when its turn has come: a list of the smallest ones would take many times what the
/// body does.
pub struct Frames {
    text: ByteString,
    at: usize,
    /// Pays for it.
    _body: Body,
}

/// # Errors
/// [`Fault::BodyUnreadable`] when it is no array. What its elements are is judged one by one, as behind a WebSocket.
pub fn read(body: Body) -> Result<Frames, Fault> {
    decode_value::<Vec<IgnoredAny>>(Format::Json, &body)?;
    let text = ByteString::try_from(body.clone());
    let text = text.map_err(|_| Fault::BodyUnreadable { format: "JSON", why: "it is not UTF-8".into() })?;
    Ok(Frames { text, at: 0, _body: body })
}

impl Iterator for Frames {
    type Item = ByteString;

    fn next(&mut self) -> Option<ByteString> {
        // Before the first element stands a bracket, before each other one a comma.
        let rest = self.text[self.at..].trim_start().strip_prefix(['[', ','])?;
        let mut elements = serde_json::Deserializer::from_str(rest).into_iter::<&RawValue>();
        let element = self.text.slice_ref(elements.next()?.ok()?.get());
        self.at = self.text.len() - rest.len() + elements.byte_offset();
        Some(element)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn each_element_is_a_frame_as_it_was_written() {
        for (body, expected) in [
            ("[]", &[][..]),
            (" [ ] ", &[]),
            (r#"[{"action":0}]"#, &[r#"{"action":0}"#]),
            (
                " [ {\"a\" : [1,2]} ,\n\t[3 , 4],5,-6.5e1 , \"],[\" , null]\n",
                &["{\"a\" : [1,2]}", "[3 , 4]", "5", "-6.5e1", "\"],[\"", "null"],
            ),
            (r#"[[],{},[[]]]"#, &["[]", "{}", "[[]]"]),
            (r#"["ü\ud83d"]"#, &[r#""ü\ud83d""#]),
        ] {
            let frames: Vec<ByteString> = read(Body::unpaid(body)).unwrap().collect();
            assert_eq!(frames, expected, "{body}");
        }
    }

    #[test]
    fn whatever_is_no_array_is_refused_whole() {
        for body in [&b""[..], b"{}", b"[1", b"[1,]", b"[1]2", b"null", b"\"x\"", b"[\"\xff\"]"] {
            let fault = read(Body::unpaid(body)).map(|_| ()).unwrap_err();
            assert_eq!(fault.ably_code(), 40001, "{}", String::from_utf8_lossy(body));
        }
    }
}
