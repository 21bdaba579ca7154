//! Logs: JSON lines on stdout; warnings and errors also in `<log.dir>/errors.log` (ARCHITECTURE §9,
//! protocols/letshare.md §4 for the shape of that file).
//!
//! One layer writes both, so both say the same. Spans are not written: nothing here uses them. What
//! must not be logged (tokens, query strings) is kept out where events are made; here only the size
//! and the characters of what others sent are bounded.

use std::{
    fmt::{self, Write as _},
    io::{self, Write},
    path::PathBuf,
    sync::Arc,
};

use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use thiserror::Error;
use tracing::{Event, Level, Subscriber, field::Field};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    layer::{Context, SubscriberExt as _},
    util::SubscriberInitExt as _,
};

use super::error_file::ErrorFile;
use crate::{clock::Clock, config};

/// Of a text that a client may have sent (GOALS §6: log injection).
const FIELD_CHARS: usize = 64;
/// Of the field `error`: those texts are made by us and the libraries.
const ERROR_CHARS: usize = 512;

/// The logs could not be set up.
#[derive(Debug, Error)]
pub enum LogsError {
    #[error("log.level: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    #[error("logging was set up before: {0}")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

/// A hold on the logs. Lines are written at once, so there is nothing to flush when it goes.
#[derive(Clone, Debug)]
pub struct Logs {
    errors: Arc<Mutex<ErrorFile>>,
}

impl Logs {
    /// Where warnings and errors are kept.
    pub fn errors_path(&self) -> PathBuf {
        self.errors.lock().path().to_owned()
    }

    /// Warnings and errors that are missing in the file, for instance because the disk was full.
    pub fn errors_lost(&self) -> u64 {
        self.errors.lock().lost()
    }
}

/// Makes this process log as `config` says. Once per process.
///
/// # Errors
/// When `log.level` is no filter (the configuration check refuses it earlier), or at the second call.
pub fn install(config: &config::Log, clock: Clock) -> Result<Logs, LogsError> {
    let (subscriber, logs) = subscriber(config, clock, io::stdout())?;
    subscriber.try_init()?;
    Ok(logs)
}

/// The same without making it the one of the process; `out` takes the place of stdout.
///
/// # Errors
/// When `log.level` is no filter.
pub fn subscriber(
    config: &config::Log,
    clock: Clock,
    out: impl Write + Send + 'static,
) -> Result<(impl Subscriber + Send + Sync + 'static, Logs), LogsError> {
    let filter = EnvFilter::builder().parse(directives(&config.level))?;
    let file = ErrorFile::open(config.dir.join("errors.log"), config.max_entries);
    let errors = Arc::new(Mutex::new(file));
    let layer = JsonLines {
        clock,
        out: Mutex::new(out),
        errors: Arc::clone(&errors),
    };
    let subscriber = Registry::default().with(layer.with_filter(filter));
    Ok((subscriber, Logs { errors }))
}

/// What `log.level` means.
///
/// * A lone `debug` or `trace` is for our own code: nobody who asks for it wants every poll of mio, and
///   libraries print requests, with their query strings, at these levels.
/// * `actix_http` is silent unless it is named. We end a response body with an error to make it close the
///   TCP connection after the close handshake (GOALS §4), and it logs an error for each. What else it
///   logs as an error is about what one client sent; we count that ourselves.
fn directives(level: &str) -> String {
    let base = match level {
        "debug" | "trace" => format!("info,letshare_server={level}"),
        other => other.to_owned(),
    };
    if base.contains("actix_http") {
        base
    } else {
        format!("{base},actix_http=off")
    }
}

struct JsonLines<W> {
    clock: Clock,
    out: Mutex<W>,
    errors: Arc<Mutex<ErrorFile>>,
}

impl<S: Subscriber, W: Write + Send + 'static> Layer<S> for JsonLines<W> {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut entry = Entry::default();
        event.record(&mut entry);
        let level = *event.metadata().level();
        let target = entry
            .log_target
            .unwrap_or_else(|| event.metadata().target().to_owned());
        let timestamp = rfc3339(&self.clock);
        let line = json!({
            "timestamp": timestamp,
            "level": word(level),
            "target": target,
            "message": entry.message,
            "fields": entry.fields,
        });
        // A closed stdout must not end the server, and there is no better place to tell it.
        let _ = writeln!(self.out.lock(), "{line}");
        if level <= Level::WARN {
            let mut fields = entry.fields;
            fields.insert("target".into(), target.into());
            let line = json!({
                "timestamp": timestamp,
                "level": word(level),
                "message": entry.message,
                "fields": fields,
            });
            self.errors.lock().append(&line.to_string());
        }
    }
}

fn rfc3339(clock: &Clock) -> String {
    let millis = i64::try_from(clock.now().millis()).unwrap_or(i64::MAX);
    let time = jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX);
    format!("{time:.3}")
}

