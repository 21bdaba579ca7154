//! The places that settings come from: the file of the mode, those of an older server, the environment, the command
//! line.
//!
//! Each becomes a [`Layer`] of known keys with their texts, and the line or variable of each. Names that do not exist
//! are complained of here, where their origin is known.

use std::{collections::BTreeMap, path::Path};

use super::{
    complaint::{Complaint, Notes, Origin},
    keys::{Key, variable},
    yaml::{self, Raw},
};
use crate::limits::OLD_NAMES_GO_IN;

/// The settings of one place. No `Debug`: it holds secrets.
#[derive(Default)]
pub struct Layer(BTreeMap<&'static str, (Raw, Origin)>);

impl Layer {
    pub fn get(&self, key: &str) -> Option<(&Raw, &Origin)> {
        self.0.get(key).map(|(value, origin)| (value, origin))
    }

    /// Where this layer has `key` from.
    pub fn origin(&self, key: &str) -> Option<&Origin> {
        self.get(key).map(|(_, origin)| origin)
    }

    /// Returns the value that it replaces.
    pub(super) fn set(&mut self, key: &'static str, value: Raw, origin: Origin) -> Option<(Raw, Origin)> {
        self.0.insert(key, (value, origin))
    }

    /// A settings file that was read from `path`, or its built-in copy.
    pub fn file(text: &str, path: &Path, embedded: bool, notes: &mut Notes) -> Self {
        let mut layer = Self::default();
        let origin = |line| Origin::File { path: path.to_owned(), line, embedded };
        let leaves = yaml::read(text).unwrap_or_else(|fault| {
            let about = Complaint::about(path.display().to_string(), fault.problem);
            notes.fault(about.set_by(origin(fault.line)));
            Vec::new()
        });
        for leaf in leaves {
            let origin = origin(leaf.line);
            // `tls:` and `tls: {}` are a section without keys.
            if leaf.value.is_blank() && is_section(&leaf.key) {
                continue;
            }
            let Some(key) = find(&leaf.key, &origin, notes) else {
                notes.fault(unknown(&leaf.key, origin));
                continue;
            };
            if let Some((_, first)) = layer.set(key.name, leaf.value, origin.clone()) {
                notes.fault(Complaint::about(key.name, format!("set twice; first by {first}")).set_by(origin));
            }
        }
        layer
    }

    /// `LETSHARE_<SECTION>_<KEY>`, and `SERVER_AUTH_SECRET`, the older name for `auth.secret`.
    pub fn environment(vars: &BTreeMap<String, String>, notes: &mut Notes) -> Self {
        let mut layer = Self::default();
        let names = Key::all().map(|key| key.name).chain(Key::old_names());
        let known: BTreeMap<String, &str> = names.map(|name| (variable(name), name)).collect();
        for (name, text) in vars {
            let key = match name.as_str() {
                "SERVER_AUTH_SECRET" => Some("auth.secret"),
                other if other.starts_with("LETSHARE_") => known.get(other).copied(),
                _ => continue,
            };
            // docker compose passes an unset variable on as an empty one. Any other text is a value: `,` is the empty
            // list, and the only way to write it in a variable.
            if text.is_empty() {
                continue;
            }
            let origin = Origin::Variable(name.clone());
            if is_kubernetes_link(name, text) {
                notes.fault(kubernetes_link(name));
                continue;
            }
            let Some(key) = key.and_then(|key| find(key, &origin, notes)) else {
                notes.fault(unknown_variable(name, known.keys()));
                continue;
            };
            if text.contains(char::REPLACEMENT_CHARACTER) {
                notes.fault(Complaint::about(key.name, "the variable is not valid UTF-8").set_by(origin));
                continue;
            }
            let earlier = layer.set(key.name, Raw::Text(text.clone()), origin.clone());
            if let Some((first, by)) = earlier
                && first != Raw::Text(text.clone())
            {
                let problem = format!("set differently by {by}; keep one");
                notes.fault(Complaint::about(key.name, problem).set_by(origin));
            }
        }
        layer
    }

    /// `--set section.key=value` and its short forms; the last one of a key counts.
    pub fn flags(flags: &[(String, String)], notes: &mut Notes) -> Self {
        let mut layer = Self::default();
        for (name, text) in flags {
            match find(name, &Origin::Flag, notes) {
                Some(key) => drop(layer.set(key.name, Raw::Text(text.clone()), Origin::Flag)),
                None => notes.fault(unknown(name, Origin::Flag)),
            }
        }
        layer
    }
}

/// The key of that name; one of the version before still counts, with a warning.
fn find(name: &str, origin: &Origin, notes: &mut Notes) -> Option<&'static Key> {
    Key::find(name).or_else(|| {
        let key = Key::renamed(name)?;
        notes.warn(format!(
            "{name} is called {} now; the old name is read until version {OLD_NAMES_GO_IN} (set by {origin})",
            key.name
        ));
        Some(key)
    })
}

fn is_section(name: &str) -> bool {
    Key::all().any(|key| key.name.split_once('.').is_some_and(|(s, _)| s == name))
}

fn unknown(name: &str, origin: Origin) -> Complaint {
    let problem = if is_section(name) {
        "a section, not a key: its keys go below it".to_owned()
    } else {
        let near = nearest(name, Key::all().map(|key| key.name));
        format!("unknown key{near}")
    };
    Complaint::about(printable_name(name), problem).set_by(origin)
}

fn unknown_variable<'a>(name: &'a str, known: impl Iterator<Item = &'a String>) -> Complaint {
    let near = match name {
        "LETSHARE_MODE" => "; did you mean MODE?".to_owned(),
        "LETSHARE_PORT" | "LETSHARE_HOST" => format!("; did you mean {}?", name.replace('_', "_SERVER_")),
        _ => nearest(name, known.map(String::as_str)),
    };
    Complaint::about(printable_name(name), format!("no such key, unset it if it is not meant for this server{near}"))
}

/// Kubernetes gives every pod variables named after the services around it, and a service called `letshare`,
/// `letshare-relay` or `group` takes a prefix of ours. Some of them (`…_PORT=tcp://10.0.0.7:8080`) have the very name
/// of a setting: no setting takes such a value.
pub(super) fn is_kubernetes_link(name: &str, text: &str) -> bool {
    let is_address = ["tcp://", "udp://", "sctp://"].iter().any(|scheme| text.starts_with(scheme));
    is_address || ["_SERVICE_HOST", "_SERVICE_PORT", "_PORT_"].iter().any(|part| name.contains(part))
}

pub(super) const KUBERNETES_LINK: &str = "looks like a variable that Kubernetes made for a service of that name; set \
                               `enableServiceLinks: false` in the pod, or rename the service";

pub(super) fn kubernetes_link(name: &str) -> Complaint {
    Complaint::about(printable_name(name), KUBERNETES_LINK).set_by(Origin::Variable(name.to_owned()))
}

/// The known name that is most like `name`, whatever the case of letters, as the end of a sentence; empty if none is.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let name = name.to_lowercase();
    known
        .map(|candidate| (strsim::normalized_damerau_levenshtein(&name, &candidate.to_lowercase()), candidate))
        .filter(|(likeness, _)| *likeness > 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| format!("; did you mean {candidate}?"))
        .unwrap_or_default()
}

fn printable_name(name: &str) -> String {
    name.chars().take(96).flat_map(char::escape_debug).collect()
}
