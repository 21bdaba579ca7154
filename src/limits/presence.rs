//! Members of channels.

use std::time::Duration;

use super::{CONNECTION_STATE_TTL, MAX_IDLE_INTERVAL};

/// Members that may be present on a channel, unless its app says otherwise (`docs/protocols/ably.md §5.11`).
pub const PRESENCE_MEMBERS: usize = 200;

/// Bytes that the members of one channel may have, their data included: whoever attaches is sent all of them. Where an app
/// allows so many members that each would have less than the second number, each may have that.
pub const PRESENCE_BYTES: usize = 2 * 1024 * 1024;
pub const PRESENCE_MEMBER_BYTES: usize = 512;

/// Members of a connection that lost its transport stay this long (§7.6).
pub const PRESENCE_HOLD: Duration = Duration::from_secs(15);

/// A client that lost its transport enters its members again, perhaps such as it had left, for as long as it may try to
/// resume: so long are leaves remembered (RTN15g, §7.2). And how many on one channel, with how many bytes of clientIds;
/// each costs so much besides.
pub const PRESENCE_REENTRY: Duration = CONNECTION_STATE_TTL.saturating_add(MAX_IDLE_INTERVAL);
pub const PRESENCE_LEAVES: usize = 10_000;
pub const PRESENCE_LEAVE_BYTES: usize = 1024 * 1024;
pub const PRESENCE_LEAVE_COST: usize = 256;

/// Presence data of one frame, in bytes; clients put many enters into one.
pub const PRESENCE_FRAME_BYTES: usize = 256 * 1024;

/// A page of a presence sync: whichever is reached first (§7.4).
pub const SYNC_PAGE_MEMBERS: usize = 100;
pub const SYNC_PAGE_BYTES: usize = 64 * 1024;

/// The least time between two looks at members whose connections are lost.
pub const PRESENCE_TICK: Duration = Duration::from_millis(5);
