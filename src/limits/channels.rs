//! Channels: what waits for one, what it remembers, how often it looks.

use std::time::Duration;

/// Commands that wait for one channel. More are refused with `Fault::Busy`: at a few microseconds
/// each, a longer queue only means that everybody waits longer. Thirty connections that have sent
/// [`INBOUND_PORTION`](super::INBOUND_PORTION) of small frames each fit in.
pub const CHANNEL_MAILBOX: usize = 16_384;

/// A publish that comes again with the same id within this time is known (`docs/protocols/ably.md §5.11`).
pub const IDEMPOTENCY_WINDOW: Duration = Duration::from_secs(120);

/// Ids that a channel remembers for that, at most, and what each costs beside its text.
pub const IDEMPOTENCY_IDS: usize = 100_000;
pub const SEEN_ID_COST: usize = 112;

/// Messages that an attachment may start with at most (`docs/protocols/ably.md §5.11`).
pub const REWIND_MESSAGES: usize = 100;

/// Longest name of a channel, qualifier included, in bytes (`docs/protocols/ably.md §5.1`).
pub const CHANNEL_NAME_BYTES: usize = 2_048;

/// Longest id that a client may choose for a message, in bytes; it is kept for two minutes.
pub const MESSAGE_ID_BYTES: usize = 512;

/// What a message may have of data with all that was appended to it, in bytes (`docs/protocols/ably.md §9.4`).
pub const MESSAGE_TOTAL_BYTES: usize = 1024 * 1024;

/// Appends that have to be read on disk before the log keeps their message whole, and what each counts beside its data, in
/// bytes: as many as their message has (`core/growth.rs`).
pub const APPENDS_READ: usize = 64;
pub const APPEND_WEIGHT: usize = 1024;

/// What may wait for one channel's log: some commits at full speed. More publishes are refused.
pub const CHANNEL_HELD: usize = 16_384;

/// Messages that the differences of one entry are made to, on one thread: its subscriptions may have got different ones before
/// it. Those with yet another one get it whole.
pub const DELTA_BASES: usize = 8;

/// A channel sends its occupancy at most once in this time, to those who asked for it.
pub const OCCUPANCY_PAUSE: Duration = Duration::from_secs(1);

/// Messages that wait for one worker's hub before channels publish no more. Some seconds of
/// deliveries at full load, and the entries are shared, so it costs little memory.
pub const HUB_BACKLOG: usize = 65_536;

/// A retired channel stays this long to pass on what was sent to it before it was forgotten.
/// Senders look an address up and use it at once, so any second would do.
pub const CHANNEL_FAREWELL: Duration = Duration::from_secs(1);

/// Channels look this often at what they still have to keep, depending on how long that is. With a
/// hundred thousand channels, more than once a second would be most of what the server does.
pub const CHANNEL_SWEEP_MIN: Duration = Duration::from_secs(1);
pub const CHANNEL_SWEEP_MAX: Duration = Duration::from_secs(10);

/// Longest expression that chooses messages, in bytes, and how deeply its parts may stand in each other
/// (`docs/protocols/ably.md §5.7`).
pub const EXPRESSION_BYTES: usize = 1_024;
pub const EXPRESSION_DEPTH: usize = 64;

/// Different expressions by which one channel's messages are chosen on one worker thread: each is evaluated for each message.
pub const EXPRESSIONS_PER_CHANNEL: usize = 32;
