//! Logs: JSON lines on stdout; warnings and errors also in `<log.dir>/errors.log` (docs/architecture.md §9,
//! docs/protocols/letshare.md §4 for the shape of that file).
//!
//! One layer writes both, so both say the same. Spans are not written: nothing here uses them. What
//! must not be logged (tokens, query strings) is kept out where events are made; here only the size
//! and the characters of what others sent are bounded.

#[cfg(test)]
mod tests;

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
use crate::{clock::Clock, config, limits};

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
    let layer = JsonLines { clock, out: Mutex::new(out), errors: Arc::clone(&errors) };
    let subscriber = Registry::default().with(layer.with_filter(filter));
    Ok((subscriber, Logs { errors }))
}

/// What `log.level` means.
///
/// * A lone `debug` or `trace` is for our own code: nobody who asks for it wants every poll of mio, and
///   libraries print requests, with their query strings, at these levels.
/// * `actix_http` is silent unless it is named. We end a response body with an error to make it close the
///   TCP connection after the close handshake (docs/goals.md §4), and it logs an error for each. What else it
///   logs as an error is about what one client sent; we count that ourselves.
fn directives(level: &str) -> String {
    let base = match level {
        "debug" | "trace" => format!("info,letshare_server={level}"),
        other => other.to_owned(),
    };
    if base.contains("actix_http") { base } else { format!("{base},actix_http=off") }
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
        let target = entry.log_target.unwrap_or_else(|| event.metadata().target().to_owned());
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
            "log.target" => self.log_target = Some(clean(text, limits::LOG_FIELD_CHARS)),
            name if name.starts_with("log.") => {}
            "error" => self.put(field, clean(text, limits::LOG_ERROR_CHARS)),
            _ => self.put(field, clean(text, limits::LOG_FIELD_CHARS)),
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
