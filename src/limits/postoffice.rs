//! The postoffice, and mailboxes.

use std::time::Duration;

/// Longest name of a mailbox, in bytes (`docs/protocols/postoffice.md §6`).
pub const POST_NAME_BYTES: usize = 256;

/// Mailboxes of nodes that are looked at by one script: whether they are still read here.
pub const POST_LOOKED: usize = 100;

/// Messages out of a mailbox on the way to one connection that it has not confirmed, and their bytes; more wait in the
/// mailbox (`docs/protocols/postoffice.md §4`). They have to fit into the smallest outbox that is allowed beside one message.
pub const MAILBOX_UNCONFIRMED: usize = 256;
pub const MAILBOX_UNCONFIRMED_BYTES: usize = 1024 * 1024;

/// What a message in a mailbox costs in memory, beside its key, and its body while that is not on disk.
pub const MAILBOX_MESSAGE_COST: usize = 192;

/// What a message costs on Redis beside its bytes: the index of its rows, and for a minute what its batch was answered.
pub const MAILBOX_STORED_COST: usize = 512;

/// Rows of waiting messages that are read at a time when a server starts.
pub const MAILBOX_ROWS: usize = 1_000;

/// Ids of messages that one mailbox remembers for `IDEMPOTENCY_WINDOW`.
pub const POST_IDS: usize = 4_096;

/// Messages that are looked through for one request for a thread.
pub const POST_THREAD_LETTERS: usize = 20_000;

/// How often messages that are too old are looked for.
pub const POST_SWEEP: Duration = Duration::from_secs(60);

/// Mailboxes that nodes share. How often what was read is read again because another node was faster: each time one of them has got
/// on, so this many mean that something else is wrong.
pub const MAILBOX_TRIES: usize = 50;

/// A server that ends hands back what it has in hand of so many mailboxes at once.
pub const MAILBOX_BACK_AT_ONCE: usize = 64;

/// Numbers of messages are milliseconds with so many bits behind; the last number of an empty mailbox is kept for so many
/// milliseconds, more than clocks of nodes are apart.
pub const MAILBOX_NUMBER_BITS: u32 = 10;
pub const MAILBOX_NUMBER_LIFE: u64 = 600_000;

/// How long somebody waits for others who put something into the same mailbox, or for the letters that the same client has sent
/// before: as a client waits for Redis by default.
pub const MAILBOX_TURN: Duration = Duration::from_secs(5);

/// What a letter on its way costs beside its text.
pub const POST_SENDING_COST: usize = 2_048;

/// How often a node looks again at what another one has that may be gone.
pub const MAILBOX_LOOK_AGAIN: Duration = Duration::from_secs(3);
