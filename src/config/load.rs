//! Reads the settings: built-in defaults < `configs/$MODE.yaml` < environment < flags (docs/architecture.md §8).
//!
//! Every fault is collected before anything is refused. A value that cannot be read is replaced by
//! its default while the rest is judged, so that one run of `config check` tells everything.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use figment::{
    Figment,
    value::{Dict, Value},
};
use secrecy::SecretString;

use super::{
    Config, chat, check,
    complaint::{Complaint, Complaints, Origin},
    group,
    keys::Key,
    kind::Kind,
    layers::{Layer, insert, nearest},
    postoffice, relay,
    text_file::read_text,
    yaml::Raw,
};

/// The one source of defaults.
const DEFAULTS: &str = include_str!("../../configs/default.yaml");

/// Modes that work without a file on disk.
pub(super) const SHIPPED: [(&str, &str); 6] = [
    ("local", include_str!("../../configs/local.yaml")),
    ("production", include_str!("../../configs/production.yaml")),
    ("relay", include_str!("../../configs/relay.yaml")),
    ("postoffice", include_str!("../../configs/postoffice.yaml")),
    ("chat", include_str!("../../configs/chat.yaml")),
    ("group", include_str!("../../configs/group.yaml")),
];

const PRODUCTION: &str = "production";

/// What the settings are read from, besides flags. Tests make their own. No `Debug`: it holds secrets.
#[derive(Clone, Default)]
pub struct Environment {
    /// Environment variables.
    pub vars: BTreeMap<String, String>,
    /// Where `configs/` is, and what relative paths in the settings start from; empty for the working
    /// directory.
    pub dir: PathBuf,
}

impl Environment {
    /// The variables and the working directory of this process.
    pub fn of_process() -> Self {
        // Not `vars()`: it panics when any variable is not UTF-8.
        let text = |os: std::ffi::OsString| os.to_string_lossy().into_owned();
        Self { vars: std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect(), dir: PathBuf::new() }
    }
}

/// Settings that passed every check.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    /// `local`, `production` or the name of a file in `configs/`.
    pub mode: String,
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

/// Settings with everything that was found wrong so far: whoever reads the files that they name adds to it, so that all is
/// told at once.
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
        let loaded = Loaded { config, mode: String::new(), warnings: Vec::new(), settings: Vec::new() };
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
    let mut complaints = Vec::new();
    let mode = mode(environment, &mut complaints);
    let (environment, flags) = &file_flags(environment, flags, &mode, &mut complaints);
    let mut layers = vec![Layer::defaults(DEFAULTS, &mut complaints)];
    layers.extend(mode_layer(environment, &mode, &mut complaints));
    let mut warnings = of_other_modes(environment, &mode);
    if mode == postoffice::file::MODE {
        let (vars, dir) = (&environment.vars, &environment.dir);
        let older = postoffice::file::read(vars, dir, &mut complaints, &mut warnings);
        layers.extend(older.layers);
    }
    if mode == chat::file::MODE {
        let (vars, dir) = (&environment.vars, &environment.dir);
        layers.extend(chat::file::read(vars, dir, &mut complaints, &mut warnings));
    }
    if mode == group::file::MODE {
        let (vars, dir) = (&environment.vars, &environment.dir);
        layers.extend(group::file::read(vars, dir, &mut complaints, &mut warnings));
    }
    if mode == relay::file::MODE {
        layers.extend(relay::file::read(&environment.vars, &environment.dir, &mut warnings));
    }
    layers.push(Layer::environment(&environment.vars, &mut complaints));
    layers.push(Layer::flags(flags, &mut complaints));

    let merged = layers.iter().fold(Figment::new(), Figment::merge);
    let defaults = layers.first().map(Figment::from).unwrap_or_default();
    let mut typed = Dict::new();
    let mut settings = Vec::new();
    let mut unread = BTreeSet::new();
    for key in Key::all() {
        let Some(raw) = raw(&merged, key) else {
            complaints.push(Complaint::about(key.name, "missing in configs/default.yaml"));
            continue;
        };
        let origin = origin(&merged, &layers, key);
        warnings.extend(ignored(key, &raw, &origin));
        warnings.extend(mended(key, &raw, &origin));
        let value = key.kind.read(&raw, &environment.dir).or_else(|problem| {
            unread.insert(key.name);
            complaints.push(Complaint {
                subject: key.name.into(),
                value: (!key.is_secret()).then(|| key.kind.shown(&raw)),
                origin: Some(origin.clone()),
                problem,
                allowed: Some(key.kind.to_string()),
            });
            let default = self::raw(&defaults, key).ok_or(())?;
            key.kind.read(&default, &environment.dir).map_err(drop)
        });
        if let Ok(Some(value)) = value {
            insert(&mut typed, key.name, value);
        }
        settings.push(Setting { key: key.name, shown: shown(key, &raw), value: written(&raw).into(), origin });
    }

    let config = Value::from(typed).deserialize::<Config>();
    let ignored = warnings.clone();
    match config {
        Ok(mut config) => {
            let file = mode_file(environment, PRODUCTION);
            if mode == PRODUCTION && file.is_file() {
                warnings.extend(older_production(&mut config, &mut settings, &unread, &file));
            }
            let mut verdict = check::Verdict::new(&config, &settings, &unread);
            verdict.judge();
            complaints.append(&mut verdict.complaints);
            warnings.append(&mut verdict.warnings);
            let loaded = Loaded { config, mode, warnings, settings };
            Ok(Draft { loaded, unread, faults: complaints, ignored })
        }
        // A key whose default is missing was told above; anything else is a slip in `keys`.
        Err(error) => {
            complaints.push(Complaint::about("settings", error.to_string()));
            Err(Complaints { faults: complaints, ignored })
        }
    }
}

