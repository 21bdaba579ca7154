//! Clients of other programs, each crate named in one file (ARCHITECTURE §4). They know no protocol.

pub mod redis;
