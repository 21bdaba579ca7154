//! What is written for an event, where, and by how many at once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use std::{fs, thread};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tracing::{debug, error, info, subscriber::with_default, warn};

use super::*;
use crate::ids::Timestamp;

#[derive(Clone, Default)]
struct Screen(Arc<Mutex<Vec<u8>>>);

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn parsed(bytes: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(bytes).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What `level` lets through of `events`: stdout and errors.log.
fn logged(level: &str, events: impl FnOnce()) -> (Vec<Value>, Vec<Value>) {
    let folder = tempfile::tempdir().unwrap();
    let log = config::Log { level: level.into(), max_entries: 50, dir: folder.path().join("logs") };
    let screen = Screen::default();
    let clock = Clock::manual(Timestamp::from_millis(1_735_689_600_250));
    let (subscriber, logs) = subscriber(&log, clock, screen.clone(), Form::Json).unwrap();
    with_default(subscriber, events);
    let errors_path = logs.errors_path().clone();
    drop(logs);
    let shown = parsed(&screen.0.lock());
    (shown, parsed(&fs::read(errors_path).unwrap()))
}

#[test]
fn warnings_and_errors_go_to_both_the_rest_to_stdout() {
    let (shown, kept) = logged("info", || {
        debug!("no");
        info!(port = 8080, tls = false, "listening");
        warn!(peer = "127.0.0.1", "odd");
        error!(error = %io::Error::other("disk full"), "lost");
    });
    assert_eq!(shown.len(), 3);
    assert_eq!(
        shown[0],
        json!({
            "timestamp": "2025-01-01T00:00:00.250Z",
            "level": "info",
            "target": "letshare_server::ops::logs::tests",
            "message": "listening",
            "fields": {"port": 8080, "tls": false},
        })
    );
    let target = "letshare_server::ops::logs::tests";
    let entry = |level: &str, message: &str, name: &str, value: &str| {
        json!({
            "timestamp": "2025-01-01T00:00:00.250Z", "level": level, "message": message,
            "fields": {name: value, "target": target},
        })
    };
    assert_eq!(kept, [entry("warn", "odd", "peer", "127.0.0.1"), entry("error", "lost", "error", "disk full"),]);
}

#[test]
fn control_characters_are_escaped_and_fields_cut() {
    let long = "长".repeat(100);
    let (shown, _) = logged("info", || {
        info!(user = "a\n{\"level\":\"error\"}\u{1b}[2J\u{9b}2J", room = %long, "{}\r\nend", "m".repeat(300));
    });
    assert_eq!(shown.len(), 1);
    assert_eq!(shown[0]["fields"]["user"], "a\\n{\"level\":\"error\"}\\u{1b}[2J\\u{9b}2J");
    assert_eq!(shown[0]["fields"]["room"], format!("{}…", "长".repeat(64)));
    assert_eq!(shown[0]["message"], format!("{}\\r\\nend", "m".repeat(300)));
}

#[test]
fn libraries_stay_quiet_unless_asked() {
    let events = || {
        debug!("ours");
        debug!(target: "mio::poll", "noise");
        error!(target: "actix_http::h1::dispatcher", "Response payload stream error: ours on purpose");
    };
    for (level, lines) in [("debug", 1), ("info", 0), ("off", 0), ("info,actix_http=error", 1), ("debug,mio=debug", 2)]
    {
        assert_eq!(logged(level, events).0.len(), lines, "{level}");
    }
}

#[test]
fn many_threads_write_whole_lines_and_each_keeps_its_order() {
    let folder = tempfile::tempdir().unwrap();
    let log = config::Log { level: "warn".into(), max_entries: 100, dir: folder.path().to_owned() };
    let screen = Screen::default();
    let clock = Clock::manual(Timestamp::from_millis(0));
    let (subscriber, logs) = subscriber(&log, clock, screen.clone(), Form::Json).unwrap();
    let dispatch = tracing::Dispatch::new(subscriber);
    thread::scope(|scope| {
        for writer in 0..4_u64 {
            let dispatch = &dispatch;
            scope.spawn(move || {
                tracing::dispatcher::with_default(dispatch, || {
                    for number in 0..250_u64 {
                        warn!(writer, number, "line");
                    }
                });
            });
        }
    });
    let (errors_path, dropped) = (logs.errors_path().clone(), logs.dropped());
    drop(logs);
    let shown = parsed(&screen.0.lock());
    assert_eq!(shown.len(), 1_000);
    let kept = parsed(&fs::read(errors_path).unwrap());
    assert_eq!(kept.len(), 100);
    for writer in 0..4_u64 {
        let numbers: Vec<u64> = kept
            .iter()
            .filter(|line| line["fields"]["writer"] == writer)
            .map(|line| line["fields"]["number"].as_u64().unwrap())
            .collect();
        assert!(numbers.is_sorted(), "{numbers:?}");
    }
    assert_eq!(dropped.read(), LogFigures::default());
}

#[test]
fn a_folder_that_cannot_be_used_does_not_stop_stdout() {
    let folder = tempfile::tempdir().unwrap();
    let blocker = folder.path().join("logs");
    fs::write(&blocker, "").unwrap();
    let log = config::Log { level: "info".into(), max_entries: 5, dir: blocker };
    let screen = Screen::default();
    let clock = Clock::manual(Timestamp::from_millis(0));
    let (subscriber, logs) = subscriber(&log, clock, screen.clone(), Form::Json).unwrap();
    with_default(subscriber, || error!("still told"));
    let dropped = logs.dropped();
    drop(logs);
    let shown = parsed(&screen.0.lock());
    let told = shown[0]["message"].as_str().unwrap();
    assert!(told.starts_with("cannot write ") && told.contains("errors.log"), "{told}");
    assert_eq!(shown[1]["message"], "still told");
    assert_eq!(dropped.read().errors_dropped, 1);
}

/// A screen that takes nothing until it is told to.
#[derive(Clone, Default)]
struct Stuck {
    screen: Screen,
    gate: Arc<(Mutex<bool>, parking_lot::Condvar)>,
}

impl Stuck {
    fn open(&self) {
        *self.gate.0.lock() = true;
        self.gate.1.notify_all();
    }
}

impl Write for Stuck {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (is_open, opened) = &*self.gate;
        opened.wait_while(&mut is_open.lock(), |is_open| !*is_open);
        self.screen.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// findings B11: a stdout that nobody reads holds nobody up; what found no room is counted, and told as soon as a line
/// fits again.
#[test]
fn a_stuck_stdout_holds_nobody_up_and_what_is_missing_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let log = config::Log { level: "info".into(), max_entries: 5, dir: folder.path().to_owned() };
    let stuck = Stuck::default();
    let clock = Clock::manual(Timestamp::from_millis(0));
    let (subscriber, logs) = subscriber(&log, clock.clone(), stuck.clone(), Form::Json).unwrap();
    let dropped = logs.dropped();
    with_default(subscriber, || {
        for number in 0..limits::LOG_LINES_WAITING + 100 {
            info!(number, "line");
        }
        let missing = dropped.read().stdout_dropped;
        assert!((99..=101).contains(&missing), "{missing}");
        stuck.open();
        let has_room = || stuck.screen.0.lock().iter().filter(|byte| **byte == b'\n').count() > 1_000;
        while !has_room() {
            thread::yield_now();
        }
        clock.advance(std::time::Duration::from_secs(2));
        info!("after");
    });
    drop(logs);
    let shown = parsed(&stuck.screen.0.lock());
    let [.., told, after] = &shown[..] else { panic!("{} lines", shown.len()) };
    assert_eq!(after["message"], "after");
    let missing = dropped.read().stdout_dropped;
    assert_eq!(
        told["message"].as_str().unwrap(),
        format!("{missing} log lines are missing here: they came faster than they were taken")
    );
}

/// findings P11: on a terminal lines are for people.
#[test]
fn on_a_terminal_lines_are_plain_text() {
    let folder = tempfile::tempdir().unwrap();
    let log = config::Log { level: "info".into(), max_entries: 5, dir: folder.path().to_owned() };
    let screen = Screen::default();
    let clock = Clock::manual(Timestamp::from_millis(1_735_689_600_250));
    let (subscriber, logs) = subscriber(&log, clock, screen.clone(), Form::Plain).unwrap();
    with_default(subscriber, || {
        info!(address = "127.0.0.1:8080", tls = false, why = "two words", "listening");
        warn!("a \u{1b}[2J");
    });
    drop(logs);
    let shown = String::from_utf8(screen.0.lock().clone()).unwrap();
    let expected = "2025-01-01T00:00:00.250Z  info  listening  address=127.0.0.1:8080  tls=false  why=\"two words\"\n\
                    2025-01-01T00:00:00.250Z  warn  a \\u{1b}[2J\n";
    assert_eq!(shown, expected);
}
