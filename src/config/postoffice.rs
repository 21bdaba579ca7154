//! The settings of PostOffice (`docs/protocols/postoffice.md §1`).

use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;

use super::{
    check::Verdict,
    keys::{COUNT, Key, STORE_BYTES, key, secs},
    kind::Kind,
};
use crate::limits;

pub mod file;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostOffice {
    pub enabled: bool,
    /// None = the shared port; 0 picks a free one (tests).
    pub port: Option<u16>,
    pub ws_path: String,
    /// On a port of its own: every path is the WebSocket.
    pub any_path: bool,
    pub health_path: String,
    pub stats_path: String,
    /// None = no such page.
    pub threads_path: Option<String>,
    /// Open connections of this protocol.
    pub max_connections: usize,
    pub auth: PostOfficeAuth,
    /// Each `TOKEN pattern…`: the mailboxes that the token opens.
    pub tokens: Vec<SecretString>,
    pub jwt_secret: SecretString,
    /// `*` = every page.
    pub allowed_origins: Vec<String>,
    pub from_check: FromCheck,
    /// Leave the sender's `token` in the letter.
    pub forward_token: bool,
    pub validation: Validation,
    pub require_base64: bool,
    pub errors: PostOfficeErrors,
    /// All connections of a mailbox get its letters.
    pub multi_device: bool,
    pub offline: OfflineLetters,
    /// Mailboxes that exist before anybody connected as them.
    pub mailboxes: Vec<String>,
    /// Letters that wait in one mailbox, and how long.
    pub mailbox_letters: usize,
    pub mailbox_age: Duration,
    /// Bytes of all letters that wait, together.
    pub stored_bytes: u64,
    pub max_recipients: usize,
    pub max_message_bytes: usize,
}

impl PostOffice {
    /// Where WebSockets connect.
    pub fn ws_paths(&self) -> Vec<&str> {
        let mut paths = vec![&*self.ws_path];
        // docs/protocols/postoffice.md §2: both, for clients of either revision.
        if self.port.is_some() && self.ws_path != "/" {
            paths.push("/");
        }
        paths
    }

    /// Every path that is not named is the WebSocket.
    pub const fn takes_any_path(&self) -> bool {
        self.any_path && self.port.is_some()
    }
}

/// What a PostOffice token has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PostOfficeAuth {
    Any,
    Tokens,
    Jwt,
}

/// Which `from` a letter may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FromCheck {
    /// Any but another mailbox.
    Known,
    /// The sender's mailbox.
    Strict,
    Off,
}

/// How the fields of a letter are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Validation {
    Off,
    Lenient,
    Strict,
}

/// Whether senders hear of what was not delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PostOfficeErrors {
    Reply,
    Silent,
}

/// What becomes of a letter whose reader is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OfflineLetters {
    Store,
    Drop,
}

pub const KEYS: &[Key] = &[
    key("postoffice.enabled", Kind::Switch),
    key("postoffice.port", Kind::OwnPort),
    key("postoffice.ws_path", Kind::Path),
    key("postoffice.any_path", Kind::Switch),
    key("postoffice.health_path", Kind::Path),
    key("postoffice.stats_path", Kind::Path),
    key("postoffice.threads_path", Kind::OptionalPath),
    key("postoffice.max_connections", Kind::Whole(1, 10_000_000)),
    key("postoffice.auth", Kind::OneOf(&["any", "tokens", "jwt"])),
    key("postoffice.tokens", Kind::Grants),
    key("postoffice.jwt_secret", Kind::Code),
    key("postoffice.allowed_origins", Kind::OriginsOrAny),
    key("postoffice.from_check", Kind::OneOf(&["known", "strict", "off"])),
    key("postoffice.forward_token", Kind::Switch),
    key("postoffice.validation", Kind::OneOf(&["off", "lenient", "strict"])),
    key("postoffice.require_base64", Kind::Switch),
    key("postoffice.errors", Kind::OneOf(&["reply", "silent"])),
    key("postoffice.multi_device", Kind::Switch),
    key("postoffice.offline", Kind::OneOf(&["store", "drop"])),
    key("postoffice.mailboxes", Kind::Names),
    key("postoffice.mailbox_letters", COUNT),
    key("postoffice.mailbox_age", Kind::Span("1m", secs(60), "8760h", secs(31_536_000))),
    key("postoffice.stored_bytes", STORE_BYTES),
    key("postoffice.max_recipients", COUNT),
    key("postoffice.max_message_bytes", Kind::Whole(1_024, 1 << 24)),
];

impl Verdict<'_> {
    pub(super) fn post_office(&mut self) {
        let post = &self.config.postoffice;
        if !post.enabled {
            return;
        }
        match post.auth {
            PostOfficeAuth::Any => self.any_token(),
            PostOfficeAuth::Tokens if post.tokens.is_empty() => self.complain(
                &["postoffice.tokens", "postoffice.auth"],
                "empty, and postoffice.auth is tokens: nobody could connect",
            ),
            PostOfficeAuth::Tokens => {}
            PostOfficeAuth::Jwt => {
                self.secret("postoffice.jwt_secret", "LETSHARE_POSTOFFICE_JWT_SECRET", &post.jwt_secret, true)
            }
        }
        // What may be on the way to a client at once, with the letter that makes it too much.
        let most = post.max_message_bytes + limits::MAILBOX_UNCONFIRMED_BYTES + 65_536;
        if self.config.limits.outbox_bytes < most {
            self.complain(
                &["limits.outbox_bytes", "postoffice.max_message_bytes"],
                format!("must be at least {most}, or a full mailbox is never read"),
            );
        }
    }

    /// As the older server: whoever connects may be anybody.
    fn any_token(&mut self) {
        let host = self.config.server.host;
        if host.is_loopback() {
            return;
        }
        let remedy = "postoffice:\n    auth: tokens\n    tokens: [\"A-LONG-RANDOM-TOKEN erp desk-*\"]";
        if self.config.allow_insecure {
            self.warnings.push(format!(
                "postoffice.auth is any, and the server listens on {host}: everybody who can reach it reads every \
                 mailbox. To be safe, set\n  {remedy}"
            ));
        } else {
            self.complain(
                &["postoffice.auth", "server.host", "allow_insecure", "postoffice.enabled"],
                format!(
                    "any token would open any mailbox, and server.host {host} lets other machines in. Add these three lines \
                     (or allow_insecure: true where that does not matter):\n  {remedy}"
                ),
            );
        }
    }
}
