//! Every path of the repository that a page or a comment names is there.

use std::{path::Path, sync::LazyLock};

use regex::Regex;

use super::{NOT_OURS, files, is_in_comment, line_of};

static PATH: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?:^|[^\w./-])((?:\.\./)*(?:src|tests|benches|docs|configs|docker|\.ci|\.config)/[\w./-]*)").unwrap()
});
/// Numbers of a list of work that is not here.
static WORK: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(?i)\bissues? \d").unwrap());

/// These tell of other repositories, and of what is missing.
const OF_OTHERS: [&str; 2] = ["docs/style.md", "docs/findings/"];

#[test]
fn every_path_that_is_named_is_there() {
    let mut faults = Vec::new();
    for file in files().iter().filter(|file| !OF_OTHERS.iter().any(|other| file.path.starts_with(other))) {
        let is_prose = file.path.ends_with(".md");
        let folder = Path::new(&file.path).parent().unwrap();
        for named in PATH.captures_iter(&file.text).map(|found| found.get(1).unwrap()) {
            let path = named.as_str().trim_end_matches(['.', '-']);
            // What is installed or made is there on a machine that has run the tests.
            let is_made = path.split('/').any(|part| NOT_OURS.contains(&part));
            let is_there = is_made || Path::new(path).exists() || folder.join(path).exists();
            if !is_there && (is_prose || is_in_comment(&file.text, named.start())) {
                faults.push(format!("{}:{}: there is no {path}", file.path, line_of(&file.text, named.start())));
            }
        }
        for found in WORK.find_iter(&file.text).filter(|found| is_in_comment(&file.text, found.start())) {
            let place = format!("{}:{}", file.path, line_of(&file.text, found.start()));
            faults.push(format!("{place}: {:?} is nothing that a reader can open", found.as_str()));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
