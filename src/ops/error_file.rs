//! A file of lines that keeps its newest ones: `logs/errors.log` (docs/protocols/letshare.md §4).
//!
//! The file never holds more than that. While there is room lines are appended; then the newest are written to a
//! second file that takes the first one's place, so that whoever reads, and a crash, finds the old file or the new one,
//! in order. The file is opened each time: warnings are rare, and a file that somebody moved or deleted comes back by
//! itself.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io::{self, BufRead as _, BufReader, BufWriter, Read as _, Seek as _, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::limits;

/// Takes what the operator should know about the file itself.
pub type Warn = Box<dyn FnMut(String) + Send>;

/// The one writer of the file. As [`Write`] it takes one whole line at a time, and writes them when it is flushed; it
/// never fails: what the disk refuses is lost, and counted.
pub struct ErrorFile {
    path: PathBuf,
    max_entries: usize,
    /// Lines in the file, as far as this writer knows.
    entries: usize,
    /// Lines that are not in the file yet, each with its line break.
    pending: VecDeque<Vec<u8>>,
    /// Whether the last attempt failed, so that there is one warning of a full disk.
    failing: bool,
    lost: Arc<AtomicU64>,
    warn: Warn,
}

impl ErrorFile {
    /// Makes the folder, ends a line that a crash cut off and trims what an earlier run left. When the folder cannot be
    /// used there is a warning, and the lines are lost and counted.
    pub fn open(path: PathBuf, max_entries: usize, warn: Warn) -> Self {
        let mut file = Self {
            path,
            max_entries: max_entries.max(1),
            entries: 0,
            pending: VecDeque::new(),
            failing: false,
            lost: Arc::default(),
            warn,
        };
        let prepared = file.prepare();
        file.note(prepared);
        file
    }

    /// Counts the lines that could not be written.
    pub fn lost_counter(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.lost)
    }

    /// Writes what is pending.
    fn commit(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let written =
            if self.entries + self.pending.len() <= self.max_entries { self.append() } else { self.rewrite() };
        if written.is_err() {
            self.lost.fetch_add(self.pending.len() as u64, Ordering::Relaxed);
        }
        self.pending.clear();
        self.note(written);
    }

    fn append(&mut self) -> io::Result<()> {
        let lines = self.pending.make_contiguous().concat();
        // One write: lines of two processes do not mix.
        self.file()?.write_all(&lines)?;
        self.entries += self.pending.len();
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
        self.rewrite()
    }

    /// Keeps the newest entries of the file and of what is pending, oldest first; blank lines go.
    fn rewrite(&mut self) -> io::Result<()> {
        let mut newest: VecDeque<Vec<u8>> = VecDeque::new();
        let mut seen = 0;
        let mut reader = BufReader::new(self.reader()?);
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
        if seen == newest.len() && self.pending.is_empty() {
            self.entries = seen;
            return Ok(());
        }
        newest.extend(self.pending.iter().cloned());
        newest.drain(..newest.len().saturating_sub(self.max_entries));
        let beside = self.path.with_extension("log.new");
        let mut writer = BufWriter::new(File::create(&beside)?);
        for line in &newest {
            writer.write_all(line)?;
        }
        writer.flush()?;
        drop(writer);
        fs::rename(&beside, &self.path)?;
        self.entries = newest.len();
        Ok(())
    }

    /// The file, open for reading; an empty one when it is gone.
    fn reader(&self) -> io::Result<File> {
        match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.file()?;
                File::open(&self.path)
            }
            opened => opened,
        }
    }

    /// Warns of the first of several failures in a row, and says when the file works again.
    fn note(&mut self, outcome: io::Result<()>) {
        let path = self.path.display();
        match (&outcome, self.failing) {
            (Err(error), false) => {
                (self.warn)(format!("cannot write {path}: {error}; warnings and errors go to stdout only"));
            }
            (Ok(()), true) => {
                let lost = self.lost.load(Ordering::Relaxed);
                (self.warn)(format!("{path} works again; {lost} entries are missing"));
            }
            _ => {}
        }
        self.failing = outcome.is_err();
    }
}

impl Write for ErrorFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.pending.push_back(line.to_vec());
        if self.pending.len() >= limits::LOG_LINES_AT_ONCE {
            self.commit();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.commit();
        Ok(())
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

    fn open(path: &Path, max_entries: usize) -> ErrorFile {
        ErrorFile::open(path.to_owned(), max_entries, Box::new(drop))
    }

    impl ErrorFile {
        fn add(&mut self, line: &str) {
            self.write_all(format!("{line}\n").as_bytes()).unwrap();
            self.flush().unwrap();
        }

        fn lost(&self) -> u64 {
            self.lost.load(Ordering::Relaxed)
        }
    }

    fn lines(path: &Path) -> Vec<String> {
        let text = fs::read_to_string(path).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'), "{text:?}");
        text.lines().map(str::to_owned).collect()
    }

    fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
        range.map(|number| format!("entry {number}")).collect()
    }

    /// findings O11: the file has the newest entries, and no more of them at any moment.
    #[test]
    fn the_newest_are_kept_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/logs/errors.log");
        let mut file = open(&path, 10);
        for number in 0..1_000 {
            file.add(&format!("entry {number}"));
            let kept = lines(&path);
            assert_eq!(kept.len(), (number + 1).min(10));
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
            open(&path, 100).add(&format!("entry {number}"));
        }
        let mut file = open(&path, 10);
        assert_eq!(lines(&path), numbers(5..15));
        file.add("entry 15");
        assert_eq!(lines(&path), numbers(6..16));
    }

    /// findings O11: the same when many come at once, more than the file may hold included.
    #[test]
    fn many_at_once_are_no_more_than_the_newest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("errors.log");
        let mut file = open(&path, 10);
        for (from, to) in [(0_usize, 7), (7, 12), (12, 40), (40, 1_000)] {
            for number in from..to {
                file.write_all(format!("entry {number}\n").as_bytes()).unwrap();
            }
            file.flush().unwrap();
            assert_eq!(lines(&path), numbers(to.saturating_sub(10)..to));
        }
    }

    #[test]
    fn a_line_that_a_crash_cut_off_does_not_swallow_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("errors.log");
        fs::write(&path, b"entry 0\n\nentry \xff cut").unwrap();
        open(&path, 10).add("entry 1");
        let bytes = fs::read(&path).unwrap();
        assert!(bytes.ends_with(b"cut\nentry 1\n"), "{bytes:?}");
    }

    #[test]
    fn a_file_or_folder_that_was_deleted_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("logs/errors.log");
        let mut file = open(&path, 10);
        file.add("entry 0");
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
        file.add("entry 1");
        assert_eq!(lines(&path), ["entry 1"]);
        assert_eq!(file.lost(), 0);
    }

    #[test]
    fn what_cannot_be_written_is_counted_and_nothing_breaks() {
        let folder = tempfile::tempdir().unwrap();
        let blocker = folder.path().join("logs");
        fs::write(&blocker, "a file where the folder should be").unwrap();
        let mut file = open(&blocker.join("errors.log"), 10);
        file.add("entry 0");
        file.add("entry 1");
        assert_eq!(file.lost(), 2);
        fs::remove_file(&blocker).unwrap();
        file.add("entry 2");
        assert_eq!(lines(&file.path), ["entry 2"]);
        assert_eq!(file.lost(), 2);
    }
}
