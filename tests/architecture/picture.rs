//! The picture of the rooms in docs/architecture.md §4 is made from the code.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::Path,
};

use super::{WORDS, room_of, rooms_named_in, rust_files};

const PAGE: &str = "docs/architecture.md";
const FENCE: &str = "```mermaid\n";
/// They name every room: their arrows would hide all others.
const NAME_ALL: [&str; 2] = ["lib", "main"];

/// With `LETSHARE_WRITE=1` the picture is written anew instead.
#[test]
fn the_picture_of_the_rooms_shows_the_code() {
    let page = fs::read_to_string(PAGE).unwrap();
    let start = page.find(FENCE).expect("the page has a picture") + FENCE.len();
    let end = start + page[start..].find("```").unwrap();
    let drawn = picture(&without_detours(&arrows()));
    if std::env::var_os("LETSHARE_WRITE").is_some() {
        fs::write(PAGE, format!("{}{drawn}{}", &page[..start], &page[end..])).unwrap();
    } else {
        assert_eq!(page[start..end], drawn, "LETSHARE_WRITE=1 draws it anew");
    }
}

type Arrows = BTreeMap<String, BTreeSet<String>>;

/// Who imports whom.
fn arrows() -> Arrows {
    let mut arrows = Arrows::new();
    for file in rust_files(Path::new("src")) {
        let room = room_of(&file);
        if is_hidden(&room) {
            continue;
        }
        let named = rooms_named_in(&fs::read_to_string(&file).unwrap());
        let named = named.into_iter().filter(|other| *other != room && !is_hidden(other));
        arrows.entry(room.clone()).or_default().extend(named);
    }
    arrows
}

fn is_hidden(room: &str) -> bool {
    WORDS.contains(&room) || NAME_ALL.contains(&room)
}

/// Only those arrows that no longer way makes needless.
fn without_detours(arrows: &Arrows) -> Arrows {
    let is_needed = |from: &str, to: &str| !arrows[from].iter().any(|by| by != to && reaches(arrows, by, to));
    let needed = |from: &String, to: &BTreeSet<String>| to.iter().filter(|to| is_needed(from, to)).cloned().collect();
    arrows.iter().map(|(from, to)| (from.clone(), needed(from, to))).collect()
}

fn reaches(arrows: &Arrows, from: &str, to: &str) -> bool {
    arrows.get(from).is_some_and(|next| next.iter().any(|next| next == to || reaches(arrows, next, to)))
}

fn picture(arrows: &Arrows) -> String {
    let mut text = String::from("graph TD\n");
    for (from, to) in arrows {
        for to in to {
            writeln!(text, "    {from} --> {to}").unwrap();
        }
    }
    text
}
