//! JWTs that customers sign with a key of an app (`docs/protocols/ably.md §12.4`).
//!
//! Here: their form, their signature and their claims. Not the crate `jsonwebtoken`: it knows
//! neither the header `x-ably-token` nor how to leave an `aud` alone that is not for us.

use std::{borrow::Cow, sync::Arc};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use super::{access::UserClaim, server_secret::SigningKey};
use crate::{
    auth::leeway::{Ahead, Leeway, instant},
    core::capability::Resource,
    error::{Fault, Found, reason},
    ids::Timestamp,
    limits,
};

/// A JWT that was read and not yet believed.
pub(super) struct Jwt<'a> {
    /// `<app>.<key>`, whatever it may be.
    pub key_name: Option<String>,
    embedded: Option<String>,
    claims: Map<String, Value>,
    signed: &'a [u8],
    signature: Vec<u8>,
}

struct Header {
    alg: Option<String>,
    kid: Option<String>,
    has_crit: bool,
    token: Option<String>,
}

/// When a JWT was issued and when it ends.
pub(super) struct Term {
    pub issued: Timestamp,
    pub expires: Timestamp,
}

pub(super) fn invalid(why: impl Into<Cow<'static, str>>) -> Fault {
    Fault::InvalidJwt { why: why.into() }
}

/// Whether it is meant as a JWT: it begins with a JSON object, and has at least three parts.
/// Native tokens have two.
pub(super) fn is_jwt(token: &str) -> bool {
    let mut parts = token.split('.');
    let header = parts.next().and_then(part);
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
    let header = object("header", header).and_then(Header::of);
    let token = header.ok().and_then(|header| header.token);
    Some(token.ok_or_else(|| invalid("an encrypted JWT needs the token in its header x-ably-token")))
}

fn part(text: &str) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(text).ok()
}

/// The header or the claims.
fn object(name: &'static str, text: &str) -> Result<Map<String, Value>, Fault> {
    let bytes = part(text).ok_or_else(|| invalid(format!("the {name} part is not base64url without padding")))?;
    let value = serde_json::from_slice(&bytes);
    value.map_err(|error| invalid(format!("{name}: {}; allowed: a JSON object", reason(&error.to_string()))))
}

impl Header {
    fn of(mut header: Map<String, Value>) -> Result<Self, Fault> {
        Ok(Self {
            alg: text(&mut header, "alg")?,
            kid: text(&mut header, "kid")?,
            has_crit: header.get("crit").is_some_and(|crit| !crit.is_null()),
            token: text(&mut header, "x-ably-token")?,
        })
    }
}

impl<'a> Jwt<'a> {
    /// # Errors
    /// [`Fault::InvalidJwt`]: form, algorithm, extensions.
    pub fn read(token: &'a str) -> Result<Self, Fault> {
        if token.len() > limits::TOKEN_BYTES {
            let (size, limit) = (token.len(), limits::TOKEN_BYTES);
            return Err(invalid(format!("{size} bytes exceed the limit of {limit} bytes")));
        }
        let parts: Vec<&str> = token.split('.').collect();
        let &[header, claims, signature] = parts.as_slice() else {
            let found = parts.len();
            return Err(invalid(format!("{found} parts; allowed: three, or the five of an encrypted one")));
        };
        let header: Map<String, Value> = object("header", header)?;
        let mut header = Header::of(header)?;
        // One algorithm, whatever the header asks for: `none` would let everybody in.
        if header.alg.as_deref() != Some("HS256") {
            let found = Found::optional(header.alg.as_deref());
            return Err(invalid(format!("header alg: found {found}; allowed: HS256")));
        }
        // RFC 7515 §4.1.11: a token that names an unknown extension here must be refused.
        if header.has_crit {
            return Err(invalid("header crit: no extension is known here; allowed: none"));
        }
        let mut claims = object("claims", claims)?;
        let in_claims = text(&mut claims, "x-ably-token")?;
        let signed = token.len() - signature.len() - 1;
        Ok(Self {
            key_name: header.kid.take(),
            embedded: header.token.take().or(in_claims),
            claims,
            signed: &token.as_bytes()[..signed],
            signature: part(signature).ok_or_else(|| invalid("the signature is not base64url without padding"))?,
        })
    }

