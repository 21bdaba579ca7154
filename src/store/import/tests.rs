//! What exports of databases look like.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{fs, path::PathBuf};

use jiff::tz::TimeZone;
use serde_json::json;

use super::{Kind, Names, Record, Row, files};

fn record(value: serde_json::Value) -> Record {
    Record::new(value.as_object().unwrap().clone())
}

#[test]
fn times_of_several_forms() {
    const AT: Names = &["created_at"];
    let shanghai = TimeZone::get("Asia/Shanghai").unwrap();
    let time = |value: serde_json::Value| record(json!({"created_at": value})).time(AT, &shanghai);
    for same in [
        json!(1_751_367_803),
        json!("1751367803"),
        json!(1_751_367_803_000_i64),
        json!(1_751_367_803_000.0),
        json!("2025-07-01T11:03:23Z"),
        json!("2025-07-01T19:03:23+08:00"),
        json!("2025-07-01 19:03:23"),
        json!({"$date": "2025-07-01T11:03:23Z"}),
        json!({"$date": {"$numberLong": "1751367803000"}}),
    ] {
        assert_eq!(time(same.clone()).unwrap().map(|time| time.millis()), Some(1_751_367_803_000), "{same}");
    }
    for none in [json!(null), json!("")] {
        assert_eq!(time(none), Ok(None));
    }
    for bad in [json!("yesterday"), json!(-1), json!(1.5), json!({"a": 1}), json!(true)] {
        let reason = time(bad.clone()).unwrap_err();
        assert!(reason.starts_with(&format!("created_at is {bad}, and not a time")), "{reason}");
    }
}

#[test]
fn texts_numbers_and_lists() {
    let row = record(json!({"id": {"$oid": "6b0160107ae27f0950b35a70"}, "n": {"$numberLong": "7"}, "t": "8", "x": 1.5,
        "many": [1, "2", {"$numberInt": "3"}], "text": "1, 2;3", "json": "[\"1\",\"2\",\"3\"]", "one": 9, "nested": {"a": 1, "b": 2}}));
    assert_eq!(row.text(&["_id", "id"]), Ok(Some("6b0160107ae27f0950b35a70".to_owned())));
    assert_eq!(
        (row.integer(&["n"]), row.integer(&["t"]), row.integer(&["none"])),
        (Ok(Some(7)), Ok(Some(8)), Ok(None))
    );
    assert_eq!(row.text(&["n"]), Ok(Some("7".to_owned())));
    const LISTS: [Names; 3] = [&["many"], &["text"], &["json"]];
    for names in LISTS {
        assert_eq!(row.list(names), Ok(["1", "2", "3"].map(str::to_owned).to_vec()), "{names:?}");
    }
    assert_eq!(row.list(&["one"]), Ok(vec!["9".to_owned()]));
    assert_eq!(row.integer(&["x"]), Err("x is 1.5, and not a whole number".to_owned()));
    assert!(row.text(&["nested"]).is_err());
}

fn rows(name: &str, bytes: &[u8]) -> (PathBuf, Vec<Result<Row, String>>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    (path.clone(), files::open(Kind::Messages, &path).unwrap().rows.collect())
}

/// Each row with its line, or why it cannot be read.
fn told(rows: &[Result<Row, String>]) -> Vec<(String, Result<Option<String>, String>)> {
    let told = rows.iter().map(|row| {
        let row = row.as_ref().unwrap();
        (row.place.at.clone(), row.record.clone().map(|record| record.text(&["a"]).unwrap()))
    });
    told.collect()
}

#[test]
fn csv_with_line_breaks_in_it() {
    let bytes = "\u{feff}a,b\n1,x\n\"two\nlines, \"\"quoted\"\"\",y\n3\n4,z\n".as_bytes();
    let (_, rows) = rows("m.csv", bytes);
    let found = told(&rows);
    let good = |at: &str, text: &str| (at.to_owned(), Ok(Some(text.to_owned())));
    assert_eq!(found[0], good("2", "1"));
    assert_eq!(found[1], good("3", "two\nlines, \"quoted\""));
    assert_eq!(found[2], ("5".to_owned(), Err("it has 1 columns, and the first line has 2".to_owned())));
    assert_eq!(found[3], good("6", "4"));
    assert_eq!(rows.last().unwrap().as_ref().unwrap().done, bytes.len() as u64);
}

#[test]
fn lines_of_csv_that_end_as_on_windows() {
    let (_, rows) = rows("m.csv", b"a,b\r\n1,x\r\n\"two\r\nlines\",y\r\n3\r\n4,z\r\n");
    let places: Vec<_> = told(&rows).into_iter().map(|(at, _)| at).collect();
    assert_eq!(places, ["2", "3", "5", "6"]);
}

#[test]
fn json_lines() {
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(crate::limits::IMPORT_ROW_BYTES as usize));
    let text = format!("\u{feff}{{\"a\":\"1\"}}\n\n[1]\n{long}\nnot json\n{{\"a\":\"6\"}}");
    let (_, rows) = rows("m.jsonl", text.as_bytes());
    let found = told(&rows);
    assert_eq!(found[0], ("1".to_owned(), Ok(Some("1".to_owned()))));
    assert_eq!(found[4], ("6".to_owned(), Ok(Some("6".to_owned()))));
    let reasons: Vec<_> = found[1..4].iter().map(|(at, record)| (at.as_str(), record.clone().unwrap_err())).collect();
    assert!(reasons[0].0 == "3" && reasons[0].1.contains("not one JSON object"), "{reasons:?}");
    assert_eq!(reasons[1], ("4", "it is longer than 1048576 bytes".to_owned()));
    assert!(reasons[2].0 == "5" && reasons[2].1.contains("not one JSON object"), "{reasons:?}");
    assert_eq!(rows.last().unwrap().as_ref().unwrap().done, text.len() as u64);
}

#[test]
fn a_file_of_another_form_is_refused_by_its_name() {
    let (path, _) = rows("m.csv", b"a\n");
    let other = path.with_file_name("m.xlsx");
    assert!(files::open(Kind::Messages, &other).is_err_and(|error| error.contains("cannot be read")));
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("m.xlsx");
    fs::write(&other, "").unwrap();
    assert!(files::open(Kind::Messages, &other).is_err_and(|error| error.contains("is neither .csv nor .jsonl")));
}
