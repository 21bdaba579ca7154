//! Test data that others publish. It is not in this repository: `LETSHARE_FIXTURES` names the folder of its files,
//! which is `test-resources` of <https://github.com/ably/ably-common>. What the data show is restated beside the tests
//! that read them, in values of our own, and that is checked in every run.

use std::{env, fs, path::Path};

use serde_json::Value;

/// The content of a file, or `None`, which is said on stderr, when nobody named the folder.
pub fn published(file: &str) -> Option<Value> {
    let Some(folder) = env::var_os("LETSHARE_FIXTURES") else {
        eprintln!("not run against the published {file}: LETSHARE_FIXTURES names no folder");
        return None;
    };
    let path = Path::new(&folder).join(file);
    let text = fs::read(&path).unwrap_or_else(|error| panic!("LETSHARE_FIXTURES: {}: {error}", path.display()));
    Some(serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}
