//! `data check` and `data compact`: the data folder while no server uses it. A check changes nothing.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use clap::Subcommand;
use parking_lot::Mutex;
use thiserror::Error;

use super::{
    count,
    progress::{Form, Progress},
};
use crate::{
    clock::Clock,
    config,
    log::disk::check as entries,
    store::{
        StoreError,
        check::{self, Overlay},
        embedded,
        engine::{self, Engine},
        folder::{self, FolderFault},
        privacy,
    },
};

#[derive(Clone, Copy, Debug, Subcommand)]
pub enum Command {
    /// Read the whole data file and tell what is damaged; changes nothing.
    Check,
    /// Give the space that is not used back to the file system.
    Compact,
}

/// Why all is not well.
#[derive(Debug, Error)]
pub enum DataFault {
    #[error(
        "there is no data file in {} (data.dir); nothing to do. A server makes it at its first start",
        .0.display()
    )]
    Nothing(PathBuf),
    #[error(transparent)]
    Folder(#[from] FolderFault),
    #[error(
        "{found}\nbut other users of this machine can get at it: {}. `chmod -R go= {}` takes that away, and so does a start \
         of the server where the folder is its own", .exposed.join(", "), folder.display()
    )]
    Exposed { found: String, exposed: Vec<String>, folder: PathBuf },
    #[error("{fault}\n{}", list(.damage))]
    Damaged { fault: FolderFault, damage: Vec<String> },
}

fn list(damage: &[String]) -> String {
    let lines = damage.iter().map(|what| format!("damaged: {what}"));
    lines.collect::<Vec<_>>().join("\n")
}

/// What there is to say on stdout.
///
/// # Errors
/// [`DataFault`], for the operator.
pub fn run(command: Command, data: &config::Data, clock: &Clock, form: Form) -> Result<String, DataFault> {
    let folder = &data.dir;
    let file = folder::data_file(folder);
    if !file.exists() {
        return Err(DataFault::Nothing(folder.clone()));
    }
    let _lock = folder::lock(folder)?;
    let told = Arc::new(Mutex::new(Progress::new(form, "reading the data file", PASSES * size(&file), clock.uptime())));
    let found = inspect(folder, &file, clock, &told);
    told.lock().clear(&mut io::stderr());
    let found = found?;
    match command {
        Command::Check => {
            let found = format!("the data file {} is whole: {found}, {} bytes", file.display(), size(&file));
            let (exposed, folder) = (privacy::exposed(folder), folder.clone());
            if exposed.is_empty() { Ok(found) } else { Err(DataFault::Exposed { found, exposed, folder }) }
        }
        Command::Compact => {
            let before = size(&file);
            shrink(folder, &file, data.cache_bytes)?;
            let after = size(&file);
            Ok(format!("the data file {} had {before} bytes and has {after} now: {found}", file.display()))
        }
    }
}

fn size(file: &Path) -> u64 {
    fs::metadata(file).map_or(0, |metadata| metadata.len())
}

/// How often a file is read, about: its pages, then its rows.
const PASSES: u64 = 2;

/// Reads everything; says what there is.
fn inspect(folder: &Path, file: &Path, clock: &Clock, told: &Arc<Mutex<Progress>>) -> Result<String, DataFault> {
    let sealed = folder::check_seal(folder);
    let fault = |error| folder::fault(folder, error);
    let unusable = |error: io::Error| DataFault::from(fault(StoreError::Io(error.to_string().into())));
    let (done, told, uptime) = (AtomicU64::new(0), Arc::clone(told), clock.clone());
    let hears: Arc<dyn Fn(u64) + Send + Sync> = Arc::new(move |bytes| {
        let done = done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        told.lock().tell(done, "", uptime.uptime(), &mut io::stderr());
    });
    let overlay = || Overlay::of(file).map_err(&unusable).map(|overlay| overlay.told_to(Arc::clone(&hears)));
    let pages = check::pages(overlay()?);
    let overlay = overlay()?;
    let rows = Engine::start(overlay.opener(), clock.clone()).and_then(|engine| {
        let entries = engine.read(entries::read_all)?;
        let others = engine.read(embedded::read_all);
        Ok((entries, others))
    });
    let (mut damage, mut said) = (Vec::new(), String::new());
    match rows {
        Ok((entries, others)) => {
            let [channels, rows, bytes] = [
                count(entries.channels, "channel"),
                format!("{} {}", entries.entries, if entries.entries == 1 { "entry" } else { "entries" }),
                count(entries.bytes, "byte"),
            ];
            said = format!("{channels} with {rows} of {bytes}");
            damage.extend(entries.damage);
            match others {
                Ok(others) => said.push_str(&format!(", {}", count(others, "other row"))),
                Err(error) => damage.push(error.to_string()),
            }
        }
        Err(error) => damage.push(error.to_string()),
    }
    let first = match (sealed, pages) {
        (Err(changed), _) => changed,
        (Ok(()), Err(error)) => fault(error),
        (Ok(()), Ok(())) if damage.is_empty() => return Ok(said),
        (Ok(()), Ok(())) => fault(StoreError::damaged("some of its rows")),
    };
    if damage.is_empty() {
        return Err(first.into());
    }
    let fault = first;
    Err(DataFault::Damaged { fault, damage })
}

fn shrink(folder: &Path, file: &Path, cache_bytes: usize) -> Result<(), FolderFault> {
    let io = |error: std::io::Error| folder::fault(folder, StoreError::Io(error.to_string().into()));
    folder::remove_seal(folder).map_err(io)?;
    engine::compact(&engine::opener(file, cache_bytes)).map_err(|error| folder::fault(folder, error))?;
    folder::write_seal(folder).map_err(io)
}
