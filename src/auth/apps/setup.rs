//! How an app is described: in the body of `POST /apps` (`docs/protocols/ably.md §11.13`), and with ids and
//! secrets beside it in the operator's file of apps.
//!
//! A description is judged as a whole: every fault with its place, so that an operator mends a file once.

mod answer;
mod fixtures;

use std::{collections::BTreeSet, fmt, sync::Arc};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use rand::RngExt as _;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::Value;

use super::{App, Key, KeyStatus, Namespace};
use crate::{
    auth::json_body::json_body,
    core::{capability::Capability, rules::Attributes},
    error::Fault,
    ids::{AppId, Timestamp},
    limits,
};

pub use answer::{complete, describe};

/// The description of an app.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AppSetup {
    /// In the file only.
    pub id: Option<String>,
    pub keys: Vec<KeySetup>,
    pub namespaces: Vec<NamespaceSetup>,
    pub channels: Vec<ChannelSetup>,
    pub limits: LimitsSetup,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KeySetup {
    /// What follows the app's id in the name of the key. In the file only.
    pub id: Option<String>,
    /// In the file only.
    pub secret: Option<SecretString>,
    /// JSON text; none = every operation on all channels.
    pub capability: Option<String>,
    pub revocable_tokens: bool,
    pub status: KeyStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NamespaceSetup {
    pub id: String,
    pub persisted: bool,
    pub persist_last: bool,
    pub mutable_messages: bool,
    pub push_enabled: bool,
    /// For identified clients only.
    pub authenticated: bool,
    pub tls_only: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ChannelSetup {
    pub name: String,
    pub presence: Vec<FixtureSetup>,
}

/// A member that is always present.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FixtureSetup {
    pub client_id: String,
    pub data: Value,
    pub encoding: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LimitsSetup {
    pub presence: PresenceLimits,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PresenceLimits {
    pub max_members: Option<usize>,
}

/// What is wrong with a set-up, and where: `keys[1].capability`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetupFault {
    pub place: String,
    pub fault: Fault,
}

impl fmt::Display for SetupFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.fault {
            // Nothing was requested: it stands in a file.
            Fault::Malformed { what } => write!(f, "{}: {what}", self.place),
            fault => write!(f, "{}: {fault}", self.place),
        }
    }
}

/// Who has written a description.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Author {
    /// Brings ids and secrets.
    Operator,
    /// Gets ids and secrets from the server.
    Anybody,
}

impl AppSetup {
    pub fn from_json(body: &[u8]) -> Result<Self, Fault> {
        json_body(body, "not the description of an app: keys, namespaces, channels, limits")
    }

    /// A sandbox app named `id`, with ids and secrets drawn for its keys.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn into_sandbox_app(self, id: AppId, now: Timestamp) -> Result<App, Fault> {
        let mut faults = Faults::default();
        let mut app = self.build(id, Author::Anybody, now, &mut faults);
        app.is_sandbox = true;
        match faults.0.into_iter().next() {
            None => Ok(app),
            Some(SetupFault { fault, .. }) => Err(fault),
        }
    }

    /// The app of an operator's file.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn into_app(self, now: Timestamp) -> Result<App, Vec<SetupFault>> {
        let mut faults = Faults::default();
        let id = self.id.as_deref().and_then(AppId::parse);
        if id.is_none() {
            let rule = "an app needs an id of exactly six characters out of A-Z a-z 0-9 _ -";
            faults.add("id", rule);
        }
        let id = id.unwrap_or(AppId::DEFAULT);
        let app = self.build(id, Author::Operator, now, &mut faults);
        if faults.0.is_empty() { Ok(app) } else { Err(faults.0) }
    }

    fn build(self, id: AppId, author: Author, now: Timestamp, faults: &mut Faults) -> App {
        for (part, count) in
            [("keys", self.keys.len()), ("namespaces", self.namespaces.len()), ("channels", self.channels.len())]
        {
            if count > limits::APP_PARTS {
                faults.add(part, "more entries than an app may have");
                return App::new(id);
            }
        }
        let most = self.limits.presence.max_members;
        App {
            keys: keys(id, self.keys, author, faults),
            namespaces: namespaces(self.namespaces, faults),
            presence_members: most.unwrap_or(limits::PRESENCE_MEMBERS),
            fixtures: fixtures::place(self.channels, now, faults),
            ..App::new(id)
        }
    }
}

