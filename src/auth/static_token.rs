//! The one token that everybody shares: lower-case hex SHA-256 of `auth.secret` (docs/protocols/letshare.md §1.3).

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// The expected token.
#[derive(Clone)]
pub struct StaticToken(SecretString);

impl StaticToken {
    pub fn of(secret: &SecretString) -> Self {
        let hash = Sha256::digest(secret.expose_secret().as_bytes());
        Self(hex::encode(hash).into())
    }

    /// Takes the same time for every token of the right length; the length is public.
    pub fn matches(&self, token: &str) -> bool {
        let expected = self.0.expose_secret().as_bytes();
        expected.ct_eq(token.as_bytes()).into()
    }

    /// For the operator who enters it in LetShare's settings.
    pub fn reveal(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for StaticToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StaticToken(…)")
    }
}
