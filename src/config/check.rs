//! Judges values that must agree with each other or with the machine: secrets and the address they
//! guard, ports, files, limits that only make sense together.
//!
//! Single values were judged by `keys`; a rule that touches a value which could not be read is skipped,
//! so nobody is sent after a fault that is only the shadow of another.

use std::{collections::BTreeSet, fs, path::Path};

use secrecy::{ExposeSecret, SecretString};

use super::{AuthMode, Config, complaint::Complaint, keys::Key, load::Setting};

/// Secrets that everybody can read in `docs/protocols/`, the LetShare page or our own files.
const PUBLISHED: [&str; 5] = [
    super::group::SAMPLE_SECRET,
    "letshare-jwt-secret-key-2024",
    "letshare-jwt-secret-key-2024-local",
    "letshare-jwt-secret-key-2024-production",
    "sever_auth_123",
];

/// HS256 is as strong as its key, and a key below the hash's size is guessed offline from one token.
pub const SECRET_BYTES: usize = 32;

/// What a message needs in the outbox beside its data: frame header, envelope, names.
const ENVELOPE_BYTES: usize = 4_096;

/// The outcome of all rules.
pub struct Verdict<'a> {
    pub config: &'a Config,
    settings: &'a [Setting],
    unread: &'a BTreeSet<&'static str>,
    pub complaints: Vec<Complaint>,
    pub warnings: Vec<String>,
}

impl<'a> Verdict<'a> {
    /// `unread` are the keys whose value was replaced by the default.
    pub fn new(config: &'a Config, settings: &'a [Setting], unread: &'a BTreeSet<&'static str>) -> Self {
        Self { config, settings, unread, complaints: Vec::new(), warnings: Vec::new() }
    }

    /// Applies every rule.
    pub fn judge(&mut self) {
        self.ports();
        self.routes();
        self.certificate();
        self.secrets();
        self.ably();
        self.post_office();
        self.relay();
        self.chat();
        self.group();
        self.times();
        self.sizes();
        self.folders();
    }

    /// Complains about the first of `keys`, unless one of them could not be read.
    pub fn complain(&mut self, keys: &[&str], problem: impl Into<String>) {
        let Some(about) = keys.first() else { return };
        if keys.iter().any(|key| self.unread.contains(key)) {
            return;
        }
        let setting = self.settings.iter().find(|setting| setting.key == *about);
        self.complaints.push(Complaint {
            value: Key::find(about).filter(|key| !key.is_secret()).and(setting).map(|setting| setting.shown.clone()),
            origin: setting.map(|setting| setting.origin.clone()),
            // Of a secret the problem says all there is to say.
            allowed: Key::find(about).filter(|key| !key.is_secret()).map(|key| key.kind.to_string()),
            ..Complaint::about(*about, problem)
        });
    }

    fn ports(&mut self) {
        let (plain, tls) = (self.config.server.port, self.config.tls.port);
        if self.config.tls.enabled && plain == tls && plain != 0 {
            self.complain(&["tls.port", "server.port"], "the same as server.port; each needs its own");
        }
    }

    /// Every path has one owner on each port.
    fn routes(&mut self) {
        for listener in self.config.listeners() {
            if self.config.tls.enabled
                && listener.key != "server.port"
                && listener.port == self.config.tls.port
                && listener.port != 0
            {
                self.complain(&[listener.key, "tls.port"], "the same as tls.port; each needs its own");
            }
            for (earlier, later) in listener.conflicts(self.config) {
                let set_by = self.settings.iter().find(|setting| setting.key == earlier.key);
                let set_by = set_by.map_or_else(String::new, |setting| format!(", set by {}", setting.origin));
                let problem = format!(
                    "the path {} on port {} is claimed by {} as well ({}{set_by}); each path has one owner",
                    later.path, listener.port, earlier.protocol, earlier.key
                );
                let mut keys = vec![later.key, earlier.key, listener.key];
                // One that could not be read puts its protocol on the shared port.
                keys.extend(later.protocol.port_key());
                keys.extend(earlier.protocol.port_key());
                self.complain(&keys, problem);
            }
        }
    }

    fn certificate(&mut self) {
        let tls = &self.config.tls;
        if !tls.enabled {
            return;
        }
        for (key, file) in [("tls.cert_file", &tls.cert_file), ("tls.key_file", &tls.key_file)] {
            match file {
                None => self.complain(&[key, "tls.enabled"], "missing, and tls.enabled is true"),
                Some(path) => {
                    if let Err(error) = readable(path) {
                        self.complain(&[key, "tls.enabled"], format!("cannot be read: {error}"));
                    }
                }
            }
        }
    }