fn keys(app: AppId, setups: Vec<KeySetup>, author: Author, faults: &mut Faults) -> Vec<Arc<Key>> {
    let mut seen = BTreeSet::new();
    let mut keys = Vec::with_capacity(setups.len());
    for (index, setup) in setups.into_iter().enumerate() {
        let place = |field| format!("keys[{index}].{field}");
        let (id, secret) = match author {
            Author::Operator => {
                let id = setup.id.unwrap_or_default();
                if !is_key_id(&id) {
                    let rule = "a key needs an id of 1 to 64 characters out of A-Z a-z 0-9 _ -";
                    faults.add(place("id"), rule);
                }
                let secret = setup.secret.unwrap_or_default();
                if !is_key_secret(secret.expose_secret()) {
                    let rule = "a key needs a secret of 16 to 512 characters without white space, \
                                `:` and `.`, for example one made with `openssl rand -hex 32`";
                    faults.add(place("secret"), rule);
                }
                (id, secret)
            }
            Author::Anybody => (random_text::<6>(), random_text::<32>().into()),
        };
        if !seen.insert(id.clone()) {
            faults.add(place("id"), "the id of another key of this app");
        }
        let capability = match setup.capability.as_deref().map(Capability::parse) {
            None => Capability::all_channels(),
            Some(parsed) => parsed.unwrap_or_else(|fault| {
                faults.tell(place("capability"), fault);
                Capability::default()
            }),
        };
        keys.push(Arc::new(Key {
            name: format!("{app}.{id}").into(),
            secret,
            capability: Arc::new(capability),
            has_revocable_tokens: setup.revocable_tokens,
            status: setup.status,
        }));
    }
    keys
}

fn namespaces(setups: Vec<NamespaceSetup>, faults: &mut Faults) -> Vec<Namespace> {
    let mut seen = BTreeSet::new();
    let mut rules = Vec::with_capacity(setups.len());
    for (index, setup) in setups.into_iter().enumerate() {
        let place = || format!("namespaces[{index}].id");
        if setup.id.is_empty() || setup.id.contains(':') {
            let rule = "a namespace needs an id: what stands before the first colon of its channels";
            faults.add(place(), rule);
        }
        if !seen.insert(setup.id.clone()) {
            faults.add(place(), "the id of another namespace of this app");
        }
        rules.push(Namespace {
            id: setup.id,
            attributes: Attributes {
                is_persisted: setup.persisted,
                persists_last: setup.persist_last,
                is_mutable: setup.mutable_messages,
                is_push_enabled: setup.push_enabled,
                identified_only: setup.authenticated,
                tls_only: setup.tls_only,
            },
        });
    }
    rules
}

fn is_key_id(id: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    (1..=64).contains(&id.len()) && id.bytes().all(is_plain)
}

/// With a token, guesses of the secret can be tried offline, so it must not be short; Ably's
/// oldest keys have 16 characters of base64. ably-js takes no key whose secret has a colon or a dot.
fn is_key_secret(secret: &str) -> bool {
    let is_bad = |symbol: char| symbol.is_whitespace() || symbol.is_control() || matches!(symbol, ':' | '.');
    (16..=512).contains(&secret.len()) && !secret.contains(is_bad)
}

/// base64url of `N` random bytes.
pub(in crate::auth) fn random_text<const N: usize>() -> String {
    BASE64_URL_SAFE_NO_PAD.encode(rand::rng().random::<[u8; N]>())
}

#[derive(Default)]
struct Faults(Vec<SetupFault>);

impl Faults {
    fn add(&mut self, place: impl Into<String>, what: &'static str) {
        self.tell(place, Fault::Malformed { what: what.into() });
    }

    fn tell(&mut self, place: impl Into<String>, fault: Fault) {
        let place = place.into();
        self.0.push(SetupFault { place, fault });
    }
}
