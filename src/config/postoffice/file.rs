//! What the older PostOffice server is configured by: one JSON file per environment (`docs/protocols/postoffice.md §1`).
//! Only with `MODE=postoffice`.
//!
//! `.env/config-<env>.json` in the working directory, `<env>` by `POSTOFFICE_ENV` or `--env`, `dev` unless it is said; else
//! the first file whose name begins so; or the file of `--config` (`POSTOFFICE_CONFIG`). `POSTOFFICE_<KEY>` wins over the
//! file, `LETSHARE_…` and flags win over both. A port or limit of the wrong type stops the start; unknown keys
//! are told.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::config::{
    complaint::{Complaint, Origin},
    layers::{Layer, OlderVariables, nearest},
    text_file::read_text,
    yaml::Raw,
};

/// The mode that reads them.
pub const MODE: &str = "postoffice";
/// Chooses the file.
pub const ENVIRONMENT: &str = "POSTOFFICE_ENV";
/// Names the file.
pub const FILE: &str = "POSTOFFICE_CONFIG";
const PREFIX: &str = "POSTOFFICE_";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Whole,
    Text,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Whole => "a whole number",
            Self::Text => "a string",
        }
    }
}

/// Key of the file, its type, setting.
const NAMES: [(&str, Kind, &str); 5] = [
    ("socketPort", Kind::Whole, "postoffice.port"),
    ("maxWebSocketConnections", Kind::Whole, "postoffice.max_connections"),
    ("sslPort", Kind::Whole, "tls.port"),
    ("sslCertPath", Kind::Text, "tls.cert_file"),
    ("sslKeyPath", Kind::Text, "tls.key_file"),
];

/// What a place says, and what is wrong with it.
pub struct Older {
    pub layers: [Layer; 2],
}

/// Reads file and variables.
pub fn read(
    vars: &BTreeMap<String, String>,
    dir: &Path,
    complaints: &mut Vec<Complaint>,
    warnings: &mut Vec<String>,
) -> Older {
    let mut file = Layer::new("older file");
    if let Some(path) = find(vars, dir, complaints) {
        match read_text(&path) {
            Ok(text) => fill(&mut file, &text, &path, complaints, warnings),
            Err(error) => {
                complaints.push(Complaint::about(path.display().to_string(), format!("cannot be read: {error}")))
            }
        }
    }
    let known = NAMES.map(|(name, _, key)| (format!("{PREFIX}{}", name.to_uppercase()), key));
    let older = OlderVariables { server: "post office", prefix: PREFIX, known: &known, others: &[ENVIRONMENT, FILE] };
    let mut variables = Layer::older_variables(vars, &older, |_, value| value, complaints, warnings);
    // Naming a TLS port is how the older server is told to have one.
    let port = [&variables, &file].into_iter().find_map(|layer| layer.origin("tls.port")).cloned();
    if let Some(origin) = port {
        variables.set("tls.enabled", Raw::Text("true".into()), origin);
    }
    Older { layers: [file, variables] }
}

fn find(vars: &BTreeMap<String, String>, dir: &Path, complaints: &mut Vec<Complaint>) -> Option<PathBuf> {
    if let Some(path) = vars.get(FILE).filter(|path| !path.is_empty()) {
        return Some(dir.join(path));
    }
    let chosen = vars.get(ENVIRONMENT).filter(|name| !name.is_empty());
    let name = chosen.map_or("dev", String::as_str);
    let folder = dir.join(".env");
    let stem = format!("config-{name}");
    let exact = folder.join(format!("{stem}.json"));
    let missing = match fs::metadata(&exact) {
        Ok(_) => return Some(exact),
        Err(error) => error,
    };
    let mut others: Vec<PathBuf> = fs::read_dir(&folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.starts_with(&stem) && name.ends_with(".json"))
        })
        .collect();
    others.sort();
    let other = others.into_iter().next();
    if other.is_none() && chosen.is_some() || missing.kind() != io::ErrorKind::NotFound {
        complaints.push(Complaint {
            value: chosen.cloned(),
            origin: chosen.map(|_| Origin::Variable(ENVIRONMENT.into())),
            ..Complaint::about(ENVIRONMENT, format!("no settings for it: {} {missing}", exact.display()))
        });
    }
    other
}

fn fill(layer: &mut Layer, text: &str, path: &Path, complaints: &mut Vec<Complaint>, warnings: &mut Vec<String>) {
    let shown = path.display();
    let origin = |line| Origin::in_file(path, line);
    let object = match serde_json::from_str(text) {
        Ok(Value::Object(object)) => object,
        Ok(_) => {
            complaints.push(Complaint::about(shown.to_string(), "not a JSON object; write {\"socketPort\": 7502}"));
            return;
        }
        Err(error) => {
            complaints.push(Complaint {
                origin: Some(origin(error.line())),
                ..Complaint::about(shown.to_string(), format!("not JSON: {error}"))
            });
            return;
        }
    };
    for (name, value) in &object {
        if name == "dataSource" {
            redis(value, &shown.to_string(), warnings);
            continue;
        }
        let Some((_, kind, key)) = NAMES.iter().find(|(known, ..)| known == name) else {
            let near = nearest(name, NAMES.iter().map(|(known, ..)| *known));
            warnings.push(format!("{shown}: {name:?} is no setting of the post office{near}"));
            continue;
        };
        let origin = origin(line_of(text, name));
        match (kind, value) {
            (Kind::Whole, Value::Number(number)) if number.is_u64() => {
                layer.set(key, Raw::Text(number.to_string()), origin);
            }
            (Kind::Text, Value::String(text)) => layer.set(key, Raw::Text(text.clone()), origin),
            _ => complaints.push(Complaint {
                origin: Some(origin),
                allowed: Some(kind.name().into()),
                ..Complaint::about(name, format!("{} where {} belongs", type_of(value), kind.name()))
            }),
        }
    }
}

/// The older server names one and never uses it.
fn redis(value: &Value, shown: &str, warnings: &mut Vec<String>) {
    let has_one = value["redis"].as_object().is_some_and(|redis| !redis.is_empty());
    if has_one {
        warnings.push(format!(
            "{shown}: dataSource.redis is not used; letters are kept in the data folder of this server alone"
        ));
    }
}

const fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number that is not whole",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

fn line_of(text: &str, name: &str) -> usize {
    let quoted = format!("\"{name}\"");
    let before = text.find(&quoted).map_or("", |at| &text[..at]);
    1 + before.matches('\n').count()
}

#[cfg(test)]
mod tests;
