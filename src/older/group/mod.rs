//! The group protocol (`docs/protocols/group.md`): group chat and notifications over one WebSocket, shared between instances.
//!
//! `door` turns a request into a connection, `barrier` says whose; `socket` is the protocol handler, `rates` holds it back. `frame`
//! reads frames, `reply` writes them, `code` lists what can go wrong, `post` is what travels. `forum` knows all groups:
//! `registry` who is in them, `roll` who is here, `shelf` the rows on disk, `courier` the way to the channels.
//! `api` answers HTTP, `access` says to whom; `streams` is what instances and services share.
//!
//! A group is the channel `group:<id>`, what concerns one user alone goes by `group:u:<user>`.

mod access;
mod api;
pub mod barrier;
pub mod blacklist;
mod code;
mod courier;
mod door;
mod figures;
mod forum;
mod frame;
mod post;
mod rates;
mod registry;
mod reply;
mod roll;
mod shelf;
mod socket;
pub mod streams;

pub use door::{Group, Shared, routes};
pub use forum::Forum;
