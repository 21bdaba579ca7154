//! The one secret of a server, and the keys that are derived from it. All nodes of a cluster share it.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use rand::RngExt as _;
use secrecy::{ExposeSecret, SecretBox};
use sha2::Sha256;

/// 32 random bytes, with which tokens for every app can be made.
pub struct ServerSecret(SecretBox<[u8; 32]>);

impl ServerSecret {
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(SecretBox::new(Box::new(bytes)))
    }

    pub fn random() -> Self {
        Self::new(rand::rng().random())
    }

    /// To be stored. Not for logs.
    pub fn reveal(&self) -> &[u8; 32] {
        self.0.expose_secret()
    }

    /// Tells one secret from another, and nothing else of it.
    pub fn fingerprint(&self) -> String {
        hex::encode(&self.derive("fingerprint").sign(&[])[..16])
    }

    /// A key for one purpose; another `purpose` gives one that has nothing to do with it.
    pub(super) fn derive(&self, purpose: &str) -> SigningKey {
        let master = SigningKey::new(self.reveal());
        SigningKey::new(&master.sign(&[purpose.as_bytes()]))
    }
}

impl fmt::Debug for ServerSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerSecret(…)")
    }
}

/// HMAC-SHA256 with one key.
pub(super) struct SigningKey(Hmac<Sha256>);

impl SigningKey {
    /// HMAC takes keys of any length.
    pub fn new(key: &[u8]) -> Self {
        // cannot fail: the length is the only thing that could be wrong with a key.
        #[allow(clippy::expect_used)]
        Self(Hmac::new_from_slice(key).expect("any length"))
    }

    /// The signature of `parts`; each is taken with its length, so that no two lists are alike.
    pub fn sign(&self, parts: &[&[u8]]) -> [u8; 32] {
        self.of_parts(parts).finalize().into_bytes().into()
    }

    /// Whether `signature`, or a beginning of at least 16 bytes, is that of `parts`. Takes the same time
    /// for every one of the same length.
    pub fn verify(&self, parts: &[&[u8]], signature: &[u8]) -> bool {
        signature.len() >= 16 && self.of_parts(parts).verify_truncated_left(signature).is_ok()
    }

    /// Whether `signature` is exactly that of `message`, as others make it.
    pub fn verify_message(&self, message: &[u8], signature: &[u8]) -> bool {
        let mac = self.0.clone().chain_update(message);
        mac.verify_slice(signature).is_ok()
    }

    fn of_parts(&self, parts: &[&[u8]]) -> Hmac<Sha256> {
        parts
            .iter()
            .fold(self.0.clone(), |mac, part| mac.chain_update((part.len() as u64).to_be_bytes()).chain_update(part))
    }

    #[cfg(test)]
    pub fn sign_message(&self, message: &[u8]) -> [u8; 32] {
        let mac = self.0.clone().chain_update(message);
        mac.finalize().into_bytes().into()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(…)")
    }
}
