//! Where the chat keeps its messages, and what it judges them by.

use std::sync::Arc;

use super::database;
use crate::{
    app::every,
    auth::Leeway,
    clock::Clock,
    config::Config,
    limits,
    older::chat::{Chat, moderation::Moderation},
    store::{
        Place,
        archive::{SharedArchive, beside::BesideArchive, embedded::EmbeddedArchive},
    },
};

/// What the chat endpoints of all worker threads share; `moderation` and `mongodb` come from [`crate::app::prepare`].
///
/// # Errors
/// For the operator: MongoDB is set and cannot be reached.
pub fn open(
    config: &Config,
    moderation: Moderation,
    mongodb: Option<database::Settings>,
    place: Place,
    clock: &Clock,
    leeway: &Leeway,
) -> anyhow::Result<Arc<Chat>> {
    let settings = &config.chat;
    let (archive, driver): (SharedArchive, _) = match mongodb {
        Some(mongodb) => {
            let (archive, driver) = database::open(mongodb, clock)?;
            (archive, Some(driver))
        }
        None => {
            let archive = EmbeddedArchive::new(place.store, clock.clone(), settings.retention());
            match place.claims {
                None => (Arc::new(archive), None),
                // Nodes share it, on their Redis.
                Some(_) => {
                    let archive = archive.bounded(settings.stored_bytes);
                    (Arc::new(BesideArchive::new(archive, config.cluster.deadline)), None)
                }
            }
        }
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
