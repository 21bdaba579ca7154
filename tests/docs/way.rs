//! The way of a message, as src/lib.rs tells it, leads through files and functions that are there.

use std::{collections::BTreeSet, fs, sync::LazyLock};

use regex::Regex;

/// A row of the table: step, file, functions.
static STEP: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?m)^//! \| [^|]+ \| `(src/[^`]+)` \| ([^|]+) \|$").unwrap());

/// More than that nobody reads at a sitting.
const MOST_FILES: usize = 15;

#[test]
fn the_way_of_a_message_leads_through_functions_that_are_there() {
    let page = fs::read_to_string("src/lib.rs").unwrap();
    let mut files = BTreeSet::new();
    for step in STEP.captures_iter(&page) {
        let code = fs::read_to_string(&step[1]).unwrap_or_else(|error| panic!("{}: {error}", &step[1]));
        for function in step[2].split(", ").map(|name| name.trim_matches('`')) {
            let is_there = Regex::new(&format!(r"\bfn {function}\b")).unwrap().is_match(&code);
            assert!(is_there, "{} has no function {function}", &step[1]);
        }
        files.insert(step[1].to_owned());
    }
    assert!((10..=MOST_FILES).contains(&files.len()), "{files:?}");
}
