//! Decides about credentials, in the order and with the codes of `docs/protocols/ably.md §4.2, §12.1`.
//!
//! A string without an app id cannot be asked about anywhere and is 40101; an unknown app or key is
//! 40400; only then is it looked at whether a secret or signature is right. A garbage token is never a
//! token error, else clients would fetch new ones for ever.

use std::sync::Arc;

use secrecy::ExposeSecret;

use super::{
    access::{Access, AllowedClient},
    capabilities::Capabilities,
    credential::{Credential, KeyParts, app_of},
    jwt::{Jwt, invalid, is_jwt, token_of_encrypted},
    nonces::Nonces,
    revocation::Revocations,
    server_secret::ServerSecret,
    token::{TokenClaims, TokenSeal},
};
use crate::{
    auth::{
        Leeway,
        apps::{App, Apps, Key, KeyStatus},
    },
    core::{
        budget::{AppAccounts, Charge, Kind},
        capability::Capability,
    },
    error::{Fault, Found},
    ids::{AppId, Timestamp},
    limits,
};

/// One for the whole server.
#[derive(Debug)]
pub struct Gate {
    apps: Arc<Apps>,
    /// Who pays for what is remembered.
    pub(super) accounts: Arc<dyn AppAccounts>,
    pub(super) seal: TokenSeal,
    pub(super) nonces: Nonces,
    pub(super) revocations: Revocations,
    capabilities: Capabilities,
    allows_keys_over_http: bool,
    /// Of the JWTs that customers sign.
    leeway: Leeway,
}

impl Gate {
    /// # Errors
    /// [`Fault::NotFound`]: the app was deleted. Those of the operator live on for who is connected.
    pub fn check_app(&self, app: &App) -> Result<(), Fault> {
        match app.is_sandbox && self.apps.find(app.id).is_none() {
            true => Err(Fault::NotFound { what: "app" }),
            false => Ok(()),
        }
    }

    /// `allows_keys_over_http`: keys may come without TLS (`docs/protocols/ably.md §12.8`).
    pub fn new(
        apps: Arc<Apps>,
        accounts: Arc<dyn AppAccounts>,
        secret: &ServerSecret,
        allows_keys_over_http: bool,
        leeway: Leeway,
    ) -> Self {
        Self {
            apps,
            accounts,
            seal: TokenSeal::new(secret),
            nonces: Nonces::default(),
            revocations: Revocations::default(),
            capabilities: Capabilities::default(),
            allows_keys_over_http,
            leeway,
        }
    }

    /// What the credential gives at `now`. `is_tls`: it was encrypted on the way.
    ///
    /// # Errors
    /// The first thing that is wrong with it; [`Fault::Unauthenticated`] when there is none.
    pub fn check(&self, credential: Option<&Credential>, now: Timestamp, is_tls: bool) -> Result<Access, Fault> {
        match credential {
            None => Err(Fault::Unauthenticated { why: "the request has none" }),
            Some(Credential::Basic(key)) => self.check_key(&KeyParts::read(key)?, is_tls),
            Some(Credential::Token(token)) => {
                let token = token.expose_secret();
                if is_jwt(token)
                    && let Some(inner) = token_of_encrypted(token)
                {
                    self.check_embedded(&inner?, now)
                } else if is_jwt(token) {
                    self.check_jwt(Jwt::read(token)?, now)
                } else {
                    self.check_token(token, now)
                }
            }
        }
    }

    fn check_key(&self, parts: &KeyParts<'_>, is_tls: bool) -> Result<Access, Fault> {
        if !is_tls && !self.allows_keys_over_http {
            return Err(Fault::KeyWithoutTls);
        }
        let (app, key) = self.find_key(parts.app, parts.name)?;
        if !key.has_secret(parts.secret) {
            return Err(Fault::Unauthenticated { why: "the secret of the key is wrong" });
        }
        let key = enabled(key)?;
        Ok(Access {
            capability: Arc::clone(&key.capability),
            _paid: None,
            app,
            key,
            client_id: AllowedClient::Any,
            issued: None,
            expires: None,
            is_basic: true,
            revocation_key: None,
            user_claims: Arc::default(),
        })
    }

    fn check_token(&self, token: &str, now: Timestamp) -> Result<Access, Fault> {
        let id = app_of(token)?;
        let app = self.find_app(id)?;
        if token.len() > limits::TOKEN_BYTES {
            return Err(Fault::InvalidToken);
        }
        let TokenClaims { key, issued, expires, capability, client_id } = self.seal.open(id, token)?;
        // The token is ours, so the key was there.
        let key = app.key(&format!("{id}.{key}")).ok_or(Fault::KeyRemoved)?;
        let key = enabled(present(Arc::clone(key))?)?;
        if now >= expires {
            return Err(Fault::TokenExpired);
        }
        let Permitted { capability, paid } =
            self.permitted(id, &key, capability.as_deref(), |_| Fault::InvalidToken)?;
        let access = Access {
            capability,
            _paid: paid,
            app,
            key,
            client_id: AllowedClient::of_token(client_id.as_deref())?,
            issued: Some(issued),
            expires: Some(expires),
            is_basic: false,
            revocation_key: None,
            user_claims: Arc::default(),
        };
        self.not_revoked(access, now)
    }

