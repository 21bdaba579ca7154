//! Ably's credentials: the good, a table of the bad (docs/goals.md §6, R17), token requests, identities.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bad;
mod good;
mod identity;
mod requests;

use std::sync::Arc;

use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD, Engine as _};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{server_secret::SigningKey, *};
use crate::{
    auth::{
        Leeway,
        apps::{Apps, setup::AppSetup},
    },
    clock::Clock,
    core::{budget::Account, capability::Operation},
    error::Fault,
    ids::{AppId, ClientId, ConnectionId, Timestamp},
};

/// 2025-01-01, in seconds and in milliseconds.
const NOW_S: u64 = 1_735_689_600;
const NOW: Timestamp = Timestamp::from_millis(NOW_S * 1_000);
const MINUTE: u64 = 60_000;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
/// Of every key of the test app: `abc123.<key>:<SECRET>`.
const ROOT: &str = "abc123.root";

const FILE: &str = r#"[
    {"id": "root"},
    {"id": "narrow", "capability": "{\"chat:*\":[\"publish\",\"subscribe\"]}"},
    {"id": "short", "revocableTokens": true},
    {"id": "revoked", "status": "revoked"},
    {"id": "removed", "status": "removed"}
]"#;

struct Authority {
    gate: Gate,
    apps: Arc<Apps>,
}

/// A server with the apps `abc123` and `other1`, which have the same keys, and the default one.
fn authority() -> Authority {
    authority_with(true)
}

fn authority_with(allows_keys_over_http: bool) -> Authority {
    let mut keys: Value = serde_json::from_str(FILE).unwrap();
    for key in keys.as_array_mut().unwrap() {
        key["secret"] = json!(SECRET);
    }
    let app = |id: &str| {
        let setup: AppSetup = serde_json::from_value(json!({"id": id, "keys": keys})).unwrap();
        setup.into_app(NOW).unwrap()
    };
    let apps = [app("abc123"), app("other1")];
    let apps = Arc::new(Apps::new(apps, Clock::manual(NOW)));
    let gate = Gate::new(Arc::clone(&apps), nobody_counts(), &server_secret(), allows_keys_over_http, leeway());
    Authority { gate, apps }
}

fn nobody_counts() -> Arc<Account> {
    Arc::new(Account::server(usize::MAX))
}

/// Clocks agree to the second, but for what is ahead.
fn leeway() -> Leeway {
    Leeway::default()
}

fn server_secret() -> ServerSecret {
    ServerSecret::new([7; 32])
}

fn key(name: &str) -> Credential {
    Credential::key(&format!("{name}:{SECRET}"))
}

impl Authority {
    fn check(&self, credential: &Credential) -> Result<Access, Fault> {
        self.gate.check(Some(credential), NOW, false)
    }

    fn token_at(&self, token: &str, now: Timestamp) -> Result<Access, Fault> {
        self.gate.check(Some(&Credential::token(token)), now, false)
    }

    fn token(&self, token: &str) -> Result<Access, Fault> {
        self.token_at(token, NOW)
    }

    /// A token that was asked for with the key itself.
    fn issue(&self, key_name: &str, request: &Value) -> Result<TokenDetails, Fault> {
        let request = TokenRequest::from_json(request.to_string().as_bytes())?;
        grant(&self.gate, key_name, &request, Some(&key(key_name)), NOW, false)
    }
}

/// What the bearer of a token may do whose key has revocable ones.
pub(super) fn revocable(capability: &str, client_id: &str) -> Access {
    let authority = authority();
    let asked = json!({"capability": capability, "clientId": client_id});
    let details = authority.issue("abc123.short", &asked).unwrap();
    authority.token(&details.token).unwrap()
}

fn grant(
    gate: &Gate,
    key_name: &str,
    request: &TokenRequest,
    credential: Option<&Credential>,
    now: Timestamp,
    is_tls: bool,
) -> Result<TokenDetails, Fault> {
    let granted = gate.request_token(key_name, request, credential, now, is_tls);
    granted.map(|granted| granted.details)
}

fn later(millis: u64) -> Timestamp {
    Timestamp::from_millis(NOW.millis() + millis)
}

fn url(text: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(text)
}

/// A JWT with these parts, signed with `secret` whatever its header says.
fn signed(header: &Value, claims: &Value, secret: &str) -> String {
    let text = format!("{}.{}", url(header.to_string()), url(claims.to_string()));
    let signature = SigningKey::new(secret.as_bytes()).sign_message(text.as_bytes());
    format!("{text}.{}", url(signature))
}

fn header(key_name: &str) -> Value {
    json!({"typ": "JWT", "alg": "HS256", "kid": key_name})
}

/// A good JWT of `key_name` with `changes`; null takes a claim away.
fn jwt(key_name: &str, changes: &Value) -> String {
    let mut claims = json!({"iat": NOW_S, "exp": NOW_S + 60});
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    signed(&header(key_name), &claims, SECRET)
}

/// What `mac` has to be, written apart from the code that checks it (docs/protocols/ably.md §12.2).
fn mac(secret: &str, lines: [&str; 6]) -> String {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    BASE64_STANDARD.encode(SigningKey::new(secret.as_bytes()).sign_message(text.as_bytes()))
}
