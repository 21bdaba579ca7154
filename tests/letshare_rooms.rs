//! Rooms over real sockets: `docs/protocols/letshare.md §2`, row by row.
//!
//! Not here: the handshake (§1, `letshare_handshake`), the HTTP side (§4, `letshare_http`), limits that the
//! document does not know (`edge_limits`).

mod cap;
mod delivery;
mod membership;
mod names;
mod refusals;
mod replies;
mod sender;
