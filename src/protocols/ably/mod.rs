//! Ably (`protocols/ably.md`), as its published SDKs speak it.
//!
//! `wire` reads and writes what goes over the sockets and in the bodies of requests, as JSON and as
//! MessagePack; it decides nothing.

pub mod wire;
