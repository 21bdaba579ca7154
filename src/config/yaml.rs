//! Reads a settings file into flat `section.key` leaves, each with its line.
//!
//! Scalars stay text: what a value means is decided by its key (`kind`), so that `port: "8080"`,
//! `port: 8080` and `LETSHARE_SERVER_PORT=8080` are the same, and a secret of digits stays a secret.
//! Anchors and aliases are refused: settings files have no use for them, and they can expand without end.

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, StrInput};

/// A value as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Raw {
    Text(String),
    List(Vec<String>),
    /// `key: {}`. A section with keys becomes the leaves below it.
    EmptySection,
}

impl Raw {
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Text(text) => text.is_empty(),
            Self::List(items) => items.is_empty(),
            Self::EmptySection => true,
        }
    }

    /// `key:` or `key: {}`: a section may be written so, a list may not.
    pub fn is_blank(&self) -> bool {
        self.is_empty() && !matches!(self, Self::List(_))
    }

    /// What it is, for a message.
    pub fn shape(&self) -> &'static str {
        match self {
            Self::Text(_) => "a single value",
            Self::List(_) => "a list",
            Self::EmptySection => "a section",
        }
    }

    /// As it would be written in a variable.
    pub fn written(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::List(items) => items.join(","),
            Self::EmptySection => String::new(),
        }
    }
}

/// One `section.key` of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    pub key: String,
    pub value: Raw,
    /// 1 is the first line.
    pub line: usize,
}

/// A file that is not a settings file at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub line: usize,
    pub problem: String,
}

/// Sections nest once; a few levels more are read so that the complaint can name the whole key.
const MAX_DEPTH: usize = 8;

/// The leaves of `text` in their order; a key that stands twice is given twice.
/// Error: the first place that is not YAML, or not the shape of a settings file.
pub fn read(text: &str) -> Result<Vec<Leaf>, Fault> {
    let mut reader = Reader { events: Parser::new_from_str(text), leaves: Vec::new() };
    let mut seen = false;
    loop {
        let (event, line) = reader.next()?;
        match event {
            Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
            Event::StreamEnd => return Ok(reader.leaves),
            _ if seen => return Err(fault(line, "a second YAML document; write one only")),
            Event::MappingStart(..) => {
                seen = true;
                reader.section("", 0)?;
            }
            // A file of comments only.
            Event::Scalar(text, style, ..) if scalar(&text, style).is_empty() => seen = true,
            _ => return Err(fault(line, "expected sections with keys")),
        }
    }
}

struct Reader<'a> {
    events: Parser<'a, StrInput<'a>>,
    leaves: Vec<Leaf>,
}

impl<'a> Reader<'a> {
    /// The next event that matters and its line.
    fn next(&mut self) -> Result<(Event<'a>, usize), Fault> {
        loop {
            match self.events.next() {
                Some(Ok((Event::Comment(..), _))) => {}
                Some(Ok((Event::Alias(..) | Event::Anchor(..) | Event::UnresolvedAlias(..), span))) => {
                    let problem = "anchors and aliases (&name, *name) are not supported";
                    return Err(fault(span.start.line(), problem));
                }
                Some(Ok((event, span))) => return Ok((event, span.start.line())),
                Some(Err(error)) => {
                    let problem = format!("not valid YAML: {}", error.info());
                    return Err(fault(error.marker().line(), problem));
                }
                None => return Ok((Event::StreamEnd, 0)),
            }
        }
    }

    /// Reads `key: value` pairs up to the end of the section.
    fn section(&mut self, prefix: &str, depth: usize) -> Result<(), Fault> {
        loop {
            let (event, line) = self.next()?;
            let name = match event {
                Event::MappingEnd => return Ok(()),
                Event::Scalar(name, ..) => name,
                _ => return Err(fault(line, "a key must be a plain word")),
            };
            let key = if prefix.is_empty() { name.into_owned() } else { format!("{prefix}.{name}") };
            let value = match self.next()? {
                (Event::Scalar(text, style, ..), _) => Raw::Text(scalar(&text, style)),
                (Event::SequenceStart(..), _) => Raw::List(self.list(&key)?),
                (Event::MappingStart(..), line) if depth + 1 >= MAX_DEPTH => {
                    return Err(fault(line, "sections are nested too deeply"));
                }
                (Event::MappingStart(..), _) => {
                    let before = self.leaves.len();
                    self.section(&key, depth + 1)?;
                    if self.leaves.len() > before {
                        continue;
                    }
                    Raw::EmptySection
                }
                (_, line) => return Err(fault(line, format!("{key} has no value"))),
            };
            self.leaves.push(Leaf { key, value, line });
        }
    }

    fn list(&mut self, key: &str) -> Result<Vec<String>, Fault> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(items),
                (Event::Scalar(text, style, ..), _) => items.push(scalar(&text, style)),
                (_, line) => {
                    return Err(fault(line, format!("the list {key} may hold plain values only")));
                }
            }
        }
    }
}

/// The text of a scalar; a key without a value, `~` and `null` are the empty text.
fn scalar(text: &str, style: ScalarStyle) -> String {
    match (style, text) {
        (ScalarStyle::Plain, "~" | "null") => String::new(),
        _ => text.to_owned(),
    }
}

fn fault(line: usize, problem: impl Into<String>) -> Fault {
    Fault { line, problem: problem.into() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn values_stay_as_written_and_know_their_line() {
        let text = "# c\nserver:\n  port: 0080\n  host: \"a b\"\nlist: [1, x]\nempty:\nblock:\n  - q\nbare: {}\n";
        let leaf = |key: &str, value, line| Leaf { key: key.into(), value, line };
        assert_eq!(
            read(text).unwrap(),
            [
                leaf("server.port", Raw::Text("0080".into()), 3),
                leaf("server.host", Raw::Text("a b".into()), 4),
                leaf("list", Raw::List(vec!["1".into(), "x".into()]), 5),
                leaf("empty", Raw::Text(String::new()), 6),
                leaf("block", Raw::List(vec!["q".into()]), 7),
                leaf("bare", Raw::EmptySection, 9),
            ]
        );
    }

    #[test]
    fn a_file_without_settings_is_fine() {
        for text in ["", "# nothing\n", "---\n", "~\n", "{}\n"] {
            assert_eq!(read(text), Ok(Vec::new()), "{text:?}");
        }
    }

    #[test]
    fn what_is_no_settings_file_is_told_with_its_line() {
        for (text, line) in [
            ("a: 1\nb: [1\n", 2),
            ("just words\n", 1),
            ("- a\n- b\n", 1),
            ("a: &x 1\nb: *x\n", 1),
            ("a: 1\n---\nb: 2\n", 2),
            ("a:\n  - {b: 1}\n", 2),
            ("? [a]\n: 1\n", 1),
            ("a: {b: {c: {d: {e: {f: {g: {h: {i: 1}}}}}}}}\n", 1),
            ("a: b: c\n", 1),
        ] {
            let fault = read(text).expect_err(text);
            assert!(fault.line.abs_diff(line) <= 1, "{text:?}: {fault:?}");
        }
    }
}
