//! The code on docs/adding-a-protocol.md is that of the protocol that it goes through.

use std::fs;

#[test]
fn the_code_of_the_page_is_in_its_files() {
    let page = fs::read_to_string("docs/adding-a-protocol.md").unwrap();
    let file = fs::read_to_string("tests/support/echo.rs").unwrap();
    let snippets: Vec<&str> = page.split("```rust\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(snippets.len() >= 9, "{} snippets", snippets.len());
    for snippet in snippets {
        assert!(file.contains(snippet), "not in the file:\n{snippet}");
    }
}
