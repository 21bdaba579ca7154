//! What the older relay server is configured by: `config.json` in the working directory, and four variables
//! (`docs/protocols/relay.md §1`). Only with `MODE=relay`: elsewhere a `PORT` means something else.
//!
//! The file wins over the variables, as it did; `LETSHARE_…` and flags win over both. What is empty falls back.

use std::{collections::BTreeMap, io, path::Path};

use serde_json::Value;

use crate::config::{
    complaint::Origin,
    layers::{Layer, nearest},
    text_file::read_text,
    yaml::Raw,
};

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

/// Reads both.
pub fn read(vars: &BTreeMap<String, String>, dir: &Path, warnings: &mut Vec<String>) -> [Layer; 2] {
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
    match read_text(&path) {
        Ok(text) => fill(&mut file, &text, &path, warnings),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => warnings.push(format!("{} cannot be read and does not count: {error}", path.display())),
    }
    [variables, file]
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
            let near = nearest(name, NAMES.iter().map(|(known, ..)| *known));
            warnings.push(format!("{shown}: {name:?} is no setting of the relay{near}"));
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
