//! JWTs of the design document: HS256, claims `user_id`, `user_type`, `room_id`, `iat`, `exp`
//! (docs/protocols/letshare.md §1.3; the pitfalls are those of docs/goals.md §6).
//!
//! The library checks form, algorithm and signature. Times are judged by `leeway` and the clock that is handed
//! in: the library reads the system's, forgives a minute and does not look at `nbf`.

use std::{collections::HashMap, fmt};

use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, decode_header, encode,
    errors::{Error, ErrorKind},
};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Number, Value, value::RawValue};
use thiserror::Error;

use super::{Leeway, TokenFault, leeway};
use crate::ids::Timestamp;

/// The claims of a checked token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// Never empty.
    pub user_id: String,
    /// Never empty.
    pub room_id: Option<String>,
}

/// As on the wire; a claim of another type is refused by the types here.
#[derive(Clone, Serialize, Deserialize)]
struct WireClaims {
    user_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    room_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    iat: Option<Number>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nbf: Option<Number>,
    exp: Option<Number>,
}

/// The token could not be signed.
#[derive(Debug, Error)]
pub enum MintError {
    #[error("the user must not be empty")]
    NoUser,
    #[error("signing failed: {0}")]
    Signing(#[from] Error),
}

/// Signs and checks with one secret.
pub struct JwtKey {
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
    pub(super) leeway: Leeway,
}

impl JwtKey {
    pub fn new(secret: &SecretString) -> Self {
        let secret = secret.expose_secret().as_bytes();
        // One algorithm, whatever the token's header asks for.
        let mut validation = Validation::new(Algorithm::HS256);
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.required_spec_claims.clear();
        let (encoding, decoding) = (EncodingKey::from_secret(secret), DecodingKey::from_secret(secret));
        Self { encoding, decoding, validation, leeway: Leeway::default() }
    }

    /// The same key for tokens that are signed by others, whose clocks may be off.
    pub fn with_leeway(mut self, leeway: Leeway) -> Self {
        self.leeway = leeway;
        self
    }

    /// The same key for tokens of any audience: their `aud` is not looked at.
    pub fn for_any_audience(mut self) -> Self {
        self.validation.validate_aud = false;
        self
    }

    /// The claims, if the token is one of ours and valid at `now`.
    ///
    /// # Errors
    /// Form and algorithm first, then the signature, then the claims.
    pub fn check(&self, token: &str, now: Timestamp) -> Result<Claims, TokenFault> {
        let claims: WireClaims = self.verify(token)?;
        self.check_time(claims.exp.as_ref(), claims.nbf.as_ref(), now)?;
        let present = |text: &String| !text.is_empty();
        Ok(Claims {
            user_id: claims.user_id.filter(present).ok_or(TokenFault::NoUser)?,
            // The design document's generator writes "" for "no room".
            room_id: claims.room_id.filter(present),
        })
    }

    /// The first of these claims that is there and not empty, if the token is one of ours and valid at `now`.
    pub fn claim(&self, token: &str, names: &[&str], now: Timestamp) -> Result<Option<String>, TokenFault> {
        let claims: Map<String, Value> = self.verify(token)?;
        self.check_time(time(&claims, "exp")?, time(&claims, "nbf")?, now)?;
        let texts = names.iter().filter_map(|name| claims.get(*name)?.as_str());
        let mut texts = texts.filter(|text| !text.is_empty());
        Ok(texts.next().map(str::to_owned))
    }

    /// All claims, if the token is one of ours and valid at `now`, and when it ends, if it ever does.
    ///
    /// # Errors
    /// As [`JwtKey::check`], but `exp` need not be there.
    pub fn claims(&self, token: &str, now: Timestamp) -> Result<(Map<String, Value>, Option<Timestamp>), TokenFault> {
        let claims: Map<String, Value> = self.verify(token)?;
        let (exp, nbf) = (time(&claims, "exp")?, time(&claims, "nbf")?);
        let end = exp.map(|exp| self.end(exp, now)).transpose()?;
        self.check_begin(nbf, now)?;
        Ok((claims, end))
    }

