//! What the integration tests share: a server of their own each, and clients.

pub mod client;
pub mod server;

pub use client::Client;
pub use server::Server;
