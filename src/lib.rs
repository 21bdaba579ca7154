//! letshare-server
pub mod actors;
pub mod app;
pub mod auth;
pub mod cli;
pub mod clock;
pub mod config;
pub mod core;
pub mod edge;
pub mod error;
pub mod ids;
pub mod log;
pub mod ops;
pub mod protocols;