    /// Whom the claim `name` names, a text or a whole number digit by digit, and when the token ends; one without
    /// `exp` never does (`docs/protocols/group.md §4`).
    pub fn subject(&self, token: &str, name: &str, now: Timestamp) -> Result<(String, Option<Timestamp>), TokenFault> {
        // Not as numbers: an id beyond 2^53 would lose its last digits.
        let claims: HashMap<String, Box<RawValue>> = self.verify(token)?;
        let time = |name| match claims.get(name) {
            None => Ok(None),
            Some(raw) => match serde_json::from_str::<Number>(raw.get()) {
                Ok(time) => Ok(Some(time)),
                Err(_) => Err(TokenFault::BadClaims),
            },
        };
        let (exp, nbf) = (time("exp")?, time("nbf")?);
        let expires = exp.map(|exp| self.end(&exp, now)).transpose()?;
        self.check_begin(nbf.as_ref(), now)?;
        let subject = claims.get(name).ok_or(TokenFault::NoUser)?.get();
        let is_whole = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
        let subject = match subject.as_bytes().first() {
            Some(b'"') => serde_json::from_str(subject).map_err(|_| TokenFault::BadClaims)?,
            _ if is_whole(subject) => subject.to_owned(),
            _ => return Err(TokenFault::BadClaims),
        };
        if subject.is_empty() {
            return Err(TokenFault::NoUser);
        }
        Ok((subject, expires))
    }

    /// When a token with these times ends: `exp` is required, `nbf` is not.
    pub(super) fn check_time(
        &self,
        exp: Option<&Number>,
        nbf: Option<&Number>,
        now: Timestamp,
    ) -> Result<Timestamp, TokenFault> {
        let end = self.end(exp.ok_or(TokenFault::Invalid)?, now)?;
        self.check_begin(nbf, now)?;
        Ok(end)
    }

    fn end(&self, exp: &Number, now: Timestamp) -> Result<Timestamp, TokenFault> {
        let exp = instant(exp).ok_or(TokenFault::Invalid)?;
        self.leeway.end(exp, now).ok_or(TokenFault::Expired)
    }

    fn check_begin(&self, nbf: Option<&Number>, now: Timestamp) -> Result<(), TokenFault> {
        let Some(nbf) = nbf else {
            return Ok(());
        };
        let begins = instant(nbf).ok_or(TokenFault::Invalid)?;
        self.leeway.begun("nbf", begins, now).map_err(|_| TokenFault::Invalid)
    }

    /// The claims of a token that carries our signature, whatever the time.
    pub(super) fn verify<C: DeserializeOwned + Clone>(&self, token: &str) -> Result<C, TokenFault> {
        let header = decode_header(token).map_err(|_| TokenFault::Unreadable("token is malformed"))?;
        if header.alg != Algorithm::HS256 {
            return Err(TokenFault::Unreadable("unexpected signing method"));
        }
        // RFC 7515 §4.1.11: a token that names an unknown extension here must be refused.
        if header.crit.is_some() {
            return Err(TokenFault::Unreadable("unknown critical header"));
        }
        let token = decode::<C>(token, &self.decoding, &self.validation);
        Ok(token.map_err(|error| fault(error.kind()))?.claims)
    }

    /// Signs any claims.
    pub(super) fn sign<C: Serialize>(&self, claims: &C) -> Result<String, Error> {
        encode(&Header::new(Algorithm::HS256), claims, &self.encoding)
    }

    /// A token for `user`, for one `room` only if given, valid for `hours` from `now`.
    ///
    /// # Errors
    /// When the user is empty.
    pub fn mint(&self, user: &str, room: Option<&str>, hours: u32, now: Timestamp) -> Result<String, MintError> {
        if user.is_empty() {
            return Err(MintError::NoUser);
        }
        let now = now.millis() / 1_000;
        let claims = WireClaims {
            user_id: Some(user.to_owned()),
            user_type: None,
            room_id: room.map(str::to_owned),
            iat: Some(now.into()),
            nbf: None,
            exp: Some((now + u64::from(hours) * 3_600).into()),
        };
        Ok(self.sign(&claims)?)
    }
}

/// A claim that is an instant.
fn time<'a>(claims: &'a Map<String, Value>, name: &str) -> Result<Option<&'a Number>, TokenFault> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::Number(time)) => Ok(Some(time)),
        Some(_) => Err(TokenFault::BadClaims),
    }
}

impl fmt::Debug for JwtKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JwtKey(…)")
    }
}

/// The claims as they stand, without any check: for showing them to an operator, never for letting in.
pub fn claims_unchecked(token: &str) -> Option<serde_json::Map<String, serde_json::Value>> {
    jsonwebtoken::dangerous::insecure_decode(token).map(|data| data.claims).ok()
}

fn instant(seconds: &Number) -> Option<Timestamp> {
    seconds.as_f64().and_then(leeway::instant)
}

fn fault(kind: &ErrorKind) -> TokenFault {
    match kind {
        ErrorKind::InvalidSignature => TokenFault::Unreadable("signature is invalid"),
        // The header was read before, so this is about the claims.
        ErrorKind::Json(_) | ErrorKind::InvalidClaimFormat(_) => TokenFault::BadClaims,
        ErrorKind::InvalidAudience => TokenFault::Invalid,
        _ => TokenFault::Unreadable("token is malformed"),
    }
}
