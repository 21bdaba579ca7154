//! Ably without a WebSocket, as its clients see it: `docs/protocols/ably.md §1.6` and the traps that belong to it. What a
//! connection does is shown in `ably_realtime`; here, that it does the same by plain requests.

mod client;
pub use client::Lines;
mod conversation;
mod endings;
mod refusals;
mod resume;
mod streams;
