//! Logs: lines on stdout, JSON unless a person looks on at a terminal; warnings and errors also in
//! `<log.dir>/errors.log` (docs/architecture.md §9, docs/protocols/letshare.md §4 for the shape of that file).
//!
//! One layer writes both, so both say the same. It never waits: each of the two has a bounded queue and a thread
//! that writes (`tracing-appender`), so that a pipe which nobody reads, or a disk that hangs, holds up nobody but
//! that thread. What finds its queue full is dropped and counted, and the next line that fits says how many.
//!
//! Spans are not written: nothing here uses them. What must not be logged (tokens, query strings) is kept out where
//! events are made; here only the size and the characters of what others sent are bounded.

mod line;
#[cfg(test)]
mod tests;

use std::{
    io::{self, IsTerminal as _, Write},
    panic::PanicHookInfo,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
};

use thiserror::Error;
use tracing::{Event, Level, Subscriber};
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    layer::{Context, SubscriberExt as _},
    util::SubscriberInitExt as _,
};

use self::line::Line;
use super::error_file::ErrorFile;
use crate::{
    actors::metrics::LogFigures,
    clock::{Clock, OncePerSecond},
    config, limits,
};

/// The logs could not be set up.
#[derive(Debug, Error)]
pub enum LogsError {
    #[error("log.level: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    #[error("logging was set up before: {0}")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

/// How lines look on stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Json,
    /// For people.
    Plain,
}

/// Keeps the logs open. When it is dropped, lines that still wait are written, unless nobody reads them.
#[derive(Debug)]
pub struct Logs {
    errors_path: PathBuf,
    dropped: Dropped,
    /// That of `errors.log` first: nobody may be reading stdout.
    guards: Option<[WorkerGuard; 2]>,
}

impl Logs {
    /// Where warnings and errors are kept.
    pub fn errors_path(&self) -> &PathBuf {
        &self.errors_path
    }

    /// What reads the counts, for `/metrics`.
    pub fn dropped(&self) -> Dropped {
        self.dropped.clone()
    }
}

impl Drop for Logs {
    /// Dropping the guards waits for their threads. That happens on another thread, since a stdout that nobody reads
    /// must not hold up the exit.
    fn drop(&mut self) {
        let guards = self.guards.take();
        let (done, is_done) = mpsc::sync_channel(1);
        let flush = thread::Builder::new().spawn(move || {
            drop(guards);
            let _ = done.send(());
        });
        if flush.is_ok() {
            // Either way there is nothing more to wait for.
            let _ = is_done.recv_timeout(limits::LOG_LAST_LINES);
        }
    }
}

/// Counts the lines that were not written.
#[derive(Clone, Debug)]
pub struct Dropped {
    stdout: ErrorCounter,
    errors: ErrorCounter,
    /// Those that the disk refused.
    lost: Arc<AtomicU64>,
}

impl Dropped {
    pub fn read(&self) -> LogFigures {
        LogFigures {
            stdout_dropped: self.stdout.dropped_lines() as u64,
            errors_dropped: self.errors.dropped_lines() as u64 + self.lost.load(Ordering::Relaxed),
        }
    }
}

/// Makes this process log as `config` says, panics included. Once per process.
///
/// # Errors
/// When `log.level` is no filter (the configuration check refuses it earlier), or at the second call.
pub fn install(config: &config::Log, clock: Clock) -> Result<Logs, LogsError> {
    let form = if io::stdout().is_terminal() { Form::Plain } else { Form::Json };
    let (subscriber, logs) = subscriber(config, clock, io::stdout(), form)?;
    subscriber.try_init()?;
    // The hook of the standard library writes to stderr, and waits when nobody reads that.
    std::panic::set_hook(Box::new(log_panic));
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
    form: Form,
) -> Result<(impl Subscriber + Send + Sync + 'static, Logs), LogsError> {
    let filter = EnvFilter::builder().parse(directives(&config.level))?;
    let (out, out_guard) = queue("log to stdout", out);
    let stdout = Stdout { form, out };
    let beside = (stdout.clone(), clock.clone());
    let warn = move |text: String| {
        let (stdout, clock) = &beside;
        stdout.write(&Line::of_our_own(clock, text));
    };
    let errors_path = config.dir.join("errors.log");
    let file = ErrorFile::open(errors_path.clone(), config.max_entries, Box::new(warn));
    let lost = file.lost_counter();
    let (errors, errors_guard) = queue("log to errors.log", file);
    let dropped = Dropped { stdout: stdout.out.error_counter(), errors: errors.error_counter(), lost };
    let lines = Lines {
        clock,
        stdout,
        errors,
        dropped: dropped.clone(),
        reported: AtomicU64::new(0),
        reports: OncePerSecond::default(),
    };
    let subscriber = Registry::default().with(lines.with_filter(filter));
    Ok((subscriber, Logs { errors_path, dropped, guards: Some([errors_guard, out_guard]) }))
}

