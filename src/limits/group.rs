//! Groups, and the streams and states that they have on Redis.

use std::time::Duration;

/// Entries that wait to be published on a stream, and their bytes; more are refused (`docs/protocols/group.md §7`).
pub const STREAM_QUEUE: usize = 10_000;
pub const STREAM_QUEUE_BYTES: usize = 64 * 1024 * 1024;

/// Entries that a stream keeps, about (`docs/protocols/group.md §7`).
pub const STREAM_ENTRIES: usize = 100_000;

/// Bytes that a stream of nodes has on Redis, about: one that has more is halved.
pub const STREAM_BYTES: usize = 64 * 1024 * 1024;

/// Entries that are read from streams or published on one at a time, and bytes that are published.
pub const STREAM_PAGE: usize = 256;
pub const STREAM_PAGE_BYTES: usize = 4 * 1024 * 1024;

/// Entries of all streams that are remembered so that none is taken twice: about 100 bytes each.
pub const STREAM_IDS: usize = 16_384;

/// Nodes note how far they have read at least so often, also when there was nothing to be written.
pub const STREAM_NOTED: Duration = Duration::from_secs(10);

/// A read of streams waits this long for entries before it is asked again.
pub const STREAM_BLOCK: Duration = Duration::from_secs(2);

/// What only concerns who is connected is not delivered any more when an instance was away for longer.
pub const STREAM_STALE: Duration = Duration::from_secs(60);

/// A consumer that handled nothing and asked for nothing for so long is forgotten.
pub const STREAM_CONSUMER_GONE: Duration = Duration::from_hours(1);

/// Users whose state is sent to Redis at a time, and how often that is repeated for all who are online.
pub const ONLINE_PAGE: usize = 256;
pub const ONLINE_REFRESH: Duration = Duration::from_mins(10);

/// How long it is kept when a user was online (`docs/protocols/group.md §7`).
pub const STATUS_KEPT: Duration = Duration::from_hours(30 * 24);

/// Longest name of a group or a user of the group protocol, in bytes: it is part of a channel's name.
pub const GROUP_NAME_BYTES: usize = 256;

/// Groups, members of one, and groups of one user. All are kept in memory; what a group and a member cost there beside their
/// texts.
pub const GROUPS: usize = 1_000_000;
pub const GROUP_COST: usize = 256;
pub const GROUP_MEMBER_COST: usize = 256;
pub const GROUP_MEMBERS: usize = 100_000;
pub const GROUPS_OF_USER: usize = 5_000;

/// Longest message of the group protocol, in bytes; up to the second it is answered with 413, above it the connection
/// is closed (`docs/protocols/group.md §5, §9`).
pub const GROUP_MESSAGE_BYTES: usize = 512 * 1024;
pub const GROUP_FRAME_BYTES: usize = 576 * 1024;

/// Attempts to authenticate that one connection of the group protocol has (`docs/protocols/group.md §5`).
pub const GROUP_AUTH_ATTEMPTS: u32 = 5;

/// A group message that comes again within this time is known (`docs/protocols/group.md §6`).
pub const GROUP_SEEN: Duration = Duration::from_secs(24 * 3_600);

/// Missed messages that follow `auth_success` (`docs/protocols/group.md §6`), their bytes, how many of a group are read
/// at a time, and what may come meanwhile.
pub const GROUP_RESUMED: usize = 500;
pub const GROUP_RESUMED_BYTES: usize = 4 * 1024 * 1024;
pub const GROUP_RESUMED_PAGE: usize = 32;
pub const GROUP_HELD: usize = 4_096;

/// Messages that the rate limit refuses in a minute before the connection is closed (`docs/protocols/group.md §8`).
pub const GROUP_REFUSALS: u32 = 100;
pub const GROUP_REFUSALS_WITHIN: Duration = Duration::from_secs(60);

/// Users and addresses whose rates are remembered before those that have been quiet are forgotten.
pub const GROUP_RATES: usize = 16_384;

/// Failed attempts to authenticate count for this long; addresses that are remembered for that.
pub const GROUP_FAILURES_WITHIN: Duration = Duration::from_secs(600);
pub const GROUP_FAILING: usize = 65_536;

/// How often nodes look whether the store that they have in common still has what it had, and has room.
pub const GROUP_LOOK: Duration = Duration::from_secs(1);

/// How often a change of a row that nodes have in common is judged again because another node was first.
pub const GROUP_TRIES: u32 = 16;

/// What an answer that waits for the store is charged beside its texts.
pub const GROUP_ANSWER_COST: usize = 256;

/// Messages that wait to be published after their commit, of all groups and of one, and their bytes; more are refused.
/// Of the first, as well: those that are not on disk yet, and those who wait for them.
pub const GROUP_OUTSTANDING: usize = 65_536;
pub const GROUP_OUTSTANDING_OF_ONE: usize = 4_096;
pub const GROUP_OUTSTANDING_BYTES: usize = 32 * 1024 * 1024;
pub const GROUP_OUTSTANDING_BYTES_OF_ONE: usize = 8 * 1024 * 1024;

/// How many of them go to their channel together, at most.
pub const GROUP_TOGETHER: usize = 64;

/// The pause before a channel that is too busy is asked again, and after how many of them the log says that it still
/// is.
pub const GROUP_RETRY: Duration = Duration::from_millis(5);
pub const GROUP_RETRIES: u32 = 2_000;

/// Unread notifications and, in one group, messages that are counted, and how many of its newest are looked at for
/// that, so many at a time.
pub const GROUP_UNREAD: usize = 10_000;
pub const GROUP_UNREAD_MESSAGES: usize = 1_000;
pub const GROUP_UNREAD_ROWS: usize = 10_000;
pub const GROUP_UNREAD_PAGE: usize = 100;

/// Rows that are read at a time when a server starts, and removed in one commit; how often that is done.
pub const GROUP_ROWS: usize = 1_000;
pub const GROUP_SWEPT: usize = 256;
pub const GROUP_SWEEP: Duration = Duration::from_secs(60);

/// Items on a page of history: unless asked otherwise, and at most (`docs/protocols/group.md §2`).
pub const GROUP_PAGE: usize = 20;
pub const GROUP_PAGE_MAX: usize = 100;

/// Longest body of a request to the group interface, in bytes.
pub const GROUP_BODY_BYTES: usize = 1024 * 1024;

/// Events of Redis streams that wait to be handled.
pub const GROUP_INBOX: usize = 256;

/// How long a server that stops waits for Redis to take what its groups still have to publish.
pub const GROUP_LAST_WORDS: Duration = Duration::from_secs(2);

/// Notifications sent to Redis that are waited for, so that they are not shown twice.
pub const GROUP_ECHOES: usize = 10_000;
