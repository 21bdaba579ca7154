//! docs/errors.md has each refusal and each close code, as the source has them.

use std::{fmt::Write, fs, sync::LazyLock};

use regex::Regex;

const PAGE: &str = "docs/errors.md";
const BEGIN: &str = "<!-- Made from src/error.rs and src/error/close.rs by tests/docs/errors.rs -->\n";
const END: &str = "<!-- End of what is made -->\n";

/// `#[error("the text")] Name { field: Type } => (40010, 400),`
static FAULT: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"#\[error\(\s*"((?:[^"\\]|\\.|\\\n)*)",?\s*\)\]\s*\w+(?:\s*\{[^}]*\})? => \((\d+), (\d+)\)"#).unwrap()
});
/// `Name { limit: usize } => (1009, format!("the text").into()),`, or a text without numbers.
static CLOSE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r#"=>\s*\((\d{4}), (?:format!\()?"([^"]*)"\)?\.into\(\)\)"#).unwrap());
/// A text that goes on in the next line of the source.
static CONTINUED: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\\\n\s*").unwrap());

/// findings N7: a code is looked up on a page, and the page is made from the code.
#[test]
fn the_page_of_errors_is_that_of_the_source() {
    let page = fs::read_to_string(PAGE).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (found, after) = rest.split_once(END).unwrap();
    let wanted = tables();
    if found != wanted && std::env::var_os("LETSHARE_WRITE").is_some() {
        fs::write(PAGE, format!("{before}{BEGIN}{wanted}{END}{after}")).unwrap();
        return;
    }
    assert!(found == wanted, "{PAGE} is not that of the source: LETSHARE_WRITE=1 cargo nextest run the_page_of_errors");
}

fn tables() -> String {
    let source = fs::read_to_string("src/error.rs").unwrap();
    let declared = source.matches("#[error(").count();
    let mut faults: Vec<(u32, &str, String)> = FAULT
        .captures_iter(&source)
        .map(|row| (row[2].parse().unwrap(), row.get(3).unwrap().as_str(), text(&row[1])))
        .collect();
    assert_eq!(faults.len(), declared, "each refusal has its row");
    faults.sort();
    let mut out = String::from("\n| code | HTTP | what is said |\n|---|---|---|\n");
    for (code, status, text) in faults {
        writeln!(out, "| {code} | {status} | {text} |").unwrap();
    }
    out += "\n## Close codes\n\n| code | text |\n|---|---|\n";
    let source = fs::read_to_string("src/error/close.rs").unwrap();
    let mut closes: Vec<(u32, String)> =
        CLOSE.captures_iter(&source).map(|row| (row[1].parse().unwrap(), text(&row[2]))).collect();
    assert!(closes.len() >= 12, "{} close codes", closes.len());
    closes.sort();
    for (code, text) in closes {
        writeln!(out, "| {code} | {text} |").unwrap();
    }
    out + "\n"
}

/// As people read it: `{limit}` stands for a number, `{why}` for words.
fn text(source: &str) -> String {
    CONTINUED.replace_all(source, "").replace("\\\"", "\"").replace('|', "\\|").replace(['{', '}'], "*")
}
