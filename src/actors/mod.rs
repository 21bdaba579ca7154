//! The thin shells around the pure states of `core`: receive, call, carry out the effects.
//!
//! A message takes this way: [`transport`] (one per socket) → [`channels`] (one actor per active channel) →
//! [`fanout`] (one hub and one flusher per worker thread, one outbox per socket). Actors are for control; the last
//! hop passes through no mailbox.

pub mod accounts;
pub mod attendants;
pub mod broker;
pub mod channels;
pub mod connections;
pub mod fanout;
pub mod figures;
pub mod inbox;
pub mod listing;
pub mod metrics;
pub mod nodes;
pub mod online;
pub mod refusals;
pub mod relief;
pub mod stats;
pub mod transport;
pub mod worker;

#[cfg(test)]
mod tests;