    /// Why one that names no key is refused.
    pub fn without_key(&self) -> &'static str {
        if self.claims.contains_key("user_id") {
            "this is a LetShare token, not an Ably key or token"
        } else {
            "the header kid, the name of the key, is missing"
        }
    }

    /// The native token that it is the envelope of.
    pub fn embedded(&self) -> Option<&str> {
        self.embedded.as_deref()
    }

    pub fn verify(&self, secret: &str) -> Result<(), Fault> {
        let key = SigningKey::new(secret.as_bytes());
        if key.verify_message(self.signed, &self.signature) { Ok(()) } else { Err(invalid("the signature is wrong")) }
    }

    /// Its term, if it is valid at `now`, as far as clocks go (`docs/protocols/ably.md §12.3`).
    ///
    /// # Errors
    /// [`Fault::TokenExpired`]; [`Fault::InvalidJwt`] when a time is missing, wrong, ahead, or the term is
    /// longer than a token may live.
    pub fn term(&self, now: Timestamp, has_revocable_tokens: bool, leeway: &Leeway) -> Result<Term, Fault> {
        let issued = self.time("iat")?;
        let issued = issued.ok_or_else(|| invalid("iat must be specified"))?;
        let expires = self.time("exp")?;
        let expires = expires.ok_or_else(|| invalid("exp must be specified"))?;
        let end = leeway.end(expires, now).ok_or(Fault::TokenExpired)?;
        begun(leeway, "iat", issued, now)?;
        if let Some(begins) = self.time("nbf")? {
            begun(leeway, "nbf", begins, now)?;
        }
        let longest = longest_ttl(has_revocable_tokens);
        if expires.millis().saturating_sub(issued.millis()) > longest {
            let (found, allowed) = (expires.millis().saturating_sub(issued.millis()) / 1_000, longest / 1_000);
            return Err(invalid(format!("exp is {found} s after iat; at most {allowed} s are allowed with this key")));
        }
        Ok(Term { issued, expires: end })
    }

    /// The `exp` of an envelope, if it has one.
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

    /// The claims about its user on certain channels.
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
            let text = value.as_str().ok_or_else(|| not_text(name, value))?;
            claims.push(UserClaim { is_about_rooms, resource: Resource::new(resource), text: text.into() });
        }
        Ok(claims.into())
    }

    fn time(&self, name: &str) -> Result<Option<Timestamp>, Fault> {
        let value = match self.claims.get(name) {
            None | Some(Value::Null) => return Ok(None),
            Some(value) => value,
        };
        value.as_f64().and_then(instant).map(Some).ok_or_else(|| {
            let found = Found::json(value);
            invalid(format!("{name}: found {found}; allowed: a number of seconds since the epoch"))
        })
    }
}

/// As far ahead as a token request may be: neither time makes a token live longer.
fn begun(leeway: &Leeway, claim: &'static str, begins: Timestamp, now: Timestamp) -> Result<(), Fault> {
    let begun = leeway.begun_within(limits::TOKEN_REQUEST_AGE, claim, begins, now);
    begun.map_err(|Ahead { by, allowed }| {
        let (by, allowed) = (by.as_secs_f64().ceil(), allowed.as_secs());
        invalid(format!("{claim} is {by} s ahead of the server's clock; at most {allowed} s are allowed"))
    })
}

fn text(claims: &mut Map<String, Value>, name: &str) -> Result<Option<String>, Fault> {
    match claims.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(value) => Err(not_text(name, &value)),
    }
}

/// Names the kind of the value and not the value, which may be a misplaced token.
fn not_text(name: &str, value: &Value) -> Fault {
    invalid(format!("{}: found {}; allowed: a text", Found::text(name), Found::kind(value)))
}

/// In milliseconds.
pub(super) const fn longest_ttl(has_revocable_tokens: bool) -> u64 {
    let longest = if has_revocable_tokens { limits::REVOCABLE_TOKEN_TTL } else { limits::TOKEN_TTL };
    longest.as_millis() as u64
}
