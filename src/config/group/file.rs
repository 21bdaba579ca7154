//! What the older group server is configured by: one YAML file of go-zero (`docs/protocols/group.md §1`). Only with `MODE=group`.
//!
//! `etc/websocket.yaml` in the working directory, or the file of `-f` (`GROUP_CONFIG`). Keys are read whatever their case.
//! `GROUP_<SECTION>_<KEY>` wins over the file, `LETSHARE_…` and flags win over both. What this server has no use for is
//! told.

use std::{collections::BTreeMap, io, path::Path};

use crate::config::{
    complaint::{Complaint, Origin},
    layers::{Layer, OlderVariables, nearest},
    text_file::read_text,
    yaml::{self, Raw},
};

/// The mode that reads them.
pub const MODE: &str = "group";
/// Names the file.
pub const FILE: &str = "GROUP_CONFIG";
const PREFIX: &str = "GROUP_";
const DEFAULT_FILE: &str = "etc/websocket.yaml";

/// What the older server writes, and what it is here.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    AsIs,
    /// A number of seconds where a duration belongs here.
    Seconds,
}

/// Key of the file in lower case, form, setting.
const NAMES: [(&str, Form, &str); 11] = [
    ("host", Form::AsIs, "server.host"),
    ("port", Form::AsIs, "group.port"),
    ("redis.host", Form::AsIs, "group.redis"),
    ("redis.pass", Form::AsIs, "group.redis_password"),
    ("redis.db", Form::AsIs, "group.redis_db"),
    ("auth.accesssecret", Form::AsIs, "group.jwt_secret"),
    ("websocket.maxconnections", Form::AsIs, "group.max_connections"),
    ("websocket.readtimeout", Form::Seconds, "group.idle_timeout"),
    ("websocket.writetimeout", Form::Seconds, "group.stall_timeout"),
    ("websocket.heartbeatinterval", Form::Seconds, "group.ping_interval"),
    ("allowedorigins", Form::AsIs, "group.allowed_origins"),
];

/// Beginning of a key, and why it has no effect.
const UNUSED: [(&str, &str); 4] = [
    ("name", "nothing here has a name"),
    ("chatrpc", "groups and messages are kept by this server itself; see group.service_key"),
    ("userrpc", "names come with the members of a group"),
    ("auth.accessexpire", "whoever makes the tokens says how long they live"),
];

/// Reads file and variables.
pub fn read(
    vars: &BTreeMap<String, String>,
    dir: &Path,
    complaints: &mut Vec<Complaint>,
    warnings: &mut Vec<String>,
) -> [Layer; 2] {
    let mut file = Layer::new("older file");
    let named = vars.get(FILE).filter(|path| !path.is_empty());
    let path = dir.join(named.map_or(DEFAULT_FILE, String::as_str));
    match read_text(&path) {
        Ok(text) => fill(&mut file, &text, &path, complaints, warnings),
        Err(error) if named.is_none() && error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => complaints.push(Complaint {
            origin: named.map(|_| Origin::Variable(FILE.into())),
            ..Complaint::about(path.display().to_string(), format!("cannot be read: {error}"))
        }),
    }
    let known = NAMES.map(|(name, _, key)| (format!("{PREFIX}{}", name.replace('.', "_").to_uppercase()), key));
    let older = OlderVariables { server: "group server", prefix: PREFIX, known: &known, others: &[FILE] };
    let form = |key: &str, value| match NAMES.iter().find(|(.., setting)| *setting == key) {
        Some((_, form, _)) => form.of(value),
        None => value,
    };
    let variables = Layer::older_variables(vars, &older, form, complaints, warnings);
    [file, variables]
}

fn fill(layer: &mut Layer, text: &str, path: &Path, complaints: &mut Vec<Complaint>, warnings: &mut Vec<String>) {
    let shown = path.display();
    let leaves = yaml::read_of(path, text, complaints);
    for leaf in leaves {
        let lower = leaf.key.to_lowercase();
        if let Some((_, form, key)) = NAMES.iter().find(|(known, ..)| *known == lower) {
            layer.set(key, form.of(leaf.value), Origin::in_file(path, leaf.line));
            continue;
        }
        let is_below = |begin: &str| {
            let rest = lower.strip_prefix(begin);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let why = UNUSED.iter().find(|(begin, _)| is_below(begin));
        let near = || nearest(&lower, NAMES.iter().map(|(known, ..)| *known));
        let why =
            why.map_or_else(|| format!("it is no setting of the group server{}", near()), |(_, why)| (*why).into());
        warnings.push(format!("{shown}: {} has no effect: {why}", leaf.key));
    }
}

impl Form {
    fn of(self, value: Raw) -> Raw {
        match (self, value) {
            (Self::Seconds, Raw::Text(text)) if text.parse::<u64>().is_ok() => Raw::Text(format!("{text}s")),
            (_, value) => value,
        }
    }
}

#[cfg(test)]
mod tests;
