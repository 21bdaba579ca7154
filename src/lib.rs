//! letshare-server
pub mod actors;
pub mod clock;
pub mod config;
pub mod edge;
pub mod ids;
pub mod ops;
