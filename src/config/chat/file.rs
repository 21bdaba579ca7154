//! What the chat's own settings file says: `config.yaml` in the working directory, and four variables
//! (`docs/protocols/chat.md §1`). Only with `MODE=chat`.
//!
//! The variables win over the file, `LETSHARE_…` and flags over both. What is unknown or has no use is told; a file that
//! cannot be read as YAML stops the start.

use std::{collections::BTreeMap, io, path::Path};

use crate::config::{
    complaint::{Complaint, Origin},
    layers::{Layer, OlderVariables, nearest},
    text_file::read_text,
    yaml::{self, Raw},
};

/// The mode that reads them.
pub const MODE: &str = "chat";
const FILE: &str = "config.yaml";

/// Key of the file, setting. `Redis` and `Mysql` are below.
const NAMES: [(&str, &str); 16] = [
    ("Port", "chat.port"),
    ("Jwt.Secret", "chat.jwt_secret"),
    ("Jwt.Header", "chat.jwt_header"),
    ("Mongodb.Uri", "chat.mongodb_uri"),
    ("Mongodb.Username", "chat.mongodb_username"),
    ("Mongodb.Password", "chat.mongodb_password"),
    ("Mongodb.Host", "chat.mongodb_host"),
    ("Mongodb.Port", "chat.mongodb_port"),
    ("Mongodb.Database", "chat.mongodb_database"),
    ("Baidu.ApiKey", "chat.baidu_api_key"),
    ("Baidu.SecretKey", "chat.baidu_secret_key"),
    ("Baidu.OnError", "chat.baidu_on_error"),
    ("Baidu.Suspect", "chat.baidu_suspect"),
    ("Baidu.TimeoutMs", "chat.baidu_timeout"),
    ("Baidu.BaseUrl", "chat.baidu_base_url"),
    ("Cors.Origins", "chat.allowed_origins"),
];

/// Sections that the older server has and nobody here uses.
const UNUSED: [(&str, &str); 2] =
    [("Redis", "who is online is known to this server alone"), ("Mysql", "groups are kept with the messages")];

/// Variable, setting.
const VARIABLES: [(&str, &str); 4] = [
    ("CHAT_JWT_SECRET", "chat.jwt_secret"),
    ("CHAT_MONGODB_URI", "chat.mongodb_uri"),
    ("CHAT_BAIDU_API_KEY", "chat.baidu_api_key"),
    ("CHAT_BAIDU_SECRET_KEY", "chat.baidu_secret_key"),
];

/// Reads both, the file first.
pub fn read(
    vars: &BTreeMap<String, String>,
    dir: &Path,
    complaints: &mut Vec<Complaint>,
    warnings: &mut Vec<String>,
) -> [Layer; 2] {
    let mut file = Layer::new(FILE);
    let path = dir.join(FILE);
    match read_text(&path) {
        Ok(text) => fill(&mut file, &text, &path, complaints, warnings),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => complaints.push(Complaint::about(path.display().to_string(), format!("cannot be read: {error}"))),
    }
    let known = VARIABLES.map(|(name, key)| (name.to_owned(), key));
    let older = OlderVariables { server: "chat", prefix: "CHAT_", known: &known, others: &[] };
    let variables = Layer::older_variables(vars, &older, |_, value| value, complaints, warnings);
    [file, variables]
}

