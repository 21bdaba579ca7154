//! The REST interface of the Ably protocol, over real sockets: `docs/protocols/ably.md §1.8 - §1.10, §6, §7.8,
//! §8, §11`.
//!
//! Not here: connections, and what credentials are good for in all their forms
//! (`src/auth`).

mod annotations;
mod apps;
mod batch;
mod channels;
mod chat;
mod cors;
mod history;
mod identity;
mod mutable;
mod negotiation;
mod objects;
mod presence;
mod publish;
mod realtime;
mod revocation;
mod sandbox;
mod stats;
mod token;
