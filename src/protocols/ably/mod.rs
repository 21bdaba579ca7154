//! The Ably protocol (`protocols/ably.md`).

pub mod name;
