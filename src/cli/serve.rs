//! The server as a process: logs, start, signals, end.

use std::{
    io::{self, Write as _},
    sync::Arc,
};

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    app, cli,
    clock::Clock,
    config::{self, Listener, Loaded, Protocol},
    ops::logs,
};

/// Serves until SIGTERM or SIGINT, then drains. A second signal skips the wait.
///
/// # Errors
/// When the server cannot start.
pub fn run(mut loaded: Loaded) -> anyhow::Result<()> {
    let clock = Clock::system();
    let _logs = logs::install(&loaded.config.log, clock.clone())?;
    // Not the key itself.
    match loaded.write_relay_file() {
        Ok(Some(path)) => tracing::warn!(
            path = %path.display(),
            "a configuration of the relay was written, with the key that back ends push with"
        ),
        Ok(None) => {}
        Err(error) => tracing::error!(
            %error,
            "config.json of the relay cannot be written: unless RELAY_API_KEY is set, nobody knows the key"
        ),
    }
    actix_web::rt::System::new().block_on(serve(loaded, clock))
}

async fn serve(loaded: Loaded, clock: Clock) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let token = cli::ready_token(&loaded.config, &clock)?;
    let running = Arc::new(app::start(&loaded.config, clock)?);
    let protocols = |listener: &Listener| {
        let names = listener.protocols.iter().map(ToString::to_string);
        names.collect::<Vec<_>>().join(", ")
    };
    tracing::info!(
        address = %running.address,
        tls_address = running.tls_address.map(tracing::field::display),
        protocols = running.listening.first().map(|(_, listener)| protocols(listener)),
        mode = loaded.mode,
        version = env!("CARGO_PKG_VERSION"),
        "listening"
    );
    for (address, listener) in running.listening.iter().skip(1) {
        tracing::info!(%address, protocols = protocols(listener), "also listening");
    }
    tell_relay(&loaded, &running);
    if loaded.mode == "local" {
        // Not to stdout, which is for logs alone, and not into a log, since it holds a token.
        let banner = cli::banner(&loaded.config, running.address, &token, running.local_key.as_ref());
        let _ = writeln!(io::stderr(), "{banner}");
    }

    signals.next().await;
    tokio::select! {
        () = running.drain() => {}
        () = signals.next() => {
            tracing::warn!("second signal: not waiting for connections");
            running.stop().await;
        }
    }
    tracing::info!("stopped");
    Ok(())
}

/// What users of the older relay look for at its start (`docs/protocols/relay.md §1`).
fn tell_relay(loaded: &Loaded, running: &app::Running) {
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
        let config::Setting { key, shown, origin } = setting;
        tracing::info!("{key} = {shown}, set by {origin}");
    }
}

/// The signals that end a server.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
