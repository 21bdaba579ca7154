//! The settings of the server, typed. What each key means, its default and its unit stand in
//! `configs/default.yaml`; a test holds the two together.
//!
//! `load` reads them (defaults < `configs/$MODE.yaml` < environment < flags), `keys` and `kind` judge each value,
//! `check` those that must agree. Each of the older protocols has a file with all of that. Settings are handed to each part at construction; there are no globals.

mod chat;
mod check;
mod complaint;
#[cfg(test)]
pub mod fixtures;
mod group;
mod keys;
mod kind;
mod layers;
mod listeners;
mod load;
mod postoffice;
mod relay;
mod reload;
mod settings_file;
#[cfg(test)]
mod tests;
mod text_file;
mod yaml;

pub use chat::{Chat, ChatCompat, Moderated, UnknownGroup};
pub use complaint::{Complaint, Complaints, Origin, masked};
pub use group::{AckMode, Group, Membership, SAMPLE_SECRET as GROUP_SAMPLE_SECRET, file::FILE as GROUP_CONFIG};
pub use listeners::{ABLY_ROOTS, Listener, Protocol, Route};
pub use load::{Draft, Environment, Loaded, Setting, load, read};
pub use postoffice::{
    FromCheck, OfflineLetters, PostOffice, PostOfficeAuth, PostOfficeErrors, Validation,
    file::{ENVIRONMENT as POSTOFFICE_ENV, FILE as POSTOFFICE_CONFIG},
};
pub use relay::{Identify, Relay, UnresolvedToken};
pub use reload::Change;
pub use settings_file::{settings_file, unused_files};
pub use text_file::{FileFaults, Problem, read_bytes, read_text};

use std::{net::IpAddr, path::PathBuf, time::Duration};

use ipnet::IpNet;
use secrecy::SecretString;
use serde::Deserialize;

/// Everything an operator can set.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Allows published default secrets and short secrets on addresses other than loopback.
    pub allow_insecure: bool,
    pub server: Server,
    pub tls: Tls,
    pub auth: Auth,
    pub jwt: Jwt,
    pub cors: Cors,
    pub log: Log,
    pub websocket: WebSocket,
    pub letshare: LetShare,
    pub ably: Ably,
    pub relay: Relay,
    pub postoffice: PostOffice,
    pub chat: Chat,
    pub group: Group,
    pub file_transfer: FileTransfer,
    pub limits: Limits,
    pub history: History,
    pub shutdown: Shutdown,
    pub data: Data,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    pub host: IpAddr,
    /// 0 picks a free port (tests).
    pub port: u16,
    /// Worker threads; 0 lets the server choose.
    pub workers: usize,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Who may read `/metrics`.
    pub metrics_from: Vec<IpNet>,
    /// Names that this server is reached by: their pages are its own.
    pub public_hosts: Vec<String>,
    /// An idle HTTP connection is kept this long for the next request.
    pub keep_alive: Duration,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    pub enabled: bool,
    pub port: u16,
    pub cert_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthMode {
    Static,
    Jwt,
    Both,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    pub mode: AuthMode,
    /// The static token is the lower-case hex SHA-256 of this secret.
    pub secret: SecretString,
    /// How far the clock of whoever signs JWTs may be off.
    pub clock_leeway: Duration,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Jwt {
    pub secret: SecretString,
    pub expiration_hours: u32,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cors {
    pub allowed_origins: Vec<String>,
    /// Also allow pages served from `192.168.1.*`.
    pub allow_lan: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    pub level: String,
    /// Newest entries kept in `<dir>/errors.log`.
    pub max_entries: usize,
    pub dir: PathBuf,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebSocket {
    pub max_room_users: usize,
    pub max_message_bytes: usize,
    pub max_fragments: usize,
    pub ping_interval: Duration,
    /// A connection from which nothing at all arrived for this long is closed.
    pub idle_timeout: Duration,
    /// A connection that took no byte for this long although some waited is closed.
    pub stall_timeout: Duration,
    /// Wait for the peer's close frame before the socket is cut.
    pub close_timeout: Duration,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LetShare {
    pub enabled: bool,
    /// Refuse messages whose `from` is not the user of the connection.
    pub enforce_from: bool,
    /// The older meaning of `signal:all`: whoever subscribes to it gets every event of the room.
    pub wildcard_signal_all: bool,
    /// The older meaning of `signal:<id>`: whoever likes may subscribe to what is meant for another user.
    pub foreign_signals: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ably {
    pub enabled: bool,
    /// Anybody may make apps by `POST /apps`: for test suites.
    pub sandbox: bool,
    /// Apps, their keys and their channel rules.
    pub apps_file: Option<PathBuf>,
    /// The app `shared` gets a key, which is kept in the data folder.
    pub local_key: bool,
    /// Keys may come without TLS; tokens always may.
    pub keys_over_http: bool,
    /// Largest publish, in bytes.
    pub max_message_bytes: usize,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileTransfer {
    pub enabled: bool,
    /// Largest file without PRO, in bytes.
    pub free_limit: u64,
    /// Largest file at all, in bytes.
    pub max_file_size: u64,
    /// Bytes kept in memory for receivers who come back, of all transfers together.
    pub ring_bytes: usize,
    pub outgoing_per_connection: usize,
    pub incoming_per_user: usize,
    /// Whoever knows it gets a PRO token; while it is empty nobody does.
    pub pro_invite_code: SecretString,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Open WebSockets in all; 0 = bounded by the descriptor limit only.
    pub connections: usize,
    /// Open WebSockets of one address; 0 = no cap.
    pub connections_per_address: usize,
    /// No per-address cap for clients on this machine.
    pub exempt_loopback: bool,
    /// Frames a connection may send each second in the long run; 0 = no limit.
    pub publishes_per_second: u32,
    /// Frames a connection may send at once.
    pub publish_burst: u32,
    pub channels: usize,
    pub channels_per_connection: usize,
    pub events_per_subscription: usize,
    /// Bytes that wait for one slow reader before it is closed.
    pub outbox_bytes: usize,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct History {
    /// How long messages stay in memory for clients that reconnect.
    pub window: Duration,
    pub channel_entries: usize,
    pub channel_bytes: usize,
    /// Of all channels together.
    pub total_bytes: usize,
    /// How long messages of persisted channels stay on disk.
    pub persisted_age: Duration,
    /// Of one persisted channel, on disk.
    pub persisted_bytes: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shutdown {
    /// Between `/ready` turning off and the first close, so that a load balancer can look away.
    pub notice: Duration,
    /// From the signal to the exit, at most.
    pub grace: Duration,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    pub dir: PathBuf,
    /// Pages of the data file kept in memory.
    pub cache_bytes: usize,
    /// A larger file is not read through at the start; 0 = none is.
    pub verify_bytes: u64,
}
