//! The key of a relay whose operator has set none (`relay-key.json` in the data folder): back ends push with it.

use std::path::Path;

use rand::RngExt as _;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use super::key_file::{KeyFile, KeyFileFault};

/// Its name in the data folder.
pub const FILE: &str = "relay-key.json";

const KEY_FILE: KeyFile = KeyFile { name: FILE, holds: "the keys that back ends push with" };

#[derive(Serialize, Deserialize)]
struct Written {
    /// For people who find the file.
    #[serde(default)]
    note: String,
    api_key: String,
}

/// What `folder` keeps, if it does. Nothing is written.
/// Error: [`KeyFileFault`], for the operator.
pub fn look(folder: &Path) -> Result<Option<SecretString>, KeyFileFault> {
    KEY_FILE.look(folder, |text| {
        let written: Written = serde_json::from_str(text).map_err(|_| "not JSON with api_key")?;
        if written.api_key.trim().is_empty() { Err("api_key is empty") } else { Ok(written.api_key.into()) }
    })
}

/// Makes one and keeps it.
/// Error: [`KeyFileFault`], for the operator.
pub fn make(folder: &Path) -> Result<SecretString, KeyFileFault> {
    let random: [u8; 32] = rand::rng().random();
    let key = SecretString::from(hex::encode(random));
    let note = "Back ends push to the relay with this key (X-API-KEY). relay.api_key takes its place.".to_owned();
    KEY_FILE.write(folder, &Written { note, api_key: key.expose_secret().to_owned() })?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    /// findings P4: the key is made once, in the data folder, and for its owner only.
    #[test]
    fn it_is_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        assert!(look(&data).unwrap().is_none());
        let key = make(&data).unwrap();
        assert_eq!(key.expose_secret().len(), 64);
        assert_eq!(look(&data).unwrap().unwrap().expose_secret(), key.expose_secret());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&data), mode(&data.join(FILE))), (0o700, 0o600));
    }

    #[test]
    fn a_damaged_file_is_told_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        for text in ["", "{}", "{\"api_key\": \" \"}"] {
            fs::write(folder.path().join(FILE), text).unwrap();
            let fault = look(folder.path()).unwrap_err().to_string();
            assert!(fault.contains("is damaged") && fault.contains(FILE), "{fault}");
        }
    }
}
