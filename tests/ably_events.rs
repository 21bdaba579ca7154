//! Streams of events for those who only listen: `docs/protocols/ably.md §1.7`.

mod form;
mod refusals;
mod resume;
mod server_sent;
