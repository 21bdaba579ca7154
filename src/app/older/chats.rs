//! Where the chat keeps its messages, and what it judges them by.

use std::sync::Arc;

use super::database;
use crate::{
    app::every,
    auth::Leeway,
    clock::Clock,
    config::{self, Moderated},
    limits,
    older::chat::{
        self, Exchange,
        moderation::{self, Baidu, Choice, Moderation},
    },
    store::{
        Store,
        archive::{SharedArchive, embedded::EmbeddedArchive},
    },
};

/// What the chat endpoints of all worker threads share; `moderation` and `mongodb` come from [`crate::app::prepare`].
///
/// # Errors
/// For the operator: MongoDB is set and cannot be reached.
pub fn open(
    settings: &config::Chat,
    moderation: Moderation,
    mongodb: Option<database::Settings>,
    store: Arc<dyn Store>,
    clock: &Clock,
    leeway: &Leeway,
) -> anyhow::Result<Arc<chat::Shared>> {
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
    let exchange = Exchange::new(settings, archive, moderation, clock.clone());
    Ok(Arc::new(chat::Shared::new(settings, exchange, leeway)))
}

/// What the chat judges messages by.
pub fn moderation(settings: &config::Chat) -> moderation::Settings {
    let choice = |moderated| match moderated {
        Moderated::Allow => Choice::Allow,
        Moderated::Block => Choice::Block,
    };
    let baidu = settings.uses_baidu().then(|| Baidu {
        api_key: settings.baidu_api_key.clone(),
        secret_key: settings.baidu_secret_key.clone(),
        base_url: settings.baidu_base_url.clone(),
        timeout: settings.baidu_timeout,
        on_error: choice(settings.baidu_on_error),
        suspect: choice(settings.baidu_suspect),
    });
    moderation::Settings { baidu, words_file: settings.words_file.clone() }
}
