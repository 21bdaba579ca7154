//! The code on docs/adding-a-protocol.md is that of the protocol that it goes through.

use std::fs;

#[test]
fn the_code_of_the_page_is_in_its_files() {
    let page = fs::read_to_string("docs/adding-a-protocol.md").unwrap();
    let files =
        ["tests/support/echo.rs", "tests/support/echo/connection.rs"].map(|path| fs::read_to_string(path).unwrap());
    let snippets: Vec<&str> = page.split("```rust\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(snippets.len() >= 9, "{} snippets", snippets.len());
    for snippet in snippets {
        assert!(files.iter().any(|file| file.contains(snippet)), "not in the files:\n{snippet}");
    }
}
