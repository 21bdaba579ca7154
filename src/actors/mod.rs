//! The thin shells around the pure states of `core`: receive, call, carry out the effects.
//!
//! A message takes this way: [`connection`] (one per WebSocket) → [`channel`] (one per active
//! channel) → [`hub`] and `delivery` (one per worker thread) → [`outbox`] (one per WebSocket) → [`post`]
//! (one per worker thread). Actors are for control; the last hop passes through no mailbox.

mod attachments;
pub mod broker;
pub mod channel;
pub mod connection;
pub mod connections;
mod delivery;
pub mod directory;
mod effects;
mod held;
pub mod hub;
pub mod link;
pub mod metrics;
pub mod outbox;
pub mod post;
pub mod questions;
pub mod refusals;
pub mod session;
pub mod socket;
pub mod undone;
pub mod worker;

#[cfg(test)]
mod tests;
