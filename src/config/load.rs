//! Reads the settings: defaults < `configs/$MODE.yaml` < those of an older server < environment < flags
//! (docs/architecture.md §8).
//!
//! Every fault is collected before anything is refused. A value that cannot be read is replaced by its default while
//! the rest is judged, so that one run of `config check` tells everything.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
};

use secrecy::SecretString;
use serde_json::{Map, Value};

use super::{
    Config, check,
    complaint::{Complaint, Complaints, Notes, Origin},
    keys::Key,
    kind::Kind,
    layers::{Layer, nearest},
    older,
    settings_file::settings_file,
    text_file::read_text,
    yaml::Raw,
};

/// Modes that work without a file on disk.
pub(super) const SHIPPED: [(&str, &str); 6] = [
    ("local", include_str!("../../configs/local.yaml")),
    ("production", include_str!("../../configs/production.yaml")),
    ("relay", include_str!("../../configs/relay.yaml")),
    ("postoffice", include_str!("../../configs/postoffice.yaml")),
    ("chat", include_str!("../../configs/chat.yaml")),
    ("group", include_str!("../../configs/group.yaml")),
];

/// What the settings are read from, besides flags. Tests make their own. No `Debug`: it holds secrets.
#[derive(Clone, Default)]
pub struct Environment {
    /// Environment variables.
    pub vars: BTreeMap<String, String>,
    /// Where `configs/` is, and what relative paths in the settings start from; empty for the working
    /// directory.
    pub dir: PathBuf,
    /// The settings file to read in place of that of the mode.
    pub settings_file: Option<PathBuf>,
}

impl Environment {
    /// The variables and the working directory of this process.
    pub fn of_process() -> Self {
        // Not `vars()`: it panics when any variable is not UTF-8.
        let text = |os: std::ffi::OsString| os.to_string_lossy().into_owned();
        Self {
            vars: std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect(),
            dir: PathBuf::new(),
            settings_file: None,
        }
    }

    /// A variable, unless it is empty: docker compose hands one that is not set on as an empty one.
    pub(super) fn var(&self, name: &str) -> Option<&str> {
        self.vars.get(name).map(String::as_str).filter(|text| !text.is_empty())
    }

    /// The settings file of a mode, be it there or not.
    pub(super) fn mode_file(&self, mode: &str) -> PathBuf {
        self.settings_file.clone().unwrap_or_else(|| self.dir.join("configs").join(format!("{mode}.yaml")))
    }
}

/// Settings that passed every check.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    /// `local`, `production` or the name of a file in `configs/`.
    pub mode: String,
    /// The settings file; none when the copy that is built in is used.
    pub file: Option<PathBuf>,
    /// What the operator should know although the server starts; to be logged.
    pub warnings: Vec<String>,
    /// Every key with its effective value, for `config show`.
    pub settings: Vec<Setting>,
}

/// An effective value and where it came from.
#[derive(Clone, Debug)]
pub struct Setting {
    pub key: &'static str,
    /// As written, secrets masked.
    pub shown: String,
    /// As written; it may be a secret.
    pub(super) value: SecretString,
    pub origin: Origin,
}

/// Settings with everything that was found wrong so far. Whoever reads the files that they name adds to it, so that all
/// faults are shown at once.
#[derive(Clone, Debug)]
pub struct Draft {
    loaded: Loaded,
    unread: BTreeSet<&'static str>,
    faults: Vec<Complaint>,
    ignored: Vec<String>,
}

impl Draft {
    /// Settings that were made by a program: without origins, and not judged.
    pub fn of(config: Config) -> Self {
        let loaded = Loaded { config, mode: String::new(), file: None, warnings: Vec::new(), settings: Vec::new() };
        Self { loaded, unread: BTreeSet::new(), faults: Vec::new(), ignored: Vec::new() }
    }

    /// With the default where a value cannot be read.
    pub fn config(&self) -> &Config {
        &self.loaded.config
    }

    /// Complains about the first of `keys`, unless one of them could not be read.
    pub fn complain(&mut self, keys: &[&str], problem: impl Into<String>) {
        self.faults.extend(check::complaint(&self.loaded.settings, &self.unread, keys, problem.into()));
    }

    /// Whether something is wrong with `key` already.
    pub fn has_fault(&self, key: &str) -> bool {
        self.faults.iter().any(|fault| fault.subject == key)
    }

