//! The four places settings come from: the built-in defaults, the file of the mode, the
//! environment, the command line.
//!
//! Each becomes a [`Layer`]: a figment `Provider` of known keys with texts as values. Figment lays
//! them over each other and remembers the layer of each value; the layer knows the line or variable.
//! Keys that do not exist are told here, because after merging nobody could say who wrote them.

use std::{collections::BTreeMap, path::Path};

use figment::{
    Metadata, Profile, Provider,
    value::{Dict, Map, Value},
};

use super::{
    complaint::{Complaint, Origin},
    keys::Key,
    yaml::{self, Raw},
};

/// The settings of one place. No `Debug`: it holds secrets.
pub struct Layer {
    name: &'static str,
    values: BTreeMap<&'static str, (Raw, Origin)>,
}

impl Layer {
    pub(super) fn new(name: &'static str) -> Self {
        Self { name, values: BTreeMap::new() }
    }

    pub fn name(&self) -> &'static str {
        self.name
    }

    pub(super) fn set(&mut self, key: &'static str, value: Raw, origin: Origin) {
        self.values.insert(key, (value, origin));
    }

    /// Where this layer has `key` from.
    pub fn origin(&self, key: &str) -> Option<&Origin> {
        self.values.get(key).map(|(_, origin)| origin)
    }

    /// The built-in defaults.
    pub fn defaults(text: &str, complaints: &mut Vec<Complaint>) -> Self {
        let path = Path::new("configs/default.yaml");
        let mut layer = Self::file("defaults", text, path, true, complaints);
        for (_, origin) in layer.values.values_mut() {
            *origin = Origin::Default;
        }
        layer
    }

    /// A settings file that was read from `path`, or its built-in copy.
    pub fn file(name: &'static str, text: &str, path: &Path, embedded: bool, complaints: &mut Vec<Complaint>) -> Self {
        let mut layer = Self::new(name);
        let origin = |line| Origin::File { path: path.to_owned(), line, embedded };
        let leaves = match yaml::read(text) {
            Ok(leaves) => leaves,
            Err(fault) => {
                complaints.push(Complaint {
                    origin: Some(origin(fault.line)),
                    ..Complaint::about(path.display().to_string(), fault.problem)
                });
                return layer;
            }
        };
        for leaf in leaves {
            let origin = origin(leaf.line);
            // `tls:` with nothing below is an empty section.
            if leaf.value == Raw::Text(String::new()) && is_section(&leaf.key) {
                continue;
            }
            match Key::find(&leaf.key) {
                Some(key) => {
                    let earlier = layer.values.insert(key.name, (leaf.value, origin.clone()));
                    if let Some((_, first)) = earlier {
                        complaints.push(Complaint {
                            origin: Some(origin),
                            ..Complaint::about(key.name, format!("set twice; first by {first}"))
                        });
                    }
                }
                None => complaints.push(unknown(&leaf.key, origin)),
            }
        }
        layer
    }

    /// `LETSHARE_<SECTION>_<KEY>`, and `SERVER_AUTH_SECRET`, the older name for `auth.secret`.
    pub fn environment(vars: &BTreeMap<String, String>, complaints: &mut Vec<Complaint>) -> Self {
        let mut layer = Self::new("environment");
        let known: BTreeMap<String, &Key> = Key::all().map(|key| (key.variable(), key)).collect();
        for (name, text) in vars {
            let key = match name.as_str() {
                "SERVER_AUTH_SECRET" => Key::find("auth.secret"),
                other if other.starts_with("LETSHARE_") => known.get(other).copied(),
                _ => continue,
            };
            // docker compose hands an unset variable on as an empty one; blanks and commas name nothing either.
            if text.trim_matches(|c: char| c == ',' || c.is_whitespace()).is_empty() {
                continue;
            }
            let origin = Origin::Variable(name.clone());
            if is_kubernetes_link(name, text) {
                complaints.push(kubernetes_link(name));
                continue;
            }
            let Some(key) = key else {
                complaints.push(unknown_variable(name, known.keys()));
                continue;
            };
            if text.contains(char::REPLACEMENT_CHARACTER) {
                complaints.push(Complaint {
                    origin: Some(origin.clone()),
                    ..Complaint::about(key.name, "the variable is not valid UTF-8")
                });
                continue;
            }
            let value = Raw::Text(text.clone());
            let earlier = layer.values.insert(key.name, (value.clone(), origin));
            if let Some((first, by)) = earlier
                && first != value
            {
                complaints.push(Complaint {
                    origin: Some(Origin::Variable(name.clone())),
                    ..Complaint::about(key.name, format!("set differently by {by}; keep one"))
                });
            }
        }
        layer
    }

    /// The variables of an older server, each with the setting that it is; `form` turns a value into that of the setting.
    pub(super) fn older_variables(
        vars: &BTreeMap<String, String>,
        older: &OlderVariables<'_>,
        form: impl Fn(&str, Raw) -> Raw,
        complaints: &mut Vec<Complaint>,
        warnings: &mut Vec<String>,
    ) -> Self {
        let mut layer = Self::new("older variables");
        for (name, text) in vars.iter().filter(|(name, _)| name.starts_with(older.prefix)) {
            if older.others.contains(&name.as_str()) || text.is_empty() {
                continue;
            }
            let known = older.known.iter().find(|(known, _)| known == name);
            match known {
                Some(_) if is_kubernetes_link(name, text) => complaints.push(kubernetes_link(name)),
                Some((_, key)) => {
                    let value = form(key, Raw::Text(text.clone()));
                    layer.set(key, value, Origin::Variable(name.clone()));
                }
                None if is_kubernetes_link(name, text) => warnings.push(format!("{name} {KUBERNETES_LINK}")),
                None => {
                    let near = nearest(name, older.known.iter().map(|(known, _)| known.as_str()));
                    let server = older.server;
                    warnings.push(format!("the environment variable {name} is no setting of the {server}{near}"));
                }
            }
        }
        layer
    }

    /// `--set section.key=value` and its short forms; the last one of a key counts.
    pub fn flags(flags: &[(String, String)], complaints: &mut Vec<Complaint>) -> Self {
        let mut layer = Self::new("flags");
        for (name, text) in flags {
            match Key::find(name) {
                Some(key) => {
                    let value = (Raw::Text(text.clone()), Origin::Flag);
                    layer.values.insert(key.name, value);
                }
                None => complaints.push(unknown(name, Origin::Flag)),
            }
        }
        layer
    }
}

