//! Several nodes that share their channels, and the clients of Redis.

use std::time::Duration;

/// How long a copy of a shared log waits for an entry that is late before it reads it from the log.
pub const CHAIN_WAIT: Duration = Duration::from_millis(20);

/// Entries that a copy of a shared log keeps meanwhile, and their bytes; what does not fit is read from the log.
pub const CHAIN_EARLY: usize = 1_000;
pub const CHAIN_EARLY_BYTES: usize = 1 << 20;

/// How long it waits before it reads again what could not be read.
pub const CHAIN_AGAIN: Duration = Duration::from_secs(1);

/// A channel of a cluster that was quiet for so long looks whether anything was published that it has not heard of, and again each
/// so long: so many channels by one script, which waits so long for more of them.
pub const HEADS_QUIET: Duration = Duration::from_secs(10);
pub const HEADS_AGAIN: Duration = Duration::from_secs(40);
pub const HEADS_AT_ONCE: usize = 200;
pub const HEADS_GATHERED: Duration = Duration::from_secs(1);

/// How long a replica of Redis may take to have what was appended, where that is asked for.
pub const REDIS_COPIED: Duration = Duration::from_millis(500);

/// How often a node looks how Redis is set up.
pub const REDIS_SETUP: Duration = Duration::from_secs(10);

/// How often a node looks whether Redis takes what it writes.
pub const NODE_BEAT: Duration = Duration::from_secs(1);

/// A node takes the time of Redis by the middle one of so many looks at it, when its own clock is so many milliseconds off.
pub const NODE_OFFSETS: usize = 5;
pub const NODE_OFFSET_LEAST: u64 = 1_000;

/// A node that Redis has not answered for so long is not ready.
pub const NODE_CUT_OFF: Duration = Duration::from_secs(5);

/// How long a node waits for what it asks the others.
pub const NODE_ANSWER: Duration = Duration::from_secs(2);

/// How long the nodes know of a connection without being told of it again, and how often they are told.
pub const CONNECTION_ROW: Duration = Duration::from_mins(3);
pub const CONNECTION_ROW_AGAIN: Duration = Duration::from_mins(1);

/// The parts that the rows of connections are divided into.
pub const CONNECTION_PARTS: u32 = 64;

/// The parts that the channels of a shared log are divided into; a log that has entries cannot have others.
pub const PARTITIONS: u32 = 64;

/// How often a node renews its lease while that lasts.
pub const LEASE_RENEWALS: u32 = 5;

/// A node lets the members of a dead one leave only when it has itself held its lease through so many renewals: Redis that comes
/// back, or its clock when it jumps, kills nobody. A node that was not seen for as many has no claim on anything, so that Redis
/// coming back without leases, or a node that begins, is not taken for one that is gone.
pub const LEASE_TRUST: u32 = 3;

/// Channels of a dead node that are opened with each renewal, so that its members leave.
pub const REAPED_AT_ONCE: usize = 1_000;

/// How long a shared log knows where it stood, and who is present, behind the last entry and its age.
pub const HEAD_LIFE: Duration = Duration::from_mins(10);

/// What is read of a shared log at a time.
pub const REPLICA_ENTRIES: usize = 1_000;
pub const REPLICA_BYTES: usize = 4 << 20;

/// Channels that put all their objects at a time when Redis has lost them, of which each may have [`super::OBJECTS_BYTES`]: what is
/// published meanwhile needs room in the same line.
pub const OBJECTS_PUT_AT_ONCE: usize = 1;

/// How long Redis may take to accept a connection and to answer a command.
pub const REDIS_CONNECT: Duration = Duration::from_secs(3);
pub const REDIS_ANSWER: Duration = Duration::from_secs(5);

/// What may wait in a line of scripts for one server, in bytes of keys and arguments, and as much for slots of a Redis Cluster that no
/// server has; more is refused.
pub const REDIS_WAITING_BYTES: usize = 16 << 20;

/// Scripts that are sent at a time, and about so many bytes of keys and arguments.
pub const REDIS_BATCH: usize = 128;
pub const REDIS_BATCH_BYTES: usize = 1 << 20;

/// Topics that are subscribed to by one command.
pub const REDIS_TOPICS: usize = 1_000;

/// How often Redis is asked whether it is there.
pub const REDIS_CHECK: Duration = Duration::from_secs(1);

/// How soon a server of a Redis Cluster is asked again which one has which slots, and how many are asked at a time.
pub const REDIS_SLOTS: Duration = Duration::from_millis(200);
pub const REDIS_ASKED: usize = 3;

/// How soon what a server has refused is asked for again, since it did not serve the slot at that moment.
pub const REDIS_SLOT_AGAIN: Duration = Duration::from_millis(100);

/// The pauses between attempts to reach Redis: doubled from the first to the last, each shortened by chance.
pub const REDIS_PAUSE_FIRST: Duration = Duration::from_millis(50);
pub const REDIS_PAUSE_LAST: Duration = Duration::from_secs(3);

/// For how long it is known since when a node that claims something was not seen.
pub const CLAIMS_KNOWN: Duration = Duration::from_secs(3_600);