    /// The settings, if nothing is wrong.
    ///
    /// # Errors
    /// Every fault that was found, never only the first.
    pub fn finish(self) -> Result<Loaded, Complaints> {
        if self.faults.is_empty() {
            return Ok(self.loaded);
        }
        Err(Complaints { faults: self.faults, ignored: self.ignored })
    }
}

/// Reads and judges the settings alone, not the files that they name. A server starts by `app::prepare`, which reads
/// those as well.
///
/// # Errors
/// Every fault that was found, never only the first.
pub fn load(environment: &Environment, flags: &[(String, String)]) -> Result<Loaded, Complaints> {
    read(environment, flags)?.finish()
}

/// The same, for whoever has more to judge.
///
/// # Errors
/// When not even the defaults can be read.
pub fn read(environment: &Environment, flags: &[(String, String)]) -> Result<Draft, Complaints> {
    let mut notes = Notes::default();
    let mode = mode(environment, &mut notes);
    let (environment, flags) = &older::mode_flags(environment, flags, &mode, &mut notes);
    let mut layers = Vec::from_iter(mode_layer(environment, &mode, &mut notes));
    older::warn_of_other_modes(environment, &mode, &mut notes);
    layers.extend(older::read(environment, &mode, &mut notes));
    layers.push(Layer::environment(&environment.vars, &mut notes));
    layers.push(Layer::flags(flags, &mut notes));

    let mut values = Values::default();
    let (mut settings, mut unread) = (Vec::new(), BTreeSet::new());
    for key in Key::all() {
        let default = key.default_value();
        let found = layers.iter().rev().find_map(|layer| layer.get(key.name));
        let (raw, origin) = found.unwrap_or((&default, &Origin::Default));
        notes.warnings.extend(without_effect(key, raw, origin));
        notes.warnings.extend(without_slash(key, raw, origin));
        if let Err(problem) = values.add(key, raw, &environment.dir) {
            unread.insert(key.name);
            let shown = (!key.is_secret()).then(|| key.kind.shown(raw));
            let complaint = Complaint::about(key.name, problem).with_value(shown).set_by(origin.clone());
            notes.fault(complaint.allowed(key.kind.to_string()));
            // A test holds that defaults can be read.
            let _ = values.add(key, &default, &environment.dir);
        }
        let shown = key.kind.shown(raw).chars().flat_map(char::escape_debug).collect();
        settings.push(Setting { key: key.name, shown, value: raw.written().into(), origin: origin.clone() });
    }

    let ignored = notes.warnings.clone();
    match values.finish() {
        Ok(mut config) => {
            if mode == older::production::MODE {
                notes.warnings.extend(older::production::adopt(&mut config, &mut settings, &unread, environment));
            }
            let Notes { faults, warnings } = check::Verdict::new(&config, &settings, &unread).judge();
            notes.faults.extend(faults);
            notes.warnings.extend(warnings);
            let file = settings_file(environment, &mode);
            let loaded = Loaded { config, mode, file, warnings: notes.warnings, settings };
            Ok(Draft { loaded, unread, faults: notes.faults, ignored })
        }
        Err(problem) => {
            notes.fault(Complaint::about("settings", problem));
            Err(Complaints { faults: notes.faults, ignored })
        }
    }
}

/// What the typed settings are made from.
#[derive(Default)]
pub(super) struct Values(Map<String, Value>);

impl Values {
    /// # Errors
    /// What is wrong with the value.
    pub fn add(&mut self, key: &Key, raw: &Raw, dir: &Path) -> Result<(), String> {
        let Some(value) = key.kind.read(raw, dir)? else { return Ok(()) };
        match key.name.split_once('.') {
            None => self.0.insert(key.name.to_owned(), value),
            Some((section, name)) => {
                let section = self.0.entry(section).or_insert_with(|| Map::new().into());
                section.as_object_mut().and_then(|section| section.insert(name.to_owned(), value))
            }
        };
        Ok(())
    }

    /// # Errors
    /// Never with defaults that can be read; a test holds that.
    pub fn finish(self) -> Result<Config, String> {
        serde_json::from_value(self.0.into()).map_err(|error| error.to_string())
    }
}

