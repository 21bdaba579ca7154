//! Who somebody is (`docs/protocols/group.md §4`): a JWT whose claim `userId` says it, or the key of a service.

use std::sync::Arc;

use crate::{
    auth::{ApiKey, JwtKey, Leeway},
    config,
    ids::Timestamp,
    limits,
    protocols::group::registry::is_user,
};

/// What tokens and keys are held against.
pub struct Access {
    key: JwtKey,
    service: ApiKey,
}

/// Whom a token lets in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pass {
    pub user: Arc<str>,
    /// None = it never ends.
    pub expires: Option<Timestamp>,
}

impl Pass {
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|expires| now >= expires)
    }
}

/// The token is wrong or over; nobody is told which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denied;

impl Access {
    pub fn new(settings: &config::Group, leeway: &Leeway) -> Self {
        let key = JwtKey::new(&settings.jwt_secret).with_leeway(leeway.clone());
        Self { key, service: ApiKey::new(&settings.service_key) }
    }

    /// # Errors
    /// [`Denied`].
    pub fn check(&self, token: &str, now: Timestamp) -> Result<Pass, Denied> {
        if token.is_empty() || token.len() > limits::TOKEN_BYTES {
            return Err(Denied);
        }
        let subject = self.key.subject(token, "userId", now);
        let (user, expires) = subject.map_err(|_| Denied)?;
        if !is_user(&user) {
            return Err(Denied);
        }
        let user = user.into();
        Ok(Pass { user, expires })
    }

    pub fn is_service(&self, key: &[u8]) -> bool {
        self.service.matches(key)
    }
}
