//! Ably's protocol, so that unmodified Ably SDKs work here (`protocols/ably.md`).
//!
//! * [`wire`]: frames and bodies in JSON and MessagePack; no rule of who may do what.
//! * [`door`]: from a request to a connection; [`connection`]: its translator, with `attach`, `publish`, `reauth`.
//! * [`rest`]: everything that is asked for by HTTP.
//! * [`name`], [`params`], [`acks`], [`messages`]: the pure pieces that these are made of.

pub mod acks;
mod attach;
pub mod connection;
pub mod door;
mod farewell;
pub mod messages;
pub mod name;
pub mod params;
mod publish;
mod reauth;
mod refusal;
pub mod rest;
pub mod wire;
