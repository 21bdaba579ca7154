//! JWTs that customers sign with a key of an app (`docs/protocols/ably.md §12.4`).
//!
//! Here: their form, their signature, and what their claims say. Not the crate `jsonwebtoken`: it knows
//! neither the header `x-ably-token` nor how to leave an `aud` alone that is not for us.

use std::sync::Arc;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Map, Value};

use super::{access::UserClaim, server_secret::SigningKey};
use crate::{core::capability::Resource, error::Fault, ids::Timestamp, limits};

/// A JWT that was read and not yet believed.
pub(super) struct Jwt<'a> {
    /// `<app>.<key>`, whatever it may be.
    pub key_name: Option<String>,
    embedded: Option<String>,
    claims: Map<String, Value>,
    signed: &'a [u8],
    signature: Vec<u8>,
}

#[derive(Deserialize)]
struct Header {
    alg: Option<String>,
    kid: Option<String>,
    crit: Option<IgnoredAny>,
    #[serde(rename = "x-ably-token")]
    token: Option<String>,
}

/// When a JWT was issued and when it ends.
pub(super) struct Term {
    pub issued: Timestamp,
    pub expires: Timestamp,
}

const fn invalid(why: &'static str) -> Fault {
    Fault::InvalidJwt { why }
}

/// Whether somebody meant this as a JWT: it begins with a JSON object, and has at least three parts.
/// Native tokens have two.
pub(super) fn is_jwt(token: &str) -> bool {
    let mut parts = token.split('.');
    let header = parts.next().and_then(|header| part(header).ok());
    parts.count() >= 2 && header.is_some_and(|header| serde_json::from_slice::<Map<String, Value>>(&header).is_ok())
}

/// The token that an encrypted JWT (JWE compact form, five parts) carries in its header, the only part of
/// it that can be read here; None when `token` is no such JWT (`docs/protocols/ably.md §12.4`).
///
/// # Errors
/// [`Fault::InvalidJwt`] when the header has none.
pub(super) fn token_of_encrypted(token: &str) -> Option<Result<String, Fault>> {
    let parts = token.split('.').count();
    let header = token.split('.').next().filter(|_| parts == 5)?;
    let token = part(header)
        .ok()
        .and_then(|header| serde_json::from_slice::<Header>(&header).ok())
        .and_then(|header| header.token);
    Some(token.ok_or(invalid("an encrypted JWT needs the token in its header x-ably-token")))
}

fn part(text: &str) -> Result<Vec<u8>, Fault> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(text);
    bytes.map_err(|_| invalid("a part is not base64url without padding"))
}

impl<'a> Jwt<'a> {
    /// # Errors
    /// [`Fault::InvalidJwt`]: form, algorithm, extensions.
    pub fn read(token: &'a str) -> Result<Self, Fault> {
        if token.len() > limits::TOKEN_BYTES {
            return Err(invalid("too long"));
        }
        let parts: Vec<&str> = token.split('.').collect();
        let &[header, claims, signature] = parts.as_slice() else {
            return Err(invalid("neither three parts nor the five of an encrypted one"));
        };
        let header: Header =
            serde_json::from_slice(&part(header)?).map_err(|_| invalid("the header is not what a JWT has"))?;
        // One algorithm, whatever the header asks for: `none` would let everybody in.
        if header.alg.as_deref() != Some("HS256") {
            return Err(invalid("the algorithm must be HS256"));
        }
        // RFC 7515 §4.1.11: whoever does not know an extension named here must refuse the token.
        if header.crit.is_some() {
            return Err(invalid("unknown critical header"));
        }
        let mut claims: Map<String, Value> =
            serde_json::from_slice(&part(claims)?).map_err(|_| invalid("the claims are not a JSON object"))?;
        let in_claims = text(&mut claims, "x-ably-token")?;
        let signed = token.len() - signature.len() - 1;
        Ok(Self {
            key_name: header.kid,
            embedded: header.token.or(in_claims),
            claims,
            signed: &token.as_bytes()[..signed],
            signature: part(signature)?,
        })
    }

    /// The native token that it is the envelope of.
    pub fn embedded(&self) -> Option<&str> {
        self.embedded.as_deref()
    }

