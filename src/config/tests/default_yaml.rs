//! `configs/default.yaml`, the typed settings and the keys say the same.

use serde_json::{Map, Value};

use super::*;
use crate::config::{kind::items, yaml};

/// Read when the tests run, so that the ones beside hold the file that was just written.
fn defaults() -> String {
    fs::read_to_string("configs/default.yaml").unwrap()
}

/// What the file begins with.
const HEAD: &str = "\
# Every setting of letshare-server with its default. The program has them built in: copies of this file on disk are
# not read. Change a setting in configs/<MODE>.yaml, by environment variable or by flag; the later one wins:
#
#   these defaults  <  configs/$MODE.yaml  <  LETSHARE_<SECTION>_<KEY>  <  --set section.key=value
#
# An environment variable that is empty counts as not set. Lists in variables and flags are separated by commas.
# Durations have a unit: 200ms, 30s, 2m, 1h.
# `letshare-server config show` prints the effective values and where each comes from.
";

fn yaml_of(text: &str) -> String {
    let is_plain = !text.is_empty() && text != "off" && !text.contains(['#', '&', '%', '@', '!', '*']);
    if is_plain { text.to_owned() } else { format!("{text:?}") }
}

/// The file that the keys make.
fn made() -> String {
    let mut file = HEAD.to_owned();
    let mut last = "";
    for key in Key::all() {
        let (section, name) = key.name.split_once('.').unwrap_or(("", key.name));
        if section != last || section.is_empty() {
            file.push('\n');
        }
        if section != last {
            file.push_str(&format!("{section}:\n"));
        }
        last = section;
        let indent = if section.is_empty() { "" } else { "  " };
        for line in key.text {
            file.push_str(&format!("{indent}#{line}\n"));
        }
        file.push_str(&format!("{indent}# Allowed: {}\n", key.kind));
        let list = items(&key.default_value());
        let value = match key.kind.is_list() {
            true if list.is_empty() => " []".to_owned(),
            true => list.iter().map(|item| format!("\n{indent}  - {}", yaml_of(item))).collect(),
            false => format!(" {}", yaml_of(key.default)),
        };
        file.push_str(&format!("{indent}{name}:{value}\n"));
    }
    file
}

/// With `LETSHARE_WRITE_DEFAULTS=1` the file is written anew.
#[test]
fn default_yaml_is_what_the_keys_make() {
    let made = made();
    if std::env::var_os("LETSHARE_WRITE_DEFAULTS").is_some() {
        fs::write("configs/default.yaml", &made).unwrap();
    } else {
        assert!(made == defaults(), "write it anew: LETSHARE_WRITE_DEFAULTS=1 cargo test default_yaml_is_what");
    }
    for leaf in yaml::read(&made).unwrap() {
        let key = Key::find(&leaf.key).unwrap();
        assert_eq!(leaf.value.written(), key.default, "{}", key.name);
    }
}

/// The rows name the bounds that others rely on.
#[test]
fn the_largest_leeway_is_the_limit() {
    let bounds = Key::find("auth.clock_leeway").unwrap().kind.to_string();
    let limit = crate::limits::CLOCK_LEEWAY_MAX.as_secs() / 60;
    assert_eq!(bounds, format!("a duration from 0s to {limit}m"));
}

#[test]
fn default_yaml_has_exactly_the_keys_of_the_table() {
    let leaves = yaml::read(&defaults()).unwrap();
    let written: Vec<&str> = leaves.iter().map(|leaf| leaf.key.as_str()).collect();
    let known: Vec<&str> = Key::all().map(|key| key.name).collect();
    assert_eq!(written, known);
}

#[test]
fn default_yaml_documents_the_range_of_each_key() {
    let text = defaults();
    let lines: Vec<&str> = text.lines().collect();
    for leaf in yaml::read(&text).unwrap() {
        let kind = Key::find(&leaf.key).unwrap().kind;
        assert_eq!(lines[leaf.line - 2].trim(), format!("# Allowed: {kind}"), "{}", leaf.key);
        let why = lines[leaf.line - 3].trim();
        assert!(why.starts_with("# ") && why.len() > 12, "{}: {why}", leaf.key);
    }
}

/// Adds a key that cannot exist to each section; serde's refusal lists the fields of the struct.
#[test]
fn the_typed_settings_have_exactly_the_keys_of_the_table() {
    let typed = || {
        let mut root = Map::new();
        for leaf in yaml::read(&defaults()).unwrap() {
            let kind = Key::find(&leaf.key).unwrap().kind;
            if let Some(value) = kind.read(&leaf.value, "".as_ref()).unwrap() {
                insert(&mut root, &leaf.key, value);
            }
        }
        root
    };
    let fields = |section: &str| -> Vec<String> {
        let mut root = typed();
        insert(&mut root, &format!("{section}zz"), Value::from(1));
        let error = serde_json::from_value::<Config>(root.into()).unwrap_err().to_string();
        let (_, fields) =
            error.split_once("unknown field `zz`, expected ").unwrap_or_else(|| panic!("{section}: {error}"));
        fields.split('`').skip(1).step_by(2).map(|field| format!("{section}{field}")).collect()
    };
    let supported = Key::all().filter(|key| !matches!(key.kind, Kind::Ignored(..)));
    let mut expected: Vec<String> = supported.map(|key| key.name.to_owned()).collect();
    let mut found = Vec::new();
    for name in fields("") {
        if name == "allow_insecure" {
            found.push(name);
        } else {
            found.extend(fields(&format!("{name}.")));
        }
    }
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

fn insert(root: &mut Map<String, Value>, key: &str, value: Value) {
    match key.split_once('.') {
        None => root.insert(key.to_owned(), value),
        Some((section, name)) => {
            let section = root.entry(section).or_insert_with(|| Map::new().into());
            section.as_object_mut().unwrap().insert(name.to_owned(), value)
        }
    };
}
