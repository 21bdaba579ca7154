//! What the older PostOffice server is configured by: one JSON file per environment (`protocols/postoffice.md §1`).
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

use super::{
    complaint::{Complaint, Origin},
    layers::Layer,
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
    (
        "maxWebSocketConnections",
        Kind::Whole,
        "postoffice.max_connections",
    ),
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
        match fs::read_to_string(&path) {
            Ok(text) => fill(&mut file, &text, &path, complaints, warnings),
            Err(error) => complaints.push(Complaint::about(
                path.display().to_string(),
                format!("cannot be read: {error}"),
            )),
        }
    }
    let mut variables = Layer::new("older variables");
    for (name, text) in vars {
        let Some(rest) = name.strip_prefix(PREFIX) else {
            continue;
        };
        if name == ENVIRONMENT || name == FILE || text.is_empty() {
            continue;
        }
        let known = NAMES.iter().find(|(key, ..)| key.to_uppercase() == rest);
        match known {
            Some((_, _, key)) => {
                let origin = Origin::Variable(name.clone());
                variables.set(key, Raw::Text(text.clone()), origin);
            }
            None => warnings.push(format!(
                "the environment variable {name} is no setting of the post office"
            )),
        }
    }
    // Naming a TLS port is how the older server is told to have one.
    let port = [&variables, &file]
        .into_iter()
        .find_map(|layer| layer.origin("tls.port"))
        .cloned();
    if let Some(origin) = port {
        variables.set("tls.enabled", Raw::Text("true".into()), origin);
    }
    Older {
        layers: [file, variables],
    }
}

fn find(
    vars: &BTreeMap<String, String>,
    dir: &Path,
    complaints: &mut Vec<Complaint>,
) -> Option<PathBuf> {
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
            ..Complaint::about(
                ENVIRONMENT,
                format!("no settings for it: {} {missing}", exact.display()),
            )
        });
    }
    other
}

fn fill(
    layer: &mut Layer,
    text: &str,
    path: &Path,
    complaints: &mut Vec<Complaint>,
    warnings: &mut Vec<String>,
) {
    let shown = path.display();
    let origin = |line| Origin::File {
        path: path.to_owned(),
        line,
        embedded: false,
    };
    let object = match serde_json::from_str(text) {
        Ok(Value::Object(object)) => object,
        Ok(_) => {
            complaints.push(Complaint::about(
                shown.to_string(),
                "not a JSON object; write {\"socketPort\": 7502}",
            ));
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
            warnings.push(format!(
                "{shown}: {name:?} is no setting of the post office"
            ));
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
                ..Complaint::about(
                    name,
                    format!("{} where {} belongs", type_of(value), kind.name()),
                )
            }),
        }
    }
}

/// The older server names one and never uses it.
fn redis(value: &Value, shown: &str, warnings: &mut Vec<String>) {
    let has_one = value["redis"]
        .as_object()
        .is_some_and(|redis| !redis.is_empty());
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
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use tempfile::TempDir;

    use crate::config::{Environment, Loaded, load};

    struct Place {
        environment: Environment,
        _folder: TempDir,
    }

    fn place(files: &[(&str, &str)]) -> Place {
        let folder = TempDir::new().unwrap();
        std::fs::create_dir(folder.path().join(".env")).unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let environment = Environment {
            vars: [("MODE".to_owned(), "postoffice".to_owned())].into(),
            dir: folder.path().to_owned(),
        };
        Place {
            environment,
            _folder: folder,
        }
    }

    impl Place {
        fn var(mut self, name: &str, value: &str) -> Self {
            self.environment.vars.insert(name.into(), value.into());
            self
        }

        fn loaded(&self) -> Loaded {
            load(&self.environment, &[]).unwrap_or_else(|complaints| panic!("{complaints}"))
        }

        fn complaints(&self) -> String {
            load(&self.environment, &[])
                .expect_err("a fault")
                .to_string()
        }
    }

    /// protocols/postoffice.md §1: the defaults of its table.
    #[test]
    fn without_a_file_the_documented_defaults_count() {
        let post = place(&[]).loaded().config.postoffice;
        assert_eq!(post.port, Some(7502));
        assert_eq!(post.max_connections, 20_000);
        assert_eq!(post.ws_paths(), ["/ws", "/"]);
    }

    #[test]
    fn the_file_is_chosen_by_the_environment() {
        let files = [
            (".env/config-dev.json", r#"{"socketPort": 7001}"#),
            (
                ".env/config-zhycit.json",
                r#"{"socketPort": 7002, "maxWebSocketConnections": 20}"#,
            ),
            ("own.json", r#"{"socketPort": 7003}"#),
        ];
        let port = |place: Place| place.loaded().config.postoffice.port;
        assert_eq!(port(place(&files)), Some(7001));
        let zhycit = place(&files).var("POSTOFFICE_ENV", "zhycit").loaded();
        assert_eq!(zhycit.config.postoffice.port, Some(7002));
        assert_eq!(zhycit.config.postoffice.max_connections, 20);
        assert_eq!(port(place(&files).var("POSTOFFICE_ENV", "zhy")), Some(7002));
        assert_eq!(
            port(place(&files).var("POSTOFFICE_CONFIG", "own.json")),
            Some(7003)
        );
        let text = place(&files).var("POSTOFFICE_ENV", "test").complaints();
        assert!(
            text.contains("POSTOFFICE_ENV") && text.contains("config-test.json"),
            "{text}"
        );
    }

    #[test]
    fn variables_win_over_the_file() {
        let files = [(".env/config-dev.json", r#"{"socketPort": 7001}"#)];
        let place = place(&files).var("POSTOFFICE_SOCKETPORT", "7009");
        assert_eq!(place.loaded().config.postoffice.port, Some(7009));
        let place = place.var("LETSHARE_POSTOFFICE_PORT", "7010");
        assert_eq!(place.loaded().config.postoffice.port, Some(7010));
    }

    #[test]
    fn a_wrong_type_stops_the_start_and_is_named() {
        let files = [(".env/config-dev.json", "{\n \"socketPort\": \"7001\"}")];
        let text = place(&files).complaints();
        for part in [
            "socketPort",
            "a string where a whole number belongs",
            "config-dev.json:2",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn unknown_keys_are_told_and_redis_is_not_used() {
        let text =
            r#"{"socketport": 1, "dataSource": {"redis": {"gnas-ai": {"uri": "127.0.0.1:6379"}}}}"#;
        let warnings = place(&[(".env/config-dev.json", text)])
            .loaded()
            .warnings
            .join("\n");
        assert!(
            warnings.contains("\"socketport\" is no setting"),
            "{warnings}"
        );
        assert!(
            warnings.contains("dataSource.redis is not used"),
            "{warnings}"
        );
    }

    #[test]
    fn a_tls_port_switches_tls_on() {
        let text = r#"{"sslPort": 7503, "sslCertPath": "./c.pem", "sslKeyPath": "./k.pem"}"#;
        let files = [
            (".env/config-dev.json", text),
            ("c.pem", "x"),
            ("k.pem", "x"),
        ];
        let tls = place(&files).loaded().config.tls;
        assert!(tls.enabled);
        assert_eq!(tls.port, 7503);
    }

    #[test]
    fn any_token_on_an_open_address_stops_the_start_with_the_lines_to_add() {
        let text = place(&[])
            .var("LETSHARE_SERVER_HOST", "0.0.0.0")
            .complaints();
        assert!(
            text.contains("postoffice:\n    auth: tokens\n    tokens: "),
            "{text}"
        );
    }
}