    fn secrets(&mut self) {
        let mode = self.config.auth.mode;
        let letshare = self.config.letshare.enabled;
        self.secret("auth.secret", "SERVER_AUTH_SECRET", &self.config.auth.secret, letshare && mode != AuthMode::Jwt);
        self.secret("jwt.secret", "LETSHARE_JWT_SECRET", &self.config.jwt.secret, letshare && mode != AuthMode::Static);
    }

    pub fn secret(&mut self, key: &str, variable: &str, secret: &SecretString, used: bool) {
        let secret = secret.expose_secret();
        let remedy = format!(
            "set the environment variable {variable} to a secret of your own, for example one made \
             with `openssl rand -hex 32`"
        );
        if secret.trim().is_empty() {
            self.complain(&[key], format!("empty: anybody could make tokens; {remedy}"));
            return;
        }
        let weakness = if PUBLISHED.contains(&secret) {
            "a published default that anybody can make tokens with".to_owned()
        } else if secret.len() < SECRET_BYTES {
            format!("only {} bytes, which can be guessed", secret.len())
        } else {
            return;
        };
        if !used {
            return;
        }
        let host = self.config.server.host;
        if host.is_loopback() {
            self.warnings.push(format!(
                "{key} is {weakness}; that is fine while the server listens on {host} only. Before \
                 others can reach it, {remedy}"
            ));
        } else if self.config.allow_insecure {
            self.warnings.push(format!(
                "{key} is {weakness}, and the server listens on {host}; it starts because \
                 allow_insecure is true. To be safe, {remedy}"
            ));
        } else {
            self.complain(
                &[key, "server.host", "auth.mode", "allow_insecure"],
                format!(
                    "{weakness}, and server.host {host} lets other machines in: {remedy} (or set \
                     allow_insecure: true where that does not matter)"
                ),
            );
        }
    }

    fn ably(&mut self) {
        let ably = &self.config.ably;
        if !ably.enabled {
            return;
        }
        if let Some(Err(error)) = ably.apps_file.as_deref().map(readable) {
            let keys = ["ably.apps_file", "ably.enabled"];
            self.complain(&keys, format!("cannot be read: {error}"));
        }
        let host = self.config.server.host;
        if ably.sandbox && !host.is_loopback() {
            self.warnings.push(format!(
                "ably.sandbox is true, and the server listens on {host}: everybody who can reach it \
                 can make apps. Use that for test suites only"
            ));
        }
    }

    fn times(&mut self) {
        let web = &self.config.websocket;
        if web.idle_timeout <= web.ping_interval {
            self.complain(
                &["websocket.idle_timeout", "websocket.ping_interval"],
                "must be longer than websocket.ping_interval, or healthy idle clients are cut",
            );
        }
        let shutdown = &self.config.shutdown;
        if shutdown.grace <= shutdown.notice {
            self.complain(
                &["shutdown.grace", "shutdown.notice"],
                "must be longer than shutdown.notice, or nobody is told before the exit",
            );
        }
    }

    fn sizes(&mut self) {
        let largest = self.config.websocket.max_message_bytes + ENVELOPE_BYTES;
        if self.config.limits.outbox_bytes < largest {
            self.complain(
                &["limits.outbox_bytes", "websocket.max_message_bytes"],
                format!("must be at least {largest}, or the largest message never fits"),
            );
        }
        if self.config.websocket.max_message_bytes < self.config.ably.max_message_bytes {
            self.complain(
                &["websocket.max_message_bytes", "ably.max_message_bytes"],
                "a publish of ably.max_message_bytes does not fit into a frame",
            );
        }
        let history = &self.config.history;
        if history.total_bytes < history.channel_bytes {
            self.complain(&["history.total_bytes", "history.channel_bytes"], "must be at least history.channel_bytes");
        }
    }

    fn folders(&mut self) {
        for (key, path) in [("log.dir", &self.config.log.dir), ("data.dir", &self.config.data.dir)] {
            if path.exists() && !path.is_dir() {
                self.complain(&[key], "exists and is not a folder");
            }
        }
    }
}

/// A folder opens like a file and fails only when read.
pub fn readable(path: &Path) -> std::io::Result<()> {
    fs::read(path).map(drop)
}
