//! Where HTTP and WebSocket clients come in: what may enter, how much of it, over which transport.

pub mod admission;
pub mod body;
pub mod client_address;
pub mod counted;
pub mod endpoint;
pub mod expect_tls;
pub mod fallback;
pub mod guard;
pub mod handoff;
mod head;
pub mod http;
pub mod ingress;
pub mod intake;
pub mod origin;
pub mod own_hosts;
pub mod portions;
pub mod pump;
pub mod refusal;
mod scan;
pub mod stream;
pub mod tls;
pub mod websocket;
mod whole;

pub use endpoint::{Endpoint, Methods, Refusal, pump, route, serve, websocket};
pub use ingress::{Ingress, Service};
pub use refusal::Refused;

#[cfg(test)]
mod tests;
