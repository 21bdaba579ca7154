//! The Ably protocol (`protocols/ably.md`).

pub mod name;
pub mod rest;