fn word(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

/// The fields of one event.
#[derive(Default)]
struct Entry {
    message: String,
    /// The target of a record that came through the `log` crate.
    log_target: Option<String>,
    fields: Map<String, Value>,
}

impl Entry {
    fn text(&mut self, field: &Field, text: &str) {
        match field.name() {
            "message" => self.message = clean(text, usize::MAX),
            "log.target" => self.log_target = Some(clean(text, FIELD_CHARS)),
            name if name.starts_with("log.") => {}
            "error" => self.put(field, clean(text, ERROR_CHARS)),
            _ => self.put(field, clean(text, FIELD_CHARS)),
        }
    }

    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        if !field.name().starts_with("log.") {
            self.fields.insert(field.name().to_owned(), value.into());
        }
    }
}

impl tracing::field::Visit for Entry {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = String::new();
        // Writing to a String fails only when the value's own Debug does.
        let _ = write!(text, "{value:?}");
        self.text(field, &text);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.text(field, &value.to_string());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }
}

/// JSON escapes only what is below U+0020; terminals also obey U+0080 to U+009F.
fn clean(text: &str, max_chars: usize) -> String {
    let mut clean = String::with_capacity(text.len().min(max_chars));
    for (index, c) in text.chars().enumerate() {
        if index == max_chars {
            clean.push('…');
            break;
        }
        if c.is_control() {
            clean.extend(c.escape_default());
        } else {
            clean.push(c);
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::{fs, thread};

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
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// What `level` lets through of `events`: stdout and errors.log.
    fn logged(level: &str, events: impl FnOnce()) -> (Vec<Value>, Vec<Value>) {
        let folder = tempfile::tempdir().unwrap();
        let log = config::Log {
            level: level.into(),
            max_entries: 50,
            dir: folder.path().join("logs"),
        };
        let screen = Screen::default();
        let clock = Clock::manual(Timestamp::from_millis(1_735_689_600_250));
        let (subscriber, logs) = subscriber(&log, clock, screen.clone()).unwrap();
        with_default(subscriber, events);
        let shown = parsed(&screen.0.lock());
        (shown, parsed(&fs::read(logs.errors_path()).unwrap()))
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
        assert_eq!(
            kept,
            [
                entry("warn", "odd", "peer", "127.0.0.1"),
                entry("error", "lost", "error", "disk full"),
            ]
        );
    }

    #[test]
    fn control_characters_are_escaped_and_fields_cut() {
        let long = "长".repeat(100);
        let (shown, _) = logged("info", || {
            info!(user = "a\n{\"level\":\"error\"}\u{1b}[2J\u{9b}2J", room = %long, "{}\r\nend", "m".repeat(300));
        });
        assert_eq!(shown.len(), 1);
        assert_eq!(
            shown[0]["fields"]["user"],
            "a\\n{\"level\":\"error\"}\\u{1b}[2J\\u{9b}2J"
        );
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
        for (level, lines) in [
            ("debug", 1),
            ("info", 0),
            ("off", 0),
            ("info,actix_http=error", 1),
            ("debug,mio=debug", 2),
        ] {
            assert_eq!(logged(level, events).0.len(), lines, "{level}");
        }
    }

    #[test]
    fn many_threads_write_whole_lines_and_each_keeps_its_order() {
        let folder = tempfile::tempdir().unwrap();
        let log = config::Log {
            level: "warn".into(),
            max_entries: 100,
            dir: folder.path().to_owned(),
        };
        let screen = Screen::default();
        let clock = Clock::manual(Timestamp::from_millis(0));
        let (subscriber, logs) = subscriber(&log, clock, screen.clone()).unwrap();
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
        let shown = parsed(&screen.0.lock());
        assert_eq!(shown.len(), 1_000);
        let kept = parsed(&fs::read(logs.errors_path()).unwrap());
        assert!((100..200).contains(&kept.len()), "{}", kept.len());
        for writer in 0..4_u64 {
            let numbers: Vec<u64> = kept
                .iter()
                .filter(|line| line["fields"]["writer"] == writer)
                .map(|line| line["fields"]["number"].as_u64().unwrap())
                .collect();
            assert!(numbers.is_sorted(), "{numbers:?}");
        }
        assert_eq!(logs.errors_lost(), 0);
    }

    #[test]
    fn a_folder_that_cannot_be_used_does_not_stop_stdout() {
        let folder = tempfile::tempdir().unwrap();
        let blocker = folder.path().join("logs");
        fs::write(&blocker, "").unwrap();
        let log = config::Log {
            level: "info".into(),
            max_entries: 5,
            dir: blocker,
        };
        let screen = Screen::default();
        let clock = Clock::manual(Timestamp::from_millis(0));
        let (subscriber, logs) = subscriber(&log, clock, screen.clone()).unwrap();
        with_default(subscriber, || error!("still told"));
        assert_eq!(parsed(&screen.0.lock())[0]["message"], "still told");
        assert_eq!(logs.errors_lost(), 1);
    }
}
