//! Annotations of messages, and what they come to.

use std::time::Duration;

use super::{CONNECTION_STATE_TTL, MAX_IDLE_INTERVAL};

/// What the annotations of one message are summed up to: clients, each as often as it is listed; bytes of types and names;
/// and what each type, name and client costs beside its text.
pub const SUMMARY_CLIENTS: usize = 10_000;
pub const SUMMARY_NAMES_BYTES: usize = 128 * 1024;
pub const SUMMARY_ITEM_COST: usize = 128;

/// How often one annotation may count (`docs/protocols/ably.md §9.5`).
pub const ANNOTATION_COUNT: u64 = 1_000_000;

/// What a message costs whose summary is in memory, beside its name and the summary.
pub const SUMMARY_COST: usize = 512;

/// The least time between two looks at summaries that are due.
pub const SUMMARY_TICK: Duration = Duration::from_millis(20);

/// A summary is kept on disk with every so many annotations, or as many as it lists clients: no more of them are counted
/// when it is read.
pub const SUMMARY_KEPT_EACH: usize = 256;

/// How long the summary of a message stays in memory that nobody annotates: whoever may resume may have missed it.
pub const SUMMARY_AGE: Duration = CONNECTION_STATE_TTL.saturating_add(MAX_IDLE_INTERVAL);

/// A summary is sent so long after the first change, then at most once in the second time; so many messages at once, or so
/// many bytes. One entry is not read with more bytes of them either.
pub const SUMMARY_DELAY: Duration = Duration::from_millis(50);
pub const SUMMARY_PAUSE: Duration = Duration::from_secs(1);
pub const SUMMARIES_AT_ONCE: usize = 100;
pub const SUMMARIES_BYTES: usize = 128 * 1024;

/// Messages whose summaries a channel that begins anew reads, because they were annotated lately.
pub const SUMMARIES_RECALLED: usize = 1_000;

/// Of that a client is sent so many clients of a name, and so many bytes of clientIds in all; the lists say that they are
/// clipped (`docs/protocols/ably.md §9.5`).
pub const SUMMARY_LISTED: usize = 100;
pub const SUMMARY_LISTED_BYTES: usize = 64 * 1024;
