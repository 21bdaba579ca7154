//! LetShare (`docs/protocols/letshare.md` §1 to §3).
//!
//! `handshake` is the endpoint, `request` reads frames, `reply` and `refusal` write them, `rooms` is the protocol handler
//! between the two and the channels; `sender` fills in and checks the `from` of a message. `transfer` is the file relay,
//! `pro` the activation that lifts its size limit.

mod handshake;
mod pro;
mod refusal;
mod reply;
mod request;
mod rooms;
mod sender;
mod transfer;

pub use handshake::{LetShare, Shared, routes};
