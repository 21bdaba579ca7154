//! The Ably protocol over WebSockets, as its clients see it: `docs/protocols/ably.md §4 - §7, §8.5` and the traps
//! of §15 that need a server. What the clients of this file say, they say frame by frame.
//!
//! Not here: how frames are written (`src/protocols/ably/wire/tests`), what HTTP answers (`ably_rest`).

mod annotations;
mod attach;
mod bad_input;
mod closing;
mod delta;
mod detach;
mod filtered;
mod formats;
mod kept;
mod letshare;
mod liveness;
mod metachannels;
mod mutable;
mod names;
mod objects;
mod occupancy;
mod order;
mod positions;
mod presence;
mod presence_leaves;
mod presence_newness;
mod publish;
mod publishers;
mod rates;
mod reauth;
mod refusals;
mod resend;
mod resume;
mod rewind;
pub mod stage;
mod sync;
mod tokens;
