//! One actor that adds up what the others count, and what each count is called in `/metrics`.
//!
//! Nobody shares a counter: each worker thread counts in its own [`Counters`] and reports the difference once a second.
//! `/metrics` asks this actor for the sum, and shows it in a [`Snapshot`].

use std::time::Duration;

use actix::{Actor, Context, Handler, Message, MessageResult};

use super::{
    accounts::KeptFigures,
    figures::{Measured, Millis, Number, figures},
    refusals::RefusalFigures,
};
use crate::{log::shared::SharedLog, store::TABLES};

const CUT: &str = "Connections closed by the server because of what the client did or did not do";
const ENDED: &str = "File transfers that ended, by how";

figures! {
    adding
    /// What happened since the start, or since the last report.
    Counters {
        /// WebSockets that were upgraded
        connections_opened: u64 = (rises, "websocket.connections_opened", "opened", "connections");
        /// WebSockets that ended, for whatever reason
        connections_closed: u64 = (rises, "websocket.connections_closed", "closed", "connections");
        /// Connections closed because they read too slowly: a full outbox, or nothing taken for too long
        closed_slow: u64 = (rises, "websocket.closed_slow", "cut", "connections", "slow_reader", CUT);
        /// Connections closed because nothing was heard from them
        closed_idle: u64 = (rises, "websocket.closed_idle", "cut", "connections", "silent", CUT);
        /// Connections closed because they broke the WebSocket protocol or its limits
        closed_protocol_error: u64 =
            (rises, "websocket.closed_protocol_error", "cut", "connections", "protocol_error", CUT);
        /// Connections closed because they sent far more frames than their rate allows
        closed_flood: u64 = (rises, "websocket.closed_flood", "cut", "connections", "flood", CUT);
        /// Connections closed because the account of their client had no room for what they sent or were to be sent
        closed_memory: u64 = (rises, "websocket.closed_memory", "cut", "connections", "memory", CUT);
        /// Upgrades refused: a bad token, or a cap
        connections_refused: u64 = (rises, "websocket.connections_refused", "refused", "connections");
        /// Data frames that clients sent
        messages_in: u64 = (rises, "websocket.messages_in", "received", "messages");
        /// Payload bytes that clients sent
        bytes_in: u64 = (rises, "websocket.bytes_in", "received", "bytes");
        /// Data frames handed to sockets
        messages_out: u64 = (rises, "websocket.messages_out", "sent", "messages");
        /// Frame bytes handed to sockets
        bytes_out: u64 = (rises, "websocket.bytes_out", "sent", "bytes");
        /// Messages accepted into the log of a channel
        published: u64 = (rises, "websocket.published", "published", "messages");
        /// Error messages sent to clients
        errors_sent: u64 = (rises, "websocket.errors_sent", "sent", "errors");
        /// Frames refused by the rate limit of their connection
        rate_limited: u64 = (rises, "websocket.rate_limited", "rate_limited", "frames");
        /// File transfers that were let through
        transfers_started: u64 = (rises, "relay.started", "started", "transfers");
        /// Files that their receiver has confirmed
        transfers_completed: u64 = (rises, "relay.completed", "ended", "transfers", "completed", ENDED);
        /// Transfers that one side did not want, or not any longer
        transfers_cancelled: u64 = (rises, "relay.cancelled", "ended", "transfers", "cancelled", ENDED);
        /// Transfers that ended because nobody answered in time
        transfers_timed_out: u64 = (rises, "relay.timed_out", "ended", "transfers", "timed_out", ENDED);
        /// Transfers that ended because their sender's connection ended
        transfers_lost_sender: u64 = (rises, "relay.lost_sender", "ended", "transfers", "lost_sender", ENDED);
        /// Transfers that ended because their receiver did not come back
        transfers_lost_receiver: u64 = (rises, "relay.lost_receiver", "ended", "transfers", "lost_receiver", ENDED);
        /// Transfers that ended because of frames that did not fit
        transfers_broken: u64 = (rises, "relay.broken", "ended", "transfers", "broken", ENDED);
        /// File transfers refused before they began: size, room or limits
        transfers_refused: u64 = (rises, "relay.refused", "refused", "transfers");
        /// Bytes of the frames that senders of files handed in
        transfer_bytes: u64 = (rises, "relay.bytes", "transfer", "bytes");
        /// Channels made anew after a panic
        channels_restarted: u64 = (rises, "websocket.channels_restarted", "restarted", "channels");
    }
}

