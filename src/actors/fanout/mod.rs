//! The last hop: from a channel's entry to the sockets of one worker thread. What the other rooms of `actors` may name
//! stands here.

mod delivery;
pub mod flusher;
pub mod hub;
mod orphans;
pub mod outbox;

pub use flusher::Flusher;
pub use hub::{Budget, Hub, HubHandle, HubMessage, Probe, TransportHandle, TransportMessage};
pub use outbox::{NotQueued, Outbox, Source};
