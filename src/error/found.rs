//! What a parser found where something else is allowed, as it is shown to its client.

use std::fmt;

use serde_json::Value;

/// The most bytes of a client's text that go back to it in an error.
const SHOWN_BYTES: usize = 64;

/// A value as it was found: a text quoted and cut to 64 bytes, anything long by its kind only. Never of a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found(Box<str>);

impl Found {
    pub fn nothing() -> Self {
        Self("nothing".into())
    }

    pub fn text(text: &str) -> Self {
        let shown = cut(text, SHOWN_BYTES);
        let more = if shown.len() < text.len() { "…" } else { "" };
        Self(format!("{shown:?}{more}").into())
    }

    /// None is nothing.
    pub fn optional(text: Option<&str>) -> Self {
        text.map_or_else(Self::nothing, Self::text)
    }

    /// A number, a count.
    pub fn number(number: impl fmt::Display) -> Self {
        Self(number.to_string().into())
    }

    /// Binary is not shown.
    pub fn bytes(len: usize) -> Self {
        Self(format!("{len} bytes").into())
    }

    pub fn json(value: &Value) -> Self {
        match value {
            Value::String(text) => Self::text(text),
            Value::Object(_) => Self("an object".into()),
            Value::Array(_) => Self("a list".into()),
            Value::Null | Value::Bool(_) | Value::Number(_) => Self(value.to_string().into()),
        }
    }

    /// Of a claim that may hold a credential: what kind of value it is.
    pub fn kind(value: &Value) -> Self {
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::String(_) => "a text",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
        };
        Self(kind.into())
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the reader of a format says about a body that it cannot read. It repeats a text that it found in full: such a
/// text is cut here.
pub fn reason(said: &str) -> Box<str> {
    /// Room for the names of types, and for the position in the body.
    const AROUND: usize = 128;
    let tail = said.rfind(", expected ").map_or("", |at| &said[at..]);
    let head = &said[..said.len() - tail.len()];
    let shown = cut(head, SHOWN_BYTES);
    let more = if shown.len() < head.len() { "…" } else { "" };
    format!("{shown}{more}{}", cut(tail, AROUND)).into()
}

/// The same with the field that it is about, as the walk to it is written: `messages[0].name`.
pub fn reason_at<E: fmt::Display>(error: serde_path_to_error::Error<E>) -> Box<str> {
    let path = error.path().to_string();
    let why = reason(&error.into_inner().to_string());
    // The path is text of the client, too.
    if path == "." { why } else { format!("{}: {why}", cut(&path, SHOWN_BYTES)).into() }
}

fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_is_quoted_and_cut() {
        assert_eq!(Found::text("a\"b\n").to_string(), r#""a\"b\n""#);
        let long = Found::text(&"é".repeat(33)).to_string();
        assert_eq!(long, format!("\"{}\"…", "é".repeat(32)));
        assert_eq!(Found::json(&serde_json::json!({"a": 1})).to_string(), "an object");
        assert_eq!(Found::optional(None).to_string(), "nothing");
    }

    #[test]
    fn a_reader_that_repeats_a_text_is_cut() {
        let said = format!("invalid type: string \"{}\", expected a list at line 1 column 9", "x".repeat(5_000));
        let reason = reason(&said);
        assert!(reason.len() < 200 && reason.ends_with("…, expected a list at line 1 column 9"), "{reason}");
    }
}