    /// # Errors
    /// [`Fault::InvalidJwt`]
    pub fn verify(&self, secret: &str) -> Result<(), Fault> {
        let key = SigningKey::new(secret.as_bytes());
        if key.verify_message(self.signed, &self.signature) { Ok(()) } else { Err(invalid("the signature is wrong")) }
    }

    /// Its term, if it is valid at `now`. `exp` is exact, without leeway (`docs/protocols/ably.md §12.3`).
    ///
    /// # Errors
    /// [`Fault::TokenExpired`]; [`Fault::InvalidJwt`] when a time is missing, wrong, ahead, or the term is
    /// longer than a token may live.
    pub fn term(&self, now: Timestamp, has_revocable_tokens: bool) -> Result<Term, Fault> {
        let issued = self.time("iat")?;
        let issued = issued.ok_or(invalid("iat must be specified"))?;
        let expires = self.time("exp")?;
        let expires = expires.ok_or(invalid("exp must be specified"))?;
        if now >= expires {
            return Err(Fault::TokenExpired);
        }
        let latest = now.millis() + limits::ISSUER_CLOCK_AHEAD.as_millis() as u64;
        if issued.millis() > latest {
            return Err(invalid("iat is in the future"));
        }
        if self.time("nbf")?.is_some_and(|begins| begins.millis() > latest) {
            return Err(invalid("nbf is in the future"));
        }
        let longest = longest_ttl(has_revocable_tokens);
        if expires.millis().saturating_sub(issued.millis()) > longest {
            return Err(invalid("exp is too long after iat"));
        }
        Ok(Term { issued, expires })
    }

    /// Of an envelope: when it ends, if it says so.
    ///
    /// # Errors
    /// [`Fault::InvalidJwt`] when that is no time.
    pub fn end_of_envelope(&self) -> Result<Option<Timestamp>, Fault> {
        self.time("exp")
    }

    /// A text claim; none when it is absent or null.
    ///
    /// # Errors
    /// [`Fault::InvalidJwt`] when it is no text.
    pub fn take_text(&mut self, name: &str) -> Result<Option<String>, Fault> {
        text(&mut self.claims, name)
    }

    /// What it says about its user on certain channels.
    ///
    /// # Errors
    /// [`Fault::InvalidJwt`] when that is no text.
    pub fn user_claims(&self) -> Result<Arc<[UserClaim]>, Fault> {
        let mut claims = Vec::new();
        for (name, value) in &self.claims {
            let (is_about_rooms, resource) = if let Some(room) = name.strip_prefix("ably.room.") {
                (true, room)
            } else if let Some(channel) = name.strip_prefix("ably.channel.") {
                (false, channel)
            } else {
                continue;
            };
            let text = value.as_str();
            claims.push(UserClaim {
                is_about_rooms,
                resource: Resource::new(resource),
                text: text.ok_or(invalid("a user claim is not text"))?.into(),
            });
        }
        Ok(claims.into())
    }

    /// Seconds since the epoch, which may have a fraction (RFC 7519 §2).
    fn time(&self, name: &str) -> Result<Option<Timestamp>, Fault> {
        let seconds = match self.claims.get(name) {
            None | Some(Value::Null) => return Ok(None),
            Some(value) => value.as_f64(),
        };
        let seconds = seconds
            .filter(|seconds| seconds.is_finite() && *seconds >= 0.0)
            .ok_or(invalid("iat, exp and nbf are numbers of seconds"))?;
        // Casts of floating point numbers stop at the largest integer.
        Ok(Some(Timestamp::from_millis((seconds * 1_000.0) as u64)))
    }
}

fn text(claims: &mut Map<String, Value>, name: &str) -> Result<Option<String>, Fault> {
    match claims.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(invalid("a claim of Ably is not text")),
    }
}

/// In milliseconds.
pub(super) const fn longest_ttl(has_revocable_tokens: bool) -> u64 {
    let longest = if has_revocable_tokens { limits::REVOCABLE_TOKEN_TTL } else { limits::TOKEN_TTL };
    longest.as_millis() as u64
}
