//! The wire protocols of today: each turns its frames and requests into commands of the core, and events of the core into
//! frames. None knows another.

pub mod ably;
pub mod letshare;