    fn check_jwt(&self, mut jwt: Jwt<'_>, now: Timestamp) -> Result<Access, Fault> {
        if let Some(token) = jwt.embedded() {
            return self.check_envelope(&jwt, token, now);
        }
        let name = jwt.key_name.take().ok_or_else(|| invalid(jwt.without_key()))?;
        // Whatever the form of the name is (§4.2): the suites ask for `invalid.invalid`.
        let id = app_of(&name).map_err(|_| Fault::NotFound { what: "app" })?;
        let (app, key) = self.find_key(id, &name)?;
        jwt.verify(key.secret.expose_secret())?;
        let key = enabled(key)?;
        let term = jwt.term(now, key.has_revocable_tokens, &self.leeway)?;
        let asked = jwt.take_text("x-ably-capability")?;
        let asked = asked.filter(|text| !text.is_empty());
        let unreadable = |fault| invalid(format!("x-ably-capability: {fault}"));
        let Permitted { capability, paid } = self.permitted(id, &key, asked.as_deref(), unreadable)?;
        let client_id = jwt.take_text("x-ably-clientId")?;
        let revocation_key = jwt.take_text("x-ably-revocation-key")?;
        let access = Access {
            capability,
            _paid: paid,
            app,
            key,
            client_id: AllowedClient::of_token(client_id.as_deref())?,
            // Its clock may be ahead of ours: a revocation that is made from now on concerns it all the same.
            issued: Some(term.issued.min(now)),
            expires: Some(term.expires),
            is_basic: false,
            revocation_key: revocation_key.map(Into::into),
            user_claims: jwt.user_claims()?,
        };
        self.not_revoked(access, now)
    }

    /// A JWT that a customer has signed for other servers, with one of our tokens in it. We do not know its
    /// key; so nothing of it is believed but that it ends earlier than its token.
    fn check_envelope(&self, jwt: &Jwt<'_>, token: &str, now: Timestamp) -> Result<Access, Fault> {
        let access = self.check_embedded(token, now)?;
        let end = jwt.end_of_envelope()?;
        let end = end.map(|end| self.leeway.end(end, now).ok_or(Fault::TokenExpired)).transpose()?;
        let expires = end.into_iter().chain(access.expires).min();
        Ok(Access { expires, ..access })
    }

    /// The token in an envelope, which is a native one or a JWT (docs/protocols/ably.md §12.4), and no envelope again.
    fn check_embedded(&self, token: &str, now: Timestamp) -> Result<Access, Fault> {
        if !is_jwt(token) {
            return self.check_token(token, now);
        }
        let inner = Jwt::read(token)?;
        if inner.embedded().is_some() {
            return Err(invalid("x-ably-token is a JWT with a token in it; it must be a token itself"));
        }
        self.check_jwt(inner, now)
    }

    /// What a token of `key` may do that asks for the capability of this text, or for none.
    ///
    /// # Errors
    /// That of `unreadable`, made of why the text is no capability; [`Fault::NotPermitted`] where the key
    /// permits none of it; [`Fault::MemoryFull`] where the app has no room for it.
    pub(super) fn permitted(
        &self,
        app: AppId,
        key: &Key,
        asked: Option<&str>,
        unreadable: impl FnOnce(Fault) -> Fault,
    ) -> Result<Permitted, Fault> {
        let Some(text) = asked else {
            return Ok(Permitted { capability: Arc::clone(&key.capability), paid: None });
        };
        let read = || narrowed(key, &Capability::parse(text).map_err(unreadable)?);
        if text.len() < limits::CAPABILITY_KNOWN_BYTES {
            return Ok(Permitted { capability: read()?, paid: None });
        }
        let known = self.capabilities.find(text, &key.capability);
        if let Some((capability, Some(paid))) = known {
            return Ok(Permitted { capability, paid: Some(paid) });
        }
        let capability = known.map_or_else(read, |(capability, _)| Ok(capability))?;
        let cost = text.len() * limits::CAPABILITY_COST;
        let paid = self.accounts.of_app(app).charge(Kind::Connection, cost).map_err(|full| full.to_fault())?;
        let paid = Arc::new(paid);
        self.capabilities.note(text, &key.capability, &capability, &paid);
        Ok(Permitted { capability, paid: Some(paid) })
    }

    fn find_app(&self, id: AppId) -> Result<Arc<App>, Fault> {
        self.apps.find(id).ok_or_else(|| self.apps.unknown())
    }

    /// A key that has not been removed; it may be revoked.
    pub(super) fn find_key(&self, id: AppId, name: &str) -> Result<(Arc<App>, Arc<Key>), Fault> {
        let app = self.find_app(id)?;
        let key = app.key(name).ok_or(Fault::KeyUnknown)?;
        let key = present(Arc::clone(key))?;
        Ok((app, key))
    }
}

/// What a token may do, and who pays for that being kept.
pub(super) struct Permitted {
    pub capability: Arc<Capability>,
    pub paid: Option<Arc<Charge>>,
}

fn present(key: Arc<Key>) -> Result<Arc<Key>, Fault> {
    match key.status {
        KeyStatus::Removed => Err(Fault::KeyRemoved),
        KeyStatus::Enabled | KeyStatus::Revoked => Ok(key),
    }
}

/// The key, once the client has proved to have it.
pub(super) fn enabled(key: Arc<Key>) -> Result<Arc<Key>, Fault> {
    match key.status {
        KeyStatus::Enabled => Ok(key),
        KeyStatus::Revoked => Err(Fault::KeyRevoked),
        KeyStatus::Removed => Err(Fault::KeyRemoved),
    }
}

/// What a token may do that asks for `asked`: never more than its key.
fn narrowed(key: &Key, asked: &Capability) -> Result<Arc<Capability>, Fault> {
    let both = asked.intersect(&key.capability);
    both.map(Arc::new).ok_or_else(|| Fault::NotPermitted {
        operation: "anything of what the token asks for",
        on: Found::text(&asked.to_string()),
        // The capability of the key is not shown: the holder of a token need not know what else its key permits.
        permitted: "what their key permits, and that is none of it".into(),
    })
}
