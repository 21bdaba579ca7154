//! Files that people write: how they are read, and what is wrong with one.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

/// Some editors put it at the front of a file to say that it is UTF-8. It is no part of the text.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The bytes of a file, without the mark.
pub fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = fs::read(path)?;
    if bytes.starts_with(BYTE_ORDER_MARK) {
        bytes.drain(..BYTE_ORDER_MARK.len());
    }
    Ok(bytes)
}

/// The text of a file, without the mark.
///
/// # Errors
/// When it cannot be read, or is not UTF-8.
pub fn read_text(path: &Path) -> io::Result<String> {
    let bytes = read_bytes(path)?;
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what);
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err(invalid("it is UTF-16; save it as UTF-8"));
    }
    String::from_utf8(bytes).map_err(|_| invalid("it is not UTF-8; save it as UTF-8"))
}

/// One thing that is wrong with a file. No secret is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// 1 is the first line; none when it is about the whole file.
    pub line: Option<usize>,
    pub what: String,
}

impl Problem {
    /// About the whole file.
    pub fn whole(what: impl Into<String>) -> Self {
        Self { line: None, what: what.into() }
    }

    pub fn at(line: usize, what: impl Into<String>) -> Self {
        Self { line: Some(line), what: what.into() }
    }
}

/// Everything that is wrong with a file that a setting names.
#[derive(Debug)]
pub struct FileFaults {
    pub key: &'static str,
    pub path: PathBuf,
    /// Never empty.
    pub problems: Vec<Problem>,
}

impl FileFaults {
    pub fn unreadable(key: &'static str, path: &Path, error: &io::Error) -> Self {
        Self { key, path: path.to_owned(), problems: vec![Problem::whole(format!("cannot be read: {error}"))] }
    }

    /// Each problem with its place. Of very many only the first: a file that is something else altogether is wrong in
    /// every line.
    pub fn lines(&self) -> Vec<String> {
        const SHOWN: usize = 20;
        let path = self.path.display();
        let line = |problem: &Problem| match problem.line {
            Some(line) => format!("{path}:{line}: {}", problem.what),
            None => format!("{path}: {}", problem.what),
        };
        let mut lines: Vec<String> = self.problems.iter().take(SHOWN).map(line).collect();
        let more = self.problems.len().saturating_sub(SHOWN);
        if more > 0 {
            lines.push(format!("{path}: and {more} more of that kind"));
        }
        lines
    }
}

impl fmt::Display for FileFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}) cannot be used:", self.path.display(), self.key)?;
        for problem in self.lines() {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for FileFaults {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// findings P16: the mark is no part of the text, whatever kind of file it is.
    #[test]
    fn a_byte_order_mark_is_no_text() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "\u{feff}text\u{feff}").unwrap();
        assert_eq!(read_text(&path).unwrap(), "text\u{feff}");
        assert_eq!(read_bytes(&path).unwrap(), "text\u{feff}".as_bytes());
        fs::write(&path, b"\xff\xfet\0").unwrap();
        assert!(read_text(&path).unwrap_err().to_string().contains("save it as UTF-8"));
    }

    #[test]
    fn of_many_problems_the_first_are_told() {
        let problems = (1..=100).map(|line| Problem::at(line, "bad")).collect();
        let faults = FileFaults { key: "k", path: "f".into(), problems };
        assert_eq!(faults.lines().len(), 21);
        assert!(faults.to_string().contains("f:20: bad") && faults.to_string().ends_with("and 80 more of that kind"));
    }
}
