//! Every mode works in docker compose (`docker-compose.yml`, `docker/$MODE.yml`).

use std::{collections::BTreeSet, path::Path};

use serde_json::Value;

use super::*;
use crate::config::load::SHIPPED;

fn yaml_file(path: &str) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn lines<'a>(service: &'a Value, name: &str) -> Vec<&'a str> {
    let lines = service[name].as_array();
    lines.into_iter().flatten().map(|line| line.as_str().unwrap()).collect()
}

/// findings P17: `MODE=<any> docker compose up` has its file; what that file sets is enough for a start, every variable
/// in it is one that the mode reads, and the port of the mode's own protocol is published.
#[test]
fn every_mode_works_in_compose() {
    let compose = yaml_file("docker-compose.yml");
    let service = &compose["services"]["letshare-server"];
    let pattern = service["extends"]["file"].as_str().unwrap();
    assert!(pattern.contains("${MODE:-local}"), "{pattern}");
    let name = service["extends"]["service"].as_str().unwrap();
    for (mode, _) in SHIPPED {
        let file = pattern.replace("${MODE:-local}", mode);
        let added = yaml_file(&file);
        let added = &added["services"][name];
        let mut operator = operator().var("MODE", mode).var("LETSHARE_SERVER_HOST", "0.0.0.0");
        let mut handed_on = operator.environment.vars.clone();
        for line in lines(service, "environment").into_iter().chain(lines(added, "environment")) {
            let (variable, value) = line.split_once('=').unwrap_or((line, ""));
            // `${NAME:?why}` is asked of the operator.
            let value = if value.contains(":?") { LONG } else { value };
            if variable != "MODE" {
                operator = operator.var(variable, value);
                handed_on.insert(variable.to_owned(), "x".to_owned());
            }
        }
        let loaded = operator.loaded();
        let published: BTreeSet<u16> =
            lines(added, "ports").iter().map(|line| line.rsplit(':').next().unwrap().parse().unwrap()).collect();
        let own = loaded.config.listeners().last().unwrap().port;
        assert_eq!(published, [own].into(), "{file}");
        // A name that nobody knows is told, also one of an older server.
        operator.environment.vars = handed_on;
        let told = match operator.load() {
            Ok(loaded) => loaded.warnings.join("\n"),
            Err(complaints) => complaints.to_string(),
        };
        for unknown in ["no such key", "is no setting", "has no effect: only"] {
            assert!(!told.contains(unknown), "{file}: {told}");
        }
    }
}

/// Every `docker/*.yml` belongs to a mode.
#[test]
fn every_compose_file_has_its_mode() {
    for entry in fs::read_dir(Path::new("docker")).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        assert!(SHIPPED.iter().any(|(mode, _)| *mode == stem), "{path:?}");
    }
}
