//! What the admin API asks of rooms that `ops` may not name: by which host and page somebody comes, Ably's keys and names.

use std::sync::Arc;

use actix_web::{
    HttpRequest,
    http::header::{FORWARDED, HOST, HeaderMap, ORIGIN, VIA, X_FORWARDED_FOR},
};
use argon2::PasswordHash;
use futures_util::{FutureExt as _, future::LocalBoxFuture};
use ipnet::IpNet;
use secrecy::{ExposeSecret as _, SecretString};

use super::{cluster, prepare::or_complain};
use crate::{
    actors::{broker::Broker, refusals::Reason},
    auth::{
        ably::{Credential, RevocationRequest, TokenRequest},
        apps::{Apps, KeyStatus},
    },
    config::Draft,
    core::{
        command::Publish,
        message::{Data, EntryId, Message, Payload},
    },
    edge::{client_address::client_address_of, own_hosts::OwnHosts, websocket},
    error::Fault,
    ids::{AppId, ClientId},
    live::Live,
    ops::admin::{Hooks, KeyOutcome, NewMessage, door::Caller},
    protocols::{
        ably::{self, name::Name, revocations::StoredRevocations},
        letshare,
    },
};

/// The password of the settings, or of the file that they name.
pub fn password(draft: &mut Draft) -> SecretString {
    let console = draft.config().console.clone();
    if !console.enabled {
        return SecretString::default();
    }
    let is_hash = |text: &str| !text.starts_with("$argon2") || PasswordHash::new(text).is_ok();
    const NO_HASH: &str = "it begins as an Argon2 hash and is none; `letshare-server admin hash` makes one";
    let read = console.password_file.map(|path| {
        cluster::read("console.password_file", &path, |text| match text {
            "" => Err("it is empty"),
            text if is_hash(text) => Ok(text.into()),
            _ => Err(NO_HASH),
        })
    });
    if !is_hash(console.password.expose_secret()) {
        draft.complain(&["console.password"], NO_HASH.to_owned());
    }
    read.and_then(|read| or_complain(draft, &["console.password_file"], read)).unwrap_or(console.password)
}

pub struct AdminHooks {
    pub broker: Arc<Broker>,
    pub ably: Arc<ably::endpoint::Shared>,
    pub apps: Arc<Apps>,
    pub revocations: Option<Arc<StoredRevocations>>,
    /// None: it is switched off.
    pub letshare: Option<Arc<letshare::Shared>>,
    pub own_hosts: Arc<Live<OwnHosts>>,
    pub trusted_proxies: Arc<Live<Vec<IpNet>>>,
}

impl AdminHooks {
    /// Of each key of an app that may be used: its name, and what proves it.
    fn keys(&self, app: AppId) -> Result<Vec<(String, Credential)>, Fault> {
        let app = self.apps.find(app).ok_or(Fault::NotFound { what: "app" })?;
        let usable = app.keys.iter().filter(|key| key.status == KeyStatus::Enabled);
        Ok(usable.map(|key| (key.name.to_string(), Credential::key(&key.reveal()))).collect())
    }
}

