//! PostOffice over real sockets, against the drop-in profile with the original paths: `docs/protocols/postoffice.md`, row by
//! row.

pub mod client;
mod cross;
mod errors;
mod fields;
mod handshake;
mod letters;
mod server;
mod stored;
mod survival;
mod threads;
