//! What a parser found where something else is allowed, as it is shown to its client.

use std::{borrow::Cow, fmt};

use serde_json::Value;

/// The most bytes of a client's text that go back to it in an error.
const SHOWN_BYTES: usize = 64;

/// A value as it was found: a text quoted, and like a number cut to 64 bytes, anything else that is long by its kind only.
/// Never of a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found(Box<str>);

impl Found {
    pub fn nothing() -> Self {
        Self("nothing".into())
    }

    pub fn text(text: &str) -> Self {
        let (shown, more) = beginning(text);
        Self(format!("{shown:?}{more}").into())
    }

    /// None is nothing.
    pub fn optional(text: Option<&str>) -> Self {
        text.map_or_else(Self::nothing, Self::text)
    }

    /// A number, a count.
    pub fn number(number: impl fmt::Display) -> Self {
        let text = number.to_string();
        let (shown, more) = beginning(&text);
        Self(format!("{shown}{more}").into())
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
            // A number may have hundreds of digits.
            Value::Null | Value::Bool(_) | Value::Number(_) => Self::number(value),
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

/// What serde says about a body that it cannot read, in words for the client: without the names of our types, and with
/// a text that was found cut, which serde repeats in full.
pub fn reason(said: &str) -> Box<str> {
    /// Room for what is allowed, and for the position in the body.
    const AROUND: usize = 128;
    let tail = said.rfind(EXPECTED).map_or("", |at| &said[at..]);
    let head = found(&said[..said.len() - tail.len()]);
    let (shown, more) = beginning(&head);
    format!("{shown}{more}{}", cut(&expected(tail), AROUND)).into()
}

const EXPECTED: &str = ", expected ";

/// What stands before [`EXPECTED`]: what was found, or what is wrong with a field.
fn found(said: &str) -> Cow<'_, str> {
    let field = |prefix: &str| {
        let (name, _) = said.strip_prefix(prefix)?.strip_prefix('`')?.split_once('`')?;
        Some(cut(name, SHOWN_BYTES / 2))
    };
    if let Some(name) = field("missing field ") {
        return format!("`{name}` is missing").into();
    }
    if let Some(name) = field("duplicate field ") {
        return format!("`{name}` stands twice").into();
    }
    if let Some(length) = said.strip_prefix("invalid length ") {
        return format!("found a list of length {length}").into();
    }
    match said.strip_prefix("invalid type: ").or_else(|| said.strip_prefix("invalid value: ")) {
        Some("map") => "found an object".into(),
        Some("sequence") => "found a list".into(),
        Some("unit value") => "found null".into(),
        Some(what) => format!("found {what}").into(),
        None => said.into(),
    }
}

/// [`EXPECTED`] and what follows it; of a type of ours, what it is in JSON.
fn expected(tail: &str) -> Cow<'_, str> {
    let Some(wanted) = tail.strip_prefix(EXPECTED) else { return tail.into() };
    let (wanted, at) = wanted.split_at(wanted.find(" at line ").unwrap_or(wanted.len()));
    let plain = match wanted {
        "map" | "a map" => "an object",
        "sequence" | "a sequence" => "a list",
        "unit" => "null",
        _ if wanted.starts_with("struct ") => "an object",
        _ if wanted.starts_with("tuple ") || wanted.starts_with("a tuple ") => "a list",
        _ if wanted.starts_with("enum ") => "a known name",
        _ => return tail.into(),
    };
    format!("{EXPECTED}{plain}{at}").into()
}

/// The same with the field that it is about, as the walk to it is written: `messages[0].name`.
pub fn reason_at<E: fmt::Display>(error: serde_path_to_error::Error<E>) -> Box<str> {
    let path = error.path().to_string();
    let why = reason(&error.into_inner().to_string());
    // The path is text of the client, too.
    if path == "." { why } else { format!("{}: {why}", cut(&path, SHOWN_BYTES)).into() }
}

/// As much of a client's text as goes back to it, and what stands for the rest.
fn beginning(text: &str) -> (&str, &'static str) {
    let shown = cut(text, SHOWN_BYTES);
    (shown, if shown.len() < text.len() { "…" } else { "" })
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
        let digits = "9".repeat(301);
        let cut = format!("{}…", "9".repeat(64));
        assert_eq!(Found::number(&digits).to_string(), cut);
        // However a reader of JSON keeps such a number.
        let number =
            serde_json::from_str(&digits).map_or_else(|_| cut.clone(), |value| Found::json(&value).to_string());
        assert!(number.len() <= cut.len(), "{number}");
        assert_eq!(Found::optional(None).to_string(), "nothing");
    }

    #[test]
    fn a_reader_that_repeats_a_text_is_cut() {
        let said = format!("invalid type: string \"{}\", expected a list at line 1 column 9", "x".repeat(5_000));
        let reason = reason(&said);
        assert!(reason.len() < 200 && reason.ends_with("…, expected a list at line 1 column 9"), "{reason}");
    }

    /// serde's own words and the names of our types mean nothing to a client.
    #[test]
    fn serde_is_put_into_plain_words() {
        #[derive(Debug, Default, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        struct Inner {
            _count: u32,
        }
        #[derive(Debug, serde::Deserialize)]
        struct Outer {
            #[serde(rename = "name")]
            _name: String,
            #[serde(rename = "inner", default)]
            _inner: Inner,
            #[serde(rename = "pair")]
            _pair: Option<(u8, u8)>,
            #[serde(rename = "map")]
            _map: Option<std::collections::BTreeMap<String, u8>>,
        }
        for (json, expected) in [
            ("\"\"", "found string \"\", expected an object at line 1 column 2"),
            ("[]", "found a list of length 0, expected an object at line 1 column 2"),
            ("{}", "`name` is missing"),
            (r#"{"name":"a","name":"b"}"#, "`name` stands twice"),
            (r#"{"name":5}"#, "found integer `5`, expected a string at line 1 column 9"),
            (r#"{"name":{}}"#, "found an object, expected a string"),
            (r#"{"name":"a","inner":true}"#, "found boolean `true`, expected an object"),
            (r#"{"name":"a","inner":{"x":1}}"#, "unknown field `x`, expected `_count`"),
            (r#"{"name":"a","map":[]}"#, "found a list, expected an object"),
            (r#"{"name":"a","pair":{}}"#, "found an object, expected a list"),
        ] {
            let said = serde_json::from_str::<Outer>(json).expect_err(json).to_string();
            assert!(reason(&said).starts_with(expected), "{json}: {said}: {}", reason(&said));
        }
        assert_eq!(
            &*reason("invalid value: integer `5`, expected enum Kind"),
            "found integer `5`, expected a known name"
        );
    }
}
