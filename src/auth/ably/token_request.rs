//! Requests for tokens, signed with a key or sent with it (`docs/protocols/ably.md §12.2`).

use std::fmt;

use secrecy::ExposeSecret;
use serde::{
    Deserialize, Deserializer,
    de::{Error, Visitor},
};

use super::{
    access::AllowedClient,
    credential::{Credential, KeyParts, app_of},
    gate::{Gate, enabled},
    jwt::longest_ttl,
    nonces::Spent,
    server_secret::SigningKey,
    token::{TokenClaims, TokenDetails},
};
use crate::{
    auth::{apps::Key, base64_text, json_body::json_body},
    error::{Fault, Found},
    ids::{AppId, Timestamp},
    limits,
};

/// As on the wire. What is signed is the text of each field, so numbers are kept as they were written.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TokenRequest {
    pub key_name: Option<String>,
    /// Milliseconds; SDKs send a number or a string (trap T59).
    #[serde(deserialize_with = "number_or_text")]
    pub ttl: Option<String>,
    pub capability: Option<String>,
    pub client_id: Option<String>,
    /// Milliseconds since the epoch; number or string.
    #[serde(deserialize_with = "number_or_text")]
    pub timestamp: Option<String>,
    pub nonce: Option<String>,
    pub mac: Option<String>,
}

impl fmt::Debug for TokenRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenRequest({:?}, …)", self.key_name)
    }
}

impl TokenRequest {
    pub fn from_json(body: &[u8]) -> Result<Self, Fault> {
        json_body(body, "not a token request")
    }

    /// The text that `mac` signs.
    fn signed_text(&self, key_name: &str) -> String {
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        [
            key_name.to_owned(),
            text(&self.ttl),
            text(&self.capability),
            text(&self.client_id),
            text(&self.timestamp),
            text(&self.nonce),
        ]
        .map(|line| line + "\n")
        .concat()
    }

    fn ttl(&self, has_revocable_tokens: bool) -> Result<u64, Fault> {
        let Some(text) = self.ttl.as_deref().filter(|text| !text.is_empty()) else {
            return Ok(limits::DEFAULT_TOKEN_TTL.as_millis() as u64);
        };
        let longest = longest_ttl(has_revocable_tokens);
        let ttl = text.parse().ok();
        ttl.filter(|ttl| (1..=longest).contains(ttl)).ok_or_else(|| Fault::BadParameter {
            name: "ttl",
            found: Found::text(text),
            rule: "whole milliseconds, more than 0, at most 24 hours (1 hour with a key whose \
                       tokens can be revoked)",
        })
    }

    /// Checks the time, and gives it back.
    fn current(&self, now: Timestamp) -> Result<Option<Timestamp>, Fault> {
        let Some(text) = &self.timestamp else {
            return Ok(None);
        };
        let millis: u64 = text.parse().map_err(|_| {
            let rule = "milliseconds since the epoch";
            Fault::BadParameter { name: "timestamp", found: Found::text(text), rule }
        })?;
        let age = limits::TOKEN_REQUEST_AGE.as_millis() as u64;
        let off = now.millis().abs_diff(millis);
        if off > age {
            let side = if millis < now.millis() { "ago" } else { "ahead" };
            return Err(Fault::TimestampNotCurrent { seconds: off.div_ceil(1_000), side });
        }
        Ok(Some(Timestamp::from_millis(millis)))
    }
}

/// A token, and what it costs its request.
#[derive(Debug)]
pub struct Granted {
    pub details: TokenDetails,
    /// A signed request: to be on disk before the token is handed out.
    pub spent: Option<Spent>,
}

