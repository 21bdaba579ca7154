//! Connections: what waits for a socket, what comes from it, how it begins and ends.

use std::{num::NonZeroU32, time::Duration};

/// Ably clients are promised a sign of life at least this often (`docs/protocols/ably.md §1.5`).
pub const MAX_IDLE_INTERVAL: Duration = Duration::from_secs(15);

/// A client's ping is answered after this time: SDKs measure in whole milliseconds, and their users take a
/// round trip of zero for a fault.
pub const PING_ECHO_DELAY: Duration = Duration::from_millis(2);

/// Answers to pings that wait for that, in bytes of one connection; more leave at once. Dozens, far more than a client that
/// measures has on the way.
pub const DELAYED_BYTES: usize = 16 * 1024;

/// What a transport without a WebSocket has for its client goes out in batches of so many bytes, one at a time.
pub const BATCH_BYTES: usize = 64 * 1024;

/// A peer that acknowledges nothing for so long, however little it was sent, is gone, unless a setting allows a longer stall.
pub const PEER_GONE: Duration = Duration::from_secs(60);

/// Networks whose new connections are rated at a time. Each is known until it may open a full burst again; beyond this
/// number another one is not rated.
pub const RATED_NETWORKS: usize = 65_536;

/// A client that lost its transport can resume its connection for this long (`docs/protocols/ably.md §4.4`).
pub const CONNECTION_STATE_TTL: Duration = Duration::from_secs(120);

/// What a frame that waits in an outbox costs besides its bytes: its handle, a spare one (the queue
/// grows by doubling) and the bookkeeping of its allocation. Uncounted, tiny frames would cost three
/// times the limit that the operator has set.
pub const OUTBOX_FRAME_COST: usize = 128;

/// Bytes that may wait in an outbox without a charge of their own, so that a delivery to a reader that keeps up touches no
/// counter that threads share. They are part of [`CONNECTION_COST`](super::CONNECTION_COST).
pub const OUTBOX_FREE: usize = 8 * 1024;

/// What waits beyond them is charged in steps of so many bytes.
pub const OUTBOX_STEP: usize = 64 * 1024;

/// An outbox that has grown beyond this many frames gives its memory back once it is empty: idle
/// connections have to stay cheap.
pub const OUTBOX_KEPT_FRAMES: usize = 32;

/// Every frame costs 1 of `limits.publishes_per_second`, and 1 more for each so many bytes: the largest message of any
/// protocol in its frame costs no more than a small one, a full frame of presence does.
pub const FRAME_COST_BYTES: usize = 128 * 1024;

/// What an ATTACH costs beside the frame itself, with rewind, what a SYNC and an AUTH: each makes a channel, or the gate,
/// do several times the work of a publish. A client that comes back to 200 channels with rewind stays within a burst of 2000.
pub const ATTACH_COST: u32 = 4;
pub const REWIND_COST: u32 = 5;
pub const SYNC_COST: u32 = 9;
pub const AUTH_COST: u32 = 9;

/// A connection ends when it has sent, over its rate, that many times what the rate allows (`docs/protocols/ably.md §4.8`).
/// By the defaults 40000 frames at once or 10000 a second, for which refusing takes some hundredths of a processor.
pub const FLOOD_FACTOR: NonZeroU32 = NonZeroU32::new(20).unwrap();

/// Bytes of a message that is not whole yet without a charge of their own; they are part of [`CONNECTION_COST`](super::CONNECTION_COST).
pub const INBOUND_FREE: usize = 8 * 1024;

/// Payload bytes of a frame from which on it has memory of its own while it is not whole.
pub const INBOUND_WHOLE: u64 = 4 * 1024;

/// Bytes of one connection that are decoded before the other connections of the thread have their turn.
pub const INBOUND_PORTION: usize = 32 * 1024;

/// Small frames that wait for one socket are put together up to this many bytes for one write.
pub const GATHER_BYTES: usize = 64 * 1024;

/// Sockets that are written to before the other tasks of the thread have their turn: at some
/// microseconds each, more would hold everybody up.
pub const WRITE_ROUND: usize = 256;

/// How long a close frame may take from the outbox to the wire before the socket is shut down behind
/// it. Nobody can tell when actix-http has written what it took from the body, but it writes at once.
pub const CLOSE_LINGER: Duration = Duration::from_millis(20);

/// A draining worker closes so many connections at once, and then pauses, so that their clients do not
/// all come back in the same moment.
pub const DRAIN_BATCH: usize = 200;
pub const DRAIN_PAUSE: Duration = Duration::from_millis(50);

/// How long a draining server waits until the transfers have ended. It sends one message to each: longer means that a
/// thread hangs.
pub const DRAIN_LAST_WORDS: Duration = Duration::from_secs(1);

/// How long whoever is connected has, to take what is on its way and to hang up, once a second signal has said that the
/// server is to end now.
pub const DRAIN_HURRIED: Duration = Duration::from_secs(1);

/// How often a draining server looks whether everybody has gone.
pub const DRAIN_CHECK: Duration = Duration::from_millis(20);

/// Connections that wait to be accepted. The LetShare app gives up for good after one failed
/// connect, so a burst has to fit.
pub const ACCEPT_BACKLOG: u32 = 4_096;

/// What is read of a backlog at a time, in bytes of memory, as the cost of an entry counts them; the next when the socket
/// has taken it. The last entry of a portion may be longer.
pub const BACKLOG_PORTION: usize = 64 * 1024;

/// What a backlog, or whatever else is framed only as its socket drains, costs while it waits, beside what it keeps.
pub const OUTBOX_SOURCE_COST: usize = 1024;

/// How often an outbox goes on with a backlog in one turn, before the other sockets of the thread have theirs.
pub const OUTBOX_PORTIONS: usize = 16;

/// How long a connection to the port of TLS may wait with its first byte.
pub const TLS_BEGIN: Duration = Duration::from_secs(3);

/// Bytes that are kept of what a client calls itself; they are part of [`CONNECTION_COST`](super::CONNECTION_COST).
pub const AGENT_BYTES: usize = 128;
