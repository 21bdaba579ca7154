//! The settings of the chat (`docs/protocols/chat.md §1`).

use std::{path::PathBuf, time::Duration};

use jiff::tz::TimeZone;
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
pub struct Chat {
    pub enabled: bool,
    /// None = the shared port; 0 picks a free one (tests).
    pub port: Option<u16>,
    pub ws_path: String,
    /// Above the requests by HTTP.
    pub api_path: String,
    /// Above `/<room>/messages`.
    pub room_path: String,
    pub health_path: String,
    pub compat: ChatCompat,
    /// Signs the tokens of users.
    pub jwt_secret: SecretString,
    /// The header that they come in, besides `Authorization`.
    pub jwt_header: String,
    pub require_exp: bool,
    pub token_in_query: bool,
    /// `*` = every page.
    pub allowed_origins: Vec<String>,
    /// Empty = that of the machine.
    pub timezone: String,
    pub multi_device: bool,
    pub replay_on_connect: bool,
    pub unknown_group: UnknownGroup,
    pub strict_types: bool,
    /// 0 = for ever.
    pub retention_days: u32,
    /// Of all users by HTTP; 0 = no limit.
    pub requests_per_second: u32,
    /// Instead of the keys below, if not empty.
    pub mongodb_uri: SecretString,
    /// Empty, and no URI = the data folder.
    pub mongodb_host: String,
    pub mongodb_port: u16,
    pub mongodb_username: String,
    pub mongodb_password: SecretString,
    pub mongodb_database: String,
    /// Without both keys, the service is not asked.
    pub baidu_api_key: SecretString,
    pub baidu_secret_key: SecretString,
    pub baidu_on_error: Moderated,
    pub baidu_suspect: Moderated,
    pub baidu_timeout: Duration,
    pub baidu_base_url: String,
    /// Regular expressions, one a line, of what is blocked.
    pub words_file: Option<PathBuf>,
}

impl Chat {
    pub fn uses_mongodb(&self) -> bool {
        !self.mongodb_uri.expose_secret().is_empty() || !self.mongodb_host.is_empty()
    }

    /// Whether the service is asked.
    pub fn uses_baidu(&self) -> bool {
        let keys = [&self.baidu_api_key, &self.baidu_secret_key];
        keys.into_iter().all(|key| !key.expose_secret().is_empty())
    }

    /// How long messages are kept; for ever if none.
    pub fn retention(&self) -> Option<Duration> {
        let days = u64::from(self.retention_days);
        (days > 0).then(|| Duration::from_secs(days * 24 * 3_600))
    }

    /// Where clients' `time` is told for.
    pub fn zone(&self) -> TimeZone {
        if self.timezone.is_empty() {
            return TimeZone::try_system().unwrap_or(TimeZone::UTC);
        }
        // It was looked up when it was read.
        TimeZone::get(&self.timezone).unwrap_or(TimeZone::UTC)
    }
}

/// Whose shapes, where the document and the source of the older server disagree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChatCompat {
    Document,
    Source,
}

/// What becomes of a message to a group that was not made here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnknownGroup {
    /// Everybody online gets it.
    Broadcast,
    Reject,
}

/// What becomes of a message that the service has no clear answer for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Moderated {
    Allow,
    Block,
}

const ALLOW_OR_BLOCK: Kind = Kind::OneOf(&["allow", "block"]);

