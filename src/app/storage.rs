//! What is kept on disk: the data folder, the log in it, and their orderly end.

use std::{fs, path::PathBuf, sync::Arc};

use anyhow::Context as _;

use crate::{
    actors::metrics::{StoreFigures, TableFigures},
    clock::Clock,
    config::Config,
    core::rules::Namespaces,
    engines::redis,
    log::{
        Log as _,
        disk::{DiskLog, Retention, Sweeper},
        memory::MemoryLog,
    },
    store::{
        Claims, Place, Store,
        embedded::EmbeddedStore,
        engine::Engine,
        folder::{DataFolder, Terms},
        redis::RedisStore,
    },
};

/// An open data folder with the logs of all channels.
pub struct Storage {
    folder: DataFolder,
    pub log: Arc<DiskLog>,
    /// Everything that is no log.
    pub store: Arc<dyn Store>,
    /// Stops before the folder is closed.
    sweeper: Option<Sweeper>,
}

/// Where the older protocols keep their rows: in the data folder, or on the Redis of the cluster.
pub struct Places {
    pub folder: Arc<dyn Store>,
    pub shared: Option<SharedRedis>,
}

/// The Redis of the cluster.
pub struct SharedRedis {
    pub store: RedisStore,
    pub claims: Claims,
    /// How it is reached, and whether what is written there is done when a replica has it.
    pub redis: redis::Settings,
    pub is_copied: bool,
}

impl Places {
    pub fn of(&self, protocol: &str) -> Place {
        match &self.shared {
            None => Place { store: Arc::clone(&self.folder), claims: None },
            Some(SharedRedis { store, claims, .. }) => {
                Place { store: Arc::new(store.of(protocol)), claims: Some(claims.clone()) }
            }
        }
    }
}

impl Storage {
    /// Opens the folder, made when absent; `namespaces` say which channels are persisted.
    ///
    /// # Errors
    /// For the operator: somebody else has the folder, it cannot be used, or it is damaged.
    pub fn open(
        config: &Config,
        memory: MemoryLog,
        namespaces: Arc<dyn Namespaces>,
        clock: Clock,
    ) -> anyhow::Result<Self> {
        let data = &config.data;
        let terms = Terms { cache_bytes: data.cache_bytes, verify_bytes: data.verify_bytes };
        let folder = DataFolder::open(&data.dir, terms, clock.clone())?;
        let retention = Retention { age: config.history.persisted_age, bytes: config.history.persisted_bytes };
        let log = DiskLog::open(
            memory,
            Arc::clone(folder.engine()),
            Box::new(move |channel| {
                let attributes = namespaces.terms(channel).attributes;
                attributes.is_persisted.then_some(retention)
            }),
            config.history.channel_bytes,
            clock,
        )
        .context("cannot read what the last run has left in the data folder")?;
        let log = Arc::new(log);
        let store = Arc::new(EmbeddedStore::new(Arc::clone(folder.engine())));
        let sweeper = Sweeper::start(Arc::clone(&log)).context("cannot start a thread")?;
        Ok(Self { folder, log, store, sweeper: Some(sweeper) })
    }

    pub fn gauge(&self) -> Gauge {
        Gauge { log: Arc::clone(&self.log), engine: Arc::clone(self.folder.engine()), file: self.folder.file() }
    }

    /// Hands over to the next start what is in memory only, and closes the folder. What is published
    /// later is refused.
    pub fn close(&mut self) {
        if self.sweeper.take().is_none() {
            return;
        }
        if let Err(error) = self.log.hand_over() {
            tracing::error!(%error, "the last minutes of channels that are not persisted are lost");
        }
        if let Err(error) = self.folder.close() {
            tracing::error!(%error, "the data folder was not closed in order; it will be checked at the next start");
        }
    }
}

/// How the storage is used, for `/metrics`.
#[derive(Clone)]
pub struct Gauge {
    log: Arc<DiskLog>,
    engine: Arc<Engine>,
    file: PathBuf,
}

impl Gauge {
    pub fn read(&self) -> StoreFigures {
        StoreFigures {
            reads: self.engine.reads(),
            commits: self.engine.commits(),
            committing: self.engine.committing(),
            stored_bytes: self.log.stored_bytes(),
            // That a file is gone is logged where it is used.
            file_bytes: fs::metadata(&self.file).map_or(0, |metadata| metadata.len()),
            tables: TableFigures(self.engine.table_bytes()),
        }
    }
}
