//! What things cost the account of whoever has them, and what goes when one is full (`docs/architecture.md §6a`).

use std::time::Duration;

use super::REQUEST_BODY_BYTES;

/// What an attachment costs its connection, its hub and its channel together, beside the names that it is known by.
pub const ATTACHMENT_COST: usize = 640;

/// What a connection that can be resumed costs beside its clientId.
pub const CONNECTION_STATE_COST: usize = 256;

/// The part of `limits.memory` that bodies of requests may take while they are read: of one app, and of all whose app is not
/// known yet, of which a network has half of what the others have left. At least four of the longest bodies: one network
/// may have two, the next one.
pub const BODIES_PART: usize = 512;
pub const BODIES_LEAST: usize = 4 * REQUEST_BODY_BYTES;

/// What an open channel costs while nobody is attached to it: its actor and the first bytes of its window, which it may keep
/// without a charge of their own; what its window has beyond them is charged in steps, so that a publish touches no counter
/// that threads share.
pub const CHANNEL_COST: usize = 4 * 1024 + WINDOW_FREE;
pub const WINDOW_FREE: usize = 4 * 1024;
pub const WINDOW_STEP: usize = 16 * 1024;

/// How long a channel that was made for somebody cannot be evicted though nobody is attached yet.
pub const CHANNEL_OPENING: Duration = Duration::from_millis(100);

/// Channels that are evicted together when an account is full.
pub const EVICTED_AT_ONCE: usize = 16;

/// States of connections that are forgotten together when there is no memory.
pub const STATES_SHED: usize = 1_024;

/// How often the accounts are looked at. One that keeps more than so many hundredths of its limit is nearly full, and what is
/// cheapest to lose goes until it keeps less.
pub const RELIEF_CHECK: Duration = Duration::from_secs(1);
pub const NEARLY_FULL: usize = 90;

/// Whoever finds no room has it made at once. So long others may have locked what it is made of; and this is the least time
/// between two attempts to make room for the whole server of which the first found nothing.
pub const RELIEF_WAIT: Duration = Duration::from_millis(5);
pub const RELIEF_PAUSE: Duration = Duration::from_millis(10);

/// The windows of an app shrink again at once when the last time was worth it: so many bytes for each window that was looked
/// at. Otherwise once in [`RELIEF_CHECK`].
pub const SHRINK_WORTH: usize = 1024;

/// What an open connection costs while nothing waits for it, as measured (benches/README.md): its socket, its buffers, its
/// actor, and [`OUTBOX_FREE`](super::OUTBOX_FREE).
pub const CONNECTION_COST: usize = 24 * 1024;

/// Plain HTTP connections that a network may have beside as many as it may have WebSockets: each of those begins as one.
pub const PLAIN_BESIDE: usize = 32;

/// What a connection costs as long as it is plain HTTP: its socket and the buffers of the parser.
pub const PLAIN_CONNECTION_COST: usize = 16 * 1024;

/// Of the descriptors that this process may have, connections never take the last tenth: it is for files and the log. Half of
/// that tenth is for connections from this machine, so that operators get in when all else is taken.
pub const KEPT_DESCRIPTORS: u64 = 10;