impl Gate {
    /// A token for a request that came to `/keys/{key_name}/requestToken`. A signed request is spent by it, and only
    /// when nothing else was wrong with it: what is refused costs no place among those that are remembered.
    ///
    /// # Errors
    /// The first row of the table in `docs/protocols/ably.md §12.2` that is not fulfilled.
    pub fn request_token(
        &self,
        key_name: &str,
        request: &TokenRequest,
        credential: Option<&Credential>,
        now: Timestamp,
        is_tls: bool,
    ) -> Result<Granted, Fault> {
        let unauthenticated = |why| Err(Fault::Unauthenticated { why });
        if request.key_name.as_deref().is_some_and(|name| name != key_name) {
            return unauthenticated("keyName is not the key of the path");
        }
        let id = app_of(key_name)?;
        let (_, key) = self.find_key(id, key_name)?;
        match (&request.mac, credential) {
            (Some(mac), _) => verify(&key, request, mac)?,
            (None, Some(basic @ Credential::Basic(text))) => {
                if KeyParts::read(text)?.name != key_name {
                    return unauthenticated("the key is not the one of the path");
                }
                self.check(Some(basic), now, is_tls)?;
            }
            (None, _) => return unauthenticated("the token request is not signed"),
        }
        let key = enabled(key)?;
        let timestamp = request.current(now)?;
        let is_signed = request.mac.is_some();
        let spent = is_signed.then(|| once(key_name, request, timestamp)).transpose()?;
        let ttl = request.ttl(key.has_revocable_tokens)?;
        let asked = request.capability.as_deref();
        let asked = asked.filter(|text| !text.is_empty());
        let is_narrowed = asked.is_some();
        let capability = self.permitted(id, &key, asked, |fault| fault)?.capability.to_string();
        AllowedClient::of_token(request.client_id.as_deref())?;

        let expires = Timestamp::from_millis(now.millis().saturating_add(ttl));
        let claims = TokenClaims {
            key: key_name.split_once('.').map_or("", |(_, key)| key).into(),
            issued: now,
            expires,
            capability: is_narrowed.then(|| capability.clone()),
            client_id: request.client_id.clone(),
        };
        let token = self.seal.seal(id, &claims)?;
        if token.len() > limits::TOKEN_BYTES {
            let (what, size) = ("the token with its capability and clientId", token.len());
            return Err(Fault::TooLarge { what, size, limit: limits::TOKEN_BYTES });
        }
        if let Some(spent) = spent {
            self.nonces.spend(spent, &key.name, || self.accounts.of_app(id), now)?;
        }
        let details = TokenDetails {
            token,
            key_name: key_name.to_owned(),
            issued: now,
            expires,
            capability,
            client_id: claims.client_id,
        };
        Ok(Granted { details, spent })
    }

    /// Takes up what was spent before a restart; false when it is over. Former versions did not keep the name of the key:
    /// the default app pays for those.
    pub fn restore_spent(&self, spent: Spent, key_name: &str, now: Timestamp) -> bool {
        let counts = !spent.is_over(now);
        if counts {
            let app = app_of(key_name).unwrap_or(AppId::DEFAULT);
            self.nonces.restore(spent, &key_name.into(), || self.accounts.of_app(app));
        }
        counts
    }

    /// The requests that are forgotten since this was asked last.
    pub fn forget_spent(&self, now: Timestamp) -> Vec<Spent> {
        self.nonces.take_over(now)
    }

    /// The requests that were granted here and might be taken again.
    pub fn spent(&self, now: Timestamp) -> Vec<Spent> {
        self.nonces.all(now)
    }

    /// The token was not handed out, so its request may come again.
    pub fn release(&self, spent: &Spent) {
        self.nonces.release(spent);
    }
}

/// What a signed request is known by.
fn once(key_name: &str, request: &TokenRequest, timestamp: Option<Timestamp>) -> Result<Spent, Fault> {
    let bad = |name, found, rule| Fault::BadParameter { name, found, rule };
    let rule = "milliseconds since the epoch, in every signed request";
    let timestamp = timestamp.ok_or_else(|| bad("timestamp", Found::nothing(), rule))?;
    // SDKs send at least 16 characters (features spec RSA9c); Ably takes shorter ones.
    let nonce = request.nonce.as_deref().filter(|nonce| !nonce.is_empty());
    let nonce =
        nonce.ok_or_else(|| bad("nonce", Found::optional(request.nonce.as_deref()), "a text that is not empty"))?;
    Ok(Spent::of(key_name, timestamp, nonce))
}

fn verify(key: &Key, request: &TokenRequest, mac: &str) -> Result<(), Fault> {
    let text = request.signed_text(&key.name);
    let signing = SigningKey::new(key.secret.expose_secret().as_bytes());
    let is_right = base64_text::decode(mac.as_bytes()).is_some_and(|mac| signing.verify_message(text.as_bytes(), &mac));
    if is_right { Ok(()) } else { Err(Fault::Unauthenticated { why: "the mac of the token request is wrong" }) }
}

fn number_or_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    struct Text;

    impl Visitor<'_> for Text {
        type Value = Option<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a number or a text")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
            Ok(Some(text.to_owned()))
        }

        fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
            Ok(Some(number.to_string()))
        }

        fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
            Ok(Some(number.to_string()))
        }

        /// Some encoders write every number like this; whole ones print without a point.
        fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
            Ok(Some(number.to_string()))
        }

        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
    }

    deserializer.deserialize_any(Text)
}
