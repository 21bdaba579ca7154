//! Clients of other programs, each crate named in one file (docs/architecture.md §4). They know no protocol.

pub mod redis;
