//! Where `letshare-server import` puts what it brings along: the tables that the server with these settings would use.

use std::{fs::File, sync::Arc};

use anyhow::{Context as _, bail};
use jiff::tz::TimeZone;

use crate::{
    app::older::database,
    clock::Clock,
    config::{self, Config},
    older::{chat, group},
    store::{
        Store,
        archive::{SharedArchive, embedded::EmbeddedArchive},
        check::Overlay,
        embedded::EmbeddedStore,
        engine::Engine,
        folder::{self, DataFolder, Terms},
        import::Importer,
    },
};

/// Of the older protocols those that data is brought along for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Protocol {
    Chat,
    Group,
}

/// Open until it is closed or dropped; no server can use the data folder meanwhile.
pub struct Destination {
    pub importer: Box<dyn Importer>,
    /// For people.
    pub name: String,
    folder: Option<DataFolder>,
    _lock: Option<File>,
    _driver: Option<database::Driver>,
}

impl Destination {
    /// With `is_dry` nothing of it is changed: what is written stays in memory, and messages are not written at all.
    ///
    /// # Errors
    /// For the operator: a server has the data folder, it cannot be used, or MongoDB cannot be reached.
    pub fn open(
        protocol: Protocol,
        config: &Config,
        zone: TimeZone,
        clock: &Clock,
        is_dry: bool,
    ) -> anyhow::Result<Self> {
        let chat = &config.chat;
        let to_chat = |archive: SharedArchive| {
            let retention = chat.retention();
            Box::new(chat::Import::new(archive, clock.clone(), zone.clone(), retention, is_dry))
        };
        let mongodb = database::settings(chat).map_err(anyhow::Error::msg)?;
        let mongodb = mongodb.filter(|_| protocol == Protocol::Chat);
        let is_mongodb = mongodb.is_some();
        let database = format!("the database {} of MongoDB", chat.mongodb_database);
        if let (Some(settings), false) = (mongodb, is_dry) {
            let name = database;
            let (archive, driver) = database::open(settings, clock)?;
            return Ok(Self { importer: to_chat(archive), name, folder: None, _lock: None, _driver: Some(driver) });
        }
        if protocol == Protocol::Chat && !is_mongodb && config.cluster.engine != config::Engine::None {
            bail!(
                "the chats of a cluster are on its Redis, where this puts nothing; keep them in a MongoDB that all its \
                 servers have (chat.mongodb_uri), and bring them along into that"
            );
        }
        if protocol == Protocol::Group && config.cluster.engine != config::Engine::None {
            bail!(
                "the groups of a cluster are on its Redis, where this puts nothing; services make them there by POST \
                 {}/groups",
                config.group.api_path.trim_end_matches('/')
            );
        }
        let (path, file) = (&config.data.dir, folder::data_file(&config.data.dir));
        let (mut lock, mut opened) = (None, None);
        let engine = if is_dry {
            let has_file = file.exists() && !is_mongodb;
            lock = has_file.then(|| folder::lock(path)).transpose()?;
            // What is in a database is not looked at.
            let overlay = if has_file { Overlay::of(&file) } else { Overlay::of_nothing() };
            let overlay = overlay.with_context(|| format!("{} cannot be read", file.display()))?;
            let engine = Engine::start(overlay.opener(), clock.clone());
            Arc::new(engine.map_err(|error| folder::fault(path, error))?)
        } else {
            let terms = Terms { cache_bytes: config.data.cache_bytes, verify_bytes: config.data.verify_bytes };
            let folder = DataFolder::open(path, terms, clock.clone())?;
            let engine = Arc::clone(folder.engine());
            opened = Some(folder);
            engine
        };
        let store: Arc<dyn Store> = Arc::new(EmbeddedStore::new(engine));
        let importer: Box<dyn Importer> = match protocol {
            Protocol::Chat => to_chat(Arc::new(EmbeddedArchive::new(store, clock.clone(), chat.retention()))),
            Protocol::Group => {
                let age = config.group.message_age;
                let import = group::Import::open(store, clock.clone(), zone, age, is_dry);
                Box::new(import.map_err(|error| folder::fault(path, error))?)
            }
        };
        let name = if is_mongodb { database } else { file.display().to_string() };
        Ok(Self { importer, name, folder: opened, _lock: lock, _driver: None })
    }

    /// Leaves the data folder in order.
    ///
    /// # Errors
    /// When it cannot be written; what was brought along is safe all the same.
    pub fn close(self) -> anyhow::Result<()> {
        self.folder.map_or(Ok(()), |folder| Ok(folder.close()?))
    }
}
