//! Secrets that others could know or guess: such as are published, too short, or empty.

use secrecy::{ExposeSecret as _, SecretString};

use super::{AuthMode, Config, PostOfficeAuth, check::Verdict, keys::Key, kind::Kind};

/// HS256 is as strong as its key, and a key below the hash's size is guessed offline from one token.
pub(super) const SECRET_BYTES: usize = 32;

/// Passwords are tried one after the other, a few a second.
const PASSWORD_BYTES: usize = 12;

/// Stands in the older group server's document: whoever reads that can make tokens with it.
pub const GROUP_SAMPLE_SECRET: &str = "k9#8G7&6F5%4D3$2S1@0P9*8O7!6N5^4M3+2L1=0";

/// Secrets that everybody can read in `docs/protocols/`, the LetShare page or our own files.
const PUBLISHED: [&str; 10] = [
    GROUP_SAMPLE_SECRET,
    "letshare-jwt-secret-key-2024",
    "letshare-jwt-secret-key-2024-local",
    "letshare-jwt-secret-key-2024-production",
    "sever_auth_123",
    // The constant in the source of the older chat server (docs/protocols/chat.md §1).
    "2209",
    // Keys of the older relay server and of its guide (docs/protocols/relay.md §1).
    "U2FsdGVkX18ucQzBA+ozhc3ySrVZ",
    "change_me_to_a_secure_key",
    "your_secure_key",
    "your_api_key_here",
];

/// A secret that opens something. While other machines can reach the server it must be neither published nor short.
struct Secret {
    key: &'static str,
    value: fn(&Config) -> &SecretString,
    is_used: fn(&Config) -> bool,
    /// What an empty one means; `None` where it is allowed.
    empty: Option<&'static str>,
    /// What whoever knows it can do.
    harm: &'static str,
    /// Where the value comes from.
    source: &'static str,
    shortest: usize,
    /// The variables that set it.
    variables: &'static str,
}

/// For a secret that this server alone knows.
const OWN: &str = "a secret of your own, for example one made with `openssl rand -hex 32`";
/// For a secret that another service makes tokens with: one of our own would refuse them all.
pub(super) const OF_SIGNERS: &str = "the secret that the tokens are signed with, at least 32 bytes";

const JWT_SECRET: Secret = Secret {
    key: "jwt.secret",
    value: |config| &config.jwt.secret,
    is_used: |config| config.letshare.enabled && config.auth.mode != AuthMode::Static,
    empty: Some("anybody could make tokens"),
    harm: "can make tokens",
    source: OWN,
    shortest: SECRET_BYTES,
    variables: "LETSHARE_JWT_SECRET",
};

const SECRETS: [Secret; 7] = [
    Secret {
        key: "auth.secret",
        value: |config| &config.auth.secret,
        is_used: |config| config.letshare.enabled && config.auth.mode != AuthMode::Jwt,
        variables: "SERVER_AUTH_SECRET",
        ..JWT_SECRET
    },
    JWT_SECRET,
    Secret {
        key: "console.password",
        value: |config| &config.console.password,
        is_used: |config| config.console.enabled,
        // Then others are refused.
        empty: None,
        harm: "can do what an operator can",
        source: OWN,
        shortest: PASSWORD_BYTES,
        variables: "LETSHARE_CONSOLE_PASSWORD",
    },
    Secret {
        key: "postoffice.jwt_secret",
        source: OF_SIGNERS,
        value: |config| &config.postoffice.jwt_secret,
        is_used: |config| config.postoffice.enabled && config.postoffice.auth == PostOfficeAuth::Jwt,
        variables: "LETSHARE_POSTOFFICE_JWT_SECRET",
        ..JWT_SECRET
    },
    Secret {
        key: "relay.api_key",
        value: |config| &config.relay.api_key,
        is_used: |config| config.relay.enabled,
        // That of the data folder counts then.
        empty: None,
        harm: "can push",
        source: OWN,
        shortest: 0,
        variables: "LETSHARE_RELAY_API_KEY",
    },
    Secret {
        key: "chat.jwt_secret",
        source: OF_SIGNERS,
        value: |config| &config.chat.jwt_secret,
        is_used: |config| config.chat.enabled,
        empty: Some("nobody could connect"),
        variables: "LETSHARE_CHAT_JWT_SECRET (with MODE=chat also CHAT_JWT_SECRET, or Jwt.Secret in config.yaml)",
        ..JWT_SECRET
    },
    Secret {
        key: "group.jwt_secret",
        source: OF_SIGNERS,
        value: |config| &config.group.jwt_secret,
        is_used: |config| config.group.enabled,
        variables: "LETSHARE_GROUP_JWT_SECRET (with MODE=group also GROUP_AUTH_ACCESSSECRET, or Auth.AccessSecret in \
                    etc/websocket.yaml)",
        ..JWT_SECRET
    },
];

/// Whether everybody can read it in some source, so that it proves nothing.
pub fn is_published(secret: &SecretString) -> bool {
    PUBLISHED.contains(&secret.expose_secret())
}

impl Verdict<'_> {
    pub(super) fn secrets(&mut self) {
        let mut published = Vec::new();
        SECRETS.iter().for_each(|secret| published.extend(self.secret(secret)));
        if !published.is_empty() {
            self.warn(format!(
                "published secrets in use: {}. Fine on {}, refused elsewhere",
                published.join(", "),
                self.config.server.host
            ));
        }
    }

    /// The key of the secret when it is a published one that is used on loopback, where that is fine.
    fn secret(&mut self, secret: &Secret) -> Option<&'static str> {
        let &Secret { key, harm, shortest, variables, source, .. } = secret;
        let (value, is_used) = ((secret.value)(self.config).expose_secret(), (secret.is_used)(self.config));
        let remedy = format!("set the environment variable {variables} to {source}");
        if value.trim().is_empty() {
            // One that may be empty is judged where it is used.
            let is_needed = is_used || Key::find(key).is_some_and(|key| matches!(key.kind, Kind::Secret));
            if let Some(means) = secret.empty.filter(|_| is_needed) {
                self.complain(&[key], format!("empty: {means}; {remedy}"));
            }
            return None;
        }
        let (weakness, who) = if PUBLISHED.contains(&value) {
            ("is published".to_owned(), "whoever has read it")
        } else if value.len() < shortest {
            (format!("has only {} bytes and can be guessed", value.len()), "whoever guesses it")
        } else {
            return None;
        };
        if !is_used {
            return None;
        }
        let host = self.config.server.host;
        if host.is_loopback() && PUBLISHED.contains(&value) {
            return Some(key);
        } else if host.is_loopback() {
            self.warn(format!(
                "{key} {weakness}: {who} {harm}. That is fine while the server listens on {host} only; before others \
                 can reach it, {remedy}"
            ));
        } else if self.config.allow_insecure {
            self.warn(format!(
                "{key} {weakness}: {who} {harm}. The server listens on {host}, and starts because allow_insecure is \
                 true; to be safe, {remedy}"
            ));
        } else {
            self.complain(
                &[key, "server.host", "auth.mode", "allow_insecure"],
                format!(
                    "it {weakness}: {who} {harm}, from other machines too (server.host is {host}). To mend it, {remedy}. \
                     Where that does not matter, set allow_insecure to true"
                ),
            );
        }
        None
    }
}
