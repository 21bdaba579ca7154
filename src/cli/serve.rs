//! The server as a process: logs, start, signals, end.

use std::{
    io::{self, Write as _},
    path::{self, Path},
    sync::Arc,
    thread,
};

use actix_web::rt::{System, SystemRunner};
use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    app::{self, Prepared},
    cli,
    clock::Clock,
    config::{self, Complaints, Config, Environment, Loaded, Protocol, edited_defaults, unused_files},
    edge::admission::broken_promises,
    limits,
    ops::{
        logs::{self, Dropped},
        process::raise_descriptor_limit,
    },
};

/// Reads the settings again, from where they came from at the start.
pub type ReadAgain<'a> = &'a dyn Fn() -> Result<Prepared, Complaints>;

/// Serves until SIGTERM or SIGINT, then drains. A second signal skips the waits. SIGHUP reads the settings again.
///
/// # Errors
/// When the server cannot start.
pub fn run(
    prepared: Prepared,
    environment: &Environment,
    read_again: ReadAgain<'_>,
    Process { system, signals }: Process,
) -> anyhow::Result<()> {
    let clock = Clock::system();
    let loaded = &prepared.loaded;
    let logs = logs::install(&loaded.config.log, clock.clone())?;
    if let Err(error) = raise_descriptor_limit() {
        tracing::warn!(%error, "the soft limit of open files cannot be raised to the hard one");
    }
    for line in first_lines(loaded) {
        tracing::info!("{line}");
    }
    for path in unused_files(environment, loaded) {
        tracing::warn!(
            "{} is not used: settings are read from configs/{}.yaml in the working directory, and where there is none \
             from the copy that is built in",
            path.display(),
            loaded.mode
        );
    }
    if let Some(path) = edited_defaults(environment) {
        let mode = &loaded.mode;
        tracing::warn!(
            "{} was changed, and is not read: what is to change goes into configs/{mode}.yaml",
            path.display()
        );
    }
    system.block_on(serve(prepared, clock, logs.dropped(), read_again, signals))
}

async fn serve(
    prepared: Prepared,
    clock: Clock,
    log: Dropped,
    read_again: ReadAgain<'_>,
    mut signals: Signals,
) -> anyhow::Result<()> {
    let mut loaded = prepared.loaded.clone();
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let token = cli::ready_token(&loaded.config, &clock)?;
    let running = Arc::new(app::launch(prepared, clock, Some(log))?);
    for warning in broken_promises(&loaded.config) {
        tracing::warn!("{warning}");
    }
    tracing::info!(
        protocols = running.listening.first().map(|(_, listener)| listener.names()),
        address = %running.address,
        tls_address = running.tls_address.map(tracing::field::display),
        mode = loaded.mode,
        version = env!("CARGO_PKG_VERSION"),
        "listening"
    );
    for (address, listener) in running.listening.iter().skip(1) {
        tracing::info!(%address, protocols = listener.names(), "also listening");
    }
    log_relay(&loaded, &running);
    if loaded.mode == "local" {
        // Not to stdout, which is for logs alone, and not into a log, since it holds a token.
        let banner = cli::banner(
            &loaded.config,
            running.address,
            running.address_of(Protocol::Console),
            &token,
            running.local_key.as_ref(),
        );
        // By a thread of its own: a stderr that nobody reads holds up nobody else.
        let write = move || {
            // The lines of the start are written by a thread of their own; these come last.
            thread::sleep(limits::BANNER_DELAY);
            drop(writeln!(io::stderr(), "{banner}"));
        };
        if let Err(error) = thread::Builder::new().name("banner".to_owned()).spawn(write) {
            tracing::warn!(%error, "the lines for the terminal cannot be written");
        }
    }

    while signals.next().await == Asked::ToReload {
        running.reload(&mut loaded, read_again());
    }
    let hurry = async {
        while signals.next().await == Asked::ToReload {}
        tracing::warn!("second signal: not waiting for connections");
    };
    running.drain(hurry).await;
    tracing::info!("stopped");
    Ok(())
}

/// What users of the older relay look for at its start (`docs/protocols/relay.md §1`).
fn log_relay(loaded: &Loaded, running: &app::Running) {
    let Some(address) = running.address_of(Protocol::Relay) else {
        return;
    };
    let relay = &loaded.config.relay;
    tracing::info!(
        "relay listening on http://{address}, WebSocket path = {}, Push API path = {}",
        relay.ws_path,
        relay.push_path
    );
    let settings = loaded.settings.iter();
    for setting in settings.filter(|setting| setting.key.starts_with("relay.")) {
        let config::Setting { key, shown, origin, .. } = setting;
        tracing::info!("{key} = {shown}, set by {origin}");
    }
}

/// Where settings, data and logs are.
fn first_lines(loaded: &Loaded) -> [String; 2] {
    let Config { data, log, .. } = &loaded.config;
    let whole = |path: &Path| path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string();
    let from = match &loaded.file {
        Some(path) => path.display().to_string(),
        None => format!("the built-in configs/{}.yaml", loaded.mode),
    };
    [
        format!("MODE {}: settings from {from}, and what LETSHARE_ variables and flags override", loaded.mode),
        format!("data in {}, warnings and errors in {}", whole(&data.dir), whole(&log.dir.join("errors.log"))),
    ]
}

/// A process that has not read its settings yet. It listens for signals already, so that none of them ends it in the
/// middle of the start.
pub struct Process {
    system: SystemRunner,
    signals: Signals,
}

impl Process {
    /// # Errors
    /// When signals cannot be listened for.
    pub fn begin() -> anyhow::Result<Self> {
        let system = System::new();
        let signals = system.block_on(async { Signals::listen() })?;
        Ok(Self { system, signals })
    }
}

/// The signals that mean something to a server. From the first moment on none of them ends it at once.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    ToReload,
    ToEnd,
}

impl Signals {
    fn listen() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::ToEnd,
            _ = self.interrupt.recv() => Asked::ToEnd,
            _ = self.hangup.recv() => Asked::ToReload,
        }
    }
}
