//! The chat (`docs/protocols/chat.md`): one-to-one messages, groups, rooms and broadcasts by `cmd` and `data`, for users that a
//! JWT names.
//!
//! * `identity` says who somebody is, `endpoint` turns a request into a connection, `http` answers the others: who is
//!   online, messages by HTTP, pages of the history.
//! * `connection` is the protocol handler, `request_loop` the task beside it that waits where the handler may not,
//!   `replay` what the user missed and what it has read.
//! * `commands` are the requests, each with what it does, read by `fields`; `sending` is the way of a message.
//! * `code` and `reply` are what is answered, `push` is what clients get and channels carry, `names` the ids of rooms and
//!   groups and the channels that they are.
//! * `shared` is what all have in common; `moderation` judges messages, `online` knows who is there, `elsewhere` who
//!   is at other nodes, `participants` who was when a group that was not made here was used, `first_replies` what repeats are
//!   answered; `import` brings chats along from elsewhere.

mod code;
mod commands;
mod connection;
pub mod elsewhere;
mod endpoint;
mod fields;
mod first_replies;
mod http;
mod identity;
mod import;
pub mod moderation;
mod names;
mod online;
mod participants;
mod push;
mod replay;
mod reply;
mod request_loop;
mod sending;
mod shared;

pub use endpoint::routes;
pub use import::Import;
pub use shared::Chat;
