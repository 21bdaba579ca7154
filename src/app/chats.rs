//! Where the chat keeps its messages, and what it judges them by.

use std::sync::Arc;

use actix_web::rt;

use crate::{
    clock::Clock,
    config, limits,
    protocols::chat::{self, Exchange, Moderation},
    store::{
        Store,
        archive::{SharedArchive, embedded::EmbeddedArchive},
    },
};

/// What the chat doors of all worker threads share.
///
/// # Errors
/// For the operator: MongoDB is set and cannot be reached.
pub fn open(
    settings: &config::Chat,
    store: Arc<dyn Store>,
    clock: &Clock,
) -> anyhow::Result<Arc<chat::Shared>> {
    let archive = archive(settings, store, clock)?;
    rt::spawn(sweep(Arc::clone(&archive)));
    let exchange = Exchange::new(settings, archive, Moderation, clock.clone());
    Ok(Arc::new(chat::Shared::new(settings, exchange)))
}

fn archive(
    settings: &config::Chat,
    store: Arc<dyn Store>,
    clock: &Clock,
) -> anyhow::Result<SharedArchive> {
    let retention = settings.retention();
    Ok(Arc::new(EmbeddedArchive::new(
        store,
        clock.clone(),
        retention,
    )))
}

/// Messages go when they are older than they are to be kept.
async fn sweep(archive: SharedArchive) {
    loop {
        rt::time::sleep(limits::ARCHIVE_SWEEP).await;
        if let Err(error) = archive.sweep().await {
            tracing::warn!(%error, "old chat messages could not be removed");
        }
    }
}
