//! The settings of the group protocol (`docs/protocols/group.md §1, §8`).

use std::{path::PathBuf, time::Duration};

use ipnet::IpNet;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use super::{
    check::Verdict,
    keys::{CONNECTIONS, Key, key, secs},
    kind::Kind,
};

pub mod file;

/// Stands in the older server's document: whoever reads that can make tokens with it.
pub const SAMPLE_SECRET: &str = "k9#8G7&6F5%4D3$2S1@0P9*8O7!6N5^4M3+2L1=0";

/// A shorter key of services is warned of.
const SERVICE_KEY_BYTES: usize = 16;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    pub enabled: bool,
    /// None = the shared port; 0 picks a free one (tests).
    pub port: Option<u16>,
    pub ws_path: String,
    pub health_path: String,
    pub stats_path: String,
    /// What stands before `/messages`, `/groups` and so on.
    pub api_path: String,
    /// Signs the tokens of users.
    pub jwt_secret: SecretString,
    /// Services show it to manage groups; empty = nobody does.
    pub service_key: SecretString,
    /// `*` = every page.
    pub allowed_origins: Vec<String>,
    pub membership: Membership,
    /// Joining a group that there is not makes it.
    pub open_groups: bool,
    pub ack_mode: AckMode,
    /// A user's other connections hear how far it has read.
    pub read_events: bool,
    pub max_connections: usize,
    /// A connection has to say who it is within this time.
    pub auth_timeout: Duration,
    pub ping_interval: Duration,
    pub idle_timeout: Duration,
    pub stall_timeout: Duration,
    /// Of one user, and of one connection; 0 = no limit.
    pub messages_per_second: u32,
    pub message_burst: u32,
    /// Of one address; 0 = no limit.
    pub handshakes_per_second: u32,
    pub blacklist: Vec<IpNet>,
    pub blacklist_file: Option<PathBuf>,
    /// Failed attempts to authenticate in ten minutes that ban an address; 0 = none is.
    pub ban_after: u32,
    pub ban_for: Duration,
    /// Older messages and notifications go; zero = none do.
    pub message_age: Duration,
    /// Host and port of Redis; none = this instance alone.
    pub redis: Option<String>,
    pub redis_password: SecretString,
    pub redis_db: u32,
}

/// Who may take part in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Membership {
    /// Its members.
    Registry,
    /// Whoever is authenticated becomes a member by taking part.
    Anyone,
}

/// When a message is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AckMode {
    /// When it is on disk.
    Stored,
    /// At once; a crash can lose it.
    Fast,
}

const SECOND_TO_DAY: Kind = Kind::Span("1s", secs(1), "24h", secs(86_400));
const RATE: Kind = Kind::Whole(0, 1_000_000);

pub const KEYS: &[Key] = &[
    key("group.enabled", Kind::Switch),
    key("group.port", Kind::OwnPort),
    key("group.ws_path", Kind::Path),
    key("group.health_path", Kind::Path),
    key("group.stats_path", Kind::Path),
    key("group.api_path", Kind::Path),
    key("group.jwt_secret", Kind::Secret),
    key("group.service_key", Kind::Code),
    key("group.allowed_origins", Kind::OriginsOrAny),
    key("group.membership", Kind::OneOf(&["registry", "anyone"])),
    key("group.open_groups", Kind::Switch),
    key("group.ack_mode", Kind::OneOf(&["stored", "fast"])),
    key("group.read_events", Kind::Switch),
    key("group.max_connections", CONNECTIONS),
    key("group.auth_timeout", SECOND_TO_DAY),
    key("group.ping_interval", SECOND_TO_DAY),
    key("group.idle_timeout", SECOND_TO_DAY),
    key("group.stall_timeout", SECOND_TO_DAY),
    key("group.messages_per_second", RATE),
    key("group.message_burst", Kind::Whole(1, 1_000_000)),
    key("group.handshakes_per_second", RATE),
    key("group.blacklist", Kind::Networks),
    key("group.blacklist_file", Kind::File),
    key("group.ban_after", RATE),
    key("group.ban_for", SECOND_TO_DAY),
    key("group.message_age", Kind::Span("0s", secs(0), "87600h", secs(315_360_000))),
    key("group.redis", Kind::Endpoint),
    key("group.redis_password", Kind::Code),
    key("group.redis_db", Kind::Whole(0, 65_535)),
];

impl Verdict<'_> {
    pub(super) fn group(&mut self) {
        let group = &self.config.group;
        self.secret("group.jwt_secret", "LETSHARE_GROUP_JWT_SECRET", &group.jwt_secret, group.enabled);
        if !group.enabled {
            return;
        }
        if group.idle_timeout <= group.ping_interval {
            self.complain(
                &["group.idle_timeout", "group.ping_interval"],
                "must be longer than group.ping_interval, or idle clients are closed before they are asked",
            );
        }
        if let Some(path) = &group.blacklist_file
            && let Err(error) = super::check::readable(path)
        {
            self.complain(&["group.blacklist_file"], format!("cannot be read: {error}"));
        }
        if group.service_key.expose_secret().is_empty() {
            self.warnings.push(
                "group.service_key is empty: nobody can make groups or add members by HTTP. Set \
                 LETSHARE_GROUP_SERVICE_KEY to a secret of your own, for example one made with `openssl rand -hex 32`"
                    .into(),
            );
        } else if !self.config.server.host.is_loopback() && group.service_key.expose_secret().len() < SERVICE_KEY_BYTES
        {
            let host = self.config.server.host;
            self.warnings.push(format!(
                "group.service_key can be guessed: it has fewer than {SERVICE_KEY_BYTES} bytes, and the server listens \
                 on {host}. Whoever has it adds members to any group and reads it; set LETSHARE_GROUP_SERVICE_KEY to \
                 one made with `openssl rand -hex 32`"
            ));
        }
        self.who_may_take_part();
        self.redis();
    }

    /// The operator is told what holds (`docs/protocols/group.md §5`).
    fn who_may_take_part(&mut self) {
        let group = &self.config.group;
        let told = match (group.membership, group.open_groups) {
            (Membership::Registry, false) => return,
            (Membership::Registry, true) => {
                "group.open_groups is true: whoever joins a group that there is not makes it, and whoever knows its \
                 name can join it; groups that were registered need membership"
            }
            (Membership::Anyone, _) => {
                "group.membership is anyone: whoever has a token and knows the name of a group reads and writes it"
            }
        };
        self.warnings.push(told.into());
    }

    fn redis(&mut self) {
        let group = &self.config.group;
        let Some(endpoint) = &group.redis else { return };
        let host = endpoint.rsplit_once(':').map_or("", |(host, _)| host);
        let is_near = matches!(host, "localhost" | "127.0.0.1" | "::1" | "[::1]");
        if !is_near && group.redis_password.expose_secret().is_empty() {
            self.warnings.push(format!(
                "group.redis_password is empty, and Redis at {endpoint} is another machine: whoever reaches it reads \
                 and writes every message"
            ));
        }
    }
}
