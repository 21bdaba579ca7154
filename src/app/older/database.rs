//! The database that the chat may keep its messages in: MongoDB, when the program is built with the feature `mongo`.
//!
//! The driver has a thread and a runtime of its own: the worker threads come and go, and what they wait for goes on.

use std::{
    sync::{Arc, mpsc},
    thread,
};

use anyhow::Context as _;
use futures_util::FutureExt as _;
use secrecy::ExposeSecret as _;
use tokio::sync::oneshot;

use crate::{
    clock::Clock,
    config,
    store::archive::{
        SharedArchive,
        mongo::{self, ConnectFault, MongoArchive, Server},
    },
};

pub use mongo::Settings;

/// The thread of the driver ends when this is dropped.
pub struct Driver {
    _ends: oneshot::Sender<()>,
}

/// Where the chat keeps its messages; none when that is the data folder.
/// Error: what is wrong with the settings.
pub fn settings(chat: &config::Chat) -> Result<Option<Settings>, String> {
    if !chat.uses_mongodb() {
        return Ok(None);
    }
    let server = if chat.mongodb_uri.expose_secret().is_empty() {
        Server::Host {
            host: chat.mongodb_host.clone(),
            port: chat.mongodb_port,
            username: chat.mongodb_username.clone(),
            password: chat.mongodb_password.clone(),
        }
    } else {
        Server::Uri(chat.mongodb_uri.clone())
    };
    // Without the lookup of names, which this server does not do, nothing in it waits.
    if let Some(Err(fault)) = mongo::options(&server).now_or_never() {
        return Err(fault.to_string());
    }
    Ok(Some(Settings { server, database: chat.mongodb_database.clone(), retention: chat.retention() }))
}

/// Error: when the database cannot be reached.
pub fn open(settings: Settings, clock: &Clock) -> anyhow::Result<(SharedArchive, Driver)> {
    let (report, outcome) = mpsc::sync_channel(1);
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
            let _ = report.send(connected);
            if is_used {
                // Ends when the `Driver` is dropped.
                let _ = ended.await;
            }
        });
    };
    let thread = thread::Builder::new().name("mongodb".to_owned());
    thread.spawn(run).context("cannot start a thread")?;
    let connected = outcome.recv().context("the thread of the MongoDB driver has ended")?;
    let archive: SharedArchive = Arc::new(connected.context("the chat cannot store messages")?);
    Ok((archive, Driver { _ends: ends }))
}
