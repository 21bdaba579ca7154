//! The local word list: one plain word or regular expression a line, in any case of letters. Empty lines and those that
//! begin with `#` are none; a word that begins with it is written `\#`.
//!
//! Plain words go into one automaton, which looks for all of them at once, however many there are. Of letters it
//! turns only those of ASCII, so words with others that have two cases (`Привет`) are regular expressions, too.

use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

use aho_corasick::AhoCorasick;
use regex::{RegexBuilder, RegexSet, RegexSetBuilder};
use thiserror::Error;

/// What makes a line a regular expression.
const META: &[char] = &['\\', '.', '+', '*', '?', '(', ')', '|', '[', ']', '{', '}', '^', '$'];

/// What is wrong with the file.
#[derive(Debug, Error)]
pub enum WordsFault {
    #[error("the word list {} (words_file) cannot be read: {error}. It must be a text file in UTF-8", path.display())]
    Unreadable { path: PathBuf, error: io::Error },
    #[error(
        "the word list {} (words_file) has lines that cannot be used; a character such as ( is written \\( where it means \
         itself:{faults}", path.display()
    )]
    Lines { path: PathBuf, faults: String },
}

/// What no text may contain.
pub struct Words {
    plain: AhoCorasick,
    expressions: RegexSet,
}

impl Words {
    /// # Errors
    /// A [`WordsFault`] that names every bad line.
    pub fn load(path: &Path) -> Result<Self, WordsFault> {
        let text = fs::read_to_string(path).map_err(|error| WordsFault::Unreadable { path: path.to_owned(), error })?;
        Self::parse(&text).map_err(|faults| WordsFault::Lines { path: path.to_owned(), faults })
    }

    /// What is wrong comes back as lines of text, each after a line break.
    fn parse(text: &str) -> Result<Self, String> {
        let (mut plain, mut expressions) = (Vec::new(), Vec::new());
        let mut faults = String::new();
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (place, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if !line.contains(META) {
                match has_cases(line) {
                    false => plain.push(line),
                    true => expressions.push(regex::escape(line)),
                }
                continue;
            }
            match fault_of(line) {
                None => expressions.push(line.to_owned()),
                Some(fault) => {
                    let _ = write!(faults, "\n  line {}: {fault}", place + 1);
                }
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let plain = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .build(plain)
            .map_err(|error| format!("\n  all together: {error}"))?;
        let expressions = RegexSetBuilder::new(expressions)
            .case_insensitive(true)
            .build()
            .map_err(|error| format!("\n  all together: {error}"))?;
        Ok(Self { plain, expressions })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.plain.patterns_len() + self.expressions.len()
    }

    /// Whether a text has one of them.
    pub fn has(&self, text: &str) -> bool {
        self.plain.is_match(text) || self.expressions.is_match(text)
    }
}

/// Whether there are letters beyond ASCII that have two cases.
fn has_cases(word: &str) -> bool {
    let mut letters = word.chars().filter(|letter| !letter.is_ascii());
    letters.any(|letter| letter.is_lowercase() || letter.is_uppercase())
}

fn fault_of(line: &str) -> Option<String> {
    match RegexBuilder::new(line).case_insensitive(true).build() {
        // The last line of the error says what is wrong, those before show where.
        Err(error) => {
            let words = error.to_string();
            Some(words.lines().last().unwrap_or_default().trim().to_owned())
        }
        Ok(expression) if expression.is_match("") => Some("it matches every text, the empty one, too".to_owned()),
        Ok(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Words {
        Words::parse(text).unwrap()
    }

    #[test]
    fn words_and_expressions_are_found_in_any_case() {
        let words = words("\u{feff}Badword\r\n# a comment\n\n 脏话 \nb[a4]d\\s+th.ng\nПривет\n\\#tag\n");
        for bad in ["a BADWORD here", "xbadwordx", "这是脏话吗", "B4D   thing", "ПРИВЕТ", "привет!", "#TAG"]
        {
            assert!(words.has(bad), "{bad}");
        }
        for good in ["", "bad word", "a comment", "tag", "b4dthing", "при", "脏 话"] {
            assert!(!words.has(good), "{good}");
        }
    }

    #[test]
    fn an_empty_list_blocks_nothing() {
        assert!(!words("").has("anything"));
        assert!(!words("\n# nothing\n").has(""));
    }

    #[test]
    fn all_bad_lines_are_named() {
        let faults = Words::parse("good\n(open\n\na*\nfine.*x\n[z-a]\n").err().unwrap();
        let lines: Vec<_> = faults.lines().skip(1).collect();
        assert_eq!(lines.len(), 3, "{faults}");
        for (line, part) in lines.iter().zip(["line 2: ", "line 4: it matches every", "line 6: "]) {
            assert!(line.contains(part) && line.len() > part.len() + 5, "{line}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("words.txt");
        let fault = Words::load(&path).err().unwrap().to_string();
        assert!(fault.contains("words.txt") && fault.contains("words_file"), "{fault}");
        fs::write(&path, b"\xff\xfe").unwrap();
        let fault = Words::load(&path).err().unwrap().to_string();
        assert!(fault.contains("UTF-8"), "{fault}");
        fs::write(&path, "a(b\n").unwrap();
        let fault = Words::load(&path).err().unwrap().to_string();
        assert!(fault.contains("words.txt") && fault.contains("line 1"), "{fault}");
        fs::write(&path, "ab\n").unwrap();
        assert!(Words::load(&path).unwrap().has("cabd"));
    }

    #[test]
    fn many_words_are_one_automaton() {
        let list: String = (0..20_000).map(|number| format!("word-{number};\n")).collect();
        let words = words(&list);
        assert!(words.has("it is Word-19999; here"));
        assert!(!words.has("word-20000;"));
    }
}
