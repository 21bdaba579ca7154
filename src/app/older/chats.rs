//! Where the chat keeps its messages, and what it judges them by.

use std::{
    sync::{Arc, mpsc},
    thread,
};

use actix_web::rt;
use anyhow::Context as _;
use secrecy::ExposeSecret as _;
use tokio::sync::oneshot;

use crate::{
    auth::Leeway,
    clock::Clock,
    config::{self, Moderated},
    limits,
    protocols::chat::{
        self, Exchange,
        moderation::{self, Baidu, Choice, Moderation},
    },
    store::{
        Store,
        archive::{
            SharedArchive,
            embedded::EmbeddedArchive,
            mongo::{ConnectFault, MongoArchive, Server, Settings},
        },
    },
};

/// What the chat doors of all worker threads share; `moderation` and `mongodb` come from [`crate::app::prepare`].
///
/// # Errors
/// For the operator: MongoDB is set and cannot be reached.
pub fn open(
    settings: &config::Chat,
    moderation: Moderation,
    mongodb: Option<Settings>,
    store: Arc<dyn Store>,
    clock: &Clock,
    leeway: &Leeway,
) -> anyhow::Result<Arc<chat::Shared>> {
    let (archive, driver): (SharedArchive, _) = match mongodb {
        Some(mongodb) => {
            let (archive, driver) = connect(mongodb, clock)?;
            (Arc::new(archive), Some(driver))
        }
        None => (Arc::new(EmbeddedArchive::new(store, clock.clone(), settings.retention())), None),
    };
    rt::spawn(sweep(Arc::clone(&archive), driver));
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

/// Where the chat keeps its messages when the settings name a MongoDB.
pub fn mongodb(settings: &config::Chat) -> Settings {
    let server = if settings.mongodb_uri.expose_secret().is_empty() {
        Server::Host {
            host: settings.mongodb_host.clone(),
            port: settings.mongodb_port,
            username: settings.mongodb_username.clone(),
            password: settings.mongodb_password.clone(),
        }
    } else {
        Server::Uri(settings.mongodb_uri.clone())
    };
    Settings { server, database: settings.mongodb_database.clone(), retention: settings.retention() }
}

/// The thread of the database's driver ends when this is dropped.
struct Driver {
    _ends: oneshot::Sender<()>,
}

/// The driver has a thread and a runtime of its own: the worker threads come and go, and what they wait for goes on.
fn connect(settings: Settings, clock: &Clock) -> anyhow::Result<(MongoArchive, Driver)> {
    let (told, outcome) = mpsc::sync_channel(1);
    let (ends, ended) = oneshot::channel::<()>();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime of the MongoDB driver")?;
    let clock = clock.clone();
    let run = move || {
        runtime.block_on(async move {
            let connected: Result<_, ConnectFault> = MongoArchive::connect(&settings, clock).await;
            let is_used = connected.is_ok();
            let _ = told.send(connected);
            if is_used {
                // Told or dropped: both are the end.
                let _ = ended.await;
            }
        });
    };
    let thread = thread::Builder::new().name("mongodb".to_owned());
    thread.spawn(run).context("cannot start a thread")?;
    let connected = outcome.recv().context("the thread of the MongoDB driver has ended")?;
    let archive = connected.context("the chat cannot store messages")?;
    Ok((archive, Driver { _ends: ends }))
}

/// Messages go when they are older than they are to be kept.
async fn sweep(archive: SharedArchive, driver: Option<Driver>) {
    loop {
        rt::time::sleep(limits::ARCHIVE_SWEEP).await;
        if let Err(error) = archive.sweep().await {
            tracing::warn!(%error, "old chat messages could not be removed");
        }
        // As long as the server runs.
        let _ = &driver;
    }
}
