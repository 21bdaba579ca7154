//! What the server keeps for itself in the data folder: its secret, and a key of the default app for
//! operators who start it without any apps (`ably-key.json`, readable by its owner only).
//!
//! It is made at the first start and stays the same from then on, so that tokens, connections and the
//! keys that were copied into a page outlive a restart.

use std::{fmt, path::Path, sync::Arc};

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use super::ServerSecret;
use crate::{
    auth::{
        apps::{App, Key, KeyStatus, setup::random_text},
        key_file::{KeyFile, KeyFileFault},
    },
    core::capability::Capability,
    ids::AppId,
};

/// Its name in the data folder.
pub const FILE: &str = "ably-key.json";

const KEY_FILE: KeyFile = KeyFile { name: FILE, holds: "the server's secret and its local Ably key" };

/// The name of the key.
const KEY_NAME: &str = "shared.local";

/// What is kept.
pub struct LocalKey {
    pub server_secret: ServerSecret,
    key_secret: SecretString,
}

#[derive(Serialize, Deserialize)]
struct Written {
    /// For people who find the file.
    #[serde(default)]
    note: String,
    /// 64 hexadecimal digits.
    server_secret: String,
    /// As clients write it.
    key: String,
}

/// Reads what `folder` keeps, or makes it.
/// Error: [`KeyFileFault`], for the operator.
pub fn open(folder: &Path) -> Result<LocalKey, KeyFileFault> {
    match look(folder)? {
        Some(kept) => Ok(kept),
        None => make(folder),
    }
}

/// What `folder` keeps, if it does. Nothing is written.
/// Error: [`KeyFileFault`], for the operator.
pub fn look(folder: &Path) -> Result<Option<LocalKey>, KeyFileFault> {
    KEY_FILE.look(folder, parse)
}

fn parse(text: &str) -> Result<LocalKey, &'static str> {
    let written: Written = serde_json::from_str(text).map_err(|_| "not JSON with server_secret and key")?;
    let mut secret = [0; 32];
    hex::decode_to_slice(&written.server_secret, &mut secret)
        .map_err(|_| "server_secret is not 64 hexadecimal digits")?;
    match written.key.split_once(':') {
        Some((KEY_NAME, key)) if key.len() >= 16 => {
            Ok(LocalKey { server_secret: ServerSecret::new(secret), key_secret: key.into() })
        }
        _ => Err("key is not shared.local: and a secret of at least 16 characters"),
    }
}

fn make(folder: &Path) -> Result<LocalKey, KeyFileFault> {
    let kept = LocalKey { server_secret: ServerSecret::random(), key_secret: random_text::<32>().into() };
    let written = Written {
        note: "Secret of letshare-server. Delete this file to get new ones.".into(),
        server_secret: hex::encode(kept.server_secret.reveal()),
        key: kept.reveal_key(),
    };
    KEY_FILE.write(folder, &written)?;
    Ok(kept)
}

impl LocalKey {
    /// `shared.local:<secret>`: for the operator, on a terminal. Not for logs.
    pub fn reveal_key(&self) -> String {
        format!("{KEY_NAME}:{}", self.key_secret.expose_secret())
    }

    /// The default app with the kept key, which may do everything there.
    pub fn default_app(&self) -> App {
        let key = Key {
            name: KEY_NAME.into(),
            secret: self.key_secret.clone(),
            capability: Arc::new(Capability::everything()),
            has_revocable_tokens: false,
            status: KeyStatus::Enabled,
        };
        App { keys: vec![Arc::new(key)], ..App::new(AppId::DEFAULT) }
    }
}

impl fmt::Debug for LocalKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalKey({KEY_NAME}:…)")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::{fs, os::unix::fs::PermissionsExt as _};

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn it_stays_the_same_from_start_to_start() {
        let folder = TempDir::new().unwrap();
        let data = folder.path().join("deep/data");
        let first = open(&data).unwrap();
        let second = open(&data).unwrap();
        assert_eq!(first.reveal_key(), second.reveal_key());
        assert_eq!(first.server_secret.reveal(), second.server_secret.reveal());
        let mode = fs::metadata(data.join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let names: Vec<_> = fs::read_dir(&data).unwrap().collect();
        assert_eq!(names.len(), 1, "no draft is left: {names:?}");

        fs::remove_file(data.join(FILE)).unwrap();
        let third = open(&data).unwrap();
        assert_ne!(first.reveal_key(), third.reveal_key());
        assert_ne!(first.server_secret.reveal(), third.server_secret.reveal());
    }

    #[test]
    fn the_key_belongs_to_the_default_app() {
        let folder = TempDir::new().unwrap();
        let kept = open(folder.path()).unwrap();
        let app = kept.default_app();
        assert_eq!(app.id, AppId::DEFAULT);
        assert!(KEY_NAME.starts_with(AppId::DEFAULT.as_str()));
        assert_eq!(app.keys[0].reveal(), kept.reveal_key());
        let shown = format!("{kept:?} {app:?}");
        assert!(!shown.contains(kept.key_secret.expose_secret()));
    }

    #[test]
    fn a_damaged_file_is_told_and_left_alone() {
        let secret = "0".repeat(64);
        for (text, what) in [
            (String::new(), "not JSON"),
            ("{".into(), "not JSON"),
            ("{}".into(), "not JSON"),
            (format!(r#"{{"server_secret":"{secret}"}}"#), "not JSON"),
            (format!(r#"{{"server_secret":"{secret}0","key":"shared.local:0123456789abcdef"}}"#), "64 hexadecimal"),
            (r#"{"server_secret":"canary","key":"shared.local:0123456789abcdef"}"#.into(), "64 hexadecimal"),
            (format!(r#"{{"server_secret":"{secret}","key":"canary"}}"#), "key is not"),
            (format!(r#"{{"server_secret":"{secret}","key":"shared.local:"}}"#), "key is not"),
            (format!(r#"{{"server_secret":"{secret}","key":"abc123.k:0123456789abcdef"}}"#), "key is not"),
        ] {
            let folder = TempDir::new().unwrap();
            let path = folder.path().join(FILE);
            fs::write(&path, &text).unwrap();
            let fault = open(folder.path()).unwrap_err().to_string();
            assert!(fault.contains("is damaged") && fault.contains(what), "{fault}");
            assert!(fault.contains(FILE) && fault.contains("delete it"), "{fault}");
            assert!(!fault.contains("canary"), "{fault}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join(FILE), b"\xff").unwrap();
        let fault = open(folder.path()).unwrap_err().to_string();
        assert!(fault.contains("not UTF-8"), "{fault}");
    }

    /// Tests may run as root, whom permissions do not stop; a file in the way stops everybody.
    #[test]
    fn a_folder_that_cannot_be_written_is_told() {
        let folder = TempDir::new().unwrap();
        let in_the_way = folder.path().join("file");
        fs::write(&in_the_way, "").unwrap();
        let fault = open(&in_the_way).unwrap_err().to_string();
        assert!(fault.contains("cannot read"), "{fault}");
        let fault = open(Path::new("/proc/no-such-folder")).unwrap_err().to_string();
        assert!(fault.contains("data.dir"), "{fault}");
        let data = folder.path().join("data");
        fs::create_dir_all(data.join(FILE)).unwrap();
        let fault = open(&data).unwrap_err().to_string();
        assert!(fault.contains("cannot read") && fault.contains(FILE), "{fault}");
    }
}
