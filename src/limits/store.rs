//! What is on disk: writes, reads and sweeps.

use std::time::Duration;

/// What is written to disk in one transaction: at most so many writes or bytes, and no longer gathered than
/// that. One sync serves them all (docs/architecture.md §6).
pub const COMMIT_JOBS: usize = 1_024;
pub const COMMIT_BYTES: usize = 8 * 1024 * 1024;
pub const COMMIT_WAIT: Duration = Duration::from_millis(2);

/// What may wait for the disk, in writes and bytes; more is refused. Some seconds at full speed.
pub const STORE_QUEUE_JOBS: usize = 65_536;
pub const STORE_QUEUE_BYTES: usize = 64 * 1024 * 1024;

/// What channels may have waiting of it, half of what the other apps have left for each app, and what a write of theirs counts
/// beside its bytes. The rest is for everything else that is written.
pub const STORE_CHANNELS_BYTES: usize = STORE_QUEUE_BYTES / 4 * 3;
pub const STORE_WRITE_COST: usize = STORE_QUEUE_BYTES / STORE_QUEUE_JOBS;

/// Entries that the sweep of the data file removes in one transaction, and how often it looks.
pub const SWEEP_ENTRIES: usize = 256;
pub const SWEEP_PAUSE: Duration = Duration::from_secs(30);

/// It looks at all channels this often, in between at those that have changed or are due; so many of either are listed
/// beforehand, and of all at a time.
pub const SWEEP_ALL: Duration = Duration::from_secs(600);
pub const SWEEP_AGENDA: usize = 10_000;

/// What one request reads of the file before the others have their turn, in rows and bytes.
pub const READ_ROWS: usize = 2_000;
pub const READ_BYTES: usize = 4 * 1024 * 1024;

/// Who comes back late has so much read ahead for those who missed a little more.
pub const BACKLOG_AHEAD: usize = 1024 * 1024;

/// What was read back of a channel's past stays in memory this long, for others who come back for it.
pub const BACKLOG_KEPT: Duration = Duration::from_secs(20);

/// Requests that read what one protocol has on disk at a time, beside the worker threads; others wait for their turn.
pub const READERS: usize = 4;

/// Rows of an import that are written together, the bytes of a row of JSON, and how many bad rows are told one by one.
pub const IMPORT_ROWS: usize = 512;
pub const IMPORT_ROW_BYTES: u64 = 1024 * 1024;
pub const IMPORT_TOLD: u64 = 100;
