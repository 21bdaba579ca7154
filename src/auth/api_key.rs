//! A key that a back end shows with each request.

use rand::RngExt as _;
use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;

/// Never shown; compared in a time that depends on its length only.
#[derive(Debug)]
pub struct ApiKey(SecretString);

impl ApiKey {
    /// An empty one is replaced by a random one, so that it matches nothing.
    pub fn new(key: &SecretString) -> Self {
        if key.expose_secret().is_empty() {
            let random: [u8; 32] = rand::rng().random();
            return Self(hex::encode(random).into());
        }
        Self(key.clone())
    }

    pub fn matches(&self, shown: &[u8]) -> bool {
        self.0.expose_secret().as_bytes().ct_eq(shown).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_key_matches_and_the_empty_one_never_does() {
        let key = ApiKey::new(&"secret".to_owned().into());
        assert!(key.matches(b"secret"));
        assert!(!key.matches(b"secret1") && !key.matches(b"Secret") && !key.matches(b""));
        assert!(!ApiKey::new(&String::new().into()).matches(b""));
    }
}
