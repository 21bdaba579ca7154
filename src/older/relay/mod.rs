//! The relay protocol (`docs/protocols/relay.md`): back ends push by HTTP, clients receive by WebSocket.
//!
//! A push is a message on the channel of its user, `relay:u:<token>`, or on `relay:all`; so others who may
//! use those channels take part.
//!
//! * `endpoint` has the paths; `commands` what back ends ask for; `target` whom a push is for; `reply` what is refused.
//! * `socket` is the protocol handler of a connection: `frame` reads, `identify` says whose it is, `wire` writes.
//! * `delivery` publishes, `schedule` keeps what is delayed, `away` what is for users who are not there.

mod away;
mod commands;
mod delivery;
mod endpoint;
mod frame;
mod identify;
mod reply;
mod schedule;
mod socket;
mod target;
mod wire;

pub use endpoint::{Keys, Relay, Shared, routes};
