//! The file relay: when two pages have no data channel, their file goes through the server
//! (`protocols/letshare.md §3`).
//!
//! `message` and `chunk` read and write the wire, `offer` and `fault` say what may be carried, `state` is
//! one transfer as a pure state, `relay` the actor around it, `board` knows all transfers and who is present.
//! Files pass through memory only: nothing is written to disk or to a log.

mod chunk;
mod fault;
mod offer;
mod state;
