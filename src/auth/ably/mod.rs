//! Who may do what with Ably's credentials: keys, tokens, JWTs (`docs/protocols/ably.md §4.2, §12`).
//!
//! `credential` finds what a request brings, `gate` decides about it, `access` is what comes out. Tokens
//! of our own are in `token`, requests for them in `token_request`, JWTs in `jwt`. Everything that is
//! signed here is signed with keys that `server_secret` derives from one secret.
//!
//! Nothing here logs, reads a clock or does I/O, but for `local_key`. No fault contains a credential.

mod access;
mod capabilities;
mod connection_keys;
mod credential;
mod gate;
mod jwt;
pub mod local_key;
mod nonces;
mod revocation;
mod server_secret;
#[cfg(test)]
mod tests;
mod token;
mod token_request;

pub use access::{Access, AllowedClient};
pub use connection_keys::{ConnectionKeys, Proven};
pub use credential::Credential;
pub use gate::Gate;
pub use nonces::Spent;
pub use revocation::{Kept, Outcome, RevocationRequest, Revoked};
pub use server_secret::ServerSecret;
pub use token::TokenDetails;
pub use token_request::{Granted, TokenRequest};
