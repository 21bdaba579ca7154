//! The settings of the relay (`docs/protocols/relay.md §1`).

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use super::{
    check::{SECRET_BYTES, Verdict},
    keys::{Key, key, secs},
    kind::Kind,
};

pub mod file;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Relay {
    pub enabled: bool,
    /// None = the shared port; 0 picks a free one (tests).
    pub port: Option<u16>,
    pub ws_path: String,
    pub push_path: String,
    pub health_path: String,
    /// None = no such page.
    pub stats_path: Option<String>,
    /// Whoever pushes shows it; empty = that of the data folder.
    pub api_key: SecretString,
    pub allowed_origins: Vec<String>,
    pub identify: Identify,
    /// Signs JWTs or identifiers.
    pub identify_secret: SecretString,
    pub identify_ack: bool,
    pub lenient_push: bool,
    pub unresolved_token: UnresolvedToken,
    /// 0 = no limit.
    pub pushes_per_second: u32,
    /// Delayed pushes that are later than that are dropped; zero = none is.
    pub max_lateness: Duration,
    /// So long after the start nobody is expected to be connected yet: what falls due waits for its recipients.
    pub overdue_grace: Duration,
    /// Pushes for a user who is away wait so long; zero = not at all.
    pub offline_ttl: Duration,
}

/// How a relay client shows who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Identify {
    Open,
    Jwt,
    Signed,
}

/// What becomes of a relay push whose token names nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnresolvedToken {
    Broadcast,
    Reject,
}

pub const KEYS: &[Key] = &[
    key("relay.enabled", Kind::Switch),
    key("relay.port", Kind::OwnPort),
    key("relay.ws_path", Kind::Path),
    key("relay.push_path", Kind::Path),
    key("relay.health_path", Kind::Path),
    key("relay.stats_path", Kind::OptionalPath),
    key("relay.api_key", Kind::Code),
    key("relay.allowed_origins", Kind::Origins),
    key("relay.identify", Kind::OneOf(&["open", "jwt", "signed"])),
    key("relay.identify_secret", Kind::Code),
    key("relay.identify_ack", Kind::Switch),
    key("relay.lenient_push", Kind::Switch),
    key("relay.unresolved_token", Kind::OneOf(&["broadcast", "reject"])),
    key("relay.pushes_per_second", Kind::Whole(0, 1_000_000)),
    key("relay.max_lateness", Kind::Span("0s", secs(0), "8760h", secs(31_536_000))),
    key("relay.overdue_grace", Kind::Span("0s", secs(0), "1h", secs(3_600))),
    key("relay.offline_ttl", Kind::Span("0s", secs(0), "720h", secs(2_592_000))),
];

/// Keys of the older relay server and of its guide (`docs/protocols/relay.md §1`).
const PUBLISHED_RELAY_KEYS: [&str; 4] =
    ["U2FsdGVkX18ucQzBA+ozhc3ySrVZ", "change_me_to_a_secure_key", "your_secure_key", "your_api_key_here"];

impl Verdict<'_> {
    pub(super) fn relay(&mut self) {
        let relay = &self.config.relay;
        if !relay.enabled {
            return;
        }
        if relay.api_key.expose_secret().is_empty() {
            let folder = self.config.data.dir.display();
            self.warnings.push(format!(
                "relay.api_key is empty: back ends push with the key in {folder}/relay-key.json, which is made at the first \
                 start. Or set LETSHARE_RELAY_API_KEY to a secret of your own"
            ));
        }
        let host = self.config.server.host;
        if PUBLISHED_RELAY_KEYS.contains(&relay.api_key.expose_secret()) {
            let remedy = "make one of your own, for example with `openssl rand -hex 32`";
            if host.is_loopback() || self.config.allow_insecure {
                self.warnings
                    .push(format!("relay.api_key is published: whoever reaches the server can push; {remedy}"));
            } else {
                self.complain(
                    &["relay.api_key", "server.host", "allow_insecure"],
                    format!(
                        "published, and server.host {host} lets other machines in: {remedy} (or set \
                         allow_insecure: true where that does not matter)"
                    ),
                );
            }
        }
        if relay.identify == Identify::Open {
            self.warnings.push(
                "relay.identify is open: whoever knows the identifier of a user can read what is pushed to \
                 them; jwt or signed ask for a proof"
                    .into(),
            );
        } else if relay.identify_secret.expose_secret().len() < SECRET_BYTES {
            self.complain(
                &["relay.identify_secret", "relay.identify"],
                format!("shorter than {SECRET_BYTES} bytes, and relay.identify needs it"),
            );
        }
    }
}
