//! The relay protocol (`docs/protocols/relay.md`): back ends push by HTTP, clients receive by WebSocket.
//!
//! A push is a message on the channel of its user, `relay:u:<token>`, or on `relay:all`; so others who may
//! use those channels take part.
//!
//! * `push` reads a push request, `frame` what clients send; `reply` writes what they get.
//! * `socket` is the protocol handler of a connection, `groups` counts who is there.
//! * `http` answers requests, `delivery` publishes, `schedule` keeps what is delayed, `away` what is for users who are
//!   not there.

mod away;
mod delivery;
mod door;
mod frame;
mod groups;
mod http;
mod push;
mod reply;
mod schedule;
mod socket;

pub use door::{Keys, Relay, Shared, routes};
