//! Limits, TLS and the end of connections, over real sockets: docs/goals.md §5, §7, `configs/default.yaml`,
//! `docs/protocols/letshare.md §1.4`, RFC 6455.
//!
//! Not here: hostile clients, and what the room protocol itself limits (`letshare_rooms::cap`).

mod admission;
mod browsers;
mod channels;
mod drain;
mod frames;
mod keepalive;
mod profiles;
mod requests;
mod tls;
