//! Wiring only: settings in, running server out.

use crate::config::Loaded;

/// Serves until it is told to stop.
///
/// # Errors
/// When something cannot be bound.
pub fn run(loaded: Loaded) -> anyhow::Result<()> {
    let address = (loaded.config.server.host, loaded.config.server.port);
    anyhow::bail!("not built yet: would listen on {address:?}")
}
