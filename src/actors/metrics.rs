//! One actor that adds up what the others count.
//!
//! Nobody shares a counter: each worker thread counts in its own [`Counters`] and reports the
//! difference once a second. `/metrics` asks this actor for the [`Snapshot`].

use std::ops::AddAssign;

use actix::{Actor, Context, Handler, Message, MessageResult};

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
    /// Upgrades refused: bad token, forbidden origin, a cap.
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
    /// Connections closed because their outbox was full.
    closed_slow,
    /// Connections closed because they were silent or stalled.
    closed_idle,
    /// Connections closed because they broke the WebSocket protocol or its limits.
    closed_protocol_error,
    /// Frames refused by the rate limit of their connection.
    rate_limited,
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
