//! letshare-server
pub mod actors;
pub mod auth;
pub mod clock;
pub mod config;
pub mod ids;
pub mod ops;
