//! Every reference to a page or a section finds it.
//!
//! `docs/protocols/ably.md §5.3` names both. A `§5.3` alone means the page that the nearest reference before it in the same file
//! names; without one, the page of the protocol that the path of the file names; in a page, that page. Several may
//! follow one another: `docs/protocols/ably.md §5.1, §5.2 and §7`. RFCs are written alike: `RFC 6455 §5.2`.

use std::sync::LazyLock;

use regex::Regex;

use super::{File, files, is_in_comment, line_of, pages::Pages};

static TOKEN: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?x)
        (?<page> [A-Za-z0-9_*./-]+ \.md (?-u:\b) )
        | (?<rfc> RFC\ [0-9]+ )
        | §\ ? (?<section> [0-9]+ [a-z]? (?: \.[0-9]+ )* ) (?: \ \(? (?<letter> [a-z] ) (?-u:\b) )?
        | (?-u:\b) (?<row> [TR][0-9]{1,2} ) (?-u:\b)",
    )
    .unwrap()
});
/// What may stand between two that follow one another; a new line of a comment begins with its leader.
static JOINT: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^(?:[\s`,;–-]|\b(?:and|to|or)\b|//[!/]?|#|\*)*$").unwrap());

#[test]
fn every_reference_finds_its_page_and_section() {
    let files = files();
    let pages = Pages::of(&files);
    let faults: Vec<String> = files.iter().flat_map(|file| faults_of(file, &pages)).collect();
    assert!(faults.is_empty(), "{} lead nowhere:\n{}", faults.len(), faults.join("\n"));
}

/// What a `§` belongs to.
#[derive(Clone, PartialEq)]
enum Target {
    Page(String),
    /// A document that is not ours.
    Foreign,
    Unknown,
}

fn faults_of(file: &File, pages: &Pages) -> Vec<String> {
    let mut faults = Vec::new();
    let own = if file.is_page() { Some(file.path.clone()) } else { protocol_of(&file.path) };
    let alone = own.map_or(Target::Unknown, Target::Page);
    let mut nearest = alone.clone();
    let mut before: Option<(usize, Target)> = None;
    for token in TOKEN.captures_iter(&file.text) {
        let whole = token.get(0).unwrap();
        let mut fault = |what: String| {
            faults.push(format!("{}:{}: {what}", file.path, line_of(&file.text, whole.start())));
        };
        if let Some(row) = token.name("row") {
            if is_in_comment(&file.text, row.start()) && !pages.rows.contains(row.as_str()) {
                fault(format!("there is no {}", row.as_str()));
            }
            continue;
        }
        let target = if let Some(page) = token.name("page") {
            match page_named(file, page.as_str(), pages) {
                Some(page) => {
                    // A page speaks of itself, whatever it names.
                    if !file.is_page() {
                        nearest = Target::Page(page.clone());
                    }
                    Target::Page(page)
                }
                // A page may tell of other projects, whose documents are not here.
                None if is_foreign(file, page.start(), page.as_str()) => Target::Foreign,
                None => {
                    fault(format!("there is no {}", page.as_str()));
                    Target::Foreign
                }
            }
        } else if token.name("rfc").is_some() {
            Target::Foreign
        } else {
            let follows = before.as_ref().filter(|(end, _)| JOINT.is_match(&file.text[*end..whole.start()]));
            let target = follows.map_or(nearest.clone(), |(_, target)| target.clone());
            let letter = token.name("letter").map(|letter| letter.as_str());
            if let Some(what) = fault_of(&target, &token["section"], letter, pages) {
                fault(what);
            }
            target
        };
        before = Some((whole.end(), target));
    }
    faults
}

/// What is wrong with a section of a page, or with a point of it: `docs/protocols/letshare.md §5 o`.
fn fault_of(target: &Target, section: &str, letter: Option<&str>, pages: &Pages) -> Option<String> {
    let page = match target {
        Target::Page(page) => page,
        Target::Foreign => return None,
        Target::Unknown => return Some(format!("§{section} of which page?")),
    };
    // An article may stand behind a section: `as in §5 a client does`.
    let point = letter.filter(|letter| *letter != "a").map(|letter| format!("{section} {letter}"));
    let mut named = [Some(section.to_owned()), point].into_iter().flatten();
    named.find(|section| !pages.has_section(page, section)).map(|section| format!("{page} has no §{section}"))
}

/// As it stands from the root, or beside the file.
fn page_named(file: &File, name: &str, pages: &Pages) -> Option<String> {
    let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut beside: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in name.split('/') {
        if part == ".." {
            beside.pop()?;
        } else {
            beside.push(part);
        }
    }
    [beside.join("/"), name.to_owned()].into_iter().find(|page| pages.has_page(page))
}

fn is_foreign(file: &File, at: usize, name: &str) -> bool {
    file.is_page() && !name.starts_with("docs/") && !file.text[..at].ends_with("](")
}

/// `src/older/chat/push.rs`, `tests/chat_archive/mongo.rs` → the chat's page.
fn protocol_of(path: &str) -> Option<String> {
    let names = path.split(['/', '.', '_']);
    let is_protocol = |name: &&str| ["ably", "chat", "group", "letshare", "postoffice", "relay"].contains(name);
    names.into_iter().find(is_protocol).map(|name| format!("docs/protocols/{name}.md"))
}
