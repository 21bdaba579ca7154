//! The README leads to a first message, and further; details have pages of their own.

use std::fs;

/// findings N6, N7, N15 and N16: the outline, one place for each thing, and no more words than are read.
#[test]
fn the_readme_follows_its_outline() {
    let readme = fs::read_to_string("README.md").unwrap();
    let headings: Vec<&str> = readme.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let outline = [
        "Two commands",
        "Your first message",
        "Connect",
        "Configure",
        "Troubleshooting",
        "What works",
        "Replacing an older server",
        "Measured",
        "Map of the source",
        "Licence",
    ];
    assert_eq!(headings, outline);
    let words = readme.split_whitespace().count();
    assert!(words < 3_500, "{words} words; what only an operator needs has its place in docs/operate.md");
    assert!(!readme.contains("demo1"), "all examples use one channel");
    for told in ["a LetShare *event* is the *name* of an Ably message", "NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE"] {
        assert!(readme.contains(told), "{told}");
    }
    let operate = fs::read_to_string("docs/operate.md").unwrap();
    for heading in ["Going to production", "Behind a proxy", "Data, backup and restore", "Stopping and upgrading"] {
        assert!(operate.contains(&format!("## {heading}\n")), "{heading}");
    }
}
