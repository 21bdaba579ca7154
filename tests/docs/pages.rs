//! Pages and their sections.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use regex::Regex;

use super::File;

/// `## 3. Payload types`, `### 3.5 data and encoding`, `## 6a. One account`.
static HEADING: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?m)^(?:#{2,4} (?:(\d+[a-z]?(?:\.\d+)*)[. ])?|(\d+)\. )").unwrap());
/// `(o)`, one of the points that a section counts by letters.
static LETTER: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\(([a-z])\)").unwrap());
/// `**T25**`, a trap of docs/protocols/ably.md.
static TRAP: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\*\*(T\d+)\*\*").unwrap());
/// `| R8 |`, a goal of docs/goals.md.
static GOAL: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(?m)^\| (R\d+) \|").unwrap());

pub struct Pages {
    sections: BTreeMap<String, BTreeSet<String>>,
    /// Names of single rows that are used without their page: traps and goals.
    pub rows: BTreeSet<String>,
}

impl Pages {
    pub fn of(files: &[File]) -> Self {
        let pages = files.iter().filter(|file| file.path.ends_with(".md"));
        let sections = pages.map(|page| (page.path.clone(), sections_of(&page.text))).collect();
        let text = |path: &str| &*files.iter().find(|file| file.path == path).unwrap().text;
        let traps = TRAP.captures_iter(text("docs/protocols/ably.md"));
        let goals = GOAL.captures_iter(text("docs/goals.md"));
        let rows = traps.chain(goals).map(|row| row[1].to_owned()).collect();
        Self { sections, rows }
    }

    pub fn has_page(&self, page: &str) -> bool {
        self.sections.contains_key(page)
    }

    pub fn has_section(&self, page: &str, section: &str) -> bool {
        self.sections.get(page).is_some_and(|sections| sections.contains(section))
    }
}

/// The numbers of all sections; `3.5.9` is also the ninth point of a list in section 3.5, `5 o` its point (o).
fn sections_of(text: &str) -> BTreeSet<String> {
    let mut sections = BTreeSet::new();
    let mut current = String::new();
    let mut from = 0;
    let add_letters = |current: &str, body: &str, sections: &mut BTreeSet<String>| {
        sections.extend(LETTER.captures_iter(body).map(|letter| format!("{current} {}", &letter[1])));
    };
    for heading in HEADING.captures_iter(text) {
        let at = heading.get(0).unwrap().start();
        if let Some(item) = heading.get(2) {
            sections.insert(format!("{current}.{}", item.as_str()));
            continue;
        }
        add_letters(&current, &text[from..at], &mut sections);
        from = at;
        // A heading without a number belongs to the section that it stands in.
        if let Some(number) = heading.get(1) {
            number.as_str().clone_into(&mut current);
            sections.insert(current.clone());
        }
    }
    add_letters(&current, &text[from..], &mut sections);
    sections
}