impl Config {
    /// The built-in defaults, untouched by files, environment and flags.
    ///
    /// # Errors
    /// Never with the `configs/default.yaml` this was built with; a test holds that.
    pub fn defaults() -> Result<Self, Complaints> {
        let mut complaints = Vec::new();
        let layer = Layer::defaults(DEFAULTS, &mut complaints);
        let merged = Figment::from(&layer);
        let mut typed = Dict::new();
        for key in Key::all() {
            let read = raw(&merged, key).map(|raw| key.kind.read(&raw, "".as_ref()));
            match read {
                Some(Ok(Some(value))) => insert(&mut typed, key.name, value),
                Some(Ok(None)) => {}
                Some(Err(problem)) => complaints.push(Complaint::about(key.name, problem)),
                None => complaints.push(Complaint::about(key.name, "missing")),
            }
        }
        let wrong = |faults| Complaints { faults, ignored: Vec::new() };
        if !complaints.is_empty() {
            return Err(wrong(complaints));
        }
        Value::from(typed).deserialize().map_err(|error| wrong(vec![Complaint::about("settings", error.to_string())]))
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

/// Flag, the variable that it stands for, and the mode that reads it.
const FILE_FLAGS: [(&str, &str, &str); 3] = [
    ("-f", group::file::FILE, group::file::MODE),
    ("--config", postoffice::file::FILE, postoffice::file::MODE),
    ("--env", postoffice::file::ENVIRONMENT, postoffice::file::MODE),
];

/// Variables of the older servers that cannot be meant for anybody else, and the mode that reads them.
const ONLY_WITH: [(&str, &[&str]); 4] = [
    (relay::file::MODE, &["RELAY_API_KEY"]),
    (postoffice::file::MODE, &[postoffice::file::ENVIRONMENT, postoffice::file::FILE, "POSTOFFICE_SOCKETPORT"]),
    (chat::file::MODE, &["CHAT_JWT_SECRET", "CHAT_MONGODB_URI", "CHAT_BAIDU_API_KEY", "CHAT_BAIDU_SECRET_KEY"]),
    (group::file::MODE, &[group::file::FILE, "GROUP_AUTH_ACCESSSECRET"]),
];

type Flags = Vec<(String, String)>;

/// The flags that choose the file of an older server become its variables; those of another mode are refused, because
/// nobody would read what they name.
fn file_flags(
    environment: &Environment,
    flags: &[(String, String)],
    mode: &str,
    complaints: &mut Vec<Complaint>,
) -> (Environment, Flags) {
    let mut environment = environment.clone();
    let mut others = Vec::new();
    for (name, value) in flags {
        match FILE_FLAGS.iter().find(|(flag, ..)| flag == name) {
            None => others.push((name.clone(), value.clone())),
            Some((_, variable, reader)) if *reader == mode => {
                environment.vars.insert((*variable).into(), value.clone());
            }
            Some((flag, _, reader)) => complaints.push(Complaint {
                value: Some(value.clone()),
                origin: Some(Origin::Flag),
                ..Complaint::about(
                    *flag,
                    format!("only MODE={reader} reads it, and this is MODE={mode}; set MODE={reader}, or leave it out"),
                )
            }),
        }
    }
    (environment, others)
}

/// What is set for another mode has no effect.
fn of_other_modes(environment: &Environment, mode: &str) -> Vec<String> {
    let is_set = |name: &str| environment.vars.get(name).is_some_and(|text| !text.is_empty());
    let others = ONLY_WITH.iter().filter(|(reader, _)| *reader != mode);
    let names = others.flat_map(|(reader, names)| names.iter().map(move |name| (reader, name)));
    names
        .filter(|(_, name)| is_set(name))
        .map(|(reader, name)| format!("the environment variable {name} has no effect: only MODE={reader} reads it"))
        .collect()
}

fn mode(environment: &Environment, complaints: &mut Vec<Complaint>) -> String {
    let mode = match environment.vars.get("MODE") {
        // docker compose hands an unset variable on as an empty one.
        None => "local",
        Some(empty) if empty.is_empty() => "local",
        Some(mode) => mode,
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if mode.chars().all(plain) {
        return mode.to_owned();
    }
    complaints.push(Complaint {
        value: Some(mode.to_owned()),
        origin: Some(Origin::Variable("MODE".into())),
        allowed: Some(format!("{}, or the name of a file in configs/ without .yaml", shipped_modes())),
        ..Complaint::about("MODE", "not a name")
    });
    "local".to_owned()
}

/// The copy of a mode's settings that is built in.
pub(super) fn shipped(mode: &str) -> Option<&'static str> {
    SHIPPED.iter().find(|(name, _)| *name == mode).map(|(_, text)| *text)
}

fn mode_file(environment: &Environment, mode: &str) -> PathBuf {
    environment.dir.join("configs").join(format!("{mode}.yaml"))
}

fn mode_layer(environment: &Environment, mode: &str, complaints: &mut Vec<Complaint>) -> Option<Layer> {
    let path = mode_file(environment, mode);
    let shipped = SHIPPED.iter().find(|(name, _)| *name == mode);
    match (read_text(&path), shipped) {
        (Ok(text), _) => Some(Layer::file("file", &text, &path, false, complaints)),
        (Err(error), Some((_, text))) if error.kind() == io::ErrorKind::NotFound => {
            Some(Layer::file("file", text, &path, true, complaints))
        }
        (Err(error), _) => {
            let near = nearest(mode, SHIPPED.iter().map(|(name, _)| *name));
            complaints.push(Complaint {
                value: Some(mode.to_owned()),
                origin: environment.vars.contains_key("MODE").then(|| Origin::Variable("MODE".into())),
                allowed: Some(format!("{}{}", shipped_modes(), modes_on_disk(environment))),
                ..Complaint::about("MODE", format!("cannot read {}: {error}{near}", path.display()))
            });
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

/// The older server had no `server.host`: it listened on every address, and so does a `production.yaml` of its time, as
/// the profile of today does, provided that everything is as safe as that wants it. If not, this machine alone can reach
/// the server, and that is told.
fn older_production(
    config: &mut Config,
    settings: &mut [Setting],
    unread: &BTreeSet<&'static str>,
    file: &Path,
) -> Option<String> {
    let host = settings.iter().position(|setting| setting.key == "server.host")?;
    if settings.get(host)?.origin != Origin::Default {
        return None;
    }
    let mut open = config.clone();
    open.server.host = Ipv4Addr::UNSPECIFIED.into();
    let faults = |config: &Config| {
        let mut verdict = check::Verdict::new(config, settings, unread);
        verdict.judge();
        verdict.complaints
    };
    let known = faults(config);
    let subjects = faults(&open).into_iter().filter(|fault| !known.contains(fault)).map(|fault| fault.subject);
    let in_the_way: Vec<_> = subjects.collect();
    if in_the_way.is_empty() {
        *config = open;
        let (_, text) = SHIPPED.iter().find(|(name, _)| *name == PRODUCTION)?;
        let shipped = Layer::file("shipped", text, file, true, &mut Vec::new());
        let setting = settings.get_mut(host)?;
        setting.shown = config.server.host.to_string();
        setting.origin = shipped.origin("server.host")?.clone();
        return None;
    }
    Some(format!(
        "{} has no server.host, and the server listens on {} only: other machines cannot reach it. The older server \
         listened on every address, and so would this one, but for {}; set server.host to 0.0.0.0 to be told what is wrong",
        file.display(),
        config.server.host,
        in_the_way.join(", ")
    ))
}

fn raw(figment: &Figment, key: &Key) -> Option<Raw> {
    match figment.find_value(key.name).ok()? {
        Value::String(_, text) => Some(Raw::Text(text)),
        Value::Array(_, items) => Some(Raw::List(items.into_iter().filter_map(Value::into_string).collect())),
        _ => None,
    }
}

fn origin(figment: &Figment, layers: &[Layer], key: &Key) -> Origin {
    figment
        .find_metadata(key.name)
        .and_then(|metadata| layers.iter().find(|layer| layer.name() == metadata.name))
        .and_then(|layer| layer.origin(key.name))
        .cloned()
        .unwrap_or(Origin::Default)
}

fn ignored(key: &Key, raw: &Raw, origin: &Origin) -> Option<String> {
    match (key.kind, raw) {
        (Kind::Ignored(without, _), Raw::Text(text)) if text == without => None,
        (Kind::Ignored(_, instead), _) => {
            Some(format!("{} is not supported and has no effect: {instead} (set by {origin})", key.name))
        }
        _ => None,
    }
}

fn mended(key: &Key, raw: &Raw, origin: &Origin) -> Option<String> {
    match (key.kind, raw) {
        (Kind::Path | Kind::OptionalPath, Raw::Text(text))
            if !text.starts_with('/') && matches!(key.kind.read(raw, "".as_ref()), Ok(Some(_))) =>
        {
            Some(format!("{} = {text} lacks the slash at the front; /{text} is used (set by {origin})", key.name))
        }
        _ => None,
    }
}

fn written(raw: &Raw) -> String {
    match raw {
        Raw::Text(text) => text.clone(),
        Raw::List(items) => items.join(","),
    }
}

fn shown(key: &Key, raw: &Raw) -> String {
    key.kind.shown(raw).chars().flat_map(char::escape_debug).collect()
}
