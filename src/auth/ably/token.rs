//! Tokens of our own: `<app>.<sealed>` (`docs/protocols/ably.md §12.2`).
//!
//! They carry their claims, signed with a key of the server, so that every node can check them and
//! nothing has to be kept. The holder can read the claims, which are also sent beside the token.

use std::fmt;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use super::server_secret::{ServerSecret, SigningKey};
use crate::{
    error::Fault,
    ids::{AppId, Timestamp},
};

/// The claims of a token. The names are short because it travels in URLs.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TokenClaims {
    /// The id of the key, without the app.
    #[serde(rename = "k")]
    pub key: String,
    #[serde(rename = "i")]
    pub issued: Timestamp,
    #[serde(rename = "e")]
    pub expires: Timestamp,
    /// None: that of the key.
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    pub capability: Option<String>,
    #[serde(rename = "u", default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
}

/// The answer to a token request (`docs/protocols/ably.md §11.3`).
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenDetails {
    pub token: String,
    pub key_name: String,
    pub issued: Timestamp,
    pub expires: Timestamp,
    /// Canonical JSON text; always there (trap T15).
    pub capability: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
}

impl fmt::Debug for TokenDetails {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenDetails({}, …)", self.key_name)
    }
}

/// Seals and opens tokens.
#[derive(Debug)]
pub(super) struct TokenSeal(SigningKey);

/// Bytes of the signature, which stands first.
const SIGNATURE: usize = 32;

impl TokenSeal {
    pub fn new(secret: &ServerSecret) -> Self {
        Self(secret.derive("native token"))
    }

    pub fn seal(&self, app: AppId, claims: &TokenClaims) -> Result<String, Fault> {
        let claims = serde_json::to_vec(claims).map_err(|_| Fault::Internal)?;
        let mut sealed = self.0.sign(&[app.as_str().as_bytes(), &claims]).to_vec();
        sealed.extend_from_slice(&claims);
        Ok(format!("{app}.{}", BASE64_URL_SAFE_NO_PAD.encode(sealed)))
    }

    /// The claims of a token of `app`, expired or not.
    ///
    /// # Errors
    /// As Ably answers ably-ruby's suite: [`Fault::UnreadableCredentials`] for what has characters that no token has,
    /// [`Fault::Unauthenticated`] for what has not the form of one. [`Fault::TokenUnknown`] for what was not sealed here.
    pub fn open(&self, app: AppId, token: &str) -> Result<TokenClaims, Fault> {
        let sealed = token.split_once('.').map_or("", |(_, sealed)| sealed);
        if !sealed.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')) {
            let why = "a token is an app id, a dot, and letters, digits, - and _";
            return Err(Fault::UnreadableCredentials { why });
        }
        let unreadable =
            Fault::Unauthenticated { why: "the token cannot be read: it is not as this server handed it out" };
        let sealed = BASE64_URL_SAFE_NO_PAD.decode(sealed).map_err(|_| unreadable.clone())?;
        let (signature, claims) =
            sealed.split_at_checked(SIGNATURE).filter(|(_, claims)| claims.first() == Some(&b'{')).ok_or(unreadable)?;
        if !self.0.verify(&[app.as_str().as_bytes(), claims], signature) {
            return Err(Fault::TokenUnknown);
        }
        serde_json::from_slice(claims).map_err(|_| Fault::InvalidToken)
    }
}
