//! A self-hosted broker of realtime channels, as one binary.
//!
//! Three ideas carry it: **states are pure, actors are shells**; **a protocol is a translator**; **a channel
//! is a log**. A message takes this way:
//!
//! ```text
//! socket ─► Transport ──► Channel ─► Log ─► Channel ─► Hub, one per ─► Outbox ─► socket
//!           translate     judge a    append  take the    worker thread   ready
//!                         draft              entry                       frames
//! ```
//!
//! To follow one, a LetShare message, read these functions in this order; each calls the next one, or sends it what it has:
//!
//! | step | file | function |
//! |---|---|---|
//! | a request becomes a WebSocket | `src/edge/endpoint.rs` | `upgrade` |
//! | its frames are decoded | `src/edge/websocket.rs` | `start` |
//! | the actor of the socket hears one | `src/actors/transport.rs` | `handle` |
//! | LetShare reads it | `src/protocols/letshare/rooms.rs` | `text`, `publish` |
//! | it becomes a command for its channel | `src/actors/transport/context.rs` | `publish` |
//! | the channel's actor takes the command | `src/actors/channels/channel.rs` | `handle` |
//! | its effects are carried out | `src/actors/channels/effects.rs` | `publish`, `append`, `deliver` |
//! | the pure state judges it, and takes the entry | `src/core/channel.rs` | `judge`, `stamp`, `take` |
//! | the log keeps the entry | `src/log/memory.rs` | `append` |
//! | each worker thread hears of it once | `src/actors/fanout/hub.rs` | `handle` |
//! | for all attachments of the thread | `src/actors/fanout/delivery.rs` | `deliver` |
//! | the frame is encoded once | `src/protocols/letshare/reply.rs` | `encode` |
//! | each socket gets it | `src/actors/transport/session.rs` | `deliver`, `push` |
//! | it waits for its turn | `src/actors/fanout/outbox.rs` | `push` |
//! | the thread writes what waits | `src/actors/fanout/flusher.rs` | `list` |

/// The thin shells around the pure states: receive, call, carry out the effects.
pub mod actors;
/// Wiring only: from a configuration to a running server.
pub mod app;
/// Who may connect: static tokens and JWTs.
pub mod auth;
/// The command line and the life of the process.
pub mod cli;
/// The only reader of time.
pub mod clock;
/// Settings: typed, loaded from four layers, checked before the start.
pub mod config;
/// The pure states: channels, subscribers, windows, rules. No clock, no I/O, no actor, no protocol.
pub mod core;
/// Where clients come in: upgrade, frame guard, Origin, admission, TLS.
pub mod edge;
/// Clients of other programs: one file each, so that no more than one names its crate.
pub mod engines;
/// The closed list of what clients can be told, and why a connection ends.
pub mod error;
/// Newtypes for names, ids and instants.
pub mod ids;
/// Every fixed bound, with its reason.
pub mod limits;
/// A value that is replaced as a whole while others read it.
pub mod live;
/// Where the entries of channels are kept.
pub mod log;
/// The four older WebSocket servers, each with its own protocol, on the same channels.
pub mod older;
/// What operators look at: health, metrics, logs.
pub mod ops;
/// The wire protocols of today, each between its frames and the core.
pub mod protocols;
/// What survives a restart, beside the logs of channels: one file in one folder.
pub mod store;
