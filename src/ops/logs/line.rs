//! One line of the logs, and its three looks: JSON for stdout, JSON for `errors.log`, plain text for people.

use std::fmt::{self, Write as _};

use serde_json::{Map, Value, json};
use tracing::{Event, Level, field::Field};

use crate::{clock::Clock, limits};

/// What is to be logged.
pub struct Line {
    timestamp: String,
    level: Level,
    target: String,
    message: String,
    fields: Map<String, Value>,
}

impl Line {
    pub fn of(event: &Event<'_>, clock: &Clock) -> Self {
        let mut read = EventFields::default();
        event.record(&mut read);
        let EventFields { message, log_target, fields } = read;
        let target = log_target.unwrap_or_else(|| event.metadata().target().to_owned());
        Self { timestamp: rfc3339(clock), level: *event.metadata().level(), target, message, fields }
    }

    /// A warning that the logs give about themselves.
    pub fn of_our_own(clock: &Clock, message: String) -> Self {
        let target = "letshare_server::ops::logs".to_owned();
        Self { timestamp: rfc3339(clock), level: Level::WARN, target, message, fields: Map::new() }
    }

    pub const fn level(&self) -> Level {
        self.level
    }

    pub fn json(&self) -> String {
        let Self { timestamp, level, target, message, fields } = self;
        let line = json!({
            "timestamp": timestamp, "level": name_of(*level), "target": target, "message": message, "fields": fields,
        });
        line.to_string()
    }

    /// In the shape of the older server, which has no target of its own.
    pub fn json_of_errors(&self) -> String {
        let Self { timestamp, level, target, message, fields } = self;
        let mut fields = fields.clone();
        fields.insert("target".into(), target.clone().into());
        let line = json!({"timestamp": timestamp, "level": name_of(*level), "message": message, "fields": fields});
        line.to_string()
    }

    /// `2025-01-01T00:00:00.250Z  info  listening  address=127.0.0.1:8080`
    pub fn plain(&self) -> String {
        let Self { timestamp, level, message, fields, .. } = self;
        let mut line = format!("{timestamp} {:>5}  {message}", name_of(*level));
        for (name, value) in fields {
            let separator = if line.ends_with(|c: char| c.is_whitespace()) { "" } else { "  " };
            // Writing to a String does not fail.
            let _ = match value {
                Value::String(text) if !text.contains([' ', '"']) => write!(line, "{separator}{name}={text}"),
                value => write!(line, "{separator}{name}={value}"),
            };
        }
        line
    }
}

fn rfc3339(clock: &Clock) -> String {
    let millis = i64::try_from(clock.now().millis()).unwrap_or(i64::MAX);
    let time = jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX);
    format!("{time:.3}")
}

fn name_of(level: Level) -> &'static str {
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
struct EventFields {
    message: String,
    /// The target of a record that came through the `log` crate.
    log_target: Option<String>,
    fields: Map<String, Value>,
}

impl EventFields {
    fn text(&mut self, field: &Field, text: &str) {
        match field.name() {
            "message" => self.message = clean(text, limits::LOG_MESSAGE_CHARS),
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

impl tracing::field::Visit for EventFields {
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
