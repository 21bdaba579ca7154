//! What the older relay server is configured by: `config.json` in the working directory, and four variables
//! (`docs/protocols/relay.md §1`). Only with `MODE=relay`: elsewhere a `PORT` means something else.
//!
//! The file wins over the variables, as it did; `LETSHARE_…` and flags win over both. What is empty falls back.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use rand::RngExt as _;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde_json::Value;

use crate::config::{Config, Loaded, complaint::Origin, layers::Layer, yaml::Raw};

/// The mode that reads them.
pub const MODE: &str = "relay";
const FILE: &str = "config.json";

/// Key of the file, variable, setting.
const NAMES: [(&str, &str, &str); 4] = [
    ("port", "PORT", "relay.port"),
    ("api_key", "RELAY_API_KEY", "relay.api_key"),
    ("ws_path", "WS_PATH", "relay.ws_path"),
    ("push_path", "PUSH_PATH", "relay.push_path"),
];

/// The file as it is written for whoever has none.
#[derive(Serialize)]
struct Written<'a> {
    port: &'a str,
    api_key: &'a str,
    ws_path: &'a str,
    push_path: &'a str,
}

/// What the two places say, and where the file is to be written if there is none.
pub struct Older {
    pub layers: [Layer; 2],
    pub missing: Option<PathBuf>,
}

/// Reads both.
pub fn read(vars: &BTreeMap<String, String>, dir: &Path, warnings: &mut Vec<String>) -> Older {
    let mut variables = Layer::new("older variables");
    for (_, variable, key) in NAMES {
        match vars.get(variable) {
            Some(empty) if empty.is_empty() => {
                warnings.push(format!("the environment variable {variable} is empty; the default counts"));
            }
            Some(text) => {
                let origin = Origin::Variable(variable.to_owned());
                variables.set(key, Raw::Text(text.clone()), origin);
            }
            None => {}
        }
    }
    let path = dir.join(FILE);
    let mut file = Layer::new(FILE);
    let missing = match fs::read_to_string(&path) {
        Ok(text) => {
            fill(&mut file, &text, &path, warnings);
            None
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Some(path),
        Err(error) => {
            warnings.push(format!("{} cannot be read and does not count: {error}", path.display()));
            None
        }
    };
    Older { layers: [variables, file], missing }
}

fn fill(layer: &mut Layer, text: &str, path: &Path, warnings: &mut Vec<String>) {
    let shown = path.display();
    let object = match serde_json::from_str(text) {
        Ok(Value::Object(object)) => object,
        Ok(_) => {
            warnings.push(format!("{shown} is not a JSON object and does not count"));
            return;
        }
        Err(error) => {
            let (line, column) = (error.line(), error.column());
            warnings.push(format!("{shown} does not count, it is not JSON: line {line}, column {column}"));
            return;
        }
    };
    for (name, value) in &object {
        let Some((_, _, key)) = NAMES.iter().find(|(known, ..)| known == name) else {
            warnings.push(format!("{shown}: {name:?} is no setting of the relay"));
            continue;
        };
        let origin = Origin::in_file(path, line_of(text, name));
        match value {
            Value::String(empty) if empty.is_empty() => {
                warnings.push(format!("{shown}: {name} is empty; the next place counts"));
            }
            Value::String(text) => layer.set(key, Raw::Text(text.clone()), origin),
            Value::Number(number) if name == "port" => {
                layer.set(key, Raw::Text(number.to_string()), origin);
            }
            _ => warnings.push(format!("{shown}: {name} is not a text; the next place counts")),
        }
    }
}

fn line_of(text: &str, name: &str) -> usize {
    let quoted = format!("\"{name}\"");
    let before = text.find(&quoted).map_or("", |at| &text[..at]);
    1 + before.matches('\n').count()
}

impl Loaded {
    /// Writes the `config.json` that a relay without one is to have, with a random key unless it has one;
    /// for a server that is about to start. Where it was written, if it was.
    ///
    /// # Errors
    /// When it cannot be written; the key then holds for this run.
    pub fn write_relay_file(&mut self) -> io::Result<Option<PathBuf>> {
        let Some(path) = self.missing_relay_file.take() else {
            return Ok(None);
        };
        let relay = &mut self.config.relay;
        if relay.api_key.expose_secret().is_empty() {
            let random: [u8; 32] = rand::rng().random();
            relay.api_key = SecretString::from(hex::encode(random));
        }
        write(&path, &self.config).map(|()| Some(path))
    }
}

fn write(path: &Path, config: &Config) -> io::Result<()> {
    let relay = &config.relay;
    let written = Written {
        port: &relay.port.unwrap_or(config.server.port).to_string(),
        api_key: relay.api_key.expose_secret(),
        ws_path: &relay.ws_path,
        push_path: &relay.push_path,
    };
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(path)?;
    serde_json::to_writer_pretty(&mut file, &written)?;
    file.write_all(b"\n")?;
    file.sync_all()
}