figures! {
    /// What `/metrics` shows.
    Snapshot {
        /// WebSockets open now
        connections: u64 = (now, "websocket.active_connections", "open", "connections");
        /// Channels in memory now
        channels: u64 = (now, "websocket.total_rooms", "active", "channels");
        /// How long the slowest worker thread took to answer, asked once a second: what a publish waits for, beside the disk and Redis
        round_trip: Duration = (now, "websocket.worker_round_trip_seconds", "worker_round_trip", "seconds");
        /// Bytes that the in-memory log holds now
        history_bytes: u64 = (now, "websocket.history_bytes", "history", "bytes");
        /// Bytes that are kept for clients now, by kind, as they are charged to their accounts
        kept: KeptFigures = (now, "kept", "kept", "bytes", by "kind");
        /// Since the start.
        totals: Counters = all;
        /// Zeros without a data file.
        store: StoreFigures = all;
        /// Connections and requests that were turned away, by why
        refusals: RefusalFigures = (rises, "refusals", "refused", "requests");
        /// Of this process.
        log: LogFigures = all;
        /// Time until the TLS certificate ends; less than 0 when it has
        certificate_seconds: Option<i64> = (now, "tls.certificate_days", "certificate", "days");
        /// None where the server is alone.
        cluster: Option<ClusterFigures> = all;
        /// None while the group protocol is switched off.
        group: Option<GroupFigures> = all;
    }
}

figures! {
    /// How the data file is used.
    StoreFigures {
        /// Times that something was read from the data file
        reads: u64 = (rises, "store.reads", "store", "reads");
        /// Transactions in the data file, those of earlier runs included
        commits: u64 = (rises, "store.commits", "store", "commits");
        /// Time that transactions in the data file took since the start, all together
        committing: Duration = (rises, "store.commit_seconds", "store_commit", "seconds");
        /// Bytes of the messages of persisted channels, counted every half minute
        stored_bytes: u64 = (now, "store.stored_bytes", "stored", "bytes");
        /// Size of the data file
        file_bytes: u64 = (now, "store.file_bytes", "store_file", "bytes");
        /// Bytes of the rows in the data file, by table
        tables: TableFigures = (now, "store.bytes", "store", "bytes", by "table");
    }
}

