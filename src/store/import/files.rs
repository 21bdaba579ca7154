//! Files as sources: CSV with the names of the columns in its first line (RFC 4180), and JSON lines, as `mongoexport` writes
//! them. Which of the two a file is says its name.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Read as _},
    os::unix::fs::FileExt as _,
    path::Path,
    sync::Arc,
};

use csv::{ErrorKind, Position, StringRecord};
use serde_json::{Map, Value};

use crate::{
    limits,
    store::import::{Kind, Place, Record, Row, Source},
};

/// # Errors
/// For the operator: a file that cannot be read, or of whose form nothing is known.
pub fn open(kind: Kind, path: &Path) -> Result<Source, String> {
    let shown = path.display();
    let unreadable = |error: &dyn std::fmt::Display| format!("{shown} cannot be read: {error}");
    let file = File::open(path).map_err(|error| unreadable(&error))?;
    let total = file.metadata().map_err(|error| unreadable(&error))?.len();
    let source: Arc<str> = shown.to_string().into();
    let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
    let rows: Box<dyn Iterator<Item = Result<Row, String>>> = match extension.to_str() {
        Some("csv") => {
            let mut reader = csv::Reader::from_reader(file);
            let columns = reader.headers().map_err(|error| unreadable(&error))?.clone();
            Box::new(Csv { reader, columns, source, is_over: false })
        }
        Some("jsonl" | "ndjson" | "json") => Box::new(Lines { reader: BufReader::new(file), source, line: 0, done: 0 }),
        _ => return Err(format!("{shown} is neither .csv nor .jsonl, .ndjson or .json (one object a line)")),
    };
    Ok(Source { kind, total, rows })
}

struct Csv {
    reader: csv::Reader<File>,
    columns: StringRecord,
    source: Arc<str>,
    is_over: bool,
}

impl Csv {
    /// The line that begins at a position: where the one before ends with `\r\n`, that is in front of the `\n`.
    fn line_at(&self, position: &Position) -> u64 {
        let mut next = [0];
        let read = self.reader.get_ref().read_at(&mut next, position.byte());
        position.line() + u64::from(matches!(read, Ok(1)) && next == *b"\n")
    }
}

impl Iterator for Csv {
    type Item = Result<Row, String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let mut found = StringRecord::new();
        let read = self.reader.read_record(&mut found);
        let line = self.line_at(found.position().unwrap_or_else(|| self.reader.position()));
        let place = Place { source: Arc::clone(&self.source), at: line.to_string() };
        let record = match read {
            Ok(false) => return None,
            Ok(true) => {
                let fields = self.columns.iter().zip(&found);
                Ok(Record::new(fields.map(|(name, value)| (name.trim().to_owned(), value.into())).collect()))
            }
            Err(error) => match error.kind() {
                ErrorKind::UnequalLengths { expected_len, len, .. } => {
                    Err(format!("it has {len} columns, and the first line has {expected_len}"))
                }
                ErrorKind::Utf8 { .. } => Err("it is not UTF-8".to_owned()),
                _ => {
                    self.is_over = true;
                    return Some(Err(format!("{} cannot be read: {error}", self.source)));
                }
            },
        };
        Some(Ok(Row { place, record, done: self.reader.position().byte() }))
    }
}

struct Lines {
    reader: BufReader<File>,
    source: Arc<str>,
    line: u64,
    done: u64,
}

impl Iterator for Lines {
    type Item = Result<Row, String>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let mut text = Vec::new();
            let limit = limits::IMPORT_ROW_BYTES;
            let mut read = match self.reader.by_ref().take(limit).read_until(b'\n', &mut text) {
                Ok(0) => return None,
                Ok(read) => read as u64,
                Err(error) => return Some(Err(format!("{} cannot be read: {error}", self.source))),
            };
            self.line += 1;
            let is_whole = read < limit || text.ends_with(b"\n");
            if !is_whole {
                match self.reader.skip_until(b'\n') {
                    Ok(rest) => read += rest as u64,
                    Err(error) => return Some(Err(format!("{} cannot be read: {error}", self.source))),
                }
            }
            self.done += read;
            let text = text.trim_ascii();
            let text = if self.line == 1 { text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text) } else { text };
            if text.is_empty() {
                continue;
            }
            let place = Place { source: Arc::clone(&self.source), at: self.line.to_string() };
            let record = if is_whole {
                let fields = serde_json::from_slice::<Map<String, Value>>(text);
                fields.map(Record::new).map_err(|error| format!("it is not one JSON object: {error}"))
            } else {
                Err(format!("it is longer than {limit} bytes"))
            };
            return Some(Ok(Row { place, record, done: self.done }));
        }
    }
}
