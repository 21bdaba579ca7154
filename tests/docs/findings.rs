//! Each mended fault of `docs/findings/` has a test that names its row, as `findings C14` in its comment.

use std::{collections::BTreeSet, sync::LazyLock};

use regex::Regex;

use super::{File, files, line_of};

/// Rows that no test names yet. Whoever mends one takes it out.
const NOT_YET: [&str; 0] = [];

/// `| C14 |`, the beginning of a row.
static ROW: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(?m)^\| ([A-Z]\d+) \|").unwrap());
/// `findings C14`, `findings A1, B5 and S3`.
static NAMED: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\bfindings ([A-Z]\d+(?:(?:, | and )[A-Z]\d+)*)\b").unwrap());

#[test]
fn every_mended_finding_has_a_test() {
    let files = files();
    let pages = files.iter().filter(|file| file.path.starts_with("docs/findings/"));
    let rows: BTreeSet<&str> =
        pages.flat_map(|page| ROW.captures_iter(&page.text)).map(|row| row.get(1).unwrap().as_str()).collect();
    assert!(rows.len() > 100, "the rows of docs/findings/ are not read: {rows:?}");
    let not_yet: BTreeSet<&str> = NOT_YET.iter().flat_map(|rows| rows.split(' ')).collect();

    let mut faults = Vec::new();
    let mut tested = BTreeSet::new();
    for (row, place) in files.iter().flat_map(named_in) {
        if !rows.contains(row) {
            faults.push(format!("{place}: docs/findings/ has no row {row}"));
        }
        if not_yet.contains(row) {
            faults.push(format!("{place}: {row} has a test; take it out of NOT_YET in tests/docs/findings.rs"));
        }
        tested.insert(row);
    }
    let untested = rows.iter().filter(|row| !tested.contains(*row) && !not_yet.contains(*row));
    faults.extend(untested.map(|row| format!("{row} is mended, and no test says `findings {row}`")));
    let unknown = not_yet.iter().filter(|row| !rows.contains(*row));
    faults.extend(unknown.map(|row| format!("NOT_YET has {row}, docs/findings/ has not")));
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The rows that the tests in a file name, each with its place.
fn named_in(file: &File) -> Vec<(&str, String)> {
    // Unit tests may stand at the end of the file that they are about.
    let from = match file.is_test() {
        true => Some(0),
        false if file.path.starts_with("src/") => file.text.find("#[cfg(test)]"),
        false => None,
    };
    let (Some(from), false) = (from, file.path == "tests/docs/findings.rs") else { return Vec::new() };
    let mut named = Vec::new();
    for list in NAMED.captures_iter(&file.text[from..]).map(|found| found.get(1).unwrap()) {
        let place = format!("{}:{}", file.path, line_of(&file.text, from + list.start()));
        let rows = list.as_str().split(", ").flat_map(|rows| rows.split(" and "));
        named.extend(rows.map(|row| (row, place.clone())));
    }
    named
}
