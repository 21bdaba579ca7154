//! Requests and their answers.

use std::time::Duration;

/// Longest head of a request, its target and headers: a token whose capability lists hundreds of channels comes in a target.
/// The first bytes are part of [`PLAIN_CONNECTION_COST`](super::PLAIN_CONNECTION_COST); what is beyond them is charged in steps.
pub const HEAD_BYTES: usize = 32 * 1024;
pub const HEAD_FREE: usize = 8 * 1024;
pub const HEAD_STEP: usize = 8 * 1024;

/// What is read and thrown away behind the answer to a head that is too long, so that its sender sees the answer.
pub const REFUSED_READ: usize = 1024 * 1024;

/// A request's head has to be here within this time, however slowly it trickles.
pub const REQUEST_HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection that was answered for the last time is closed by then, whether or not the other side agrees.
pub const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Longest body of a request to the Ably interface, in bytes (`docs/protocols/ably.md §5.11`).
pub const REQUEST_BODY_BYTES: usize = 2 * 1024 * 1024;

/// Longest request for a token, in bytes: a capability and some short texts. Nobody is known yet when it
/// is read.
pub const TOKEN_REQUEST_BYTES: usize = 64 * 1024;

/// A request's body has to be here within this time after its head, however slowly it trickles. While the server waits for it,
/// each of the shorter times has to bring so many bytes, or the end.
pub const REQUEST_BODY_TIMEOUT: Duration = Duration::from_secs(30);
pub const BODY_PATIENCE: Duration = Duration::from_secs(10);
pub const BODY_LEAST_BYTES: usize = 10 * 1024;

/// What the HTTP parser gets of a connection before it has to parse and what it has parsed has to be taken, in bytes, beside
/// what its last read brings.
pub const READ_TURN: usize = 4 * 1024;

/// What one read of a connection brings at most, in bytes: as much as the parser's buffer has room for while it is small.
pub const READ_AT_ONCE: usize = 8 * 1024;

/// The pause between two such turns of what is thrown away, since its sender has broken a rule.
pub const DISCARD_PAUSE: Duration = Duration::from_millis(10);

/// An answer of which nothing is taken for so long is given up.
pub const ANSWER_PATIENCE: Duration = Duration::from_secs(10);

/// Longest wait that `Retry-After` asks for, in seconds.
pub const RETRY_AFTER_MAX: u64 = 60;

/// Items on a page of a list: unless asked otherwise, and at most (`docs/protocols/ably.md §5.11`).
pub const PAGE_ITEMS: usize = 100;
pub const PAGE_ITEMS_MAX: usize = 1_000;

/// What is handed out of a page at a time, in bytes of memory, as the cost of an entry counts them; the next when the
/// client has taken it. And what is given to its socket at a time.
pub const PAGE_PORTION: usize = 128 * 1024;
pub const ANSWER_SLICE: usize = 16 * 1024;
