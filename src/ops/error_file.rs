//! A file of lines that keeps its newest ones: `logs/errors.log` (docs/protocols/letshare.md §4).
//!
//! Lines are appended; when there are twice as many as wanted, the newest are written to a second
//! file that takes the first one's place, so a crash leaves either the old file or the new one, in
//! order. The file is opened for each line: warnings are rare, and a file that somebody moved or deleted
//! comes back by itself.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io::{self, BufRead as _, BufReader, BufWriter, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

/// One writer of the file; share it behind a mutex.
#[derive(Debug)]
pub struct ErrorFile {
    path: PathBuf,
    max_entries: usize,
    /// Lines in the file, as far as this writer knows.
    entries: usize,
    /// Whether the last attempt failed, so that a full disk is told once.
    failing: bool,
    lost: u64,
}

impl ErrorFile {
    /// Makes the folder, mends a line that a crash cut off and trims what an earlier run left.
    /// A folder that cannot be used is told on stderr; the lines are lost then, and counted.
    pub fn open(path: PathBuf, max_entries: usize) -> Self {
        let mut file = Self { path, max_entries: max_entries.max(1), entries: 0, failing: false, lost: 0 };
        let prepared = file.prepare();
        file.note(prepared);
        file
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Lines that could not be written.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Appends one line; `line` has no line break. Never fails: see [`ErrorFile::lost`].
    pub fn append(&mut self, line: &str) {
        let written = self.try_append(line);
        if written.is_err() {
            self.lost += 1;
        }
        self.note(written);
    }

    fn try_append(&mut self, line: &str) -> io::Result<()> {
        let mut whole = String::with_capacity(line.len() + 1);
        whole.push_str(line);
        whole.push('\n');
        // One write: lines of two processes do not mix.
        self.file()?.write_all(whole.as_bytes())?;
        self.entries += 1;
        if self.entries >= self.max_entries.saturating_mul(2) {
            self.trim()?;
        }
        Ok(())
    }

    /// The file, open for appending; made anew, with its folder, when it is gone.
    fn file(&self) -> io::Result<File> {
        let open = || OpenOptions::new().create(true).append(true).open(&self.path);
        match (open(), self.path.parent()) {
            (Err(error), Some(folder)) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(folder)?;
                open()
            }
            (opened, _) => opened,
        }
    }

    fn prepare(&mut self) -> io::Result<()> {
        let mut file = self.file()?;
        if !ends_with_line_break(&self.path)? {
            file.write_all(b"\n")?;
        }
        self.trim()
    }

    /// Keeps the newest entries, oldest first; blank lines go.
    fn trim(&mut self) -> io::Result<()> {
        let mut newest: VecDeque<Vec<u8>> = VecDeque::new();
        let mut seen = 0;
        let mut reader = BufReader::new(File::open(&self.path)?);
        loop {
            let mut line = Vec::new();
            if reader.read_until(b'\n', &mut line)? == 0 {
                break;
            }
            if line.trim_ascii().is_empty() {
                continue;
            }
            seen += 1;
            if newest.len() == self.max_entries {
                newest.pop_front();
            }
            newest.push_back(line);
        }
        self.entries = newest.len();
        if seen == newest.len() {
            return Ok(());
        }
        let beside = self.path.with_extension("log.new");
        let mut writer = BufWriter::new(File::create(&beside)?);
        for line in &newest {
            writer.write_all(line)?;
        }
        writer.flush()?;
        drop(writer);
        fs::rename(&beside, &self.path)
    }

    /// Tells the first failure of a row of failures, and the end of the row.
    fn note(&mut self, outcome: io::Result<()>) {
        let path = self.path.display();
        match (&outcome, self.failing) {
            // Nothing can be done when stderr is gone as well.
            (Err(error), false) => {
                let _ = writeln!(io::stderr(), "cannot write {path}: {error}; warnings and errors go to stdout only");
            }
            (Ok(()), true) => {
                let lost = self.lost;
                let _ = writeln!(io::stderr(), "{path} works again; {lost} entries are missing");
            }
            _ => {}
        }
        self.failing = outcome.is_err();
    }
}

fn ends_with_line_break(path: &Path) -> io::Result<bool> {
    let mut file = File::open(path)?;
    if file.metadata()?.len() == 0 {
        return Ok(true);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn lines(path: &Path) -> Vec<String> {
        let text = fs::read_to_string(path).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'), "{text:?}");
        text.lines().map(str::to_owned).collect()
    }

    fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
        range.map(|number| format!("entry {number}")).collect()
    }

    #[test]
    fn the_newest_are_kept_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/logs/errors.log");
        let mut file = ErrorFile::open(path.clone(), 10);
        for number in 0..1_000 {
            file.append(&format!("entry {number}"));
            let kept = lines(&path);
            assert!(kept.len() < 20, "{}", kept.len());
            assert!(kept.len() >= (number + 1).min(10));
            assert_eq!(kept, numbers(number + 1 - kept.len()..number + 1));
        }
        assert_eq!(file.lost(), 0);
        let files = fs::read_dir(path.parent().unwrap()).unwrap().count();
        assert_eq!(files, 1, "nothing is left beside it");
    }

    #[test]
    fn a_restart_trims_keeps_the_order_and_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("errors.log");
        for number in 0..15 {
            ErrorFile::open(path.clone(), 100).append(&format!("entry {number}"));
        }
        let mut file = ErrorFile::open(path.clone(), 10);
        assert_eq!(lines(&path), numbers(5..15));
        file.append("entry 15");
        assert_eq!(lines(&path), numbers(5..16));
    }

    #[test]
    fn a_line_that_a_crash_cut_off_does_not_swallow_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("errors.log");
        fs::write(&path, b"entry 0\n\nentry \xff cut").unwrap();
        ErrorFile::open(path.clone(), 10).append("entry 1");
        let bytes = fs::read(&path).unwrap();
        assert!(bytes.ends_with(b"cut\nentry 1\n"), "{bytes:?}");
    }

    #[test]
    fn a_file_or_folder_that_was_deleted_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("logs/errors.log");
        let mut file = ErrorFile::open(path.clone(), 10);
        file.append("entry 0");
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
        file.append("entry 1");
        assert_eq!(lines(&path), ["entry 1"]);
        assert_eq!(file.lost(), 0);
    }

    #[test]
    fn what_cannot_be_written_is_counted_and_nothing_breaks() {
        let folder = tempfile::tempdir().unwrap();
        let blocker = folder.path().join("logs");
        fs::write(&blocker, "a file where the folder should be").unwrap();
        let mut file = ErrorFile::open(blocker.join("errors.log"), 10);
        file.append("entry 0");
        file.append("entry 1");
        assert_eq!(file.lost(), 2);
        fs::remove_file(&blocker).unwrap();
        file.append("entry 2");
        assert_eq!(lines(file.path()), ["entry 2"]);
        assert_eq!(file.lost(), 2);
    }
}
