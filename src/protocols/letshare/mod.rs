//! LetShare (`docs/protocols/letshare.md` §1 to §3).
//!
//! `handshake` turns a request into a connection, `request` reads frames, `reply` writes them, `rooms` is
//! the protocol handler between the two and the channels; `sender` sees to the `from` of a message. `transfer` is
//! the file relay, `pro` the activation that lifts its size limit.

mod handshake;
mod pro;
mod reply;
mod request;
mod rooms;
mod sender;
mod transfer;

pub use handshake::{LetShare, Shared, routes};