fn queue(thread: &str, writer: impl Write + Send + 'static) -> (NonBlocking, WorkerGuard) {
    NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(limits::LOG_LINES_WAITING)
        .thread_name(thread)
        .finish(writer)
}

/// What `log.level` means.
///
/// * A lone `debug` or `trace` is for our own code: nobody who asks for it wants every poll of mio, and
///   libraries print requests, with their query strings, at these levels.
/// * `actix_server` tells of its workers and its sockets at `info`; what matters of that our own lines say.
/// * `actix_http` is silent unless it is named. We end a response body with an error to make it close the
///   TCP connection after the close handshake (docs/goals.md §4), and it logs an error for each. What else it
///   logs as an error is about what one client sent; we count that ourselves.
fn directives(level: &str) -> String {
    let base = match level {
        "debug" | "trace" => format!("info,letshare_server={level}"),
        other => other.to_owned(),
    };
    let quiet = [("actix_server", "warn"), ("actix_http", "off")];
    let unnamed = quiet.iter().filter(|(library, _)| !base.contains(library));
    unnamed.fold(base.clone(), |all, (library, level)| format!("{all},{library}={level}"))
}

/// Panics go where everything else goes; with `RUST_BACKTRACE=1` also the way there.
fn log_panic(panic: &PanicHookInfo<'_>) {
    use std::backtrace::{Backtrace, BacktraceStatus};

    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let text = panic.payload_as_str().unwrap_or("(no text)");
    let backtrace = Backtrace::capture();
    let backtrace = match backtrace.status() {
        BacktraceStatus::Captured => format!("\n{backtrace}"),
        _ => String::new(),
    };
    tracing::error!("panicked at {place}: {text}{backtrace}");
}

#[derive(Clone, Debug)]
struct Stdout {
    form: Form,
    out: NonBlocking,
}

impl Stdout {
    fn write(&self, line: &Line) {
        put(
            &self.out,
            match self.form {
                Form::Json => line.json(),
                Form::Plain => line.plain(),
            },
        );
    }
}

/// Never waits and never fails: what finds no room is counted by the queue.
fn put(queue: &NonBlocking, mut line: String) {
    line.push('\n');
    let _ = queue.clone().write_all(line.as_bytes());
}

struct Lines {
    clock: Clock,
    stdout: Stdout,
    errors: NonBlocking,
    dropped: Dropped,
    /// Dropped lines that were reported already.
    reported: AtomicU64,
    reports: OncePerSecond,
}

impl Lines {
    fn write(&self, line: &Line) {
        self.stdout.write(line);
        if line.level() <= Level::WARN {
            put(&self.errors, line.json_of_errors());
        }
    }

    /// Says how many lines are missing. While the queue is full, that line finds no room either and is tried again
    /// later.
    fn report_dropped(&self) {
        let count = || {
            let LogFigures { stdout_dropped, errors_dropped } = self.dropped.read();
            stdout_dropped + errors_dropped
        };
        let (dropped, reported) = (count(), self.reported.load(Ordering::Relaxed));
        if dropped == reported || self.reports.allows(&self.clock).is_none() {
            return;
        }
        let text = format!("{} log lines are missing here: they came faster than they were taken", dropped - reported);
        self.write(&Line::of_our_own(&self.clock, text));
        if count() == dropped {
            self.reported.store(dropped, Ordering::Relaxed);
        }
    }
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.report_dropped();
        self.write(&Line::of(event, &self.clock));
    }
}
