//! The data folder belongs to the user that the server runs as: messages are in it, and the keys of the server. A folder
//! has mode 0700, a file 0600, whoever made them and with which umask.

use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions, Permissions},
    io,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

/// What others may do.
const OTHERS: u32 = 0o077;

/// What the server puts into its data folder, and what file systems do.
const OWN: [&str; 6] = ["lock", "letshare.redb", "closed", "ably-key.json", "relay-key.json", "lost+found"];

/// Makes the file when it is absent; nobody else can read it at any moment.
/// Error: when it cannot be made or written to.
pub fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Takes the folder and its files away from other users, as far as they are the server's. What could not be done.
///
/// A folder that somebody shares with the server (`/tmp` by a slip) keeps its mode, or its other users would be shut out:
/// only the server's files in it are closed.
pub fn protect(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let names: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.file_name())).collect();
    let own = names.iter().filter(|name| is_own(name) && *name != "lost+found").map(|name| (folder.join(name), 0o600));
    let mut trouble: Vec<String> = own.filter_map(|(path, mode)| close(&path, mode)).collect();
    if names.iter().all(|name| is_own(name)) {
        trouble.extend(close(folder, 0o700));
    } else if is_open(folder) {
        let folder = folder.display();
        trouble.push(format!("{folder}: others may look into it, and it holds files that are not the server's"));
    }
    trouble
}

/// What of the folder others can get at, each with its mode; empty when it is as it should be.
pub fn exposed(folder: &Path) -> Vec<String> {
    let own = OWN.iter().map(|name| folder.join(name)).filter(|path| path.is_file());
    let all = std::iter::once(folder.to_owned()).chain(own);
    let described = |path: PathBuf| Some(format!("{} has mode {:04o}", path.display(), mode(&path)?));
    all.filter(|path| is_open(path)).filter_map(described).collect()
}

fn is_own(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    // A draft of one of them that a crash left.
    OWN.iter().any(|own| name == *own || name.strip_prefix('.').is_some_and(|draft| draft.starts_with(own)))
}

fn mode(path: &Path) -> Option<u32> {
    Some(fs::metadata(path).ok()?.permissions().mode() & 0o7777)
}

fn is_open(path: &Path) -> bool {
    mode(path).is_some_and(|mode| mode & OTHERS != 0)
}

fn close(path: &Path, mode: u32) -> Option<String> {
    if !is_open(path) {
        return None;
    }
    let closed = fs::set_permissions(path, Permissions::from_mode(mode));
    closed.err().map(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn open_folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in ["letshare.redb", "ably-key.json", ".ably-key.json.x1", "lock"] {
            fs::write(folder.path().join(name), "").unwrap();
            fs::set_permissions(folder.path().join(name), Permissions::from_mode(0o644)).unwrap();
        }
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        folder
    }

    /// findings S4: also when the folder was there before.
    #[test]
    fn a_folder_that_was_open_is_closed() {
        let folder = open_folder();
        assert_eq!(exposed(folder.path()).len(), 4);
        assert_eq!(protect(folder.path()), Vec::<String>::new());
        assert_eq!(exposed(folder.path()), Vec::<String>::new());
        assert_eq!(mode(folder.path()), Some(0o700));
        assert_eq!(mode(&folder.path().join(".ably-key.json.x1")), Some(0o600));
    }

    /// findings S4: a folder that is not the server's alone stays as it is, but for the server's files.
    #[test]
    fn a_shared_folder_keeps_its_mode() {
        let folder = open_folder();
        let foreign = folder.path().join("holiday.jpg");
        fs::write(&foreign, "").unwrap();
        fs::set_permissions(&foreign, Permissions::from_mode(0o644)).unwrap();
        let trouble = protect(folder.path());
        assert!(trouble.len() == 1 && trouble[0].contains("not the server's"), "{trouble:?}");
        assert_eq!((mode(folder.path()), mode(&foreign)), (Some(0o755), Some(0o644)));
        assert_eq!(exposed(folder.path()).len(), 1);
    }
}
