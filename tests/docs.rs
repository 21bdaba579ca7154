//! What the documents say is held by tests: references find their page and section, each mended finding has its test,
//! README's table of what works names the tests that show it. What each page is stands in docs/README.md.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use regex::Regex;

mod errors;
mod features;
mod findings;
mod links;
mod pages;
mod paths;
mod readme;
mod references;
mod snippets;
mod way;

/// A text file of the repository.
struct File {
    /// From the root of the repository, with `/`.
    path: String,
    text: String,
}

impl File {
    fn is_page(&self) -> bool {
        self.path.starts_with("docs/")
    }

    fn is_test(&self) -> bool {
        self.path.starts_with("tests/") || (self.path.starts_with("src/") && self.path.contains("tests"))
    }
}

/// What is written by hand and may name a page.
const ROOTS: [&str; 13] = [
    ".ci",
    ".config",
    "Cargo.toml",
    "Dockerfile",
    "README.md",
    "benches",
    "clippy.toml",
    "configs",
    "docker",
    "docker-compose.yml",
    "docs",
    "src",
    "tests",
];
/// What is installed or made.
const NOT_OURS: [&str; 4] = ["node_modules", ".cache", "__pycache__", "package-lock.json"];

fn files() -> Vec<File> {
    let mut paths = Vec::new();
    for root in ROOTS {
        add_paths(Path::new(root), &mut paths);
    }
    let read = |path: PathBuf| {
        let text = String::from_utf8(fs::read(&path).unwrap()).ok()?;
        Some(File { path: path.to_str().unwrap().replace('\\', "/"), text })
    };
    paths.sort();
    paths.into_iter().filter_map(read).collect()
}

fn add_paths(path: &Path, paths: &mut Vec<PathBuf>) {
    let name = path.file_name().unwrap().to_str().unwrap();
    if NOT_OURS.contains(&name) {
        return;
    }
    if path.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| add_paths(&entry.unwrap().path(), paths));
    } else if path.is_file() {
        paths.push(path.to_owned());
    }
}

/// The line, from 1, of a position in a text.
fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

static COMMENT: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"//|^\s*(?:#|\*|--)").unwrap());

fn is_in_comment(text: &str, at: usize) -> bool {
    let line = text[..at].rsplit_once('\n').map_or(&text[..at], |(_, line)| line);
    COMMENT.is_match(line)
}
