//! The file relay: when two pages have no data channel, their file goes through the server
//! (`docs/protocols/letshare.md §3`).
//!
//! `message` and `chunk` read and write the wire, `offer` and `fault` say what may be carried, `state` is one transfer as
//! a pure state, `relay` the actor around it, `transfers` knows all of them and who is present, `files` is the side of one
//! connection. In a cluster a side may be at another node: `peer` is either, `letter` what nodes tell each other, `elsewhere` what
//! they do with it. Files pass through memory only: nothing is written to disk or to a log.

mod chunk;
mod chunk_set;
mod elsewhere;
mod fault;
mod files;
mod letter;
mod message;
mod offer;
mod peer;
mod relay;
mod state;
mod transfers;

pub use files::Files;
pub use letter::NAME;
pub use message::PREFIX;
pub use transfers::Transfers;
