//! Protocol versions (`docs/protocols/ably.md §1.3`).

/// The oldest version that there is an encoding for; older ones get this one.
pub const OLDEST: u32 = 2;

/// Whether clients of the version attach their channels again when they have come back to the same connection. Those
/// before 2 do not: they count on a serial of the connection, of which there is none any more.
pub fn attaches_again(text: &str) -> bool {
    major(text).is_some_and(|version| version >= OLDEST)
}

/// The integer that `text` begins with; the decimal versions before 2 count as 2.
pub fn parse(text: &str) -> Option<u32> {
    let version = major(text)?;
    (version > 0).then_some(version.max(OLDEST))
}

fn major(text: &str) -> Option<u32> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..digits].parse().ok()
}