figures! {
    /// What a server sees of the cluster that it is a node of.
    ClusterFigures {
        /// Nodes that hold a lease, this one among them
        nodes: u64 = (now, "cluster.nodes", "cluster", "nodes");
        /// 1 while Redis takes what this node writes
        up: u64 = (now, "cluster.up", "cluster", "up");
        /// How long Redis took to take the last thing that was written each second
        round_trip: Duration = (now, "cluster.round_trip_seconds", "cluster_round_trip", "seconds");
        /// Appends to the logs of channels, by what they came to: kept; again (known by their id); behind (another node was faster: judged anew); bare (to be sent with the whole message); fenced (the lease was over: judged anew); late (refused, and never there); failed
        appends: [(&'static str, u64); 7] = (rises, "cluster.appends", "cluster", "appends", by "outcome");
        /// Time from asking Redis to append until its answer, all together
        appending: Duration = (rises, "cluster.append_seconds", "cluster_append", "seconds");
        /// Times that a channel read what it had missed, or looked whether it had
        catch_ups: u64 = (rises, "cluster.catch_ups", "cluster", "catch_ups");
        /// Times that a channel could not follow its log, and told its clients so, by why: other_log (Redis has lost its data, or the newest of it); expired (what was missed is too old)
        breaks: [(&'static str, u64); 2] = (rises, "cluster.breaks", "cluster", "breaks");
        /// By how much the clock of Redis is ahead of that of this machine; less than 0: behind
        clock_offset: Millis = (now, "cluster.clock_offset_seconds", "cluster_clock_offset", "seconds");
        /// Bytes that wait for Redis
        waiting: u64 = (now, "cluster.waiting_bytes", "cluster_waiting", "bytes");
    }
}

impl ClusterFigures {
    pub fn of(log: &SharedLog) -> Self {
        let (nodes, tally) = (log.nodes(), log.tally());
        Self {
            nodes: nodes.alive().len() as u64,
            up: u64::from(nodes.check_ready().is_ok()),
            round_trip: nodes.round_trip(),
            appends: tally.appends(),
            catch_ups: tally.catch_ups(),
            breaks: tally.breaks(),
            appending: tally.appending(),
            clock_offset: Millis(nodes.clock_offset()),
            waiting: log.waiting() as u64,
        }
    }
}

/// Bytes of the tables of the data file, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableFigures(pub [(&'static str, u64); TABLES.len()]);

impl Default for TableFigures {
    fn default() -> Self {
        Self(TABLES.map(|table| (table, 0)))
    }
}

impl Measured for TableFigures {
    fn samples(&self, reason: Option<&'static str>) -> Vec<(Option<&'static str>, Number)> {
        self.0.samples(reason)
    }
}

const DROPPED: &str = "Log lines that were not written, by where they are missing";

figures! {
    /// Log lines that were not written.
    LogFigures {
        /// Those that stdout did not take.
        stdout_dropped: u64 = (rises, "log.stdout_dropped", "dropped", "log_lines", "stdout", DROPPED);
        /// Those that are missing in `errors.log`.
        errors_dropped: u64 = (rises, "log.errors_dropped", "dropped", "log_lines", "errors_log", DROPPED);
    }
}

figures! {
    /// What the group protocol counts, since the start unless it says now (`docs/protocols/group.md §8`).
    GroupFigures {
        /// Connections of the group protocol open now
        connections: u64 = (now, "group.connections", "group_open", "connections");
        /// Users with an authenticated connection here now
        users: u64 = (now, "group.users_online", "group_online", "users");
        /// Frames of group clients, by type
        frames: [(&'static str, u64); 7] = (rises, "group.frames", "group_received", "frames");
        /// Errors that were sent to group clients, by code
        errors: [(&'static str, u64); 8] = (rises, "group.errors", "group_sent", "errors");
        /// Group messages that were stored
        stored: u64 = (rises, "group.stored", "group_stored", "messages");
        /// Time from the arrival of group messages to their commit, all together
        storing: Duration = (rises, "group.storing_seconds", "group_storing", "seconds");
        /// Stored group messages that wait to be delivered now
        undelivered: u64 = (now, "group.undelivered", "group_undelivered", "messages");
        /// Attempts of group clients to authenticate that failed
        failed_auth: u64 = (rises, "group.failed_auth", "group_failed", "attempts");
        /// Requests from addresses on the blacklist of the group protocol, banned, or too frequent
        refused: u64 = (rises, "group.refused", "group_refused", "requests");
        /// Whether Redis answers now
        redis_up: u64 = (now, "group.redis.up", "group_redis", "up");
        /// Stream entries that wait for Redis now
        redis_waiting: u64 = (now, "group.redis.waiting", "group_redis_waiting", "entries");
        /// Stream entries that Redis took
        redis_published: u64 = (rises, "group.redis.published", "group_redis_published", "entries");
        /// Stream entries of others that were understood
        redis_received: u64 = (rises, "group.redis.received", "group_redis_received", "entries");
        /// Stream entries of others that were not understood
        redis_malformed: u64 = (rises, "group.redis.malformed", "group_redis_malformed", "entries");
    }
}

/// Names of the version before, for Prometheus and in the JSON, with those of today. They are shown until
/// [`OLD_NAMES_GO_IN`](crate::limits::OLD_NAMES_GO_IN).
pub const RENAMED: [(&str, &str); 4] = [
    ("told_errors", "sent_errors"),
    ("refusals_requests", "refused_requests"),
    ("group_told_errors", "group_sent_errors"),
    ("group_barred_requests", "group_refused_requests"),
];
pub const RENAMED_IN_JSON: [(&str, &str); 2] =
    [("websocket.errors_told", "websocket.errors_sent"), ("group.barred", "group.refused")];

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
