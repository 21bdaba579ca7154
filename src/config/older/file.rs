//! The file of an older server: where it is, and its entries with their lines.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::tables::{Format, OlderServer};
use crate::config::{
    Environment,
    complaint::{Complaint, Notes, Origin},
    layers::{Layer, nearest},
    text_file::read_text,
    yaml::{self, Fault, Leaf, Raw},
};

/// A leaf, and what JSON says of its type.
struct Written {
    leaf: Leaf,
    kind: Option<&'static str>,
}

impl OlderServer {
    pub(super) fn file(&self, environment: &Environment, notes: &mut Notes) -> Layer {
        let mut layer = Layer::default();
        let named_by = self.file_variable.filter(|variable| environment.var(variable).is_some());
        let path = match named_by.and_then(|variable| environment.var(variable)) {
            Some(named) => Some(environment.dir.join(named)),
            None => (self.find)(environment, notes),
        };
        let Some(path) = path else { return layer };
        match read_text(&path) {
            Ok(text) => self.read_text(&mut layer, &text, &path, notes),
            Err(error) if named_by.is_none() && error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let fault = Fault { line: 0, problem: format!("cannot be read: {error}") };
                self.refuse(fault, &path, named_by.map(|variable| Origin::Variable(variable.into())), notes);
            }
        }
        layer
    }

    pub(super) fn read_text(&self, layer: &mut Layer, text: &str, path: &Path, notes: &mut Notes) {
        match self.format.entries(text) {
            Ok(entries) => self.fill(layer, entries, path, notes),
            Err(fault) => {
                let origin = (fault.line > 0).then(|| Origin::in_file(path, fault.line));
                self.refuse(fault, path, origin, notes);
            }
        }
    }

    fn refuse(&self, fault: Fault, path: &Path, origin: Option<Origin>, notes: &mut Notes) {
        let (shown, problem) = (path.display(), fault.problem);
        if self.is_lenient {
            notes.warn(format!("{shown} does not count: {problem}"));
        } else {
            notes.fault(Complaint::about(shown.to_string(), problem).set_by(origin));
        }
    }

    fn fill(&self, layer: &mut Layer, entries: Vec<Written>, path: &Path, notes: &mut Notes) {
        let shown = path.display();
        // Of each section that is not used: where it begins, and what is in it.
        let mut unused: Vec<(&(&str, &str), usize, Vec<String>)> = Vec::new();
        for Written { leaf: Leaf { key: written, value, line }, kind } in entries {
            let own = if self.any_case { written.to_lowercase() } else { written.clone() };
            let is_empty = value.is_empty();
            if let Some(name) = self.names.iter().find(|name| name.file == own) {
                let origin = Origin::in_file(path, line);
                let is_taken = kind.is_none_or(|kind| name.form.takes(kind));
                // A list or section where a text belongs is a fault also when it is empty.
                let is_no_value = is_empty && matches!(value, Raw::Text(_));
                let is_unset = is_no_value && is_taken && !self.empty_counts && !name.form.may_be_empty();
                if is_taken && !is_unset {
                    layer.set(name.key, name.form.of(value), origin);
                } else if self.is_lenient {
                    let why = if is_unset { "empty" } else { "not a text" };
                    notes.warn(format!("{shown}: {written} is {why}; the next place counts"));
                } else if !is_taken {
                    let wanted = name.form.wanted();
                    let problem = format!("{} where {wanted} belongs", kind.unwrap_or_default());
                    let complaint = Complaint::about(written, problem).allowed(wanted.to_owned());
                    notes.fault(complaint.set_by(origin));
                }
            } else if let Some(row) = self.unused.iter().find(|(begin, _)| is_below(&own, begin)) {
                match unused.iter_mut().find(|(known, ..)| *known == row) {
                    _ if value.is_blank() => {}
                    Some((.., within)) => within.push(written),
                    None => unused.push((row, line, vec![written])),
                }
            } else if self.is_section(&own) {
                if !value.is_blank() {
                    let shape = kind.unwrap_or(value.shape());
                    notes.warn(format!(
                        "{shown}:{line}: {written} has no effect: {shape} where a section of the {} belongs",
                        self.name
                    ));
                }
            } else if let Some(name) = self.names.iter().find(|name| is_below(&own, name.file)) {
                notes.warn(format!(
                    "{shown}:{line}: {written} has no effect: {} of the {} is a value, not a section",
                    name.file, self.name
                ));
            } else {
                let near = nearest(&own, self.names.iter().map(|name| name.file));
                notes.warn(format!("{shown}:{line}: {written:?} is no setting of the {}{near}", self.name));
            }
        }
        for ((begin, why), line, within) in unused {
            let within = within.join(", ");
            notes.warn(format!("{shown}:{line}: {begin} is not used ({within}); {why}"));
        }
    }
}

