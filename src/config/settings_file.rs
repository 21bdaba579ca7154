//! Which file the settings of a mode come from, and which others look as if they did.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use super::{Environment, Loaded, load::shipped};

/// The one that was named, or `configs/<mode>.yaml` in the working directory; none when the copy that is built in is used.
pub fn settings_file(environment: &Environment, mode: &str) -> Option<PathBuf> {
    let path = environment.mode_file(mode);
    path.is_file().then(|| fs::canonicalize(&path).unwrap_or(path))
}

/// Where the built-in copy is used: files of the same name that say something else, in the folders above the program
/// and above the working directory. Somebody may have edited one of those and expect that it is read.
pub fn unused_files(environment: &Environment, loaded: &Loaded) -> Vec<PathBuf> {
    if loaded.file.is_some() {
        return Vec::new();
    }
    let program = std::env::current_exe().ok();
    let working =
        fs::canonicalize(if environment.dir.as_os_str().is_empty() { Path::new(".") } else { &environment.dir });
    files_above(&loaded.mode, [program, working.ok()].into_iter().flatten())
}

/// `configs/default.yaml` in the working directory, where somebody has changed it: it describes the settings and is not
/// read.
pub fn edited_defaults(environment: &Environment) -> Option<PathBuf> {
    let path = environment.dir.join("configs/default.yaml");
    let text = fs::read_to_string(&path).ok()?;
    (text != include_str!("../../configs/default.yaml")).then_some(path)
}

fn files_above(mode: &str, places: impl Iterator<Item = PathBuf>) -> Vec<PathBuf> {
    let mut found = BTreeSet::new();
    for place in places {
        for folder in place.ancestors() {
            let path = folder.join("configs").join(format!("{mode}.yaml"));
            let text = fs::read_to_string(&path);
            if text.is_ok_and(|text| Some(text.as_str()) != shipped(mode)) {
                found.insert(path);
            }
        }
    }
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// findings N14: whoever changes the description of the settings is told that nothing comes of it.
    #[test]
    fn an_edited_description_is_found() {
        let root = tempfile::tempdir().unwrap();
        let environment = Environment { dir: root.path().to_owned(), ..Environment::default() };
        assert_eq!(edited_defaults(&environment), None);
        let path = root.path().join("configs/default.yaml");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, include_str!("../../configs/default.yaml")).unwrap();
        assert_eq!(edited_defaults(&environment), None);
        fs::write(&path, "server:\n  port: 1\n").unwrap();
        assert_eq!(edited_defaults(&environment), Some(path));
    }

    /// findings P11: an edited settings file that is not used is found, one that says the same is not told.
    #[test]
    fn edited_files_elsewhere_are_found() {
        let root = tempfile::tempdir().unwrap();
        let place = |name: &str| {
            let folder = root.path().join(name);
            fs::create_dir_all(folder.join("configs")).unwrap();
            folder
        };
        let (edited, same) = (place("edited"), place("same"));
        fs::write(edited.join("configs/production.yaml"), "server: {port: 1}\n").unwrap();
        fs::write(same.join("configs/production.yaml"), shipped("production").unwrap()).unwrap();
        let places = [edited.join("bin/letshare-server"), same.join("work")].into_iter();
        assert_eq!(files_above("production", places), [edited.join("configs/production.yaml")]);
    }
}
