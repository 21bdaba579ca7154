//! The four older WebSocket servers, each with its own protocol, on the same channels. None knows another.

pub mod chat;
pub mod group;
pub mod postoffice;
pub mod relay;
