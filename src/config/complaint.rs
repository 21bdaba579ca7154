//! What is wrong with a configuration, said so that it can be mended without reading the source.
//!
//! Here: where a value came from, one complaint, all of them as text. Which values are wrong is decided in `kind` (one
//! value) and `check` (values together). No secret and no value of an unknown key (it may be a misspelt secret) is ever
//! printed.

use std::{
    fmt,
    path::{Path, PathBuf},
};

/// Where a value was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The default of the key.
    Default,
    /// A line of a file; `embedded` when the copy inside the program was used.
    File { path: PathBuf, line: usize, embedded: bool },
    /// An environment variable.
    Variable(String),
    /// A flag of the command line.
    Flag,
}

impl Origin {
    /// A line of a file on disk.
    pub fn in_file(path: &Path, line: usize) -> Self {
        Self::File { path: path.to_owned(), line, embedded: false }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("built-in default"),
            Self::File { path, line, embedded } => {
                write!(f, "{}:{line}", path.display())?;
                if *embedded {
                    f.write_str(" (built-in copy)")?;
                }
                Ok(())
            }
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Flag => f.write_str("command line"),
        }
    }
}

/// One fault of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// The key, or what stands in its place (a file, a variable).
    pub subject: String,
    /// The offending value as it may be shown; `None` for secrets and unknown keys.
    pub value: Option<String>,
    pub origin: Option<Origin>,
    /// What is wrong and, where known, what to do.
    pub problem: String,
    /// The values that would be right.
    pub allowed: Option<String>,
}

impl Complaint {
    /// A complaint without value, origin and range.
    pub fn about(subject: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { subject: subject.into(), value: None, origin: None, problem: problem.into(), allowed: None }
    }

    pub fn set_by(self, origin: impl Into<Option<Origin>>) -> Self {
        Self { origin: origin.into(), ..self }
    }

    pub fn with_value(self, value: impl Into<Option<String>>) -> Self {
        Self { value: value.into(), ..self }
    }

    pub fn allowed(self, allowed: impl Into<Option<String>>) -> Self {
        Self { allowed: allowed.into(), ..self }
    }
}

/// What was found so far: faults stop the start, warnings do not.
#[derive(Clone, Debug, Default)]
pub struct Notes {
    pub faults: Vec<Complaint>,
    pub warnings: Vec<String>,
}

impl Notes {
    pub fn fault(&mut self, complaint: Complaint) {
        self.faults.push(complaint);
    }

    pub fn warn(&mut self, warning: impl Into<String>) {
        self.warnings.push(warning.into());
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.subject)?;
        if let Some(value) = &self.value {
            write!(f, " = {}", printable(value))?;
        }
        write!(f, "\n     problem: {}", self.problem)?;
        if let Some(allowed) = &self.allowed {
            write!(f, "\n     allowed: {allowed}")?;
        }
        if let Some(origin) = &self.origin {
            write!(f, "\n     set by:  {origin}")?;
        }
        Ok(())
    }
}

/// Every fault of a configuration.
#[derive(Debug)]
pub struct Complaints {
    /// Never empty.
    pub faults: Vec<Complaint>,
    /// Warnings about names that were not read: a misspelt name is often why something is missing.
    pub ignored: Vec<String>,
}

impl fmt::Display for Complaints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.faults.len();
        let faults = if count == 1 { "fault" } else { "faults" };
        writeln!(f, "the configuration has {count} {faults}:")?;
        for (index, complaint) in self.faults.iter().enumerate() {
            write!(f, "\n{:3}. {complaint}\n", index + 1)?;
        }
        if !self.ignored.is_empty() {
            writeln!(f, "\nand besides:\n")?;
        }
        for ignored in &self.ignored {
            writeln!(f, "  - {ignored}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Complaints {}

/// The text without the names and passwords of the addresses in it: `http://user:password@host` becomes
/// `http://******@host`.
pub fn masked(text: &str) -> String {
    let mut parts = text.split("://");
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| c.is_whitespace() || "/?#,".contains(c)).unwrap_or(part.len());
        let (authority, rest) = part.split_at(end);
        shown.push_str("://");
        match authority.rsplit_once('@') {
            Some((_, host)) => shown.push_str(&format!("******@{host}")),
            None => shown.push_str(authority),
        }
        shown.push_str(rest);
    }
    shown
}

/// A value in quotes, without control characters, at most 64 characters of it.
pub(super) fn printable(value: &str) -> String {
    const SHOWN: usize = 64;
    let mut text = String::from("\"");
    text.extend(value.chars().take(SHOWN).flat_map(char::escape_debug));
    text.push_str(if value.chars().nth(SHOWN).is_some() { "…\"" } else { "\"" });
    text
}
