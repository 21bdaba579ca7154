//! The group protocol (`docs/protocols/group.md`): group chat and notifications over one WebSocket, shared between instances.
//!
//! `endpoint` turns a request into a connection, `ip_filter` says whose; `socket` is the protocol handler, `commands` what it
//! is asked for, `rates` limits it. `frame` reads frames, `reply` writes them, `code` is the table of refusals, `message`
//! what travels. `groups` knows all groups and brings what is said to their channels: `membership` who is in them,
//! `repository` the rows on disk. `import` brings them along from elsewhere. `api` answers HTTP, `access` says to whom;
//! `streams` is what instances and services share.
//!
//! A group is the channel `group:<id>`, what concerns one user alone goes by `group:u:<user>`.

mod access;
mod api;
mod code;
mod commands;
mod counters;
mod endpoint;
mod frame;
mod groups;
mod import;
pub mod ip_filter;
mod membership;
mod message;
mod rates;
mod reply;
mod repository;
mod resume;
mod socket;
pub mod streams;

pub use endpoint::{GroupEndpoint, Shared, routes};
pub use groups::{Groups, NAME};
pub use import::Import;
pub use message::GROUP;
