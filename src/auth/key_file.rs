//! Keys that the server makes for itself: one JSON file each in the data folder, readable by its owner only.
//!
//! A file is made at the first start that needs it and stays the same from then on, so that what people have copied from
//! it outlives a restart.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use serde::Serialize;
use thiserror::Error;

use crate::{auth::apps::setup::random_text, config::read_text};

/// Why a key cannot be kept. No secret is in it.
#[derive(Debug, Error)]
pub enum KeyFileFault {
    #[error(
        "cannot make the folder {path} for what must survive a restart ({source}); name one that \
         the server may write to in data.dir"
    )]
    Folder { path: PathBuf, source: io::Error },
    #[error(
        "cannot write {path} ({source}); the server keeps {holds} there: make the folder writable, or name another in \
         data.dir"
    )]
    Write { path: PathBuf, holds: &'static str, source: io::Error },
    #[error("cannot read {path} ({source}); it holds {holds}")]
    Read { path: PathBuf, holds: &'static str, source: io::Error },
    #[error(
        "{path} is damaged: {what}. Put it back from a backup, or delete it: then {holds} are made anew, and the old \
             ones are worth nothing"
    )]
    Damaged { path: PathBuf, holds: &'static str, what: &'static str },
}

/// One of those files.
#[derive(Clone, Copy, Debug)]
pub struct KeyFile {
    /// Its name in the data folder.
    pub name: &'static str,
    /// What is in it, for messages.
    pub holds: &'static str,
}

impl KeyFile {
    /// What `folder` keeps in it, if it is there. Nothing is written.
    ///
    /// # Errors
    /// [`KeyFileFault`], for the operator; `parse` returns what is wrong with the text.
    pub fn look<T>(
        self,
        folder: &Path,
        parse: impl FnOnce(&str) -> Result<T, &'static str>,
    ) -> Result<Option<T>, KeyFileFault> {
        let (path, holds) = (folder.join(self.name), self.holds);
        match read_text(&path) {
            Ok(text) => parse(&text).map(Some).map_err(|what| KeyFileFault::Damaged { path, holds, what }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                let what = "not UTF-8";
                Err(KeyFileFault::Damaged { path, holds, what })
            }
            Err(source) => Err(KeyFileFault::Read { path, holds, source }),
        }
    }

    /// Writes it; a crash leaves the whole file or none.
    ///
    /// # Errors
    /// [`KeyFileFault`], for the operator.
    pub fn write(self, folder: &Path, content: &impl Serialize) -> Result<(), KeyFileFault> {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(|source| KeyFileFault::Folder { path: folder.to_owned(), source })?;
        let (path, holds) = (folder.join(self.name), self.holds);
        self.replace(folder, &path, content).map_err(|source| KeyFileFault::Write { path, holds, source })
    }

    /// Written beside it and moved there.
    fn replace(self, folder: &Path, path: &Path, content: &impl Serialize) -> io::Result<()> {
        let draft = folder.join(format!(".{}.{}", self.name, random_text::<6>()));
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        let moved = serde_json::to_vec_pretty(content)
            .map_err(io::Error::from)
            .and_then(|json| file.write_all(&json))
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::rename(&draft, path));
        if moved.is_err() {
            // Whether the draft could be removed does not matter: the error above is returned.
            let _ = fs::remove_file(&draft);
        }
        moved
    }
}
