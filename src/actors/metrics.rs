//! One actor that adds up what the others count.
//!
//! Nobody shares a counter: each worker thread counts in its own [`Counters`] and reports the
//! difference once a second. `/metrics` asks this actor for the [`Snapshot`].

use std::{ops::AddAssign, time::Duration};

use actix::{Actor, Context, Handler, Message, MessageResult};

use super::refusals::RefusalFigures;

/// Declares the counters once: the struct and how two of them add up.
macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What happened since the start, or since the last report.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counters {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl AddAssign for Counters {
            fn add_assign(&mut self, other: Self) {
                $(self.$name += other.$name;)*
            }
        }
    };
}

counters! {
    /// WebSockets that were upgraded.
    connections_opened,
    /// WebSockets that ended, for whatever reason.
    connections_closed,
    /// Upgrades refused: a bad token, or a cap.
    connections_refused,
    /// Data frames that clients sent.
    messages_in,
    /// Data frames handed to sockets.
    messages_out,
    /// Payload bytes of `messages_in`.
    bytes_in,
    /// Frame bytes of `messages_out`.
    bytes_out,
    /// Messages accepted into a channel's log.
    published,
    /// Error messages told to clients.
    errors_told,
    /// Connections closed because they read too slowly: a full outbox, or nothing taken for too long.
    closed_slow,
    /// Connections closed because nothing was heard from them.
    closed_idle,
    /// Connections closed because they broke the WebSocket protocol or its limits.
    closed_protocol_error,
    /// Frames refused by the rate limit of their connection.
    rate_limited,
    /// Files whose transfer was requested and let through.
    transfers_started,
    /// Files that their receiver has confirmed.
    transfers_completed,
    /// Transfers that one side did not want, or not any longer.
    transfers_cancelled,
    /// Transfers refused before they began: size, room, limits.
    transfers_refused,
    /// Transfers that ended because nobody answered in time.
    transfers_timed_out,
    /// Transfers that ended because their sender's connection ended.
    transfers_lost_sender,
    /// Transfers that ended because their receiver did not come back.
    transfers_lost_receiver,
    /// Transfers that ended because of frames that did not fit.
    transfers_broken,
    /// Bytes of the frames that senders handed in.
    transfer_bytes,
    /// Channel actors made anew after a panic.
    channels_restarted,
}

/// What `/metrics` shows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Snapshot {
    pub totals: Counters,
    /// WebSockets open now.
    pub connections: u64,
    /// Channels with an actor now.
    pub channels: u64,
    /// Bytes that the in-memory log holds now.
    pub history_bytes: u64,
    pub store: StoreFigures,
    /// Who was turned away, and why.
    pub refusals: RefusalFigures,
    pub log: LogFigures,
    /// Seconds until the TLS certificate ends, less than none when it has; none without TLS.
    pub certificate_seconds: Option<i64>,
    /// None while the group protocol is switched off.
    pub group: Option<GroupFigures>,
}

/// What the group protocol counts, since the start unless it says now (`docs/protocols/group.md §8`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupFigures {
    /// Connections now.
    pub connections: u64,
    /// Users with an authenticated connection here now.
    pub users: u64,
    /// Frames that clients sent, by type.
    pub frames: [(&'static str, u64); 7],
    /// Errors that clients were told, by code.
    pub errors: [(&'static str, u64); 8],
    /// Messages that were stored, and the time from their arrival to that, of all together.
    pub stored: u64,
    pub storing: Duration,
    /// Stored messages that wait to be delivered now.
    pub undelivered: u64,
    /// Attempts to authenticate that failed.
    pub failed_auth: u64,
    /// Requests of addresses that are refused.
    pub barred: u64,
    /// Whether Redis answers now: 1 or 0.
    pub redis_up: u64,
    /// Entries that wait for Redis now.
    pub redis_waiting: u64,
    pub redis_published: u64,
    pub redis_received: u64,
    /// Entries of streams that were not understood.
    pub redis_malformed: u64,
}

/// How the data file is used; zeros without one.
#[derive(Clone, Copy, Debug, Default)]
pub struct StoreFigures {
    /// Times that something was read from it.
    pub reads: u64,
    /// Transactions written since the file was made.
    pub commits: u64,
    /// Bytes of the entries of persisted channels, as the sweep has last counted them.
    pub stored_bytes: u64,
    /// Size of the file now.
    pub file_bytes: u64,
}

/// Log lines that were not written, by where they are missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogFigures {
    pub stdout_dropped: u64,
    pub errors_dropped: u64,
}

/// Adds up the reports of all worker threads.
#[derive(Default)]
pub struct Metrics {
    totals: Counters,
}

/// What one worker thread counted since its last report.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Report(pub Counters);

/// Everything counted so far.
#[derive(Message)]
#[rtype(result = "Counters")]
pub struct Totals;

impl Actor for Metrics {
    type Context = Context<Self>;
}

impl Handler<Report> for Metrics {
    type Result = ();

    fn handle(&mut self, Report(counters): Report, _: &mut Self::Context) {
        self.totals += counters;
    }
}

impl Handler<Totals> for Metrics {
    type Result = MessageResult<Totals>;

    fn handle(&mut self, _: Totals, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.totals)
    }
}
