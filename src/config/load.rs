//! Reads the settings: built-in defaults < `configs/$MODE.yaml` < environment < flags (docs/architecture.md §8).
//!
//! Every fault is collected before anything is refused. A value that cannot be read is replaced by
//! its default while the rest is judged, so that one run of `config check` tells everything.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::PathBuf,
};

use figment::{
    Figment,
    value::{Dict, Value},
};
use secrecy::{ExposeSecret as _, SecretString};

use super::{
    Config, chat, check,
    complaint::{Complaint, Complaints, Origin},
    group,
    keys::Key,
    kind::Kind,
    layers::{Layer, insert},
    postoffice, relay,
    yaml::Raw,
};

/// The one source of defaults.
const DEFAULTS: &str = include_str!("../../configs/default.yaml");

/// Modes that work without a file on disk.
const SHIPPED: [(&str, &str); 6] = [
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
    /// The `config.json` of a relay that has none: see [`Loaded::write_relay_file`].
    pub(super) missing_relay_file: Option<PathBuf>,
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

/// Reads and checks everything.
///
/// # Errors
/// Every fault that was found, never only the first.
pub fn load(environment: &Environment, flags: &[(String, String)]) -> Result<Loaded, Complaints> {
    let mut complaints = Vec::new();
    let mode = mode(environment, &mut complaints);
    let mut layers = vec![Layer::defaults(DEFAULTS, &mut complaints)];
    layers.extend(mode_layer(environment, &mode, &mut complaints));
    let mut warnings = Vec::new();
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
    let mut missing_relay_file = None;
    if mode == relay::file::MODE {
        let older = relay::file::read(&environment.vars, &environment.dir, &mut warnings);
        layers.extend(older.layers);
        missing_relay_file = older.missing;
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
                value: (!key.is_secret()).then(|| written(&raw)),
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
        Ok(config) => {
            let mut verdict = check::Verdict::new(&config, &settings, &unread);
            verdict.judge();
            complaints.append(&mut verdict.complaints);
            warnings.append(&mut verdict.warnings);
            let relay = &config.relay;
            let has_key = !relay.api_key.expose_secret().is_empty();
            if relay.enabled && !has_key && missing_relay_file.is_none() {
                warnings.push(
                    "relay.api_key is empty: nobody can push. Set LETSHARE_RELAY_API_KEY to a secret of \
                     your own, for example one made with `openssl rand -hex 32`"
                        .into(),
                );
            }
            if complaints.is_empty() {
                return Ok(Loaded { config, mode, warnings, settings, missing_relay_file });
            }
        }
        // A key whose default is missing was told above; anything else is a slip in `keys`.
        Err(error) => complaints.push(Complaint::about("settings", error.to_string())),
    }
    Err(Complaints { faults: complaints, ignored })
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

fn mode_layer(environment: &Environment, mode: &str, complaints: &mut Vec<Complaint>) -> Option<Layer> {
    let path = environment.dir.join("configs").join(format!("{mode}.yaml"));
    let shipped = SHIPPED.iter().find(|(name, _)| *name == mode);
    match (std::fs::read_to_string(&path), shipped) {
        (Ok(text), _) => Some(Layer::file("file", &text, &path, false, complaints)),
        (Err(error), Some((_, text))) if error.kind() == io::ErrorKind::NotFound => {
            Some(Layer::file("file", text, &path, true, complaints))
        }
        (Err(error), _) => {
            complaints.push(Complaint {
                value: Some(mode.to_owned()),
                origin: environment.vars.contains_key("MODE").then(|| Origin::Variable("MODE".into())),
                allowed: Some(format!("{}{}", shipped_modes(), modes_on_disk(environment))),
                ..Complaint::about("MODE", format!("cannot read {}: {error}", path.display()))
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
        (Kind::Path | Kind::OptionalPath, Raw::Text(text)) if !text.is_empty() && !text.starts_with('/') => {
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
    let text = written(raw);
    if key.is_secret() {
        format!("****** ({} bytes)", text.len())
    } else {
        text.chars().flat_map(char::escape_debug).collect()
    }
}
