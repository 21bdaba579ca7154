//! How a client of an older protocol shows which identifier is its own (`docs/protocols/relay.md §5`).

use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use sha2::Sha256;

use crate::{auth::jwt::JwtKey, ids::Timestamp, limits};

/// How a client has to prove its identifier.
#[derive(Debug)]
pub enum Proof {
    /// Nothing: it is believed.
    None,
    /// A JWT (HS256) with a `sub`; `exp` is required.
    Jwt(Box<JwtKey>),
    /// `<id>.<hex HMAC-SHA256 of id>`
    Signed(SecretString),
}

#[derive(Clone, Deserialize)]
struct Claims {
    sub: Option<String>,
    exp: Option<serde_json::Number>,
    nbf: Option<serde_json::Number>,
}

impl Proof {
    /// The identifier that `shown` proves; none when it proves nothing.
    pub fn identifier(&self, shown: &str, now: Timestamp) -> Option<String> {
        if shown.len() > limits::TOKEN_BYTES {
            return None;
        }
        match self {
            Self::None => Some(shown.to_owned()),
            Self::Jwt(key) => {
                let claims: Claims = key.verify(shown).ok()?;
                key.check_time(claims.exp.as_ref(), claims.nbf.as_ref(), now).ok()?;
                claims.sub.filter(|sub| !sub.is_empty())
            }
            Self::Signed(secret) => {
                let (id, signature) = shown.rsplit_once('.')?;
                let signature = hex::decode(signature).ok()?;
                let secret = secret.expose_secret().as_bytes();
                let mut mac = Hmac::<Sha256>::new_from_slice(secret).ok()?;
                mac.update(id.as_bytes());
                mac.verify_slice(&signature).ok()?;
                (!id.is_empty()).then(|| id.to_owned())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    #[test]
    fn a_signed_identifier() {
        let proof = Proof::Signed("key".to_owned().into());
        let mut mac = Hmac::<Sha256>::new_from_slice(b"key").expect("any length");
        mac.update(b"u.208");
        let signature = hex::encode(mac.finalize().into_bytes());
        let of = |shown: &str| proof.identifier(shown, NOW);
        assert_eq!(of(&format!("u.208.{signature}")).as_deref(), Some("u.208"));
        assert_eq!(of(&format!("u.209.{signature}")), None);
        assert_eq!(of("u.208"), None);
        assert_eq!(of("u.208."), None);
    }

    #[test]
    fn the_subject_of_a_jwt() {
        let key = JwtKey::new(&"secret".to_owned().into());
        let sign = |claims: serde_json::Value| key.sign(&claims).expect("signed");
        let good = sign(serde_json::json!({"sub": "u-208", "exp": 2_000}));
        let late = sign(serde_json::json!({"sub": "u-208", "exp": 1_000}));
        let nobody = sign(serde_json::json!({"exp": 2_000}));
        let proof = Proof::Jwt(Box::new(JwtKey::new(&"secret".to_owned().into())));
        assert_eq!(proof.identifier(&good, NOW).as_deref(), Some("u-208"));
        for bad in [&late, &nobody, "u-208", &good[1..]] {
            assert_eq!(proof.identifier(bad, NOW), None);
        }
    }
}
