//! The secret by which a client proves that a connection is its own: `connectionKey`
//! (`docs/protocols/ably.md §4.3`).
//!
//! `<connectionId>-<salt>-<app>-<signature>`, and behind a connection with a clientId `-` and its base64url, which is
//! signed as well: nothing has to be kept, every node of a cluster can check it, and no character of it needs escaping in
//! a URL (trap T25).

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};

use super::server_secret::{ServerSecret, SigningKey};
use crate::{
    auth::apps::setup::random_text,
    error::Fault,
    ids::{AppId, ClientId, ConnectionId},
};

/// Makes and checks connection keys.
#[derive(Debug)]
pub struct ConnectionKeys(SigningKey);

/// Characters of the connection id, and of the salt.
const ID: usize = 12;
/// Bytes of the signature that are written: 128 bits cannot be guessed online.
const SIGNATURE: usize = 16;
/// Characters of the signature in base64url.
const SIGNATURE_TEXT: usize = 22;

/// The connection that a key belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proven {
    pub connection: ConnectionId,
    /// The client that it had when the key was made: a server that has restarted knows no more of it.
    pub client_id: Option<ClientId>,
}

impl ConnectionKeys {
    pub fn new(secret: &ServerSecret) -> Self {
        Self(secret.derive("connection key"))
    }

    /// Another one each time: clients look at their connection's details again only when the key has
    /// changed, and the suites expect it to change (traps T24, T26a).
    pub fn mint(&self, app: AppId, connection: ConnectionId, client_id: Option<&ClientId>) -> String {
        let signed = format!("{connection}-{}-{app}", random_text::<9>());
        let client_id = client_id.map(ClientId::as_str);
        let signature = self.0.sign(&parts(&signed, client_id));
        let mut key = format!("{signed}-{}", BASE64_URL_SAFE_NO_PAD.encode(&signature[..SIGNATURE]));
        if let Some(client_id) = client_id {
            key.push('-');
            BASE64_URL_SAFE_NO_PAD.encode_string(client_id, &mut key);
        }
        key
    }

    /// The connection that `key` belongs to.
    ///
    /// # Errors
    /// [`Fault::InvalidConnectionKey`] for what was not made here; then the client gets a new connection.
    /// [`Fault::IncompatibleCredentials`] for a key of another app, which is fatal.
    pub fn verify(&self, app: AppId, key: &str) -> Result<Proven, Fault> {
        let (proven, of_app) = self.read(key).ok_or(Fault::InvalidConnectionKey)?;
        if of_app == app {
            Ok(proven)
        } else {
            let why = "the connection belongs to another app";
            Err(Fault::IncompatibleCredentials { why })
        }
    }

    fn read(&self, key: &str) -> Option<(Proven, AppId)> {
        // Base64url has dashes of its own, so the fields are found by their length.
        let (signed, rest) = key.split_at_checked(2 * ID + 8)?;
        let (signature, client_id) = rest.strip_prefix('-')?.split_at_checked(SIGNATURE_TEXT)?;
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).ok()?;
        let client_id = match client_id {
            "" => None,
            text => Some(String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(text.strip_prefix('-')?).ok()?).ok()?),
        };
        if !self.0.verify(&parts(signed, client_id.as_deref()), &signature) {
            return None;
        }
        let connection = ConnectionId::parse(signed.get(..ID)?)?;
        let app = AppId::parse(signed.get(2 * ID + 2..)?)?;
        Some((Proven { connection, client_id: client_id.and_then(ClientId::new) }, app))
    }
}

/// What is signed.
fn parts<'a>(signed: &'a str, client_id: Option<&'a str>) -> Vec<&'a [u8]> {
    [Some(signed), client_id].into_iter().flatten().map(str::as_bytes).collect()
}
