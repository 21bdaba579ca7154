//! The chat over real sockets and HTTP, against the drop-in profile with the original paths: `docs/protocols/chat.md`, row by row.

mod brought;
pub mod client;
mod commands;
mod cross;
mod delivery;
mod groups;
mod handshake;
mod hang_ups;
mod history;
pub mod house;
mod http;
mod moderation;
#[cfg(feature = "mongo")]
mod mongo;
mod rooms;
mod settings;
mod survival;