fn fill(layer: &mut Layer, text: &str, path: &Path, complaints: &mut Vec<Complaint>, warnings: &mut Vec<String>) {
    let shown = path.display();
    let leaves = yaml::read_of(path, text, complaints);
    let is_empty = |value: &Raw| match value {
        Raw::Text(text) => text.is_empty(),
        Raw::List(items) => items.is_empty(),
    };
    let mut unused = Vec::new();
    for leaf in leaves {
        let section = leaf.key.split('.').next().unwrap_or_default();
        if let Some((section, why)) = UNUSED.iter().find(|(known, _)| *known == section) {
            if !is_empty(&leaf.value) && !unused.contains(section) {
                unused.push(*section);
                warnings.push(format!("{shown}:{}: {section} is not used; {why}", leaf.line));
            }
            continue;
        }
        let Some((_, key)) = NAMES.iter().find(|(known, _)| *known == leaf.key) else {
            let is_section =
                NAMES.iter().any(|(known, _)| known.strip_prefix(&*leaf.key).is_some_and(|rest| rest.starts_with('.')));
            if !(is_section && is_empty(&leaf.value)) {
                let (line, name) = (leaf.line, &leaf.key);
                let near = nearest(name, NAMES.iter().map(|(known, _)| *known));
                warnings.push(format!("{shown}:{line}: {name:?} is no setting of the chat{near}"));
            }
            continue;
        };
        // What is empty leaves the default; but nobody is on the list of pages when it is.
        if is_empty(&leaf.value) && *key != "chat.allowed_origins" {
            continue;
        }
        let value = match leaf.value {
            Raw::Text(millis) if *key == "chat.baidu_timeout" => Raw::Text(format!("{millis}ms")),
            value => value,
        };
        layer.set(key, value, Origin::in_file(path, leaf.line));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn read_file(text: &str) -> (Layer, Vec<Complaint>, Vec<String>) {
        let (mut layer, mut complaints, mut warnings) = (Layer::new(FILE), Vec::new(), Vec::new());
        let path = Path::new("config.yaml");
        fill(&mut layer, text, path, &mut complaints, &mut warnings);
        (layer, complaints, warnings)
    }

    /// docs/protocols/chat.md §1, the whole sample.
    #[test]
    fn the_file_of_the_document() {
        let text = r#"
Port: 8009
Jwt: { Secret: "", Header: "x-token" }
Mongodb: { Username: "", Password: "", Host: "127.0.0.1", Port: 27017, Database: "zulme" }
Redis: { Addr: "127.0.0.1:6379", Password: "", Db: 0 }
Mysql: { User: "", Password: "", Host: "", Port: 3306, Database: "" }
Baidu: { ApiKey: "", SecretKey: "", OnError: allow, Suspect: block, TimeoutMs: 3000, BaseUrl: "https://aip.baidubce.com" }
Cors: { Origins: ["http://localhost:3000", "http://localhost:8080"] }
"#;
        let (layer, complaints, warnings) = read_file(text);
        assert!(complaints.is_empty(), "{complaints:?}");
        let line = |key| match layer.origin(key) {
            Some(Origin::File { line, .. }) => Some(*line),
            _ => None,
        };
        for (key, expected) in [
            ("chat.port", Some(2)),
            ("chat.jwt_header", Some(3)),
            ("chat.jwt_secret", None),
            ("chat.mongodb_host", Some(4)),
            ("chat.mongodb_database", Some(4)),
            ("chat.mongodb_username", None),
            ("chat.baidu_timeout", Some(7)),
            ("chat.baidu_base_url", Some(7)),
            ("chat.allowed_origins", Some(8)),
        ] {
            assert_eq!(line(key), expected, "{key}");
        }
        let warnings = warnings.join("\n");
        assert!(warnings.contains("config.yaml:5: Redis is not used"), "{warnings}");
        assert!(warnings.contains("config.yaml:6: Mysql is not used"), "{warnings}");
        assert_eq!(warnings.lines().count(), 2, "{warnings}");
    }

    #[test]
    fn what_is_unknown_is_told() {
        let (_, complaints, warnings) = read_file("Nacos:\n  Addr: x\nJwt:\n  Secert: abc\n");
        assert!(complaints.is_empty());
        assert_eq!(
            warnings,
            [
                "config.yaml:2: \"Nacos.Addr\" is no setting of the chat",
                "config.yaml:4: \"Jwt.Secert\" is no setting of the chat; did you mean Jwt.Secret?",
            ]
        );
        let (_, complaints, _) = read_file("Port: [\n");
        assert_eq!(complaints.len(), 1);
    }
}
