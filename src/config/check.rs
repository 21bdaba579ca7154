//! Judges values that must agree with each other or with the machine: secrets and the address that they guard
//! (`secrets`), ports, files, limits that only make sense together. What is about one older protocol alone stands
//! beside its keys.
//!
//! Single values were judged by `kind`. A rule about a value that could not be read is skipped: with the default in its
//! place, it would report a fault of the default.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use nix::unistd::{AccessFlags, access};
use secrecy::ExposeSecret as _;

use super::{
    Config, Protocol,
    complaint::{Complaint, Notes},
    keys::Key,
    load::Setting,
};

/// What a message needs in the outbox beside its data: frame header, envelope, names.
const ENVELOPE_BYTES: usize = 4_096;

/// The outcome of all rules.
pub struct Verdict<'a> {
    pub config: &'a Config,
    settings: &'a [Setting],
    unread: &'a BTreeSet<&'static str>,
    pub notes: Notes,
}

impl<'a> Verdict<'a> {
    /// `unread` are the keys whose value was replaced by the default.
    pub fn new(config: &'a Config, settings: &'a [Setting], unread: &'a BTreeSet<&'static str>) -> Self {
        Self { config, settings, unread, notes: Notes::default() }
    }

    /// Applies every rule.
    pub fn judge(mut self) -> Notes {
        self.ports();
        self.routes();
        self.certificate();
        self.secrets();
        self.console();
        self.ably();
        self.post_office();
        self.relay();
        self.chat();
        self.group();
        self.cluster();
        self.times();
        self.sizes();
        self.folders();
        self.notes
    }

    pub fn warn(&mut self, warning: impl Into<String>) {
        self.notes.warnings.push(warning.into());
    }

    /// Complains about the first of `keys`, unless one of them could not be read.
    pub fn complain(&mut self, keys: &[&str], problem: impl Into<String>) {
        self.notes.faults.extend(complaint(self.settings, self.unread, keys, problem.into()));
    }

    fn ports(&mut self) {
        let tls = &self.config.tls;
        for listener in self.config.listeners() {
            if !tls.enabled || listener.port != tls.port || tls.port == 0 {
                continue;
            }
            match listener.key {
                shared @ "server.port" => {
                    self.complain(&["tls.port", shared], "the same as server.port; each needs its own")
                }
                own => self.complain(&[own, "tls.port"], "the same as tls.port; each needs its own"),
            }
        }
    }

    /// Every path has one owner on each port.
    fn routes(&mut self) {
        for listener in self.config.listeners() {
            for (earlier, later) in listener.conflicts(self.config) {
                let set_by = self.settings.iter().find(|setting| setting.key == earlier.key);
                let set_by = set_by.map_or_else(String::new, |setting| format!(", set by {}", setting.origin));
                let problem = format!(
                    "the path {} on port {} is claimed by {} as well ({}{set_by}); each path has one owner",
                    later.path, listener.port, earlier.protocol, earlier.key
                );
                let mut keys = vec![later.key, earlier.key, listener.key];
                // A port that could not be read is replaced by its default, which is the shared one.
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
        let encrypted = self.config.tls_listener();
        for listener in self.config.listeners() {
            let is_wanted = |protocol: &&Protocol| **protocol != Protocol::Console || listener.key != "console.port";
            for protocol in listener.protocols.iter().filter(is_wanted).filter(|protocol| !encrypted.serves(**protocol))
            {
                self.warn(format!(
                    "{protocol} is not served on tls.port: others have its paths there; it is on {} alone",
                    listener.key
                ));
            }
        }
        for (key, file) in [("tls.cert_file", &tls.cert_file), ("tls.key_file", &tls.key_file)] {
            if file.is_none() {
                self.complain(&[key, "tls.enabled"], "missing, and tls.enabled is true");
            }
            self.file(&[key, "tls.enabled"], file.as_deref());
        }
    }

    /// Complains about `keys[0]` if it names a file that cannot be read.
    pub fn file(&mut self, keys: &[&str], path: Option<&Path>) {
        // A folder opens like a file and fails only when it is read.
        if let Some(Err(error)) = path.map(fs::read) {
            self.complain(keys, format!("cannot be read: {error}"));
        }
    }

    fn console(&mut self) {
        let console = &self.config.console;
        if !console.enabled {
            return;
        }
        self.file(&["console.password_file"], console.password_file.as_deref());
        if console.password_file.is_some() && !console.password.expose_secret().is_empty() {
            self.complain(&["console.password_file", "console.password"], "both are set; leave one out");
        }
    }

    fn ably(&mut self) {
        let ably = &self.config.ably;
        if !ably.enabled {
            return;
        }
        self.file(&["ably.apps_file", "ably.enabled"], ably.apps_file.as_deref());
        let host = self.config.server.host;
        if ably.sandbox && !host.is_loopback() {
            self.warn(format!(
                "ably.sandbox is true, and the server listens on {host}: everybody who can reach it \
                 can make apps. Use that for test suites only"
            ));
        }
    }

    fn times(&mut self) {
        let Config { websocket, shutdown, .. } = self.config;
        let pair = ["websocket.idle_timeout", "websocket.ping_interval"];
        self.longer(pair, [websocket.idle_timeout, websocket.ping_interval], "healthy idle clients are cut");
        let pair = ["shutdown.grace", "shutdown.notice"];
        self.longer(pair, [shutdown.grace, shutdown.notice], "nobody is told before the exit");
    }

    /// Complains unless the first is longer.
    pub fn longer(&mut self, keys: [&str; 2], [longer, shorter]: [Duration; 2], otherwise: &str) {
        if longer <= shorter {
            self.complain(&keys, format!("must be longer than {}, or {otherwise}", keys[1]));
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
            } else if let Err(problem) = writable(path) {
                self.complain(&[key], problem);
            }
        }
    }
}

/// Whether a folder can be written to, or made: then it is the nearest one above it that counts.
fn writable(path: &Path) -> Result<(), String> {
    let whole = std::path::absolute(path).map_err(|error| error.to_string())?;
    let Some(there) = whole.ancestors().find(|above| above.exists()) else { return Ok(()) };
    if !there.is_dir() {
        return Err(format!("cannot be made: {} is not a folder", there.display()));
    }
    access(there, AccessFlags::W_OK | AccessFlags::X_OK)
        .map_err(|error| format!("{} cannot be written to by this user: {}", there.display(), error.desc()))
}

/// About the first of `keys`, unless one of them could not be read.
pub fn complaint(
    settings: &[Setting],
    unread: &BTreeSet<&'static str>,
    keys: &[&str],
    problem: String,
) -> Option<Complaint> {
    let about = keys.first()?;
    if keys.iter().any(|key| unread.contains(key)) {
        return None;
    }
    let setting = settings.iter().find(|setting| setting.key == *about);
    // Neither the value nor the range of a secret is shown.
    let open = Key::find(about).filter(|key| !key.is_secret());
    let complaint = Complaint::about(*about, problem).set_by(setting.map(|setting| setting.origin.clone()));
    let complaint = complaint.with_value(open.and(setting).map(|setting| setting.shown.clone()));
    Some(complaint.allowed(open.map(|key| key.kind.to_string())))
}