impl Hooks for AdminHooks {
    fn caller(&self, request: &HttpRequest) -> Result<Caller, &'static str> {
        let (headers, own_hosts) = (request.headers(), self.own_hosts.get());
        let address = client_address_of(request, &self.trusted_proxies.get()).to_canonical();
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let host = text(HOST).unwrap_or_default();
        let is_own = |origin: &str| own_hosts.is_own_page(origin, host);
        let why = if !own_hosts.serve(headers) {
            // A page of a host name that somebody pointed at this machine reads as same-origin.
            "the host that was asked for is not in server.public_hosts"
        } else if headers.contains_key(ORIGIN) && !text(ORIGIN).is_some_and(is_own) {
            "pages of other origins may not use the admin API"
        } else {
            let is_local = address.is_loopback() && !is_forwarded(headers) && own_hosts.is_loopback(host);
            return Ok(Caller { address, is_encrypted: websocket::is_encrypted(request), is_local });
        };
        self.broker.refused(Reason::Origin, Some(address), || format!("the admin API: {why}"));
        Err(why)
    }

    fn publish(&self, app: AppId, message: NewMessage) -> LocalBoxFuture<'static, Result<String, Fault>> {
        let (broker, limit) = (Arc::clone(&self.broker), self.ably.settings.max_message_bytes);
        // Rooms of LetShare are in the app `shared`, whether or not Ably's clients have it.
        let is_known = app == AppId::DEFAULT || self.apps.find(app).is_some();
        async move {
            if !is_known {
                return Err(Fault::NotFound { what: "app" });
            }
            let name = Name::parse(message.channel)?;
            if name.qualifier.is_some() {
                return Err(Fault::NotFound { what: "a channel that can be published to" });
            }
            let payload = match message.data {
                None => Payload::default(),
                Some(serde_json::Value::String(text)) => {
                    Payload { data: Data::Text(text.into()), ..Payload::default() }
                }
                Some(json) => Payload::json(json.to_string().into()),
            };
            let client_id = message.client_id.and_then(ClientId::new);
            let name_of_message = message.name.unwrap_or_default().into();
            let message = Message { name: name_of_message, payload, client_id, extras: None };
            let size = message.size();
            if size > limit {
                return Err(Fault::TooLarge { what: "the message (name, clientId and data)", size, limit });
            }
            let published = broker.publish(&name.channel(app), Publish::message(EntryId::Serial, message)).await?;
            Ok(published.serial.to_string())
        }
        .boxed_local()
    }

    /// As a client with each key would (`protocols::ably::rest::revocation`).
    fn revoke(&self, app: AppId, client_id: String) -> LocalBoxFuture<'static, Result<Vec<KeyOutcome>, Fault>> {
        let (keys, ably, broker) = (self.keys(app), Arc::clone(&self.ably), Arc::clone(&self.broker));
        let revocations = self.revocations.clone();
        async move {
            let mut outcomes = Vec::new();
            for (key, credential) in keys? {
                let targets = vec![format!("clientId:{client_id}")];
                let request = RevocationRequest { targets, issued_before: None, allow_reauth_margin: false };
                let revoked = ably.gate.revoke(&key, &request, Some(&credential), broker.clock.now(), true);
                let outcome = match revoked {
                    Err(fault) => Err(fault),
                    Ok(outcome) => {
                        if let Some(revocations) = &revocations {
                            revocations.keep(&outcome).await?;
                        }
                        outcome.decided.into_iter().collect::<Result<Vec<_>, _>>().map(drop)
                    }
                };
                let reason = outcome.err().map(|fault| fault.to_string());
                outcomes.push(KeyOutcome { key, revoked: reason.is_none(), reason });
            }
            broker.credentials_changed();
            Ok(outcomes)
        }
        .boxed_local()
    }

    fn token(&self, app: AppId) -> Result<String, Fault> {
        let keys = self.keys(app)?;
        let (key, credential) = keys.first().ok_or(Fault::NotFound { what: "a key of this app" })?;
        let now = self.broker.clock.now();
        let request = TokenRequest { timestamp: Some(now.millis().to_string()), ..TokenRequest::default() };
        let granted = self.ably.gate.request_token(key, &request, Some(credential), now, true)?;
        Ok(granted.details.token)
    }

    fn room_token(&self, user: &str, room: &str) -> Result<String, Fault> {
        let letshare = self.letshare.as_ref().ok_or(Fault::NotFound { what: "LetShare room (letshare.enabled)" })?;
        letshare.grant(user, room).ok_or(Fault::Busy)
    }
}

/// A proxy stands in between.
fn is_forwarded(headers: &HeaderMap) -> bool {
    [FORWARDED, VIA, X_FORWARDED_FOR].iter().any(|name| headers.contains_key(name))
}