/// What the variables of an older server are called.
pub(super) struct OlderVariables<'a> {
    pub server: &'static str,
    pub prefix: &'static str,
    /// Variable and setting.
    pub known: &'a [(String, &'static str)],
    /// With the same prefix, and read elsewhere.
    pub others: &'a [&'static str],
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name)
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let mut root = Dict::new();
        for (key, (raw, _)) in &self.values {
            let value = match raw {
                Raw::Text(text) => Value::from(text.as_str()),
                Raw::List(items) => Value::from(items.clone()),
            };
            insert(&mut root, key, value);
        }
        Ok(Map::from([(Profile::Default, root)]))
    }
}

/// Puts `value` at `section.key`.
pub(super) fn insert(root: &mut Dict, key: &str, value: Value) {
    let Some((section, rest)) = key.split_once('.') else {
        root.insert(key.into(), value);
        return;
    };
    let section = root.entry(section.into()).or_insert_with(|| Dict::new().into());
    if let Value::Dict(_, dict) = section {
        insert(dict, rest, value);
    }
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
    Complaint { origin: Some(origin), ..Complaint::about(printable_name(name), problem) }
}

fn unknown_variable<'a>(name: &'a str, known: impl Iterator<Item = &'a String>) -> Complaint {
    let near = nearest(name, known.map(String::as_str));
    Complaint::about(printable_name(name), format!("no such key, unset it if it is not meant for this server{near}"))
}

/// Kubernetes gives every pod variables named after the services around it, and a service called `letshare`,
/// `letshare-relay` or `group` takes a prefix of ours. Some of them (`…_PORT=tcp://10.0.0.7:8080`) have the very name of a
/// setting: no setting takes such a value.
fn is_kubernetes_link(name: &str, text: &str) -> bool {
    let is_address = ["tcp://", "udp://", "sctp://"].iter().any(|scheme| text.starts_with(scheme));
    is_address || ["_SERVICE_HOST", "_SERVICE_PORT", "_PORT_"].iter().any(|part| name.contains(part))
}

const KUBERNETES_LINK: &str = "looks like a variable that Kubernetes made for a service of that name; set \
                               `enableServiceLinks: false` in the pod, or rename the service";

fn kubernetes_link(name: &str) -> Complaint {
    Complaint {
        origin: Some(Origin::Variable(name.to_owned())),
        ..Complaint::about(printable_name(name), KUBERNETES_LINK)
    }
}

/// What somebody may have meant, in whatever case of letters, as the end of a sentence.
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
