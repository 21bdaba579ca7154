//! The plan of the house, held by a test: who may name whom (docs/architecture.md §4).

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

mod picture;

/// Each room and the rooms that its files may name. `ids`, `limits`, `error` and `live` are words that
/// everybody may use; the typed settings of `config` are handed to whoever is built from them.
const MAY_NAME: [(&str, &[&str]); 19] = [
    ("ids", &[]),
    ("live", &[]),
    ("limits", &[]),
    ("error", &[]),
    ("clock", &[]),
    ("core", &[]),
    ("config", &[]),
    ("store", &["core", "engines", "clock"]),
    ("engines", &["core", "clock"]),
    ("log", &["core", "store", "engines", "clock"]),
    ("auth", &["core", "clock", "config"]),
    ("actors", &["core", "log", "store", "clock"]),
    ("edge", &["actors", "auth", "config"]),
    ("protocols", &["edge", "actors", "core", "auth", "store", "engines", "clock", "config"]),
    ("older", &["edge", "actors", "core", "auth", "store", "engines", "clock", "config"]),
    ("outbound", &["auth", "store", "actors", "clock", "config"]),
    ("ops", &["actors", "auth", "clock", "config"]),
    ("app", EVERYTHING),
    ("cli", EVERYTHING),
];
const EVERYTHING: &[&str] = &["*"];
const WORDS: [&str; 4] = ["ids", "limits", "error", "live"];

#[test]
fn rooms_name_only_the_rooms_below_them() {
    let mut faults = Vec::new();
    for file in rust_files(Path::new("src")) {
        let room = room_of(&file);
        let Some((_, allowed)) = MAY_NAME.iter().find(|(name, _)| *name == room) else {
            assert!(matches!(&*room, "lib" | "main"), "{room} is not in the plan");
            continue;
        };
        for named in rooms_named_in(&fs::read_to_string(&file).unwrap()) {
            let is_allowed =
                named == room || WORDS.contains(&&*named) || allowed.contains(&&*named) || *allowed == EVERYTHING;
            if !is_allowed {
                faults.push(format!("{} names {named}", file.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The rooms of `actors` name each other by what their front files offer: no module of another room stands in a path.
#[test]
fn rooms_of_actors_name_each_other_by_their_front_files() {
    const ROOMS: [&str; 3] = ["transport", "channels", "fanout"];
    let mut faults = Vec::new();
    for file in rust_files(Path::new("src/actors")) {
        let own = file.components().nth(2).unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned();
        if own == "tests" {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        for room in ROOMS.into_iter().filter(|room| *room != own) {
            for (at, path) in text.match_indices(&format!("{room}::")) {
                let named = identifier(&text[at + path.len()..]);
                let is_module = text[at + path.len() + named.len()..].starts_with("::");
                if is_module && named.starts_with(|first: char| first.is_lowercase()) {
                    faults.push(format!("{} names {room}::{named}", file.display()));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// No protocol knows another.
#[test]
fn protocols_do_not_name_each_other() {
    for room in ["protocols", "older"] {
        for file in rust_files(&Path::new("src").join(room)) {
            let own = file.components().nth(2).unwrap().as_os_str().to_str().unwrap().to_owned();
            let text = fs::read_to_string(&file).unwrap();
            let path = format!("crate::{room}::");
            for (at, _) in text.match_indices(&path) {
                let other = identifier(&text[at + path.len()..]);
                assert!(other == own || own == "mod.rs", "{} names {other}", file.display());
            }
        }
    }
}

/// Only `clock` reads time, only `config` reads the environment.
#[test]
fn time_and_environment_have_one_reader_each() {
    for file in rust_files(Path::new("src")) {
        let (room, text) = (room_of(&file), fs::read_to_string(&file).unwrap());
        if file.ends_with("tests.rs") || file.components().any(|folder| folder.as_os_str() == "tests") {
            continue;
        }
        for reader in ["Instant::now", "SystemTime::now", "Timestamp::now"] {
            assert!(room == "clock" || !text.contains(reader), "{} reads time", file.display());
        }
        for reader in ["env::var", "env::vars"] {
            let reads = text.contains(reader);
            assert!(room == "config" || !reads, "{} reads the environment", file.display());
        }
    }
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// `src/core/channel.rs` → `core`
fn room_of(file: &Path) -> String {
    let first = file.strip_prefix("src").unwrap().components().next().unwrap();
    first.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

/// Every `x` of `crate::x` and `crate::{x::…, x, …}`.
fn rooms_named_in(text: &str) -> BTreeSet<String> {
    let mut rooms = BTreeSet::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        let Some(group) = rest.strip_prefix('{') else {
            rooms.insert(identifier(rest));
            continue;
        };
        let mut depth = 0;
        let mut item = String::new();
        for symbol in group.chars() {
            match symbol {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    rooms.insert(identifier(item.trim()));
                    item.clear();
                    continue;
                }
                _ => {}
            }
            item.push(symbol);
        }
        rooms.insert(identifier(item.trim()));
    }
    rooms.remove("");
    rooms
}

fn identifier(text: &str) -> String {
    text.chars().take_while(|symbol| symbol.is_alphanumeric() || *symbol == '_').collect()
}
