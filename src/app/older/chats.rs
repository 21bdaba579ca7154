//! Where the chat keeps its messages, and what it judges them by.

use std::sync::Arc;

use super::database;
use crate::{
    app::every,
    auth::Leeway,
    clock::Clock,
    config, limits,
    older::chat::{Chat, moderation::Moderation},
    store::{
        Store,
        archive::{SharedArchive, embedded::EmbeddedArchive},
    },
};

/// What the chat endpoints of all worker threads share; `moderation` and `mongodb` come from [`crate::app::prepare`].
/// Error: for the operator: MongoDB is set and cannot be reached.
pub fn open(
    settings: &config::Chat,
    moderation: Moderation,
    mongodb: Option<database::Settings>,
    store: Arc<dyn Store>,
    clock: &Clock,
    leeway: &Leeway,
) -> anyhow::Result<Arc<Chat>> {
    let (archive, driver): (SharedArchive, _) = match mongodb {
        Some(mongodb) => {
            let (archive, driver) = database::open(mongodb, clock)?;
            (archive, Some(driver))
        }
        None => (Arc::new(EmbeddedArchive::new(store, clock.clone(), settings.retention())), None),
    };
    let swept = Arc::clone(&archive);
    every(limits::ARCHIVE_SWEEP, async move || {
        // It lives as long as the server runs.
        let _ = &driver;
        if let Err(error) = swept.sweep().await {
            tracing::warn!(%error, "old chat messages could not be removed");
        }
    });
    Ok(Arc::new(Chat::new(settings, archive, moderation, clock.clone(), leeway)))
}
