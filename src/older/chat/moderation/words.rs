//! The local word list: one plain word or regular expression a line, in any case of letters. Empty lines and those that
//! begin with `#` are none; a word that begins with it is written `\#`.
//!
//! Plain words go into one automaton, which looks for all of them at once, however many there are. Of letters it
//! turns only those of ASCII, so words with others that have two cases (`Привет`) are regular expressions, too.

use std::path::Path;

use aho_corasick::AhoCorasick;
use regex::{RegexBuilder, RegexSet, RegexSetBuilder};

use crate::config::{FileFaults, Problem, read_text};

const KEY: &str = "chat.words_file";

/// What makes a line a regular expression.
const META: &[char] = &['\\', '.', '+', '*', '?', '(', ')', '|', '[', ']', '{', '}', '^', '$'];

/// What no text may contain.
pub struct Words {
    plain: AhoCorasick,
    expressions: RegexSet,
}

impl Words {
    /// # Errors
    /// When it cannot be read; else every bad line.
    pub fn load(path: &Path) -> Result<Self, FileFaults> {
        let text = read_text(path).map_err(|error| FileFaults::unreadable(KEY, path, &error))?;
        Self::parse(&text).map_err(|problems| FileFaults { key: KEY, path: path.to_owned(), problems })
    }

    fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        let (mut plain, mut expressions) = (Vec::new(), Vec::new());
        let mut problems = Vec::new();
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
                Some(fault) => problems.push(Problem::at(place + 1, fault)),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let together = |error: &dyn std::fmt::Display| vec![Problem::whole(format!("all lines together: {error}"))];
        let plain =
            AhoCorasick::builder().ascii_case_insensitive(true).build(plain).map_err(|error| together(&error))?;
        let expressions =
            RegexSetBuilder::new(expressions).case_insensitive(true).build().map_err(|error| together(&error))?;
        Ok(Self { plain, expressions })
    }

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
            let last = words.lines().last().unwrap_or_default().trim();
            Some(format!("{last}; a character such as ( is written \\( where it means itself"))
        }
        Ok(expression) if expression.is_match("") => Some("it matches every text, the empty one, too".to_owned()),
        Ok(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn words(text: &str) -> Words {
        Words::parse(text).unwrap()
    }

    #[test]
    fn words_and_expressions_are_found_in_any_case() {
        let words = words("Badword\r\n# a comment\n\n 脏话 \nb[a4]d\\s+th.ng\nПривет\n\\#tag\n");
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
        let problems = Words::parse("good\n(open\n\na*\nfine.*x\n[z-a]\n").err().unwrap();
        let lines: Vec<_> = problems.iter().map(|problem| problem.line).collect();
        assert_eq!(lines, [Some(2), Some(4), Some(6)], "{problems:?}");
        assert!(problems[1].what.contains("it matches every"), "{problems:?}");
        assert!(problems.iter().all(|problem| problem.what.len() > 5), "{problems:?}");
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
        assert!(fault.contains("words.txt:1: "), "{fault}");
        // findings P16.
        fs::write(&path, "\u{feff}ab\n").unwrap();
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
