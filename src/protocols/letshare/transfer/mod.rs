//! The file relay: when two pages have no data channel, their file goes through the server
//! (`docs/protocols/letshare.md §3`).
//!
//! `message` and `chunk` read and write the wire, `offer` and `fault` say what may be carried, `state` is
//! one transfer as a pure state, `relay` the actor around it, `board` knows all transfers and who is present,
//! `files` is the side of one connection.
//! Files pass through memory only: nothing is written to disk or to a log.

mod board;
mod chunk;
mod chunk_set;
mod fault;
mod files;
mod message;
mod offer;
mod relay;
mod state;

pub use board::Board;
pub use files::{Files, Unreadable};
pub use message::PREFIX;
