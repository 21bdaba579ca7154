//! The data folder: who may use it, what is in it, and whether it is whole.
//!
//! * `lock`: locked as long as a process uses the folder; its text is the process id.
//! * `letshare.redb`: all data.
//! * `closed`: the seal, which says how the data file was left when it was closed in order. A file that changed since was
//!   changed by something else.
//!
//! Nothing is made outside of it, and nobody else on the machine gets at it (`privacy`).

use std::{
    fmt::Write as _,
    fs::{self, DirBuilder, File, TryLockError},
    io::{self, Read as _},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use thiserror::Error;

use crate::{
    clock::Clock,
    store::{
        StoreError,
        check::{self, Overlay},
        engine::{self, Engine, META, Rows as _},
        privacy,
    },
};

/// Of what this program writes; raised when an older program could not read it.
const FORMAT: u32 = 1;
const FORMAT_KEY: &[u8] = b"format";
const EPOCH_KEY: &[u8] = b"epoch";
/// The part of the data file that says where everything else is.
const HEAD_BYTES: u64 = 4_096;

/// Why the data folder cannot be used; each says what to do.
#[derive(Debug, Error)]
pub enum FolderFault {
    #[error(
        "the data folder {} cannot be used: {error}. Check data.dir, who owns the folder and whether it may be \
         written to", path.display()
    )]
    Unusable { path: PathBuf, error: io::Error },
    #[error(
        "the data folder {} is in use by process {holder}; stop that one, or give this server its own \
         data.dir", path.display()
    )]
    InUse { path: PathBuf, holder: String },
    #[error(
        "the data folder {} was written by a newer letshare-server (format {found}, this one reads {FORMAT}); \
         start the newer one", path.display()
    )]
    Newer { path: PathBuf, found: u32 },
    #[error(
        "the data file {} was changed since the server closed it: {how}. Put back the whole folder from a backup. If you \
         have replaced the file on purpose, remove {} and start again", path.display(), path.with_file_name("closed").display()
    )]
    Changed { path: PathBuf, how: String },
    #[error(
        "the data file {} is damaged: {what}. Nothing of it is served. Put back the whole folder from a backup, or move \
         it away to begin with an empty one (clients are then told of the break); `letshare-server data check` \
         tells what is hit", path.display()
    )]
    Damaged { path: PathBuf, what: Arc<str> },
    #[error(
        "the disk of the data folder {} is full; make room and start again", path.display()
    )]
    Full { path: PathBuf },
}

/// How the data file is used.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Memory for the file's pages, in bytes.
    pub cache_bytes: usize,
    /// A larger file is not read through at the start.
    pub verify_bytes: u64,
}

/// The folder, locked, and the engine of its file.
pub struct DataFolder {
    engine: Arc<Engine>,
    epoch: u64,
    path: PathBuf,
    /// Given back when it is closed.
    _lock: File,
}

impl DataFolder {
    /// Locks the folder, made when absent, looks whether its file is whole, and opens it.
    ///
    /// # Errors
    /// A [`FolderFault`] for the operator.
    pub fn open(path: &Path, terms: Terms, clock: Clock) -> Result<Self, FolderFault> {
        let lock = lock(path)?;
        for trouble in privacy::protect(path) {
            tracing::warn!("other users of this machine can get at what is stored: {trouble}");
        }
        let file = data_file(path);
        check_seal(path)?;
        let bytes = fs::metadata(&file).map_or(0, |metadata| metadata.len());
        if bytes > terms.verify_bytes {
            tracing::info!(bytes, "the data file is too large to be read through at the start (data.verify_bytes)");
        } else if bytes > 0 {
            let overlay = Overlay::of(&file).map_err(|error| unusable(path, error))?;
            check::pages(overlay).map_err(|error| fault(path, error))?;
        }
        privacy::create(&file).map_err(|error| unusable(path, error))?;
        let open = engine::opener(&file, terms.cache_bytes);
        // From here on the file changes.
        remove_seal(path).map_err(|error| unusable(path, error))?;
        let engine = Engine::start(open, clock).map_err(|error| fault(path, error))?;
        let epoch = settle(&engine, path)?;
        // A file that is new is to be found after a power cut.
        let synced = File::open(path).and_then(|folder| folder.sync_all());
        synced.map_err(|error| unusable(path, error))?;
        Ok(Self { engine: Arc::new(engine), epoch, path: path.to_owned(), _lock: lock })
    }

    pub const fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Drawn when the file was made: another one means that everything was lost.
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Where the data file is.
    pub fn file(&self) -> PathBuf {
        data_file(&self.path)
    }

    /// Writes what waits and leaves the folder in order. It stays locked until this is dropped.
    ///
    /// # Errors
    /// When the seal cannot be written; the data is safe all the same.
    pub fn close(&self) -> Result<(), FolderFault> {
        self.engine.close();
        write_seal(&self.path).map_err(|error| unusable(&self.path, error))
    }
}

