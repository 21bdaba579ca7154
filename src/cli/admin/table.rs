//! Rows of JSON as columns of text.

use std::io::{self, Write};

use serde_json::Value;

/// Characters of a column that others follow.
const WIDEST: usize = 40;

pub struct Table<'a>(&'a [&'a str]);

impl<'a> Table<'a> {
    /// The fields that are shown; the last one may be of any width.
    pub const fn new(columns: &'a [&'a str]) -> Self {
        Self(columns)
    }

    /// # Errors
    /// Nobody reads any more.
    pub fn write(&self, rows: &[Value], with_names: bool, out: &mut dyn Write) -> io::Result<()> {
        let names = with_names.then(|| self.0.iter().map(|name| (*name).to_owned()).collect());
        let cells = rows.iter().map(|row| self.0.iter().map(|name| cell(&row[*name])).collect());
        let lines: Vec<Vec<String>> = names.into_iter().chain(cells).collect();
        let width = |column: usize| {
            let cells = lines.iter().filter_map(|line| line.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or_default().min(WIDEST)
        };
        let widths: Vec<usize> = (0..self.0.len()).map(width).collect();
        for line in &lines {
            let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }
}

fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    printable(&text)
}

/// What clients say may hold anything: nothing of it moves the terminal's cursor.
pub fn printable(text: &str) -> String {
    // Nor does it change the order in which the rest is read.
    let turns =
        |c| matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().map(|c| if c.is_control() || turns(c) { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_line_up_and_nothing_moves_the_cursor() {
        let rows = [json!({"a": "x", "b": 1, "c": null}), json!({"a": "\u{1b}[2Jlong", "b": 20, "c": "\u{202e}end"})];
        let mut out = Vec::new();
        Table::new(&["a", "b", "c"]).write(&rows, true, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "a         b   c\nx         1   -\n?[2Jlong  20  ?end\n");
    }
}
