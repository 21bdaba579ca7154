//! Logs, the admin API, names that have changed.

use std::{num::NonZeroU32, time::Duration};

/// Settings and figures that have another name now keep the old one beside it until this version.
pub const OLD_NAMES_GO_IN: &str = "0.3";

/// How often the certificate files are looked at.
pub const CERTIFICATE_CHECK: Duration = Duration::from_secs(10);

/// Longest text field of a log line, in characters; an error's own words may be longer.
pub const LOG_FIELD_CHARS: usize = 64;
pub const LOG_ERROR_CHARS: usize = 512;
/// The text of a log line, in characters: a fault of a settings file names all of its lines.
pub const LOG_MESSAGE_CHARS: usize = 8_192;

/// Log lines that wait to be written, for stdout and for `errors.log` each: more than any burst that somebody reads.
/// Further ones are dropped and counted.
pub const LOG_LINES_WAITING: usize = 4_096;

/// Lines that the writer of `errors.log` takes together.
pub const LOG_LINES_AT_ONCE: usize = 256;

/// How long the last lines may take at the end, before the process goes without them.
pub const LOG_LAST_LINES: Duration = Duration::from_secs(2);

/// How long the lines for the person at the terminal wait for those of the log above them.
pub const BANNER_DELAY: Duration = Duration::from_millis(50);

/// Claims of a token that are named to say that the right one is not among them.
pub const CLAIMS_NAMED: usize = 8;

/// How much of what a client wrote is repeated in the answer, in characters.
pub const ECHOED_CHARS: usize = 64;

/// Items on a page of the admin API, and connections of one worker thread that are looked at for it: those that a filter does
/// not want count as well.
pub const ADMIN_PAGE: usize = 100;
pub const LISTED_AT_ONCE: usize = 1_000;

/// How often each worker thread is asked for a sign of life, and how long that takes is noted.
pub const WORKER_PROBE: Duration = Duration::from_secs(1);

/// Bytes of a body of the admin API.
pub const ADMIN_BODY: usize = 128 * 1024;

/// How long a session of the admin API lasts, and how many there are at most: the oldest goes.
pub const ADMIN_SESSION: Duration = Duration::from_secs(12 * 3_600);
pub const ADMIN_SESSIONS: usize = 64;

/// Passwords that one network may try, and networks whose attempts are remembered; beyond them nobody new may try.
pub const LOGINS_PER_SECOND: NonZeroU32 = NonZeroU32::MIN;
pub const LOGIN_BURST: NonZeroU32 = NonZeroU32::new(5).unwrap();
pub const LOGIN_NETWORKS: usize = 4_096;
