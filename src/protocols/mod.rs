//! The wire protocols: each a translator between its frames and the core. None knows another.

pub mod ably;
pub mod chat;
pub mod group;
pub mod letshare;
pub mod postoffice;
pub mod relay;