impl OlderServer {
    /// Whether keys of this server stand below `key`.
    fn is_section(&self, key: &str) -> bool {
        let names = self.names.iter().map(|name| name.file);
        names.chain(self.unused.iter().map(|(begin, _)| *begin)).any(|known| is_below(known, key))
    }
}

/// Whether a key is `section` or stands below it.
fn is_below(key: &str, section: &str) -> bool {
    key.strip_prefix(section).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

impl Format {
    fn entries(self, text: &str) -> Result<Vec<Written>, Fault> {
        match self {
            Self::Yaml => Ok(yaml::read(text)?.into_iter().map(|leaf| Written { leaf, kind: None }).collect()),
            Self::Json => match serde_json::from_str(text) {
                Ok(Value::Object(object)) => {
                    let mut entries = Vec::new();
                    object.iter().for_each(|(name, value)| add(&mut entries, text, name.clone(), value));
                    Ok(entries)
                }
                Ok(_) => Err(Fault { line: 0, problem: "not a JSON object".to_owned() }),
                Err(error) => {
                    let (line, column) = (error.line(), error.column());
                    let text = error.to_string();
                    let why = text.split(" at line ").next().unwrap_or_default();
                    Err(Fault { line, problem: format!("not JSON: line {line}, column {column}: {why}") })
                }
            },
        }
    }
}

/// The leaves of a JSON value.
fn add(entries: &mut Vec<Written>, text: &str, key: String, value: &Value) {
    let (kind, value) = match value {
        Value::Object(object) if object.is_empty() => ("an object", Raw::EmptySection),
        Value::Object(object) => {
            return object.iter().for_each(|(name, value)| add(entries, text, format!("{key}.{name}"), value));
        }
        Value::Null => ("null", Raw::Text(String::new())),
        Value::Bool(is_so) => ("true or false", Raw::Text(is_so.to_string())),
        Value::Number(number) if number.is_u64() => ("a whole number", Raw::Text(number.to_string())),
        Value::Number(number) => ("a number that is not whole", Raw::Text(number.to_string())),
        Value::String(text) => ("a string", Raw::Text(text.clone())),
        Value::Array(items) => ("an array", Raw::List(items.iter().map(Value::to_string).collect())),
    };
    let quoted = format!("\"{}\"", key.rsplit('.').next().unwrap_or_default());
    let before = text.find(&quoted).map_or("", |at| &text[..at]);
    let line = 1 + before.matches('\n').count();
    entries.push(Written { leaf: Leaf { key, value, line }, kind: Some(kind) });
}

/// `.env/config-<env>.json`, `<env>` by `POSTOFFICE_ENV`, `dev` unless it is said; else the first file whose name
/// begins so.
pub(super) fn of_environment(environment: &Environment, notes: &mut Notes) -> Option<PathBuf> {
    const VARIABLE: &str = "POSTOFFICE_ENV";
    let chosen = environment.var(VARIABLE);
    let (folder, stem) = (environment.dir.join(".env"), format!("config-{}", chosen.unwrap_or("dev")));
    let exact = folder.join(format!("{stem}.json"));
    let missing = match fs::metadata(&exact) {
        Ok(_) => return Some(exact),
        Err(error) => error,
    };
    let files = fs::read_dir(&folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let begins_so = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with(&stem) && name.ends_with(".json"))
    };
    let other = files.filter(begins_so).min();
    if other.is_none() && chosen.is_some() || missing.kind() != io::ErrorKind::NotFound {
        let complaint = Complaint::about(VARIABLE, format!("no settings for it: {} {missing}", exact.display()));
        let complaint = complaint.with_value(chosen.map(str::to_owned));
        notes.fault(complaint.set_by(chosen.map(|_| Origin::Variable(VARIABLE.into()))));
    }
    other
}
