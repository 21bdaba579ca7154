//! The relay protocol (`docs/protocols/relay.md`): back ends push by HTTP, clients receive by WebSocket.
//!
//! A push is a message on the channel of its user, `relay:u:<token>`, or on `relay:all`; so others who may
//! use those channels take part.
//!
//! * `endpoint` has the paths; `push` and `pages` what back ends ask for; `target` whom a push is for; `reply` what is refused.
//! * `socket` is the protocol handler of a connection: `frame` reads what its client sends, `wire` writes.
//! * `elsewhere` is what the relays of several nodes ask and tell each other.
//! * `delivery` publishes, and keeps what is for users who are away; `schedule` keeps what is delayed.

mod delivery;
mod elsewhere;
mod endpoint;
mod frame;
mod pages;
mod push;
mod reply;
mod schedule;
mod socket;
mod target;
mod wire;

pub use elsewhere::NAME;
pub use endpoint::{Keys, Shared, routes};
