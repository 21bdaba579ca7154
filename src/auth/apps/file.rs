//! The operator's file of apps, YAML (setting `ably.apps_file`):
//!
//! ```yaml
//! apps:
//!   - id: abc123
//!     keys:
//!       - id: web
//!         secret: …
//!         capability: '{"chat:*":["publish","subscribe"]}'
//!     namespaces:
//!       - id: chat
//!         persisted: true
//! ```
//!
//! The shape is that of `POST /apps`, with ids and secrets. Nothing of it is guessed: a key that does not
//! exist is a fault, because it may be a misspelt `capability`.

use std::{collections::BTreeSet, path::Path};

use serde::Deserialize;

use super::{App, setup::AppSetup};
use crate::{
    config::{FileFaults, Problem, read_text},
    ids::Timestamp,
};

const KEY: &str = "ably.apps_file";

#[derive(Default, Deserialize)]
#[serde(default)]
struct Written {
    apps: Vec<AppSetup>,
}

/// Reads the file of apps.
/// Error: when it cannot be read or is no YAML; else everything that is wrong in it, each with its place.
pub fn read(path: &Path, now: Timestamp) -> Result<Vec<App>, FileFaults> {
    let text = read_text(path).map_err(|error| FileFaults::unreadable(KEY, path, &error))?;
    parse(&text, now).map_err(|problems| {
        let problems = problems.into_iter().map(Problem::whole).collect();
        FileFaults { key: KEY, path: path.to_owned(), problems }
    })
}

fn parse(text: &str, now: Timestamp) -> Result<Vec<App>, Vec<String>> {
    let mut problems = Vec::new();
    let written: Written = serde_saphyr::with_deserializer_from_str(text, |yaml| {
        serde_ignored::deserialize(yaml, |path| {
            problems.push(format!("{path}: there is no such key"));
        })
    })
    // The snippet would show the lines around the fault, and secrets stand in them.
    .map_err(|error| vec![error.without_snippet().to_string()])?;
    let mut apps = Vec::with_capacity(written.apps.len());
    let mut seen = BTreeSet::new();
    for (index, setup) in written.apps.into_iter().enumerate() {
        match setup.into_app(now) {
            Ok(app) if seen.insert(app.id) => apps.push(app),
            Ok(_) => problems.push(format!("apps[{index}].id: the id of another app")),
            Err(faults) => {
                let faults = faults.iter();
                problems.extend(faults.map(|fault| format!("apps[{index}].{fault}")));
            }
        }
    }
    if problems.is_empty() { Ok(apps) } else { Err(problems) }
}

#[cfg(test)]
pub(super) fn parse_for_tests(text: &str) -> Result<Vec<App>, Vec<String>> {
    parse(text, Timestamp::from_millis(0))
}
