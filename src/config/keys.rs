//! The tables of all keys.
//!
//! One row per key of `configs/default.yaml` (tests hold the tables, that file and the typed settings
//! together); each of the older protocols has a table of its own beside its settings. What a [`Kind`] takes stands in
//! `kind`; values that must agree with each other are judged in `check`.

use std::time::Duration;

use super::{chat, group, kind::Kind, postoffice, relay};
use crate::limits;

/// A key and the values it takes.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// As in the files: `section.key`.
    pub name: &'static str,
    pub kind: Kind,
}

pub const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const PORT: Kind = Kind::Whole(0, 65_535);
pub const COUNT: Kind = Kind::Whole(1, 1_000_000);
pub const CONNECTIONS: Kind = Kind::Whole(0, 10_000_000);
const FILE_BYTES: Kind = Kind::Whole(0, 1 << 50);
pub const STORE_BYTES: Kind = Kind::Whole(1_024, 1 << 40);
const HUNDRED_MS: Duration = Duration::from_millis(100);

/// Every table, in the order of `configs/default.yaml`.
const TABLES: [&[Key]; 5] = [COMMON, relay::KEYS, postoffice::KEYS, chat::KEYS, group::KEYS];

/// What is not about one of the older protocols alone.
const COMMON: &[Key] = &[
    key("allow_insecure", Kind::Switch),
    key("server.host", Kind::Address),
    key("server.port", PORT),
    key("server.workers", Kind::Whole(0, 1_024)),
    key("server.trusted_proxies", Kind::Networks),
    key("server.metrics_from", Kind::Networks),
    key("server.public_hosts", Kind::Hosts),
    key("server.keep_alive", Kind::Span("1s", secs(1), "1h", secs(3_600))),
    key("tls.enabled", Kind::Switch),
    key("tls.port", PORT),
    key("tls.cert_file", Kind::File),
    key("tls.key_file", Kind::File),
    key(
        "tls.auto_cert",
        Kind::Ignored(
            "false",
            "get the certificate with an ACME client such as certbot, and name its files in \
             tls.cert_file and tls.key_file",
        ),
    ),
    key("tls.domain", Kind::Ignored("", "the certificate in tls.cert_file carries the names")),
    key("auth.mode", Kind::OneOf(&["static", "jwt", "both"])),
    key("auth.secret", Kind::Secret),
    key("auth.clock_leeway", Kind::Span("0s", secs(0), "2m", limits::CLOCK_LEEWAY_MAX)),
    key("jwt.secret", Kind::Secret),
    key("jwt.expiration_hours", Kind::Whole(1, 87_600)),
    key("cors.allowed_origins", Kind::Origins),
    key("cors.allow_lan", Kind::Switch),
    key("log.level", Kind::Filter),
    key("log.max_entries", Kind::Whole(1, 100_000)),
    key("log.dir", Kind::Folder),
    key("websocket.max_room_users", Kind::Whole(1, 100_000)),
    key("websocket.max_message_bytes", Kind::Whole(1_024, 1 << 26)),
    key("websocket.max_fragments", Kind::Whole(1, 65_536)),
    key("websocket.ping_interval", Kind::Span("1s", secs(1), "1h", secs(3_600))),
    key("websocket.idle_timeout", Kind::Span("2s", secs(2), "24h", secs(86_400))),
    key("websocket.stall_timeout", Kind::Span("100ms", HUNDRED_MS, "10m", secs(600))),
    key("websocket.close_timeout", Kind::Span("100ms", HUNDRED_MS, "1m", secs(60))),
    key("letshare.enabled", Kind::Switch),
    key("letshare.enforce_from", Kind::Switch),
    key("letshare.wildcard_signal_all", Kind::Switch),
    key("letshare.foreign_signals", Kind::Switch),
    key("ably.enabled", Kind::Switch),
    key("ably.sandbox", Kind::Switch),
    key("ably.apps_file", Kind::File),
    key("ably.local_key", Kind::Switch),
    key("ably.keys_over_http", Kind::Switch),
    key("ably.max_message_bytes", Kind::Whole(1_024, 1 << 24)),
    key("file_transfer.enabled", Kind::Switch),
    key("file_transfer.free_limit", FILE_BYTES),
    key("file_transfer.max_file_size", FILE_BYTES),
    key("file_transfer.ring_bytes", STORE_BYTES),
    key("file_transfer.outgoing_per_connection", COUNT),
    key("file_transfer.incoming_per_user", COUNT),
    key("file_transfer.pro_invite_code", Kind::Code),
    key("limits.connections", CONNECTIONS),
    key("limits.connections_per_address", CONNECTIONS),
    key("limits.exempt_loopback", Kind::Switch),
    key("limits.publishes_per_second", Kind::Whole(0, 1_000_000)),
    key("limits.publish_burst", Kind::Whole(1, 10_000_000)),
    key("limits.channels", Kind::Whole(1, 100_000_000)),
    key("limits.channels_per_connection", COUNT),
    key("limits.events_per_subscription", COUNT),
    key("limits.outbox_bytes", Kind::Whole(8_192, 1 << 30)),
    key("history.window", Kind::Span("0s", secs(0), "1h", secs(3_600))),
    key("history.channel_entries", Kind::Whole(1, 10_000_000)),
    key("history.channel_bytes", STORE_BYTES),
    key("history.total_bytes", STORE_BYTES),
    key("history.persisted_age", Kind::Span("1m", secs(60), "8760h", secs(31_536_000))),
    key("history.persisted_bytes", STORE_BYTES),
    key("shutdown.notice", Kind::Span("0s", secs(0), "1m", secs(60))),
    key("shutdown.grace", Kind::Span("1s", secs(1), "5m", secs(300))),
    key("data.dir", Kind::Folder),
    key("data.cache_bytes", Kind::Whole(1 << 20, 1 << 40)),
    key("data.verify_bytes", FILE_BYTES),
];

pub const fn key(name: &'static str, kind: Kind) -> Key {
    Key { name, kind }
}

impl Key {
    /// Every key.
    pub fn all() -> impl Iterator<Item = &'static Self> {
        TABLES.into_iter().flatten()
    }

    /// The row of `name`.
    pub fn find(name: &str) -> Option<&'static Self> {
        Self::all().find(|key| key.name == name)
    }

    /// The environment variable that overrides it.
    pub fn variable(&self) -> String {
        format!("LETSHARE_{}", self.name.replace('.', "_").to_uppercase())
    }

    /// Whether its value must never be shown.
    pub fn is_secret(&self) -> bool {
        self.kind.is_secret()
    }
}