impl Config {
    /// The defaults, untouched by files, environment and flags.
    ///
    /// # Errors
    /// Never with defaults that can be read; a test holds that.
    pub fn defaults() -> Result<Self, Complaints> {
        let (mut values, mut faults) = (Values::default(), Vec::new());
        for key in Key::all() {
            if let Err(problem) = values.add(key, &key.default_value(), "".as_ref()) {
                faults.push(Complaint::about(key.name, problem));
            }
        }
        match values.finish() {
            Ok(config) if faults.is_empty() => Ok(config),
            outcome => {
                faults.extend(outcome.err().map(|problem| Complaint::about("settings", problem)));
                Err(Complaints { faults, ignored: Vec::new() })
            }
        }
    }
}

#[cfg(test)]
impl Config {
    /// [`Config::defaults`] for unit tests.
    #[allow(clippy::expect_used)]
    pub fn for_tests() -> Self {
        Self::defaults().expect("the built-in defaults")
    }
}

fn mode(environment: &Environment, notes: &mut Notes) -> String {
    let mode = environment.var("MODE").unwrap_or("local");
    if mode.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_') {
        return mode.to_owned();
    }
    let allowed = format!("{}, or the name of a file in configs/ without .yaml", shipped_modes());
    let complaint = Complaint::about("MODE", "not a name").with_value(mode.to_owned()).allowed(allowed);
    notes.fault(complaint.set_by(Origin::Variable("MODE".into())));
    "local".to_owned()
}

/// The copy of a mode's settings that is built in.
pub(super) fn shipped(mode: &str) -> Option<&'static str> {
    SHIPPED.iter().find(|(name, _)| *name == mode).map(|(_, text)| *text)
}

fn mode_layer(environment: &Environment, mode: &str, notes: &mut Notes) -> Option<Layer> {
    let path = environment.mode_file(mode);
    match (read_text(&path), shipped(mode)) {
        (Ok(text), _) => Some(Layer::file(&text, &path, false, notes)),
        (Err(error), Some(text)) if error.kind() == io::ErrorKind::NotFound && environment.settings_file.is_none() => {
            Some(Layer::file(text, &path, true, notes))
        }
        (Err(error), _) if environment.settings_file.is_some() => {
            let complaint = Complaint::about("--config", format!("cannot be read: {error}"));
            notes.fault(complaint.with_value(path.display().to_string()).set_by(Origin::Flag));
            None
        }
        (Err(error), _) => {
            let near = nearest(mode, SHIPPED.iter().map(|(name, _)| *name));
            let problem = format!("cannot read {}: {error}{near}", path.display());
            let complaint = Complaint::about("MODE", problem)
                .with_value(mode.to_owned())
                .set_by(environment.vars.contains_key("MODE").then(|| Origin::Variable("MODE".into())))
                .allowed(format!("{}{}", shipped_modes(), modes_on_disk(environment)));
            notes.fault(complaint);
            None
        }
    }
}

fn shipped_modes() -> String {
    SHIPPED.map(|(name, _)| name).join(", ")
}

/// The other modes that have a file, as `, name, name`.
fn modes_on_disk(environment: &Environment) -> String {
    let Ok(folder) = std::fs::read_dir(environment.dir.join("configs")) else {
        return String::new();
    };
    let mut names: Vec<String> = folder
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter_map(|file| Some(format!(", {}", file.strip_suffix(".yaml")?)))
        .filter(|name| name != ", default")
        .filter(|name| !SHIPPED.iter().any(|(known, _)| name[2..] == **known))
        .collect();
    names.sort();
    names.concat()
}

fn without_effect(key: &Key, raw: &Raw, origin: &Origin) -> Option<String> {
    match key.kind {
        Kind::Ignored(without, instead) if *raw != Raw::Text(without.to_owned()) => {
            Some(format!("{} is not supported and has no effect: {instead} (set by {origin})", key.name))
        }
        _ => None,
    }
}

fn without_slash(key: &Key, raw: &Raw, origin: &Origin) -> Option<String> {
    match (key.kind, raw) {
        (Kind::Path | Kind::OptionalPath, Raw::Text(text))
            if !text.starts_with('/') && matches!(key.kind.read(raw, "".as_ref()), Ok(Some(_))) =>
        {
            Some(format!("{} = {text} lacks the slash at the front; /{text} is used (set by {origin})", key.name))
        }
        _ => None,
    }
}
