//! The last hop: from a channel's entry to the sockets of one worker thread.

mod delivery;
pub mod flusher;
pub mod hub;
pub mod outbox;
