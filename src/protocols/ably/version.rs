//! Protocol versions (`docs/protocols/ably.md §1.3`).

/// The oldest version that there is an encoding for; older ones get this one.
pub const OLDEST: u32 = 2;

/// The integer that `text` begins with; the decimal versions before 2 count as 2.
pub fn parse(text: &str) -> Option<u32> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let version: u32 = text[..digits].parse().ok()?;
    (version > 0).then_some(version.max(OLDEST))
}