pub const KEYS: &[Key] = &[
    key("chat.enabled", Kind::Switch),
    key("chat.port", Kind::OwnPort),
    key("chat.ws_path", Kind::Path),
    key("chat.api_path", Kind::Path),
    key("chat.room_path", Kind::Path),
    key("chat.health_path", Kind::Path),
    key("chat.compat", Kind::OneOf(&["document", "source"])),
    key("chat.jwt_secret", Kind::Code),
    key("chat.jwt_header", Kind::Header),
    key("chat.require_exp", Kind::Switch),
    key("chat.token_in_query", Kind::Switch),
    key("chat.allowed_origins", Kind::OriginsOrAny),
    key("chat.timezone", Kind::Zone),
    key("chat.multi_device", Kind::Switch),
    key("chat.replay_on_connect", Kind::Switch),
    key("chat.unknown_group", Kind::OneOf(&["broadcast", "reject"])),
    key("chat.strict_types", Kind::Switch),
    key("chat.retention_days", Kind::Whole(0, 36_500)),
    key("chat.requests_per_second", Kind::Whole(0, 1_000_000)),
    key("chat.mongodb_uri", Kind::Code),
    key("chat.mongodb_host", Kind::Host),
    key("chat.mongodb_port", Kind::Whole(1, 65_535)),
    key("chat.mongodb_username", Kind::Text),
    key("chat.mongodb_password", Kind::Code),
    key("chat.mongodb_database", Kind::Text),
    key("chat.baidu_api_key", Kind::Code),
    key("chat.baidu_secret_key", Kind::Code),
    key("chat.baidu_on_error", ALLOW_OR_BLOCK),
    key("chat.baidu_suspect", ALLOW_OR_BLOCK),
    key("chat.baidu_timeout", Kind::Span("100ms", Duration::from_millis(100), "1m", secs(60))),
    key("chat.baidu_base_url", Kind::HttpUrl),
    key("chat.words_file", Kind::File),
];

/// The constant in the source of the older server (`docs/protocols/chat.md §1`).
const PUBLISHED_CHAT_SECRET: &str = "2209";

impl Verdict<'_> {
    pub(super) fn chat(&mut self) {
        let chat = &self.config.chat;
        if !chat.enabled {
            return;
        }
        self.chat_secret();
        if let Some(Err(error)) = chat.words_file.as_ref().map(std::fs::read) {
            let keys = ["chat.words_file", "chat.enabled"];
            self.complain(&keys, format!("cannot be read: {error}"));
        }
        let keys = [&chat.baidu_api_key, &chat.baidu_secret_key];
        let [has_api, has_secret] = keys.map(|key| !key.expose_secret().is_empty());
        match (has_api, has_secret) {
            (true, true) => {}
            (false, false) => self.warnings.push(
                "chat: moderation by Baidu is off, because chat.baidu_api_key and chat.baidu_secret_key are empty"
                    .into(),
            ),
            _ => self.complain(
                &["chat.baidu_secret_key", "chat.baidu_api_key"],
                "only one of chat.baidu_api_key and chat.baidu_secret_key is set; moderation needs both",
            ),
        }
        if chat.uses_mongodb() && chat.mongodb_database.is_empty() {
            self.complain(&["chat.mongodb_database", "chat.mongodb_host"], "empty, and the messages go to MongoDB");
        }
        if !chat.require_exp {
            self.warnings.push(
                "chat.require_exp is false: tokens without exp are good for ever; once all are issued with exp, set it"
                    .into(),
            );
        }
    }

    /// Whoever knows it is any user.
    fn chat_secret(&mut self) {
        let secret = self.config.chat.jwt_secret.expose_secret();
        let remedy = "set the environment variable LETSHARE_CHAT_JWT_SECRET (with MODE=chat also CHAT_JWT_SECRET, or \
                      Jwt.Secret in config.yaml) to the secret that the tokens are signed with, at least 32 bytes, for \
                      example one made with `openssl rand -hex 32`";
        if secret.is_empty() {
            let keys = ["chat.jwt_secret", "chat.enabled"];
            return self.complain(&keys, format!("empty: nobody could connect; {remedy}"));
        }
        let weakness = if secret == PUBLISHED_CHAT_SECRET {
            "the published constant of the older server".to_owned()
        } else if secret.len() < SECRET_BYTES {
            format!("only {} bytes, which can be guessed", secret.len())
        } else {
            return;
        };
        let host = self.config.server.host;
        if host.is_loopback() || self.config.allow_insecure {
            self.warnings.push(format!("chat.jwt_secret is {weakness}: whoever knows it can be any user; {remedy}"));
        } else {
            self.complain(
                &["chat.jwt_secret", "server.host", "allow_insecure"],
                format!(
                    "{weakness}, and server.host {host} lets other machines in: {remedy} (or set allow_insecure: true \
                     where that does not matter)"
                ),
            );
        }
    }
}
