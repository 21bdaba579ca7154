//! The LetShare room protocol (`protocols/letshare.md` §1, §2).
//!
//! `handshake` turns a request into a connection, `request` reads frames, `reply` writes them, `rooms` is
//! the translator between the two and the channels.

mod handshake;
mod pro;
mod reply;
mod request;
mod rooms;
mod sender;
mod transfer;

pub use handshake::{LetShare, Shared, routes};