/// Locks the folder for as long as the file is open.
///
/// # Errors
/// [`FolderFault::InUse`] names the process that has it.
pub fn lock(path: &Path) -> Result<File, FolderFault> {
    let unusable = |error| unusable(path, error);
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(unusable)?;
    let name = path.join("lock");
    let mut file = privacy::create(&name).map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            let (path, holder) = (path.to_owned(), holder.trim().to_owned());
            return Err(FolderFault::InUse { path, holder });
        }
        Err(TryLockError::Error(error)) => return Err(unusable(error)),
    }
    file.set_len(0).map_err(unusable)?;
    io::Write::write_all(&mut file, format!("{}\n", std::process::id()).as_bytes()).map_err(unusable)?;
    Ok(file)
}

/// The data file of a folder.
pub fn data_file(folder: &Path) -> PathBuf {
    folder.join("letshare.redb")
}

fn seal_file(folder: &Path) -> PathBuf {
    folder.join("closed")
}

fn unusable(path: &Path, error: io::Error) -> FolderFault {
    let path = path.to_owned();
    FolderFault::Unusable { path, error }
}

/// What a fault of the store means for the operator at the start.
pub fn fault(folder: &Path, error: StoreError) -> FolderFault {
    let path = data_file(folder);
    match error {
        StoreError::Damaged(what) => FolderFault::Damaged { path, what },
        StoreError::Full => FolderFault::Full { path: folder.to_owned() },
        error => unusable(folder, io::Error::other(error)),
    }
}

/// Looks at the file's own facts; writes them when it is new.
fn settle(engine: &Engine, path: &Path) -> Result<u64, FolderFault> {
    let facts = engine.read(|rows| Ok((rows.get(META, FORMAT_KEY)?, rows.get(META, EPOCH_KEY)?)));
    let (format, epoch) = facts.map_err(|error| fault(path, error))?;
    let format = format.and_then(|bytes| bytes.try_into().ok().map(u32::from_be_bytes));
    let epoch = epoch.and_then(|bytes| bytes.try_into().ok().map(u64::from_be_bytes));
    match (format, epoch) {
        (Some(found), _) if found > FORMAT => {
            let path = path.to_owned();
            Err(FolderFault::Newer { path, found })
        }
        (Some(_), Some(epoch)) => Ok(epoch),
        _ => {
            let epoch: u64 = rand::random();
            let write = engine.write(
                0,
                Box::new(move |rows| {
                    rows.put(META, FORMAT_KEY, &FORMAT.to_be_bytes())?;
                    rows.put(META, EPOCH_KEY, &epoch.to_be_bytes())
                }),
            );
            write.map_err(|error| fault(path, error))?;
            Ok(epoch)
        }
    }
}

/// What a data file looks like from outside: its length and its head.
fn describe(folder: &Path) -> io::Result<String> {
    let mut file = File::open(data_file(folder))?;
    let bytes = file.metadata()?.len();
    let mut head = Vec::new();
    file.by_ref().take(HEAD_BYTES).read_to_end(&mut head)?;
    let mut text = String::new();
    let _ = writeln!(text, "bytes {bytes}");
    let _ = writeln!(text, "head {:08x}", crc32fast::hash(&head));
    Ok(text)
}

/// Notes how the data file was left.
///
/// # Errors
/// When it cannot be written.
pub fn write_seal(folder: &Path) -> io::Result<()> {
    let text = describe(folder)?;
    let mut file = privacy::create(&seal_file(folder))?;
    file.set_len(0)?;
    io::Write::write_all(&mut file, text.as_bytes())?;
    file.sync_all()?;
    File::open(folder)?.sync_all()
}

/// # Errors
/// When it cannot be removed.
pub fn remove_seal(folder: &Path) -> io::Result<()> {
    match fs::remove_file(seal_file(folder)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        // Or an old seal comes back after a power cut, and does not fit.
        Ok(()) => File::open(folder)?.sync_all(),
    }
}

/// Whether the data file is as it was left. Without a seal nothing can be said: the server was not
/// stopped in order.
pub fn check_seal(folder: &Path) -> Result<(), FolderFault> {
    let sealed = match fs::read_to_string(seal_file(folder)) {
        Ok(sealed) => sealed,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(unusable(folder, error)),
    };
    let changed = |how: String| FolderFault::Changed { path: data_file(folder), how };
    let found = match describe(folder) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(changed("it is missing".into()));
        }
        Err(error) => return Err(unusable(folder, error)),
    };
    let length = |text: &str| {
        let line = text.lines().next().unwrap_or_default();
        line.trim_start_matches("bytes ").to_owned()
    };
    if length(&sealed) != length(&found) {
        let (was, is) = (length(&sealed), length(&found));
        return Err(changed(format!("it had {was} bytes and has {is}")));
    }
    if sealed != found {
        return Err(changed("its head is another".into()));
    }
    Ok(())
}
