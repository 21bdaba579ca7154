//! Settings of what clients do: connections, LetShare, Ably, files, limits, and what is kept for them.

use std::{path::PathBuf, time::Duration};

use secrecy::SecretString;

use super::{
    keys::{Key, section},
    kind::Kind,
};

section! {
    WebSocket as "websocket";

    /// Connections that may be in one LetShare room at a time.
    max_room_users: usize = "50", Whole(1, 100_000);
    /// Bytes of the largest message; larger ones close the connection with 1009. LetShare sends at most 65792.
    max_message_bytes: usize = "524288", Whole(1_024, 1 << 26);
    /// Fragments of one message; many tiny ones would cost more memory than their bytes.
    max_fragments: usize = "64", Whole(1, 65_536);
    /// A ping goes to each client this often, so that dead ones are noticed and proxies keep the connection.
    ping_interval: Duration = "30s", Span("1s", "1h");
    /// A connection from which nothing arrived for this long, not even a pong, is closed. Longer than ping_interval.
    idle_timeout: Duration = "90s", Span("2s", "24h");
    /// A connection that took no byte for this long although some waited is closed.
    stall_timeout: Duration = "10s", Span("100ms", "10m");
    /// Wait for the client's close frame before the socket is cut.
    close_timeout: Duration = "5s", Span("100ms", "1m");
}

section! {
    LetShare as "letshare";

    /// Serve LetShare rooms on / and /ws.
    enabled: bool = "true", Switch;
    /// Refuse a message whose `from` is not the user of the connection, so that nobody speaks for another.
    enforce_from: bool = "true", Switch;
    /// The older meaning of signal:all: whoever subscribes to it gets every event of the room, private ones too.
    wildcard_signal_all: bool = "false", Switch;
    /// The older meaning of signal:<id>: any member of a room may subscribe to the private signals of another user
    /// (SDP, keys, text). Off: only to those of its own id, with or without the part behind the colon.
    foreign_signals: bool = "false", Switch;
}

section! {
    Ably as "ably";

    /// Serve Ably's realtime protocol and REST API at the root, for unmodified Ably SDKs.
    enabled: bool = "true", Switch;
    /// Let anybody make apps with keys of their own by POST /apps, as the test suites of the SDKs do.
    sandbox: bool = "false", Switch;
    /// Apps with their keys and channel rules, YAML. Without it there is the app `shared` only; see local_key.
    apps_file: Option<PathBuf> = "", File, reloadable;
    /// Make a key for the app `shared`, keep it in the data folder, and print it at the start when MODE is local.
    local_key: bool = "false", Switch;
    /// Take keys over plain HTTP, too: where a proxy in front does TLS, and for trying out. Tokens always may.
    keys_over_http: bool = "false", Switch;
    /// Bytes of the largest publish: names, client ids, extras and data of its messages.
    max_message_bytes: usize = "65536", Whole(1_024, 1 << 24);
}

section! {
    FileTransfer as "file_transfer";

    /// Carry files between pages that cannot reach each other. They pass through memory only.
    enabled: bool = "true", Switch;
    /// Bytes of the largest file that anybody may send.
    free_limit: u64 = "52428800", FILE_BYTES;
    /// Bytes of the largest file that a PRO user may send.
    max_file_size: u64 = "3221225472", FILE_BYTES;
    /// Bytes kept in memory for receivers whose connection drops, of all transfers together; 2.6 MB each.
    ring_bytes: usize = "268435456", STORE_BYTES;
    /// Files that one connection may send at a time.
    outgoing_per_connection: usize = "4", COUNT;
    /// Files that one user in one room may receive at a time.
    incoming_per_user: usize = "16", COUNT;
    /// Whoever enters this code in LetShare's upgrade dialog becomes PRO. While it is empty nobody does.
    pro_invite_code: SecretString = "", Code, reloadable;
}

section! {
    Limits as "limits";

    /// Open WebSockets in all; 0 = as many as file descriptors allow.
    connections: usize = "0", CONNECTIONS, reloadable;
    /// Open WebSockets of one address, and as many plain HTTP connections and 32 more; 0 = no cap.
    connections_per_address: usize = "200", CONNECTIONS, reloadable;
    /// New WebSockets of one address each second in the long run; 0 = no limit.
    connects_per_second: u32 = "20", RATE, reloadable;
    /// New WebSockets of one address at once: all clients behind one address come back together.
    connect_burst: u32 = "200", Whole(1, 10_000_000), reloadable;
    /// Plain HTTP requests of one address each second in the long run; 0 = no limit. Health and metrics are not counted.
    requests_per_second: u32 = "1000", RATE, reloadable;
    /// Plain HTTP requests of one address at once. More are refused with 429.
    request_burst: u32 = "10000", Whole(1, 10_000_000), reloadable;
    /// No cap and no rate per address for clients on this machine.
    exempt_loopback: bool = "false", Switch, reloadable;
    /// Frames of any kind that one connection may send each second in the long run; 0 = no limit.
    publishes_per_second: u32 = "500", RATE, reloadable;
    /// Frames that one connection may send at once: a join in a full room bursts 100. More are refused, and whoever goes
    /// on until 20 times as many were refused is closed with 1008.
    publish_burst: u32 = "2000", Whole(1, 10_000_000), reloadable;
    /// Channels that exist at a time. For one more, one that nobody is attached to goes, the oldest; without any it is refused.
    channels: usize = "100000", Whole(1, 100_000_000), reloadable;
    /// Channels that one connection may be in at a time.
    channels_per_connection: usize = "200", COUNT, reloadable;
    /// Event names that one connection may ask for in one room.
    events_per_subscription: usize = "64", COUNT, reloadable;
    /// Bytes that the server keeps for its clients, of all kinds together: connections, members, what waits for slow readers;
    /// 0 = half of the machine's memory, or of what its container may have.
    memory: usize = "0", MEMORY, reloadable;
    /// The share of it that one app may use, and of limits.channels, in percent; of memory, of what the others have left.
    app_share: usize = "75", Whole(1, 100), reloadable;
    /// The share of it that the clients of one address may use, in percent; without a cap per address there is none.
    network_share: usize = "25", Whole(1, 100), reloadable;
    /// Bytes that are kept for one client: what waits for it, its members, its names for channels.
    client_memory: usize = "16777216", Whole(1 << 20, 1 << 34), reloadable;
    /// Bytes that wait for one slow reader before it is closed with 1013. At least websocket.max_message_bytes + 4096.
    outbox_bytes: usize = "4194304", Whole(8_192, 1 << 30), reloadable;
}

section! {
    History as "history";

    /// How long messages stay in memory for clients that reconnect; 0s keeps none.
    window: Duration = "2m", Span("0s", "1h");
    /// Messages of one channel kept in memory.
    channel_entries: usize = "65536", Whole(1, 10_000_000);
    /// Bytes of one channel kept in memory.
    channel_bytes: usize = "33554432", STORE_BYTES;
    /// Bytes of all channels together kept in memory, beyond the first 4096 of each; limits.app_share of it for one app. At least
    /// history.channel_bytes.
    total_bytes: usize = "268435456", STORE_BYTES;
    /// How long messages of persisted channels stay on disk.
    persisted_age: Duration = "24h", Span("1m", "8760h");
    /// Bytes of one persisted channel kept on disk; the oldest go first.
    persisted_bytes: u64 = "1073741824", STORE_BYTES;
}
