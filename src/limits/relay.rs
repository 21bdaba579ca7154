//! The relay.

use std::time::Duration;

/// Longest token of a relay user, in bytes: it is part of a channel's name.
pub const RELAY_TOKEN_BYTES: usize = 1_024;

/// Longest body of a relay push, in bytes (`docs/protocols/relay.md §4`).
pub const RELAY_PUSH_BYTES: usize = 1024 * 1024;

/// A relay push may be delayed by this much (`docs/protocols/relay.md §4`).
pub const RELAY_DELAY: Duration = Duration::from_secs(2_592_000);

/// Delayed pushes that reached nobody and are still listed, the newest; and how many of those that are due are looked
/// at together while a server that has just started waits for its clients.
pub const RELAY_UNREACHED: usize = 100;
pub const RELAY_OVERDUE_ROWS: usize = 100;

/// Bytes of all delayed pushes together, on disk.
pub const RELAY_DELAYED_BYTES: usize = 1024 * 1024 * 1024;

/// Frames in a row that are not JSON before a relay client is closed (`docs/protocols/relay.md §3`).
pub const RELAY_UNREADABLE_FRAMES: u32 = 20;

/// Delayed pushes are looked at at least this often while there are any, since the wall clock can be set.
pub const RELAY_SCHEDULE_CHECK: Duration = Duration::from_millis(250);

/// Pushes that wait for one relay user who is away, and their bytes; the oldest go first
/// (`docs/protocols/relay.md §5`, `offline_ttl_seconds`).
pub const RELAY_KEPT_PUSHES: usize = 256;
pub const RELAY_KEPT_USER_BYTES: usize = 4 * 1024 * 1024;

/// Bytes of the pushes that wait for all relay users together, on disk. A push takes this much more than it has: what
/// is in memory of one that waits on disk.
pub const RELAY_KEPT_BYTES: usize = 64 * 1024 * 1024;
pub const RELAY_KEPT_OVERHEAD: usize = 256;

/// How often pushes that waited too long are looked for.
pub const RELAY_KEPT_SWEEP: Duration = Duration::from_secs(60);

/// Rows of waiting pushes that are read at a time when a server starts.
pub const RELAY_KEPT_ROWS: usize = 100;
