//! The secret by which a client proves that a connection is its own: `connectionKey`
//! (`docs/protocols/ably.md §4.3`).
//!
//! `<connectionId>-<salt>-<app>-<signature>`: nothing has to be kept, every node of a cluster can check
//! it, and no character of it needs escaping in a URL (trap T25).

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};

use super::server_secret::{ServerSecret, SigningKey};
use crate::{
    auth::apps::setup::random_text,
    error::Fault,
    ids::{AppId, ConnectionId},
};

/// Makes and checks connection keys.
#[derive(Debug)]
pub struct ConnectionKeys(SigningKey);

/// Characters of the connection id, and of the salt.
const ID: usize = 12;
/// Bytes of the signature that are written: 128 bits cannot be guessed online.
const SIGNATURE: usize = 16;

impl ConnectionKeys {
    pub fn new(secret: &ServerSecret) -> Self {
        Self(secret.derive("connection key"))
    }

    /// Another one each time: clients look at their connection's details again only when the key has
    /// changed, and the suites expect it to change (traps T24, T26a).
    pub fn mint(&self, app: AppId, connection: ConnectionId) -> String {
        let signed = format!("{connection}-{}-{app}", random_text::<9>());
        let signature = self.0.sign(&[signed.as_bytes()]);
        let signature = BASE64_URL_SAFE_NO_PAD.encode(&signature[..SIGNATURE]);
        format!("{signed}-{signature}")
    }

    /// The connection that `key` belongs to.
    ///
    /// # Errors
    /// [`Fault::InvalidConnectionKey`] for what was not made here; then the client gets a new connection.
    /// [`Fault::IncompatibleCredentials`] for a key of another app, which is fatal.
    pub fn verify(&self, app: AppId, key: &str) -> Result<ConnectionId, Fault> {
        let (connection, of_app) = self.read(key).ok_or(Fault::InvalidConnectionKey)?;
        if of_app == app {
            Ok(connection)
        } else {
            let why = "the connection belongs to another app";
            Err(Fault::IncompatibleCredentials { why })
        }
    }

    fn read(&self, key: &str) -> Option<(ConnectionId, AppId)> {
        // Base64url has dashes of its own, so the fields are found by their length.
        let (signed, signature) = key.split_at_checked(2 * ID + 8)?;
        let signature = signature.strip_prefix('-')?;
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).ok()?;
        if signature.len() != SIGNATURE || !self.0.verify(&[signed.as_bytes()], &signature) {
            return None;
        }
        let connection = ConnectionId::parse(signed.get(..ID)?)?;
        Some((connection, AppId::parse(signed.get(2 * ID + 2..)?)?))
    }
}
