//! A link of a page leads to a file that is there, and to a heading that it has.

use std::{collections::BTreeSet, path::Path, sync::LazyLock};

use regex::Regex;

use super::{File, files};

/// `[text](target)`, and `![text](target)`; addresses of the web are another thing.
static LINK: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\]\(([^)\s]+)\)").unwrap());
static HEADING: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(?m)^#{1,6} (.+)$").unwrap());
/// What is shown as it stands has no links.
static CODE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(?s)```.*?```|`[^`\n]*`").unwrap());

#[test]
fn links_lead_somewhere() {
    let files = files();
    let pages: Vec<&File> = files.iter().filter(|file| file.path.ends_with(".md")).collect();
    let mut seen = 0;
    let mut faults = Vec::new();
    for page in &pages {
        let text = CODE.replace_all(&page.text, "");
        for link in LINK.captures_iter(&text) {
            let target = &link[1];
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            seen += 1;
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            let at = if path.is_empty() { page.path.clone() } else { beside(&page.path, path) };
            if !Path::new(&at).exists() {
                faults.push(format!("{}: {target}: there is no {at}", page.path));
            } else if !anchor.is_empty() {
                let there = pages.iter().find(|page| page.path == at).map(|page| anchors(&page.text));
                if there.is_none_or(|anchors| !anchors.contains(anchor)) {
                    faults.push(format!("{}: {target}: {at} has no such heading", page.path));
                }
            }
        }
    }
    assert!(seen > 50, "{seen} links");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// `path` as it is meant in the page `from`.
fn beside(from: &str, path: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in path.split('/') {
        match part {
            "." | "" => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The names that headings have as targets: lower case, no punctuation, a dash for each space.
fn anchors(text: &str) -> BTreeSet<String> {
    let name = |heading: &str| -> String {
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
    };
    HEADING.captures_iter(text).map(|heading| name(heading[1].trim())).collect()
}
