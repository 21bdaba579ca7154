//! The description of an app that was made: the answer to `POST /apps` (`docs/protocols/ably.md §11.13`).

use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};

use crate::{
    auth::apps::{App, Key, Namespace},
    core::rules::Attributes,
};

/// The answer without `endpoint`, `port` and `tls`, which the caller knows. It contains the secrets of the
/// keys.
pub fn describe(app: &App) -> Map<String, Value> {
    let keys: Vec<Value> = app.keys.iter().map(|each| key(each)).collect();
    let namespaces: Vec<Value> = app.namespaces.iter().map(namespace).collect();
    [
        ("appId", json!(app.id.as_str())),
        ("accountId", json!("letshare")),
        ("id", json!(app.id.as_str())),
        ("keys", keys.into()),
        ("namespaces", namespaces.into()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

/// The set-up of an app, as it was asked for, with the ids and secrets that it was given: as it would stand in an operator's file.
pub fn complete(mut setup: Value, app: &App) -> Value {
    setup["id"] = json!(app.id.as_str());
    for (index, key) in app.keys.iter().enumerate() {
        let (_, id) = key.name.split_once('.').unwrap_or_default();
        setup["keys"][index]["id"] = json!(id);
        setup["keys"][index]["secret"] = json!(key.secret.expose_secret());
    }
    setup
}

/// ably-go and ably-python read `id` and `value`, the others the rest.
fn key(key: &Key) -> Value {
    let (name, secret) = (&*key.name, key.secret.expose_secret());
    let id = name.split_once('.').map_or(name, |(_, id)| id);
    json!({
        "id": id,
        "value": secret,
        "keyName": name,
        "keySecret": secret,
        "keyStr": key.reveal(),
        "capability": key.capability.to_string(),
        "revocableTokens": key.has_revocable_tokens,
        "expires": 0,
    })
}

/// What is off is left out.
fn namespace(namespace: &Namespace) -> Value {
    let Attributes { is_persisted, persists_last, is_mutable, is_push_enabled, identified_only, tls_only } =
        namespace.attributes;
    let mut shown = Map::new();
    shown.insert("id".into(), json!(namespace.id));
    for (name, is_on) in [
        ("persisted", is_persisted),
        ("persistLast", persists_last),
        ("mutableMessages", is_mutable),
        ("pushEnabled", is_push_enabled),
        ("authenticated", identified_only),
        ("tlsOnly", tls_only),
    ] {
        if is_on {
            shown.insert(name.into(), json!(true));
        }
    }
    shown.into()
}
