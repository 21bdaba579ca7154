//! Who asks (`docs/protocols/group.md §4`): a JWT whose claim `userId` says it, or the key of a service.

use std::sync::Arc;

use serde_json::Value;

use crate::{
    auth::{ApiKey, Expected, JwtKey, Leeway},
    clock::{Clock, OncePerSecond},
    config,
    ids::Timestamp,
    limits,
    older::group::membership::is_user,
};

/// What tokens and keys are held against.
pub struct Access {
    key: JwtKey,
    service: ApiKey,
    warning: OncePerSecond,
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

impl Access {
    pub fn new(settings: &config::Group, leeway: &Leeway) -> Self {
        Self {
            key: JwtKey::new(&settings.jwt_secret).with_leeway(leeway.clone()),
            service: ApiKey::new(&settings.service_key),
            warning: OncePerSecond::default(),
        }
    }

    /// # Errors
    /// The token is wrong or has expired; the answer does not say which, but of a token of ours which claim is
    /// why.
    pub fn check(&self, token: &str, clock: &Clock) -> Result<Pass, Option<String>> {
        if token.is_empty() || token.len() > limits::TOKEN_BYTES {
            return Err(None);
        }
        match self.key.subject(token, "userId", clock.now()) {
            Ok((user, expires)) if is_user(&user) => Ok(Pass { user: user.into(), expires }),
            _ => Err(self.deny(token, clock)),
        }
    }

    /// The log says it, too: mostly the operator has to change how tokens are issued.
    fn deny(&self, token: &str, clock: &Clock) -> Option<String> {
        let expected = Expected {
            user: &["userId"],
            kind: "a whole number, or a text of 1 to 256 bytes without control characters",
            is_user: |value| match value {
                Value::String(text) => is_user(text),
                value => value.is_u64(),
            },
            needs_exp: false,
        };
        let reason = self.key.wrong_claim(token, expected);
        if let Some(reason) = &reason
            && let Some(more) = self.warning.allows(clock)
        {
            tracing::warn!(reason, more, "the token of a group client names nobody");
        }
        reason
    }

    pub fn is_service(&self, key: &[u8]) -> bool {
        self.service.matches(key)
    }
}
