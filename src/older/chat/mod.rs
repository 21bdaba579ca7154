//! The chat (`docs/protocols/chat.md`): one-to-one messages, groups, rooms and broadcasts by `cmd` and `data`, for users that a
//! JWT names.
//!
//! * `identity` says who somebody is, `door` turns a request into a connection, `http` answers the others, `history` is
//!   a part of it.
//! * `command` reads requests, by `fields`; `code` and `reply` are what is answered, `push` is what clients get and channels
//!   carry, `names` the ids of rooms and groups and the channels that they are.
//! * `exchange` carries requests out, for sockets and HTTP alike; `moderation` judges messages, `online` knows who is
//!   there, `participants` who was when a group that is not known here was used, `answers` what repeats are told.
//! * `socket` is the protocol handler of a connection, `clerk` the task beside it that waits where it may not, `replay` what was
//!   missed and what was read.

mod answers;
mod clerk;
mod code;
mod command;
mod door;
mod exchange;
mod fields;
mod history;
mod http;
mod identity;
pub mod moderation;
mod names;
mod online;
mod participants;
mod push;
mod replay;
mod reply;
mod socket;

pub use door::{Chat, Shared, routes};
pub use exchange::Exchange;
