//! LetShare: names, files through the relay, activation.

use std::{num::NonZeroU32, time::Duration};

/// Longest `userId` of a LetShare page, in bytes. The app's is at most 12 characters and a suffix.
pub const USER_ID_BYTES: usize = 256;

/// Longest event name that can be subscribed to, in bytes. The app's are `signal:` and a `userId`.
pub const EVENT_NAME_BYTES: usize = 512;

/// File transfers that a server lists at a time, those included that have just ended and are remembered
/// for their late messages, and what each costs beside its ring.
pub const TRANSFERS: usize = 65_536;
pub const TRANSFER_COST: usize = 1_024;

/// Frames of a transfer that are kept for a receiver who comes back; a sender may have as many
/// on the way. The app has at most 24.
pub const TRANSFER_RING_FRAMES: u64 = 40;

/// Messages that wait for one transfer; its sender's window is far below.
pub const TRANSFER_MAILBOX: usize = 256;

/// Longest id of a transfer, in bytes; it has to fit into the header of a frame.
pub const TRANSFER_ID_BYTES: usize = 128;

/// Longest control message of a transfer, in bytes; the app's are below 3 KiB. What is kept of them is
/// kept for minutes.
pub const TRANSFER_CONTROL_BYTES: usize = 8 * 1024;

/// Transfers to one user in one room that are listed, those that ended a moment ago included.
pub const TRANSFERS_LISTED: usize = 64;

/// Frames of transfers shorter than this are copied: a slice would keep the whole buffer alive that
/// they were read into.
pub const COPIED_FRAME_BYTES: usize = 32 * 1024;

/// Chunks that one message may ask for again: what the app asks for.
pub const RESEND_CHUNKS: usize = 256;

/// Chunks that may have been asked for again and not come yet.
pub const RESEND_PENDING: usize = 512;

/// A request for a transfer that nobody answers.
pub const TRANSFER_PENDING: Duration = Duration::from_secs(30);

/// A receiver whose connection dropped may come back within this time.
pub const TRANSFER_RETURN: Duration = Duration::from_secs(30);

/// A receiver that is back sooner was never away, as far as its sender knows: the app shows every notice.
pub const TRANSFER_NOTICE: Duration = Duration::from_secs(3);

/// How long a connection that may be dead has to show any sign of life. Its answer to the ping waits behind the
/// file that it receives, but a page also says `ack` every half mebibyte: that is in time above 175 kB/s.
pub const PROBE_PATIENCE: Duration = Duration::from_secs(3);

/// A transfer in which nothing happens at all.
pub const TRANSFER_IDLE: Duration = Duration::from_secs(120);

/// Late messages of an ended transfer are ignored for this long.
pub const TRANSFER_ENDED_KEPT: Duration = Duration::from_secs(30);

/// A receiver who was away at the end gets the notice of it when it comes back within this time.
pub const TRANSFER_ENDING_KEPT: Duration = Duration::from_secs(120);

/// How often transfers look at the clock.
pub const TRANSFER_TICK: Duration = Duration::from_secs(1);

/// Attempts at PRO activation that one address may make each minute.
pub const ACTIVATION_ATTEMPTS: NonZeroU32 = NonZeroU32::new(5).unwrap();

/// Largest request for PRO activation, in bytes; it has two texts.
pub const ACTIVATION_BODY_BYTES: usize = 256 * 1024;

/// Addresses remembered for that before those that have been quiet are forgotten.
pub const ACTIVATION_ADDRESSES: usize = 1_024;
